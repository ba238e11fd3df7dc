//! What benchmarks hold their figures to, and the line that says how each came out: `benches/compare.sh` makes a table of these
//! lines, and a test of the tree compares its names with those in `docs/performance.md`.

/// Says how a figure that should be small came out.
pub(crate) fn at_most(what: &str, measured: f64, most: f64, unit: &str) {
    tell(what, measured, "at most", most, unit, measured <= most);
}

/// Says how a figure that should be large came out.
#[allow(dead_code, reason = "not every benchmark has one")]
pub(crate) fn at_least(what: &str, measured: f64, least: f64, unit: &str) {
    tell(what, measured, "at least", least, unit, measured >= least);
}

/// Says how a figure without a target came out beside a peer.
#[allow(dead_code, reason = "not every benchmark has one")]
pub(crate) fn beside(what: &str, measured: f64, unit: &str) {
    println!("target: {what} | {measured:.3} | none | {unit} | -");
}

fn tell(what: &str, measured: f64, bound: &str, value: f64, unit: &str, is_met: bool) {
    let met = if is_met { "met" } else { "NOT MET" };
    println!("target: {what} | {measured:.3} | {bound} {value} | {unit} | {met}");
}

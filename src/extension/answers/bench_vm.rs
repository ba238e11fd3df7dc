//! The answer about what calls cost.

use std::fmt::Write as _;

use hypermesh_abi::records::Response;

use crate::ops::bench_vm::Measured;

pub(in crate::extension) fn measured(measured: &Measured) -> Response {
    let mut text = format!("echo over a socket pair: {:.1} us\n", measured.echo_us);
    let _ = writeln!(text, "{:<10} {:>10} {:>10} {:>10} {:>8}", "LANGUAGE", "START ms", "CALL us", "P99 us", "OF ECHO");
    for cost in &measured.languages {
        let _ = writeln!(
            text,
            "{:<10} {:>10.1} {:>10.1} {:>10.1} {:>8.2}",
            cost.language, cost.start_ms, cost.call_us, cost.call_p99_us, cost.of_echo
        );
    }
    for (language, reason) in &measured.absent {
        let _ = writeln!(text, "{language:<10} does not run here: {reason}");
    }
    Response { data: serde_json::to_value(measured).unwrap_or_default(), text }
}

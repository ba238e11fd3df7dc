//! What making a package from a template costs, from the embedded bytes to the tree in memory; a person waits for it. A template
//! with a script is left out: its worker is the subject of `benches/vm.rs`.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "target.rs"]
mod target;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use catalog::template::builtin::ALL;
use catalog::template::generate::{Project, generate};
use catalog::template::parameter::{Unanswered, Values};
use catalog::template::script::Configured;
use time::macros::date;

/// Milliseconds that a template may take at the median.
const TEMPLATE_MS_MAX: f64 = 20.0;
const ROUNDS: usize = 101;

fn main() {
    let project = Project::new("demo", date!(2026 - 01 - 01));
    let mut slowest: f64 = 0.0;
    for built_in in ALL {
        let has_script = built_in.template().is_ok_and(|template| template.definition.script.is_some());
        if has_script {
            continue;
        }
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                let template = built_in.template().expect("a template");
                let expand = |text: &str| project.expand(text);
                let parameters = &template.definition.parameters;
                let (values, _) = Values::resolve(parameters, &BTreeMap::new(), Unanswered::TakeDefault, &expand)
                    .unwrap_or_else(|faults| panic!("{faults}"));
                black_box(generate(&template, &values, &Configured::default(), &project).expect("is made"));
                began.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{:<24} {:>8.3} ms, at worst {:.3}", built_in.name, times[ROUNDS / 2], times[ROUNDS - 1]);
        slowest = slowest.max(times[ROUNDS / 2]);
    }
    target::at_most("a package from a template, slowest type", slowest, TEMPLATE_MS_MAX, "ms");
}

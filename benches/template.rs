//! What making a package from a template costs, from the embedded bytes to the tree in memory; a person waits for it, so 20 ms is
//! the most it may take.

use std::collections::BTreeMap;
use std::hint::black_box;

use catalog::template::builtin::ALL;
use catalog::template::generate::{Project, generate};
use catalog::template::parameter::{Unanswered, Values};
use catalog::template::script::Configured;
use criterion::Criterion;
use time::macros::date;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let project = Project::new("demo", date!(2026 - 01 - 01));
    let mut group = criterion.benchmark_group("template");
    for built_in in ALL {
        let has_script = built_in.template().is_ok_and(|template| template.definition.script.is_some());
        if has_script {
            continue;
        }
        group.bench_function(built_in.name, |bencher| {
            bencher.iter(|| {
                let template = built_in.template().expect("a template");
                let expand = |text: &str| project.expand(text);
                let parameters = &template.definition.parameters;
                let (values, _) = Values::resolve(parameters, &BTreeMap::new(), Unanswered::TakeDefault, &expand)
                    .unwrap_or_else(|faults| panic!("{faults}"));
                black_box(generate(&template, &values, &Configured::default(), &project).expect("is made"))
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

//! Answers about trust: decisions explained, feeds, yanks.

use std::fmt::Write;

use hypermesh_abi::records::Response;
use serde_json::json;

use crate::ops::publish::published_at;
use crate::ops::sign::FeedState;
use crate::trust::policy::{Decision, Outcome, Verdict};

pub(in crate::extension) fn explained(decisions: &[Decision]) -> Response {
    let mut text = String::new();
    for decision in decisions {
        let _ = writeln!(text, "{}: {} by the {} policy", decision.package, decision.verdict, decision.policy);
        for check in &decision.checks {
            let mark = match check.outcome {
                Outcome::Passed => "ok  ",
                Outcome::Failed if check.required => "FAIL",
                Outcome::Failed => "warn",
                Outcome::NotReached => "-   ",
            };
            let _ = writeln!(text, "  {mark} {:<14} {}", check.check.to_string(), check.evidence);
        }
        for rule in &decision.rules {
            let _ = writeln!(text, "  rule {:<14} {} {}", rule.rule, rule.action, rule.evidence);
        }
        for reason in &decision.reasons {
            let name = reason.violation.map_or_else(String::new, |violation| format!(" [{violation:?}]"));
            let _ = writeln!(text, "  because {}{name}", reason.message);
        }
    }
    if decisions.is_empty() {
        text.push_str("nothing is installed; name a package to see what would be decided about it\n");
    }
    let accepted = decisions.iter().all(|decision| decision.verdict < Verdict::Confirm);
    Response { data: json!({"decisions": decisions, "accepted": accepted}), text }
}

pub(in crate::extension) fn feeds(feeds: &[FeedState]) -> Response {
    let mut text = String::new();
    let mut data = Vec::new();
    for feed in feeds {
        let FeedState { publisher, entries, expires, fault, reputation: (score, tier) } = feed;
        let state = match (expires, fault) {
            (Some(expires), _) => format!("counts until {}", published_at(*expires)),
            (None, Some(fault)) => format!("does not count: {fault}"),
            (None, None) => String::new(),
        };
        let _ = writeln!(text, "{publisher:<28} {entries:>5} entries  reputation {score:.2} ({tier})\n  {state}");
        data.push(json!({"publisher": publisher, "entries": entries, "expires": expires.map(published_at),
            "fault": fault, "reputation": score, "tier": tier}));
    }
    if feeds.is_empty() {
        text.push_str("there are no feeds; publishing begins one\n");
    }
    Response { data: json!({"feeds": data}), text }
}

pub(in crate::extension) fn renewed(publishers: &[String]) -> Response {
    let text = match publishers {
        [] => "no feed was renewed: none of their publishers signs on this node\n".to_owned(),
        publishers => publishers.iter().map(|publisher| format!("renewed the feed of {publisher}\n")).collect(),
    };
    Response { data: json!({"renewed": publishers}), text }
}

pub(in crate::extension) fn yanked(name: &str, version: &str, reason: Option<&str>) -> Response {
    let text = match reason {
        Some(reason) => format!("yanked {name} {version}: {reason}\n"),
        None => format!("{name} {version} may be chosen again\n"),
    };
    Response { data: json!({"package": name, "version": version, "yanked": reason}), text }
}

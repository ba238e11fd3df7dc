//! What extensions offer to consoles, found by the roles in their tables of verbs; lists are given in pages.

use std::collections::BTreeMap;

use hypermesh_abi::records::{Description, Panel, Verb};
use hypermesh_abi::{Code, Error};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use tokio::sync::mpsc;

use crate::host::Host;
use crate::operation::{Operation, perform};

/// The most items of one page of a list.
pub(super) const ITEMS_MAX: usize = 200;
/// The most characters of what somebody looks for.
const FILTER_CHARS_MAX: usize = 200;
/// What a role ends in that changes something.
const ACTION: &str = "action";

/// What is to be shown.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct View {
    extension: String,
    role: String,
    /// Which of several verbs with this role.
    #[serde(default)]
    verb: Option<String>,
    /// What it is about.
    #[serde(default)]
    subject: Option<String>,
    /// The first item of the page.
    #[serde(default)]
    offset: usize,
    /// Items of the page; an answer that is no list is given as it is without.
    #[serde(default)]
    limit: Option<usize>,
    /// Only items that contain this text.
    #[serde(default)]
    filter: String,
}

/// What is to be done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Act {
    extension: String,
    verb: String,
    role: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    params: Map<String, Json>,
}

/// Gives what every extension offers: for each panel what it takes, in the order of the tables.
pub(super) fn offered(host: &Host) -> Json {
    let mut extensions = Vec::new();
    for id in host.extensions() {
        // One that was stopped meanwhile offers nothing.
        let Ok(description) = host.describe(&id) else { continue };
        let of_verb = |verb: &Verb| {
            let of_panel = |panel: &Panel| {
                let mut told = json!({"verb": verb.name, "role": panel.role, "summary": verb.summary,
                    "subject": panel.subject, "with": panel.with, "takes_away": verb.takes_away});
                if is_action(&panel.role) {
                    told["description"] = verb.description.as_str().into();
                    told["parameters"] = verb.parameters.clone();
                }
                told
            };
            verb.panels.iter().map(of_panel).collect::<Vec<_>>()
        };
        let panels: Vec<Json> = description.verbs.iter().flat_map(of_verb).collect();
        extensions.push(json!({"id": id, "name": description.metadata.name, "panels": panels}));
    }
    json!({ "extensions": extensions })
}

/// Asks the verb of a view and gives a page of its list, or all that it answered.
///
/// # Errors
/// Nothing of that role is offered; whatever the verb says.
pub(super) async fn view(
    host: &Host,
    view: View,
    progress: mpsc::Sender<hypermesh_abi::records::Progress>,
) -> Result<Json, Error> {
    if is_action(&view.role) || view.filter.chars().count() > FILTER_CHARS_MAX {
        return Err(Error::new(Code::INVALID_ARGUMENT, "a view shows, and looks for a short text"));
    }
    let description = host.describe(&view.extension)?;
    let (verb, panel) = find(&description, &view.role, view.verb.as_deref())?;
    let mut params = parameters(verb, panel, view.subject.as_deref(), Map::new())?;
    let limit = view.limit.map(|limit| limit.min(ITEMS_MAX));
    // A verb that gives pages by itself is not asked for more.
    let pages = limit.filter(|_| takes(verb, "limit") && takes(verb, "offset") && view.filter.is_empty());
    if let Some(limit) = pages {
        params.insert("limit".into(), limit.into());
        params.insert("offset".into(), view.offset.into());
    }
    let mut data = ask(host, view.extension, verb.name.clone(), params, progress).await?;
    if let Some(limit) = limit {
        page(&mut data, view.offset, limit, &view.filter, pages.is_some());
    }
    Ok(data)
}

/// Does what an action offers.
///
/// # Errors
/// Nothing of that role is offered; whatever the verb says.
pub(super) async fn act(
    host: &Host,
    act: Act,
    progress: mpsc::Sender<hypermesh_abi::records::Progress>,
) -> Result<Json, Error> {
    if !is_action(&act.role) {
        return Err(Error::new(Code::INVALID_ARGUMENT, "that is no action"));
    }
    let description = host.describe(&act.extension)?;
    let (verb, panel) = find(&description, &act.role, Some(&act.verb))?;
    let params = parameters(verb, panel, act.subject.as_deref(), act.params)?;
    tracing::info!("the console asks `{} {}`", act.extension, act.verb);
    ask(host, act.extension, act.verb, params, progress).await
}

/// Asks a verb as every other command does. What it found in full and refuses for what it is stands beside the refusal.
async fn ask(
    host: &Host,
    extension: String,
    verb: String,
    params: Map<String, Json>,
    progress: mpsc::Sender<hypermesh_abi::records::Progress>,
) -> Result<Json, Error> {
    let request = Operation::Request { extension, verb, params: params.into(), timeout_ms: None };
    perform(host, request, Some(progress)).await
}

fn is_action(role: &str) -> bool {
    role.ends_with(ACTION)
}

fn find<'a>(description: &'a Description, role: &str, named: Option<&str>) -> Result<(&'a Verb, &'a Panel), Error> {
    let of_verb = |verb: &'a Verb| verb.panels.iter().map(move |panel| (verb, panel));
    let mut all = description.verbs.iter().flat_map(of_verb);
    let is_wanted = |(verb, panel): &(&Verb, &Panel)| panel.role == role && named.is_none_or(|name| verb.name == name);
    all.find(is_wanted).ok_or_else(|| {
        let message = format!("`{}` offers nothing of the kind `{role}` to a console", description.metadata.id);
        Error::new(Code::NOT_FOUND, message).help("what its table of verbs offers is in the field `panels`")
    })
}

/// Puts parameters together: those of the panel count most, then what it is about.
fn parameters(
    verb: &Verb,
    panel: &Panel,
    subject: Option<&str>,
    given: Map<String, Json>,
) -> Result<Map<String, Json>, Error> {
    let mut params = given;
    match (&panel.subject, subject) {
        (Some(name), Some(subject)) => {
            let is_list = verb.parameters["properties"][name]["type"] == "array";
            params.insert(name.clone(), if is_list { json!([subject]) } else { subject.into() });
        }
        (None, Some(_)) => return Err(Error::new(Code::INVALID_ARGUMENT, "that is about nothing in particular")),
        (_, None) => {}
    }
    params.extend(panel.with.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok(params)
}

fn takes(verb: &Verb, parameter: &str) -> bool {
    verb.parameters["properties"].get(parameter).is_some()
}

/// Cuts the longest list of an answer down to a page, and says how long it was.
fn page(answer: &mut Json, offset: usize, limit: usize, filter: &str, is_page: bool) {
    let data = &mut answer["data"];
    let lengths = data.as_object().into_iter().flatten();
    let longest: BTreeMap<usize, String> =
        lengths.filter_map(|(name, value)| Some((value.as_array()?.len(), name.clone()))).collect();
    let Some((_, name)) = longest.into_iter().next_back() else { return };
    let told = data["total"].as_u64().filter(|_| is_page);
    let items = data[&name].as_array_mut().map(std::mem::take).unwrap_or_default();
    let filter = filter.to_lowercase();
    let mut kept: Vec<Json> = items.into_iter().filter(|item| filter.is_empty() || contains(item, &filter)).collect();
    let total = told.unwrap_or(kept.len() as u64);
    if !is_page {
        kept = kept.into_iter().skip(offset).take(limit).collect();
    }
    data[&name] = kept.into();
    answer["page"] = json!({"list": name, "offset": offset, "total": total});
    // The text is of the whole list, and nobody asked for that.
    answer["text"] = "".into();
}

/// Says whether a text stands in any value.
fn contains(value: &Json, wanted: &str) -> bool {
    match value {
        Json::String(text) => text.to_lowercase().contains(wanted),
        Json::Array(items) => items.iter().any(|item| contains(item, wanted)),
        Json::Object(fields) => fields.values().any(|item| contains(item, wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb() -> Verb {
        let parameters = json!({"properties": {"packages": {"type": "array"}, "execution": {"type": "string"}}});
        Verb { name: "do".into(), parameters, ..Verb::default() }
    }

    #[test]
    fn what_a_panel_fixes_cannot_be_changed_by_who_asks() {
        let panel = Panel::new("package-action").about("packages").with("detach", true);
        let given = json!({"detach": false, "packages": ["other"], "limit": 3});
        let given = given.as_object().expect("an object").clone();
        let params = parameters(&verb(), &panel, Some("vec3"), given).expect("fits");
        assert_eq!(Json::Object(params), json!({"detach": true, "packages": ["vec3"], "limit": 3}));
        let about = Panel::new("execution").about("execution");
        assert_eq!(parameters(&verb(), &about, Some("x"), Map::new()).expect("fits")["execution"], "x");
        assert!(parameters(&verb(), &Panel::new("peers"), Some("x"), Map::new()).is_err());
    }

    #[test]
    fn only_what_is_offered_is_found() {
        let offered = Verb { panels: vec![Panel::new("table"), Panel::new("action")], ..verb() };
        let hidden = Verb { name: "hidden".into(), ..verb() };
        let description = Description { verbs: vec![hidden, offered], ..Description::default() };
        assert_eq!(find(&description, "table", None).expect("is offered").0.name, "do");
        assert!(find(&description, "table", Some("hidden")).is_err());
        assert!(find(&description, "graph", None).is_err());
        assert!(is_action("package-action") && is_action("action") && !is_action("packages"));
    }

    #[test]
    fn lists_are_given_in_pages_and_others_as_they_are() {
        let list = |count: usize| {
            json!({"text": "long", "data": {"x": 1, "few": [1],
            "items": (0..count).map(|number| json!({"name": format!("Item{number}")})).collect::<Vec<_>>()}})
        };
        let mut answer = list(1_000);
        page(&mut answer, 990, 50, "", false);
        assert_eq!(answer["data"]["items"].as_array().map(Vec::len), Some(10));
        assert_eq!(answer["page"], json!({"list": "items", "offset": 990, "total": 1_000}));
        assert_eq!((&answer["text"], &answer["data"]["few"]), (&json!(""), &json!([1])));
        let mut answer = list(1_000);
        page(&mut answer, 0, 3, "ITEM99", false);
        assert_eq!((answer["data"]["items"].as_array().map(Vec::len), &answer["page"]["total"]), (Some(3), &json!(11)));
        let mut answer = list(5);
        answer["data"]["total"] = 10_000.into();
        page(&mut answer, 500, 5, "", true);
        assert_eq!(
            (answer["data"]["items"].as_array().map(Vec::len), &answer["page"]["total"]),
            (Some(5), &json!(10_000))
        );
        let mut answer = json!({"data": {"a": 1}, "text": "short"});
        page(&mut answer, 0, 5, "", false);
        assert_eq!(answer, json!({"data": {"a": 1}, "text": "short"}));
    }
}

//! Holds a document against the JSON Schema of the manifest and reports everything that does not fit.
//!
//! It reads the part of JSON Schema that `schema` makes: `$ref`, `anyOf` with null, `type`, `properties`, `required`,
//! `additionalProperties`, `minProperties`, `items`, `enum`, `const`, `minimum`, `maximum`. What does not fit is left out
//! of the result, so the rest can still be checked for meaning. `pattern` is for editors; `convert` checks those fields.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value as Json;

use super::document::{Node, Place, Tree};
use super::fault::{Fault, Faults};
use super::schema;

static SCHEMA: LazyLock<Json> = LazyLock::new(schema::json_schema);

/// Gives what fits.
pub(crate) fn check(root: &Node, faults: &mut Faults) -> Json {
    let place = Place { path: String::new(), position: root.at };
    Check { faults }.value(&SCHEMA, root, &place).unwrap_or_else(|| Json::Object(serde_json::Map::new()))
}

struct Check<'a> {
    faults: &'a mut Faults,
}

impl Check<'_> {
    fn value(&mut self, schema: &Json, node: &Node, place: &Place) -> Option<Json> {
        if self.faults.is_full() {
            return None;
        }
        let (schema, may_be_null) = resolve(schema);
        if type_of(schema).is_empty() {
            return Some(node.to_json());
        }
        match &node.tree {
            Tree::Scalar(Json::Null) if may_be_null => Some(Json::Null),
            Tree::Map(_) if is_type(schema, "object") => self.map(schema, node, place),
            Tree::List(nodes) if is_type(schema, "array") => {
                Some(nodes.iter().enumerate().map(|(index, node)| self.item(schema, node, place, index)).collect())
            }
            Tree::Scalar(value) if fits_type(schema, value) => self.scalar(schema, value, node, place),
            _ => {
                self.faults.push(wrong_type(schema, node, place));
                None
            }
        }
    }

    /// An item that does not fit leaves an empty one in its stead, so that the places of the others stay right.
    fn item(&mut self, schema: &Json, node: &Node, place: &Place, index: usize) -> Json {
        let items = schema.get("items").unwrap_or(&Json::Null);
        if let Tree::Scalar(text @ Json::String(_)) = &node.tree
            && let (plain, _) = resolve(items)
            && (type_of(plain), choices(plain).is_empty()) == ("string", true)
        {
            // Nothing can be wrong with it here, and lists of files are long: where it stands is not put into words.
            return text.clone();
        }
        self.value(items, node, &place.index(index, node.at)).unwrap_or_else(|| {
            match resolve(items).0.get("type").and_then(Json::as_str) {
                Some("object") => Json::Object(serde_json::Map::new()),
                Some("integer" | "number") => Json::from(1),
                _ => Json::String(String::new()),
            }
        })
    }

    fn map(&mut self, schema: &Json, node: &Node, place: &Place) -> Option<Json> {
        let Tree::Map(entries) = &node.tree else { return None };
        let mut fitting = serde_json::Map::new();
        for (key, entry) in entries {
            if self.faults.is_full() {
                return None;
            }
            let inner = place.key(key, entry.node.at);
            let field = schema.pointer("/properties").and_then(|properties| properties.get(key));
            match field.or_else(|| schema.get("additionalProperties").filter(|other| **other != Json::Bool(false))) {
                Some(field) => {
                    fitting.extend(self.value(field, &entry.node, &inner).map(|value| (key.clone(), value)));
                }
                None => self.unknown_field(schema, key, &place.key(key, entry.at)),
            }
        }
        self.required(schema, node, place, &mut fitting);
        let given = entries.values().filter(|entry| !matches!(entry.node.tree, Tree::Scalar(Json::Null))).count();
        if schema.get("maxProperties").is_some() && given != 1 {
            let message = format!("exactly one of {} is needed, {given} are given", names(schema));
            self.faults.push(Fault::error("NOT_EXACTLY_ONE", place, message).hint("keep the one that is meant"));
        }
        Some(Json::Object(fitting))
    }

    fn required(&mut self, schema: &Json, node: &Node, place: &Place, fitting: &mut serde_json::Map<String, Json>) {
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        for name in required.filter(|name| node.entry(name).is_none()) {
            let inner = place.key(name, node.at);
            let field = resolve(&schema["properties"][name]).0;
            if is_type(field, "object") {
                // The fields inside are what the author misses.
                let empty = Node { at: node.at, text: None, tree: Tree::Map(BTreeMap::new()) };
                fitting.extend(self.map(field, &empty, &inner).map(|value| (name.to_owned(), value)));
                continue;
            }
            let code = match inner.path.as_str() {
                "metadata.name" => "MISSING_NAME",
                "metadata.version" => "MISSING_VERSION",
                _ => "MISSING_FIELD",
            };
            let about = field.get("description").and_then(Json::as_str).unwrap_or_default();
            self.faults.push(
                Fault::error(code, &inner, format!("`{name}` is missing"))
                    .hint(format!("add it: {}", about.trim_end_matches('.'))),
            );
        }
    }

    fn unknown_field(&mut self, schema: &Json, key: &str, place: &Place) {
        let known = schema.get("properties").and_then(Json::as_object);
        let hint = match closest(key, known.into_iter().flat_map(|known| known.keys().map(String::as_str))) {
            Some(name) => format!("did you mean `{name}`?"),
            None => match home_of(key) {
                Some(path) => format!("it belongs to `{path}`"),
                None => format!("the fields here are {}", names(schema)),
            },
        };
        self.faults.push(Fault::error("UNKNOWN_FIELD", place, format!("`{key}` is not a field here")).hint(hint));
    }

    fn scalar(&mut self, schema: &Json, value: &Json, node: &Node, place: &Place) -> Option<Json> {
        let choices = choices(schema);
        if !choices.is_empty() && !choices.contains(&value) {
            let text = value.as_str().unwrap_or_default();
            let names: Vec<&str> = choices.iter().filter_map(|choice| choice.as_str()).collect();
            let hint = closest(text, names.iter().copied()).map_or_else(
                || format!("write one of {}", list(names.iter().copied())),
                |name| format!("did you mean `{name}`?"),
            );
            let message = format!("`{text}` is not a value of this field");
            self.faults.push(Fault::error("UNKNOWN_VALUE", place, message).hint(hint));
            return None;
        }
        let bound = |name: &str| schema.get(name).and_then(Json::as_f64);
        if let Some(number) = value.as_f64() {
            // The schema gives no maximum for 32 bits, only the format.
            let is_32_bits = schema.get("format").is_some_and(|format| format == "uint32");
            let (low, high) = (bound("minimum"), bound("maximum").or(is_32_bits.then_some(f64::from(u32::MAX))));
            if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
                let shown = node.text.clone().unwrap_or_else(|| value.to_string());
                let hint = match (low, high) {
                    (Some(low), Some(high)) => format!("write a number from {low} to {high}"),
                    _ => format!("write a number of at least {}", low.unwrap_or(0.0)),
                };
                self.faults.push(Fault::error("OUT_OF_RANGE", place, format!("`{shown}` is out of range")).hint(hint));
                return None;
            }
        }
        Some(value.clone())
    }
}

fn wrong_type(schema: &Json, node: &Node, place: &Place) -> Fault {
    let expected = match (type_of(schema), choices(schema).is_empty()) {
        ("object", _) => "a map",
        ("array", _) => "a list",
        ("boolean", _) => "true or false",
        ("integer", _) => "a whole number",
        ("number", _) => "a number",
        (_, false) => "one of the known words",
        _ => "text",
    };
    let shown = node.text.as_deref().unwrap_or_default();
    let found = match &node.tree {
        Tree::Map(_) => "a map".to_owned(),
        Tree::List(_) => "a list".to_owned(),
        Tree::Scalar(Json::Null) => "nothing".to_owned(),
        Tree::Scalar(Json::String(text)) => format!("the text `{}`", text.chars().take(40).collect::<String>()),
        Tree::Scalar(value) => format!("`{}`", if shown.is_empty() { value.to_string() } else { shown.to_owned() }),
    };
    let fault = Fault::error("WRONG_TYPE", place, format!("expected {expected}, found {found}"));
    match &node.tree {
        Tree::Scalar(Json::Number(_)) if expected == "text" && place.path.ends_with("version") => fault.hint(format!(
            "without quotes `{shown}` is a number, which loses zeros; write `\"{}\"`",
            three_parts(shown)
        )),
        Tree::Scalar(Json::Number(_) | Json::Bool(_)) if expected == "text" => {
            fault.hint(format!("put it in quotes: `\"{shown}\"`"))
        }
        Tree::Scalar(Json::String(text)) if fits_type(schema, &serde_json::from_str(text).unwrap_or_default()) => {
            fault.hint("write it without quotes")
        }
        Tree::Scalar(Json::Null) => fault.hint("give a value or remove the field"),
        _ if expected == "a list" => fault.hint("write `[value, …]` or one `- value` on each line"),
        _ => fault.hint(format!("write {expected}")),
    }
}

/// Fills a version up to `major.minor.patch`.
fn three_parts(text: &str) -> String {
    let missing = 2_usize.saturating_sub(text.matches('.').count());
    format!("{text}{}", ".0".repeat(missing))
}

/// Follows `$ref` and gives whether null is allowed.
fn resolve(schema: &Json) -> (&Json, bool) {
    if let Some(path) = schema.get("$ref").and_then(Json::as_str) {
        let target = SCHEMA.pointer(path.trim_start_matches('#')).unwrap_or(&Json::Null);
        return (target, false);
    }
    match schema.get("anyOf").and_then(Json::as_array) {
        Some(options) => (resolve(&options[0]).0, true),
        None => (schema, schema.get("type").is_some_and(Json::is_array)),
    }
}

fn type_of(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(name)) => name,
        Some(Json::Array(names)) => names.first().and_then(Json::as_str).unwrap_or_default(),
        // An enumeration whose words are documented one by one.
        _ if schema.get("oneOf").is_some() => "string",
        _ => "",
    }
}

fn is_type(schema: &Json, name: &str) -> bool {
    type_of(schema) == name
}

fn fits_type(schema: &Json, value: &Json) -> bool {
    match type_of(schema) {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        _ => false,
    }
}

fn choices(schema: &Json) -> Vec<&Json> {
    let words = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    let documented = schema.get("oneOf").and_then(Json::as_array).into_iter().flatten();
    words
        .chain(documented.flat_map(|option| {
            option.get("const").into_iter().chain(option.get("enum").and_then(Json::as_array).into_iter().flatten())
        }))
        .collect()
}

fn names(schema: &Json) -> String {
    list(
        schema
            .get("properties")
            .and_then(Json::as_object)
            .into_iter()
            .flat_map(|known| known.keys().map(String::as_str)),
    )
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The most names that are compared for a suggestion: an author has fewer, a hostile manifest would buy work.
const CANDIDATES_MAX: usize = 1000;

/// Gives the name that a slip of the keyboard could have made `text` of.
pub(crate) fn closest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let typed = fold(&text.chars().take(64).collect::<String>());
    names
        .take(CANDIDATES_MAX)
        .map(|name| (strsim::damerau_levenshtein(&typed, &fold(name)), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).min(3))
        .min()
        .map(|(_, name)| name)
}

/// Finds where a field that stands in the wrong section belongs.
fn home_of(key: &str) -> Option<String> {
    fn search(schema: &Json, path: &str, key: &str) -> Option<String> {
        let properties = resolve(schema).0.get("properties")?.as_object()?;
        let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if !path.is_empty() && properties.contains_key(key) {
            return Some(join(key));
        }
        properties.iter().find_map(|(name, field)| search(field, &join(name), key))
    }
    search(&SCHEMA, "", key)
}

#[cfg(test)]
mod tests {
    use super::super::source::{self, Bounds, Format};
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let mut faults = Faults::new("package.yaml");
        let root = source::read(text, Format::Yaml, Bounds::MANIFEST, &mut faults).expect("is YAML");
        let json = check(&root, &mut faults);
        serde_json::from_value::<schema::Manifest>(json).expect("what fits reads");
        faults.list.sort_by_key(|fault| (fault.line, fault.column));
        faults.list.iter().map(|fault| format!("{}:{} {fault}", fault.line, fault.column)).collect()
    }

    #[test]
    fn all_structural_faults_come_in_one_pass() {
        let found = faults(
            "apiVersion: catalog.v2\nmetadata:\n  version: 1.10\n  tags: one\n  licence: MIT\nspec:\n  type: lua-scirpt\n  memory_limit: 1Gi\n  content: {main: [1]}\n  \
             execution: {minimum_consensus: 9, priority: hi}\n  security: {consensus_required: \"true\"}\n  dependencies:\n    - {name: a}\n    - b\n    - {name: c, version: \"1\", source: {git: {url: x}, local: {path: y}}}\n  zzz: 1\n",
        );
        insta::assert_snapshot!(found.join("\n"), @r#"
        1:13 error[UNKNOWN_VALUE] apiVersion: `catalog.v2` is not a value of this field; did you mean `catalog.v1`?
        3:3 error[MISSING_NAME] metadata.name: `name` is missing; add it: `[namespace/]name` in lower case, such as `acme/ray-tracer`
        3:12 error[WRONG_TYPE] metadata.version: expected text, found `1.10`; without quotes `1.10` is a number, which loses zeros; write `"1.10.0"`
        4:9 error[WRONG_TYPE] metadata.tags: expected a list, found the text `one`; write `[value, …]` or one `- value` on each line
        5:3 error[UNKNOWN_FIELD] metadata.licence: `licence` is not a field here; did you mean `license`?
        7:9 error[UNKNOWN_VALUE] spec.type: `lua-scirpt` is not a value of this field; did you mean `lua-script`?
        8:3 error[UNKNOWN_FIELD] spec.memory_limit: `memory_limit` is not a field here; it belongs to `spec.resources.memory_limit`
        9:19 error[WRONG_TYPE] spec.content.main: expected text, found a list; write text
        10:34 error[OUT_OF_RANGE] spec.execution.minimum_consensus: `9` is out of range; write a number from 1 to 5
        10:47 error[UNKNOWN_VALUE] spec.execution.priority: `hi` is not a value of this field; write one of `low`, `normal`, `high`, `critical`
        11:34 error[WRONG_TYPE] spec.security.consensus_required: expected true or false, found the text `true`; write it without quotes
        13:7 error[MISSING_FIELD] spec.dependencies[0].version: `version` is missing; add it: The versions that will do, such as `"^1.2"` or `">=1.0.0, <3"`
        14:7 error[WRONG_TYPE] spec.dependencies[1]: expected a map, found the text `b`; write a map
        15:39 error[NOT_EXACTLY_ONE] spec.dependencies[2].source: exactly one of `registry`, `git`, `local`, `http` is needed, 2 are given; keep the one that is meant
        16:3 error[UNKNOWN_FIELD] spec.zzz: `zzz` is not a field here; the fields here are `type`, `content`, `security`, `resources`, `execution`, `dependencies`, `conflicts`, `features`, `environment`, `config_schema`
        "#);
    }

    #[test]
    fn an_empty_document_misses_everything_and_a_list_is_no_manifest() {
        insta::assert_snapshot!(faults("{}").join("\n"), @r#"
        1:1 error[MISSING_FIELD] apiVersion: `apiVersion` is missing; add it: Version of this format: `catalog.v1`
        1:1 error[MISSING_NAME] metadata.name: `name` is missing; add it: `[namespace/]name` in lower case, such as `acme/ray-tracer`
        1:1 error[MISSING_VERSION] metadata.version: `version` is missing; add it: Semantic version of three parts, such as `"1.10.0"`; always in quotes
        1:1 error[MISSING_FIELD] spec.type: `type` is missing; add it: What the package is, which decides what runs it
        "#);
        assert_eq!(faults("[1]"), ["1:1 error[WRONG_TYPE] expected a map, found a list; write a map"]);
    }

    #[test]
    fn numbers_beyond_their_width_are_out_of_range() {
        let of = |field: &str| {
            faults(&format!(
                "apiVersion: catalog.v1\nmetadata: {{name: a, version: 1.0.0}}\nspec: {{type: custom, content: {{main: a}}, {field}}}\n"
            ))
        };
        assert_eq!(of("resources: {cpu_cores: 4294967295}"), Vec::<String>::new());
        assert_eq!(
            of("resources: {cpu_cores: 4294967296}"),
            [
                "3:65 error[OUT_OF_RANGE] spec.resources.cpu_cores: `4294967296` is out of range; write a number from 1 to 4294967295"
            ]
        );
        assert!(of("resources: {gpu_memory_mb: -1}")[0].contains("OUT_OF_RANGE"));
    }

    #[test]
    fn null_stands_for_absent_except_where_a_value_is_required() {
        let found = faults(
            "apiVersion: catalog.v1\nkind:\nmetadata: {name: a, version: ~, tags: }\nspec: {type: custom, content: {main: a}, resources: }\n",
        );
        assert_eq!(
            found,
            ["3:30 error[WRONG_TYPE] metadata.version: expected text, found nothing; give a value or remove the field"]
        );
    }
}

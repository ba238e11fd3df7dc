//! Typed parameters: what a template asks, and whether an answer will do. Every fault of all answers comes in one pass.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::{Warning, fault};
use crate::package::{Fault, Faults, closest};

/// The most bytes of one value, in its JSON form: rendering copies values, and pays by their number.
pub const VALUE_BYTES_MAX: usize = 16 << 10;
/// The longest pattern of a parameter, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1000;
/// The code of the fault that a parameter was not given.
pub const MISSING: &str = "MISSING_PARAMETER";
/// Memory of a compiled pattern, in bytes.
const PATTERN_SIZE_MAX: usize = 1 << 20;

/// What a template asks.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name, as templates use it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it holds.
    pub kind: Kind,
    /// What it is if nobody says; a text may use what is known of the project.
    pub default: Option<Json>,
    /// Somebody must say, or say that the default will do.
    pub required: bool,
    /// The only values, if there are such.
    pub allowed: Option<Vec<Json>>,
    /// The smallest and the largest number.
    pub range: (Option<f64>, Option<f64>),
    /// The shortest and the longest: characters of a text, items of a list, fields of an object.
    pub length: (Option<usize>, Option<usize>),
    /// What all of a text must be like.
    pub pattern: Option<Regex>,
}

/// What a parameter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text.
    String,
    /// A whole number or a fraction.
    Number,
    /// True or false.
    Boolean,
    /// A list of anything.
    Array,
    /// Fields by name.
    Object,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// Text that is read as the type of its parameter.
    Text(String),
    /// A value with a type of its own.
    Value(Json),
}

/// What becomes of a required parameter that has a default and no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It is a fault: somebody should think of it.
    Refuse,
    /// The default is taken.
    TakeDefault,
}

/// Checked values, one for every parameter of the template.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(Map<String, Json>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawParameter {
    pub(super) name: String,
    #[serde(default)]
    description: String,
    #[serde(rename = "type")]
    kind: Kind,
    default: Option<Json>,
    #[serde(default)]
    required: bool,
    min: Option<f64>,
    max: Option<f64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    pattern: Option<String>,
    allowed_values: Option<Vec<Json>>,
}

/// Names that mean something else in a template.
pub(super) const RESERVED: [&str; 28] = [
    "and", "as", "date", "default", "each", "else", "eq", "gt", "gte", "if", "if_eq", "join", "json", "len", "lookup",
    "lower", "lt", "lte", "ne", "not", "or", "project", "raw", "replace", "template", "this", "unless", "upper",
];

impl Parameter {
    /// Reads a parameter; what is wrong with it goes to the faults.
    pub(super) fn read(raw: RawParameter, path: &str, faults: &mut Faults) -> Option<Self> {
        let before = faults.list.len();
        let name = raw.name;
        let mut push = |field: &str, code, message: String, hint: &str| {
            faults.push(fault(code, &format!("{path}.{field}"), message, hint));
        };
        let is_name = |text: &str| {
            text.len() <= 64
                && text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if !is_name(&name) {
            let message = format!("`{name}` is no name of a parameter");
            push("name", "INVALID_NAME", message, "use up to 64 lower-case letters, digits and `_`, a letter first");
        } else if name == "uuid" || RESERVED.contains(&name.as_str()) {
            push("name", "RESERVED_NAME", format!("`{name}` means something else in templates"), "call it otherwise");
        }
        for (field, set, kinds) in [
            ("min", raw.min.is_some(), &[Kind::Number][..]),
            ("max", raw.max.is_some(), &[Kind::Number]),
            ("min_length", raw.min_length.is_some(), &[Kind::String, Kind::Array, Kind::Object]),
            ("max_length", raw.max_length.is_some(), &[Kind::String, Kind::Array, Kind::Object]),
            ("pattern", raw.pattern.is_some(), &[Kind::String]),
        ] {
            if set && !kinds.contains(&raw.kind) {
                push(field, "NO_EFFECT", format!("a {} has no `{field}`", raw.kind.as_str()), "remove it");
            }
        }
        let pattern = raw.pattern.and_then(|text| match compile(&text) {
            Ok(pattern) => Some(pattern),
            Err(reason) => {
                push("pattern", "INVALID_PATTERN", reason, "write a regular expression that the whole text must match");
                None
            }
        });
        let parameter = Self {
            name,
            description: raw.description,
            kind: raw.kind,
            default: raw.default,
            required: raw.required,
            allowed: raw.allowed_values,
            range: (raw.min, raw.max),
            length: (raw.min_length, raw.max_length),
            pattern,
        };
        let fixed = parameter.default.iter().filter(|value| !value.as_str().is_some_and(super::render::is_template));
        let samples = fixed.chain(parameter.allowed.iter().flatten());
        for reason in samples.filter_map(|value| parameter.check(value).err()) {
            push("default", reason.code, reason.message, "give values that the parameter itself takes");
        }
        let ordered = |low: Option<f64>, high: Option<f64>| low.zip(high).is_none_or(|(low, high)| low <= high);
        let length = |bound: Option<usize>| bound.map(|bound| bound as f64);
        for (field, holds) in [
            ("min", ordered(parameter.range.0, parameter.range.1)),
            ("min_length", ordered(length(parameter.length.0), length(parameter.length.1))),
        ] {
            if !holds {
                push(field, "NO_VALUE_FITS", "the lower bound is above the upper one".into(), "exchange them");
            }
        }
        (faults.list.len() == before).then_some(parameter)
    }

    /// Tells how to answer, for people.
    pub fn question(&self) -> String {
        let mut text = format!("--param {}=<{}>", self.name, self.kind.as_str());
        if let Some(allowed) = &self.allowed {
            let values: Vec<String> = allowed.iter().take(8).map(shown).collect();
            text.push_str(&format!(" (one of {})", values.join(", ")));
        }
        if !self.description.is_empty() {
            text.push_str(&format!(": {}", self.description));
        }
        text
    }

    /// Gives what an answer must be as a JSON Schema, for whoever asks.
    pub fn to_schema(&self) -> Json {
        let (least, most) = match self.kind {
            Kind::String => ("minLength", "maxLength"),
            Kind::Array => ("minItems", "maxItems"),
            _ => ("minProperties", "maxProperties"),
        };
        let fields = [
            ("type", Some(self.kind.as_str().into())),
            ("default", self.default.clone()),
            ("enum", self.allowed.clone().map(Json::Array)),
            ("minimum", self.range.0.map(Json::from)),
            ("maximum", self.range.1.map(Json::from)),
            (least, self.length.0.map(Json::from)),
            (most, self.length.1.map(Json::from)),
            ("pattern", self.pattern_text().map(Json::from)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
    }

    /// Gives the pattern as the template writes it.
    pub fn pattern_text(&self) -> Option<&str> {
        self.pattern.as_ref().and_then(|pattern| pattern.as_str().strip_prefix("^(?:")?.strip_suffix(")$"))
    }

    /// Reads an answer as the type of the parameter.
    fn take(&self, given: &Given) -> Result<Json, Fault> {
        let text = match given {
            Given::Value(value) => return Ok(value.clone()),
            Given::Text(text) => text,
        };
        let read = match self.kind {
            Kind::String => Some(Json::String(text.clone())),
            Kind::Number => serde_json::from_str(text).ok().filter(Json::is_number),
            Kind::Boolean => match text.as_str() {
                "true" | "yes" | "on" => Some(true.into()),
                "false" | "no" | "off" => Some(false.into()),
                _ => None,
            },
            Kind::Array if text.trim_start().starts_with('[') => serde_json::from_str(text).ok(),
            Kind::Array if text.is_empty() => Some(Json::Array(Vec::new())),
            Kind::Array => Some(text.split(',').map(str::trim).collect()),
            Kind::Object => serde_json::from_str(text).ok().filter(Json::is_object),
        };
        read.ok_or_else(|| self.fault("WRONG_TYPE", format!("`{}` is no {}", cut(text), self.kind.as_str())))
    }

    /// Checks a value against everything that the template says of it.
    pub(super) fn check(&self, value: &Json) -> Result<(), Fault> {
        self.check_kind(value)?;
        if value.to_string().len() > VALUE_BYTES_MAX {
            return Err(self.fault("TOO_LARGE", format!("the value has more than {VALUE_BYTES_MAX} bytes")));
        }
        if let Some(allowed) = self.allowed.as_ref().filter(|allowed| !allowed.contains(value)) {
            let values: Vec<String> = allowed.iter().take(20).map(shown).collect();
            let message = format!("{} is none of {}", shown(value), values.join(", "));
            return Err(self.fault("NOT_ALLOWED", message));
        }
        if let Some(number) = value.as_f64() {
            let (low, high) = self.range;
            if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
                return Err(self.fault("OUT_OF_RANGE", format!("{value} is not {}", between(low, high))));
            }
        }
        let length = match value {
            Json::String(text) => text.chars().count(),
            Json::Array(list) => list.len(),
            Json::Object(fields) => fields.len(),
            _ => return Ok(()),
        };
        let (low, high) = self.length;
        if low.is_some_and(|low| length < low) || high.is_some_and(|high| length > high) {
            let unit = match self.kind {
                Kind::String => "characters",
                Kind::Array => "items",
                _ => "fields",
            };
            return Err(
                self.fault("WRONG_LENGTH", format!("it has {length} {unit}, which is not {}", between(low, high)))
            );
        }
        if let (Some(pattern), Json::String(text)) = (&self.pattern, value)
            && !pattern.is_match(text)
        {
            return Err(self.fault(
                "PATTERN",
                format!("`{}` does not match `{}`", cut(text), self.pattern_text().unwrap_or_default()),
            ));
        }
        Ok(())
    }

    fn check_kind(&self, value: &Json) -> Result<(), Fault> {
        let fits = match self.kind {
            Kind::String => value.is_string(),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
            Kind::Array => value.is_array(),
            Kind::Object => value.is_object(),
        };
        match fits {
            true => Ok(()),
            false => Err(self.fault("WRONG_TYPE", format!("{} is no {}", shown(value), self.kind.as_str()))),
        }
    }

    fn fault(&self, code: &'static str, message: String) -> Fault {
        fault(code, &self.name, message, self.question())
    }
}

impl Kind {
    /// Gives the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl Values {
    /// Gives the value of each parameter: what was given, or its default. `expand` renders a default that is a text.
    ///
    /// An answer to nothing that was asked is a warning: it changes nothing, and may be a word mistyped.
    ///
    /// # Errors
    /// Every answer that is missing, of another type, or not what the template takes.
    pub fn resolve(
        parameters: &[Parameter],
        given: &BTreeMap<String, Given>,
        unanswered: Unanswered,
        expand: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<(Self, Vec<Warning>), Faults> {
        let mut faults = Faults { file: "parameters".into(), list: Vec::new() };
        let mut values = Map::new();
        for parameter in parameters {
            match parameter.resolve(given.get(&parameter.name), unanswered, expand) {
                Ok(value) => drop(values.insert(parameter.name.clone(), value)),
                Err(fault) => faults.push(fault),
            }
        }
        let unknown = given.keys().filter(|name| !parameters.iter().any(|parameter| parameter.name == **name));
        let warnings = unknown.map(|name| {
            let near = closest(name, parameters.iter().map(|parameter| parameter.name.as_str()));
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Warning::new("UNUSED_PARAMETER", name, format!("the template has no parameter `{name}`{hint}"))
        });
        let warnings = warnings.collect();
        if faults.list.is_empty() { Ok((Self(values), warnings)) } else { Err(faults) }
    }

    /// Takes values that were checked when they were written down.
    pub(super) fn of(values: Map<String, Json>) -> Self {
        Self(values)
    }

    /// Gives the values by name.
    pub fn as_map(&self) -> &Map<String, Json> {
        &self.0
    }
}

impl Parameter {
    fn resolve(
        &self,
        given: Option<&Given>,
        unanswered: Unanswered,
        expand: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Json, Fault> {
        let value = match (given, &self.default) {
            (Some(given), _) => self.take(given)?,
            (None, Some(default)) if !self.required || unanswered == Unanswered::TakeDefault => match default {
                Json::String(text) => {
                    let message = |reason| self.fault("DEFAULT", format!("its default cannot be made: {reason}"));
                    Json::String(expand(text).map_err(message)?)
                }
                other => other.clone(),
            },
            (None, Some(_)) => {
                let message = "it must be given; `--yes` takes its default".into();
                return Err(self.fault(MISSING, message));
            }
            (None, None) if self.required => {
                return Err(self.fault(MISSING, "it must be given".into()));
            }
            (None, None) => return Ok(Json::Null),
        };
        self.check(&value)?;
        Ok(value)
    }
}

/// Gives the parameters that faults are about, in their order, with defaults as they are for a project.
pub(crate) fn to_ask(
    parameters: &[Parameter],
    faults: &Faults,
    expand: &dyn Fn(&str) -> Result<String, String>,
) -> Vec<Parameter> {
    let at_fault = parameters.iter().filter(|parameter| faults.list.iter().any(|fault| fault.path == parameter.name));
    let expanded = |parameter: &Parameter| {
        let text = parameter.default.as_ref().and_then(Json::as_str);
        let default = text.and_then(|text| expand(text).ok()).map(Json::String);
        Parameter { default: default.or_else(|| parameter.default.clone()), ..parameter.clone() }
    };
    at_fault.map(expanded).collect()
}

fn compile(text: &str) -> Result<Regex, String> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    let whole = format!("^(?:{text})$");
    RegexBuilder::new(&whole).size_limit(PATTERN_SIZE_MAX).build().map_err(|error| format!("`{text}`: {error}"))
}

fn between<T: std::fmt::Display>(low: Option<T>, high: Option<T>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!("from {low} to {high}"),
        (Some(low), None) => format!("{low} or more"),
        (None, Some(high)) => format!("{high} or less"),
        (None, None) => "anything".into(),
    }
}

/// Gives a value as messages show it.
fn shown(value: &Json) -> String {
    format!("`{}`", cut(&value.to_string()))
}

fn cut(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

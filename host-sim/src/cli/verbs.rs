//! Makes a command line of an extension's request table, and parameters of what was typed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Read};

use clap::{Arg, ArgAction, ArgMatches, Command};
use hypermesh_abi::records::{Description, Example, Positional, Question, Verb};
use hypermesh_abi::{Code, Error};
use serde_json::{Map, Value as Json};

/// The most bytes that are taken from a pipe; they fit into one request with everything else.
const PIPED_BYTES_MAX: u64 = 2 << 20;

/// A verb and the parameters that were typed for it.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) verb: String,
    pub(crate) params: Json,
    /// The parameter whose value comes in by a pipe, if something does.
    pub(crate) piped: Option<String>,
    /// The same parameters with directories of this place where words may be names or paths and name both, for when there is
    /// nothing of that name.
    pub(crate) by_directory: Option<Json>,
    /// Whether a person is asked first: it takes something away, and is neither only tried nor agreed to.
    pub(crate) asks: bool,
}

/// Agrees to what a verb takes away.
const YES: &str = "yes";
/// What a verb calls the parameter by which it only says what it would do.
const DRY_RUN: &str = "dry_run";

/// One parameter of a verb, out of its schema.
struct Parameter {
    name: String,
    kind: Kind,
    help: String,
    required: bool,
    choices: Vec<String>,
    default: Option<String>,
    /// The least whole number.
    minimum: Option<i64>,
    cli: Positional,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flag,
    Integer,
    Number,
    Text,
    List,
    Pairs,
    Json,
}

/// Builds the command of an extension.
pub(crate) fn command(extension: &str, description: &Description) -> Command {
    let mut command = Command::new(extension.to_owned())
        .bin_name(format!("host-sim {extension}"))
        .about(description.metadata.description.clone())
        .version(description.metadata.version.clone())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110)
        .after_help("Options of host-sim itself (--home, --json, --quiet, --verbose) work here too.");
    let mut groups: BTreeMap<&str, Vec<&Verb>> = BTreeMap::new();
    for verb in &description.verbs {
        match verb.name.split_once(' ') {
            None => command = command.subcommand(leaf(&verb.name, verb, extension)),
            Some((group, _)) => groups.entry(group).or_default().push(verb),
        }
    }
    for (group, verbs) in groups {
        let about: Vec<&str> = verbs.iter().map(|verb| verb.summary.as_str()).collect();
        let examples: Vec<&Example> = verbs.iter().flat_map(|verb| &verb.examples).collect();
        let mut parent = Command::new(group.to_owned()).about(about.join("; ")).subcommand_required(true);
        parent = with_examples(parent, &examples, extension);
        for verb in verbs {
            parent = parent.subcommand(leaf(verb.name.rsplit(' ').next().unwrap_or_default(), verb, extension));
        }
        command = command.subcommand(parent);
    }
    command
}

/// Parses what was typed behind the extension's name.
///
/// # Errors
/// What clap says, help included; a value that is no JSON where JSON is due.
pub(crate) fn parse(extension: &str, description: &Description, words: &[OsString]) -> Result<Typed, clap::Error> {
    let matches = command(extension, description).try_get_matches_from(words)?;
    let mut path = Vec::new();
    let mut current = &matches;
    while let Some((name, inner)) = current.subcommand() {
        path.push(name);
        current = inner;
    }
    let verb = path.join(" ");
    let Some(described) = description.verbs.iter().find(|known| known.name == verb) else {
        return Err(clap::Error::raw(clap::error::ErrorKind::InvalidSubcommand, format!("no verb `{verb}`\n")));
    };
    let known = parameters(described);
    let params = known.iter().filter_map(|parameter| {
        let value = parameter.value(current)?;
        Some((parameter.name.clone(), value))
    });
    let params: Map<String, Json> = params.collect();
    let is_piped = |parameter: &&Parameter| {
        let with = parameter.cli.piped_with.as_ref();
        !params.contains_key(&parameter.name) && with.is_some_and(|with| params.contains_key(with))
    };
    let piped = known.iter().find(is_piped).map(|parameter| parameter.name.clone());
    let by_directory = by_directory(&known, &params);
    let agreed = current.try_get_one::<bool>(YES).ok().flatten() == Some(&true);
    let asks = described.takes_away && !agreed && !params.contains_key(DRY_RUN);
    Ok(Typed { verb, params: Json::Object(params), piped, by_directory, asks })
}

impl Typed {
    /// Reads what comes in by a pipe or from a file into the parameter that is for it; a terminal is not waited for.
    ///
    /// # Errors
    /// It is longer than [`PIPED_BYTES_MAX`], no UTF-8, or cannot be read.
    pub(crate) fn read_piped(&mut self, mut input: impl Read + IsTerminal) -> Result<(), Error> {
        let Some(name) = self.piped.take().filter(|_| !input.is_terminal()) else { return Ok(()) };
        let mut bytes = Vec::new();
        let read = Read::by_ref(&mut input).take(PIPED_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::wrap(Code::IO, &error))?;
        let refused = |what: String| Error::new(Code::INVALID_ARGUMENT, format!("standard input {what}"));
        if bytes.len() as u64 > PIPED_BYTES_MAX {
            return Err(refused(format!("has more than {PIPED_BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|error| refused(format!("is no UTF-8: {error}")))?;
        if let (false, Json::Object(params)) = (text.is_empty(), &mut self.params) {
            params.insert(name, text.into());
        }
        Ok(())
    }
}

/// Puts the answer to a question into the parameters of a verb, as if it had been typed.
pub(crate) fn answer(verb: &Verb, params: &mut Json, question: &Question, text: &str) {
    let known = parameters(verb);
    let Some(parameter) = known.iter().find(|parameter| parameter.name == question.parameter) else { return };
    match &question.name {
        None => params[&question.parameter] = parameter.text(text).into(),
        Some(name) => {
            let list = &mut params[&question.parameter];
            if !list.is_array() {
                *list = Json::Array(Vec::new());
            }
            let answers = list.as_array_mut().into_iter();
            answers.for_each(|answers| answers.push(format!("{name}={text}").into()));
        }
    }
}

/// Makes the error for a name that is neither a command nor a loaded extension.
pub(crate) fn unknown(name: &str, known: &[String]) -> Error {
    let commands = <super::Arguments as clap::CommandFactory>::command();
    let names = commands.get_subcommands().map(|sub| sub.get_name().to_owned()).chain(known.iter().cloned());
    let near = names.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let help = match near.filter(|near| strsim::jaro_winkler(near, name) > 0.8) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => {
            "no extension is installed here; `host-sim bundle` builds the one of this workspace".to_owned()
        }
        None => format!("`host-sim --help` lists the commands; extensions here: {}", known.join(", ")),
    };
    let message = format!("`{name}` is neither a command nor an extension of this node");
    let mut error = Error::new(Code::EXTENSION_NOT_FOUND, message).help(help);
    error.detail.name = Some(super::output::UNKNOWN_COMMAND.into());
    error
}

fn leaf(name: &str, verb: &Verb, extension: &str) -> Command {
    let long = if verb.description.is_empty() { verb.summary.clone() } else { verb.description.clone() };
    let command = Command::new(name.to_owned()).about(verb.summary.clone()).long_about(long);
    let command = with_examples(command, &verb.examples.iter().collect::<Vec<_>>(), extension);
    let command = parameters(verb).iter().fold(command, |command, parameter| command.arg(parameter.to_arg()));
    let is_own = verb.parameters["properties"][YES].is_object();
    if !verb.takes_away || is_own {
        return command;
    }
    command.arg(Arg::new(YES).long(YES).action(ArgAction::SetTrue).help("Do it without asking at a terminal"))
}

fn with_examples(command: Command, examples: &[&Example], extension: &str) -> Command {
    let width = examples.iter().map(|example| example.command.chars().count()).max().unwrap_or(0);
    let line = |example: &&Example| format!("  host-sim {extension} {:<width$}  {}", example.command, example.about);
    let lines: Vec<String> = examples.iter().map(line).collect();
    if lines.is_empty() { command } else { command.after_help(format!("Examples:\n{}", lines.join("\n"))) }
}

fn parameters(verb: &Verb) -> Vec<Parameter> {
    let empty = Map::new();
    let properties = verb.parameters["properties"].as_object().unwrap_or(&empty);
    let required = verb.parameters["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let mut parameters: Vec<Parameter> = properties
        .iter()
        .map(|(name, schema)| Parameter::new(name, schema, &verb.parameters, is_required(name)))
        .collect();
    parameters.sort_by_key(|parameter| parameter.cli.position.unwrap_or(usize::MAX));
    parameters
}

impl Parameter {
    fn new(name: &str, schema: &Json, root: &Json, required: bool) -> Self {
        let shape = resolve(schema, root);
        let cli: Positional = serde_json::from_value(schema["x-cli"].clone()).unwrap_or_default();
        Self {
            name: name.to_owned(),
            kind: match kind(shape) {
                Kind::Text if cli.json => Kind::Json,
                other => other,
            },
            help: schema["description"]
                .as_str()
                .or(shape["description"].as_str())
                .unwrap_or_default()
                .replace('\n', " "),
            required,
            choices: choices(shape),
            default: match &schema["default"] {
                Json::Null | Json::Bool(false) => None,
                Json::String(text) => Some(text.clone()),
                Json::Array(items) if items.is_empty() => None,
                Json::Object(items) if items.is_empty() => None,
                other => Some(other.to_string()),
            },
            minimum: shape["minimum"].as_i64(),
            cli,
        }
    }

    fn to_arg(&self) -> Arg {
        let value = self.cli.value.clone().unwrap_or_else(|| self.name.to_uppercase());
        let help = match &self.default {
            Some(default) => format!("{} [default: {default}]", self.help),
            None => self.help.clone(),
        };
        let mut arg = Arg::new(self.name.clone()).help(help).required(self.required);
        arg = match self.kind {
            Kind::Flag => arg.action(ArgAction::SetTrue).required(false),
            Kind::List | Kind::Pairs => arg.action(ArgAction::Append).value_name(value),
            Kind::Integer => {
                let parser = clap::value_parser!(i64).range(self.minimum.unwrap_or(i64::MIN)..);
                arg.value_parser(parser).value_name(value).allow_negative_numbers(true)
            }
            Kind::Number => arg.value_parser(clap::value_parser!(f64)).value_name(value).allow_negative_numbers(true),
            Kind::Text | Kind::Json => arg.value_name(value),
        };
        if self.cli.json {
            arg = arg.allow_negative_numbers(true);
        }
        if !self.choices.is_empty() {
            arg = arg.value_parser(self.choices.clone());
        }
        match self.cli.position {
            Some(position) if matches!(self.kind, Kind::List) => arg.index(position).num_args(1..),
            Some(position) => arg.index(position),
            None => {
                let arg = arg.long(self.name.replace('_', "-"));
                if let Some(short) = self.cli.short { arg.short(short) } else { arg }
            }
        }
    }

    fn value(&self, matches: &ArgMatches) -> Option<Json> {
        let name = self.name.as_str();
        match self.kind {
            Kind::Flag => matches.get_flag(name).then_some(Json::Bool(true)),
            Kind::Integer => matches.get_one::<i64>(name).map(|value| (*value).into()),
            Kind::Number => matches.get_one::<f64>(name).map(|value| (*value).into()),
            Kind::Text => matches.get_one::<String>(name).map(|text| self.text(text).into()),
            Kind::Json => matches.get_one::<String>(name).map(|text| self.json(text)),
            Kind::List => {
                let values = matches.get_many::<String>(name)?;
                Some(values.map(|text| self.item(text)).collect())
            }
            Kind::Pairs => {
                let pairs = matches.get_many::<String>(name)?.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                Some(Json::Object(pairs.map(|(key, value)| (key.to_owned(), json_or_text(value))).collect()))
            }
        }
    }

    fn json(&self, text: &str) -> Json {
        let file = text.strip_prefix('@').filter(|_| self.cli.file);
        let content = file.and_then(|path| std::fs::read_to_string(path).ok());
        content.and_then(|content| serde_json::from_str(&content).ok()).unwrap_or_else(|| json_or_text(text))
    }

    fn item(&self, text: &str) -> Json {
        if self.cli.json { json_or_text(text) } else { self.text(text).into() }
    }

    fn text(&self, text: &str) -> String {
        let is_path = self.cli.path || (self.cli.maybe_path && text.starts_with(['.', '/']));
        // A lone dash is no file: it stands for standard output, by an old custom. Nor is the address of something elsewhere.
        if !is_path || text == "-" || text.contains("://") {
            return text.to_owned();
        }
        std::path::absolute(text).map_or_else(|_| text.to_owned(), |path| path.to_string_lossy().into_owned())
    }
}

/// Takes words that may be names or paths, and are directories here, for directories; nothing if there is none.
fn by_directory(known: &[Parameter], params: &Map<String, Json>) -> Option<Json> {
    let mut found = params.clone();
    for parameter in known.iter().filter(|parameter| parameter.cli.maybe_path) {
        let word =
            params.get(&parameter.name).and_then(Json::as_str).filter(|word| std::path::Path::new(word).is_dir());
        let Some(path) = word.and_then(|word| std::path::absolute(word).ok()) else { continue };
        found.insert(parameter.name.clone(), path.to_string_lossy().into_owned().into());
    }
    (found != *params).then_some(Json::Object(found))
}

/// Follows references and takes the part that is not null.
fn resolve<'a>(schema: &'a Json, root: &'a Json) -> &'a Json {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
        return resolve(&root["$defs"][name], root);
    }
    match schema["anyOf"].as_array() {
        Some(parts) => parts.iter().find(|part| part["type"] != "null").map_or(schema, |part| resolve(part, root)),
        None => schema,
    }
}

fn kind(schema: &Json) -> Kind {
    let is = |name: &str| {
        schema["type"] == name || schema["type"].as_array().is_some_and(|types| types.iter().any(|t| t == name))
    };
    if is("boolean") {
        Kind::Flag
    } else if is("integer") {
        Kind::Integer
    } else if is("number") {
        Kind::Number
    } else if is("array") {
        Kind::List
    } else if is("object") {
        Kind::Pairs
    } else {
        Kind::Text
    }
}

fn choices(schema: &Json) -> Vec<String> {
    let names = |values: &Json, pick: fn(&Json) -> &Json| {
        let values = values.as_array().into_iter().flatten();
        values.filter_map(|value| pick(value).as_str().map(ToOwned::to_owned)).collect::<Vec<_>>()
    };
    let listed = names(&schema["enum"], |value| value);
    if listed.is_empty() { names(&schema["oneOf"], |value| &value["const"]) } else { listed }
}

fn json_or_text(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn description() -> Description {
        let verb = |name: &str, parameters: Json| Verb {
            name: name.into(),
            summary: name.into(),
            parameters,
            ..Verb::default()
        };
        let run = json!({"type": "object", "required": ["package"], "$defs": {"Level": {"enum": ["low", "high"]}},
            "properties": {
                "package": {"type": "string", "x-cli": {"position": 1, "value": "PKG", "maybe_path": true}},
                "arguments": {"type": "array", "x-cli": {"position": 2, "json": true}},
                "dry_run": {"type": "boolean", "default": false},
                "out": {"type": "string", "x-cli": {"path": true}},
                "timeout_ms": {"type": ["integer", "null"], "minimum": 0, "x-cli": {"short": "t"}},
                "level": {"anyOf": [{"$ref": "#/$defs/Level"}, {"type": "null"}]},
                "input": {"x-cli": {"json": true, "file": true}},
                "env": {"type": "object"}}});
        Description { verbs: vec![verb("run", run), verb("index import", json!({}))], ..Description::default() }
    }

    fn params(words: &str) -> Result<(String, Json), clap::error::ErrorKind> {
        let words: Vec<OsString> = words.split(' ').map(Into::into).collect();
        parse("ext", &description(), &words).map(|typed| (typed.verb, typed.params)).map_err(|error| error.kind())
    }

    #[test]
    fn words_become_parameters_of_their_schema_types() {
        let (verb, typed) =
            params("ext run demo 1 two -t 50 --dry-run --level high --env A=1 --env B=x").expect("fits");
        assert_eq!(verb, "run");
        assert_eq!(typed["package"], "demo");
        assert_eq!(typed["arguments"], json!([1, "two"]));
        assert_eq!(typed["timeout_ms"], 50);
        assert_eq!(typed["dry_run"], true);
        assert_eq!(typed["level"], "high");
        assert_eq!(typed["env"], json!({"A": 1, "B": "x"}));
    }

    #[test]
    fn paths_are_made_absolute_but_for_a_dash() {
        let out = |word: &str| params(&format!("ext run demo --out {word}")).expect("fits").1["out"].clone();
        assert_eq!(out("-"), "-");
        assert_eq!(out("s3://packages/x"), "s3://packages/x", "what is elsewhere is no path");
        assert!(std::path::Path::new(out("x").as_str().expect("text")).is_absolute());
    }

    #[test]
    fn a_word_that_may_be_a_path_stays_a_name_and_is_a_directory_besides() {
        let by_directory = |word: &str| {
            let words: Vec<OsString> = ["ext", "run", word].map(Into::into).into();
            let typed = parse("ext", &description(), &words).expect("fits");
            (typed.params["package"].clone(), typed.by_directory)
        };
        // Tests run in the directory of their crate.
        let (name, directory) = by_directory("src");
        assert_eq!(name, "src");
        let directory = directory.expect("there is one")["package"].as_str().map(str::to_owned);
        assert!(directory.is_some_and(|path| path.starts_with('/') && path.ends_with("/src")));
        assert_eq!(by_directory("nowhere"), (json!("nowhere"), None));
    }

    #[test]
    fn a_file_stands_for_the_json_in_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("input.json");
        std::fs::write(&file, r#"{"width": 60}"#).expect("written");
        let input = |word: &str| params(&format!("ext run demo --input {word}")).expect("fits").1["input"].clone();
        assert_eq!(input(&format!("@{}", file.display())), json!({"width": 60}));
        assert_eq!((input("@/nowhere"), input("[1]")), (json!("@/nowhere"), json!([1])));
    }

    #[test]
    fn negative_numbers_are_values() {
        assert_eq!(params("ext run demo -1 -2.5").expect("fits").1["arguments"], json!([-1, -2.5]));
        assert_eq!(params("ext run x -t -5").expect_err("below 0"), clap::error::ErrorKind::ValueValidation);
    }

    #[test]
    fn words_that_do_not_fit_are_refused() {
        use clap::error::ErrorKind;
        assert_eq!(params("ext run").expect_err("lacks an argument"), ErrorKind::MissingRequiredArgument);
        assert_eq!(params("ext run x --level up").expect_err("no such level"), ErrorKind::InvalidValue);
        assert_eq!(params("ext run x --nope").expect_err("no such option"), ErrorKind::UnknownArgument);
        assert_eq!(params("ext walk").expect_err("no such verb"), ErrorKind::InvalidSubcommand);
        assert_eq!(params("ext index import").expect("a verb of two words").0, "index import");
    }

    #[test]
    fn the_command_of_a_table_is_well_formed() {
        command("ext", &description()).debug_assert();
    }
}

//! The verbs about templates: packages made of them, which there are, and newer versions of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hypermesh_abi::records::{InputFault, Question, Response, Verb};
use hypermesh_abi::sdk::{self, Call};
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::parameters::Nothing;
use super::{confirmed, mode, read};
use crate::extension::{CatalogExtension, answers};
use crate::ops::template::{Commands, NewPackage, Overwrite, Update};
use crate::ops::{Catalog, OpError};
use crate::template::parameter::{Given, MISSING, Unanswered};
use crate::trust::policy::Confirmed;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct New {
    /// A template of `template list`, an installed package that offers one, or a directory as ./DIR; asked for on a terminal
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "TYPE", "maybe_path": true}))]
    template: Option<String>,
    /// The directory of the new package; the package is called as it unless a parameter says otherwise
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 2, "value": "DIR", "path": true}))]
    directory: Option<PathBuf>,
    /// Answer a parameter of the template; may be given many times
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME=VALUE"}))]
    param: Vec<String>,
    /// Take answers from a YAML, JSON or TOML file; `--param` goes first
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    answers: Option<PathBuf>,
    /// Take the default of parameters that should be thought about
    #[serde(default)]
    yes: bool,
    /// Show the files and what would change, and write nothing
    #[serde(default)]
    dry_run: bool,
    /// Write over files that are there with something else in them
    #[serde(default)]
    force: bool,
    /// What becomes of programs that the template wants to run; they are a reason to refuse if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "WHAT"}, "enum" = ["refuse", "skip", "run"]))]
    commands: Option<String>,
    /// Which template, of a package that offers several
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}))]
    select: Option<String>,
    /// Use it although a rule of the policy asks for a confirmation
    #[serde(default)]
    confirm: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Show {
    /// The template: its name, an installed package, or a directory as ./DIR
    #[schemars(extend("x-cli" = {"position": 1, "value": "TYPE", "maybe_path": true}))]
    template: String,
    /// Which template, of a package that offers several
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}))]
    select: Option<String>,
    /// Show it although a rule of the policy asks for a confirmation
    #[serde(default)]
    confirm: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateFrom {
    /// The directory of a package that was made from a template
    #[schemars(extend("x-cli" = {"position": 1, "value": "DIR", "path": true}))]
    directory: PathBuf,
    /// Take the template from there instead of where it came from
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "TYPE", "maybe_path": true}))]
    template: Option<String>,
    /// Answer a parameter otherwise than at the time, or a new one; may be given many times
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME=VALUE"}))]
    param: Vec<String>,
    /// Take answers from a YAML, JSON or TOML file; `--param` goes first
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    answers: Option<PathBuf>,
    /// Take the default of parameters that should be thought about
    #[serde(default)]
    yes: bool,
    /// Show what would change, and change nothing
    #[serde(default)]
    dry_run: bool,
    /// Use it although a rule of the policy asks for a confirmation
    #[serde(default)]
    confirm: bool,
}

/// Gives the rows of the request table.
pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<New>("new", "Make a package from a template")
            .description(
                "Templates are part of Catalog (`template list`), come with installed packages, or stand in a directory. Parameters \
                 are answered by `--param` and `--answers`; on a terminal what is missing is asked, elsewhere it is listed with what \
                 it is for. Nothing is written unless all of it can be: either the package appears whole, or nothing has changed. Files that are there are not \
                 written over without `--force`.",
            )
            .example("new", "asks what to make, and where")
            .example("new lua-script ./demo", "a script that runs at once: `catalog run ./demo`")
            .example("new julia-program ./stats --param main_function=summarise", "with a parameter of the template")
            .example("new container-app ./api --answers api.yaml --dry-run", "show the files, write none")
            .example("new ./my-template ./demo", "from a template of your own"),
        Verb::new::<Nothing>("template list", "List the templates that can be used")
            .example("template list", "those of Catalog, and those that installed packages offer"),
        Verb::new::<Show>("template show", "Show what a template asks and makes")
            .example("template show data-pipeline", "its parameters, files and actions"),
        Verb::new::<UpdateFrom>("template update", "Bring a package to the present version of its template")
            .description(
                "Makes the package anew with the parameters of the time, and merges what differs from then into what became of it. \
                 Where both sides changed the same lines, the file gets both between marks, and the answer names it.",
            )
            .example("template update ./demo --dry-run", "show what would change")
            .example("template update ./demo", "merge it in"),
    ]
}

/// Answers a verb of this table.
pub(super) async fn answer(
    extension: &CatalogExtension,
    call: Call,
    verb: &str,
    params: Json,
) -> Result<Response, Error> {
    match verb {
        "new" => new(extension, call, read(params)?).await,
        "template list" => {
            let Nothing {} = read(params)?;
            let platform = call.host.identity().platform;
            extension.blocking(call, move |catalog, _| Ok(answers::templates(&catalog.templates(&platform)?))).await
        }
        "template show" => {
            let Show { template, select, confirm } = read(params)?;
            extension
                .blocking(call, move |catalog, host| {
                    let found = catalog.find_template(&template, select.as_deref(), confirmed(confirm), host)?;
                    Ok(answers::template(&found.0, &found.1))
                })
                .await
        }
        "template update" => update(extension, call, read(params)?).await,
        _ => Err(sdk::unknown_verb(verb)),
    }
}

async fn new(extension: &CatalogExtension, call: Call, params: New) -> Result<Response, Error> {
    let commands = match params.commands.as_deref() {
        None | Some("refuse") => Commands::Refuse,
        Some("skip") => Commands::Skip,
        Some("run") => Commands::Run,
        Some(other) => {
            let message = format!("parameter `commands`: `{other}` is none of `refuse`, `skip` and `run`");
            return Err(Error::new(Code::INVALID_ARGUMENT, message).help("say what becomes of the template's programs"));
        }
    };
    let (template, directory) = match (params.template, params.directory) {
        (Some(template), Some(directory)) => (template, directory),
        (Some(_), None) => return Err(unsaid(extension, call, &["directory"]).await?),
        (None, Some(_)) => return Err(unsaid(extension, call, &["template"]).await?),
        (None, None) => return Err(unsaid(extension, call, &["template", "directory"]).await?),
    };
    let given = pairs(&params.param)?;
    let mode = mode(params.dry_run);
    extension
        .blocking(call, move |catalog, host| {
            let asked = NewPackage {
                template,
                select: params.select,
                directory,
                given: with_answers(catalog, params.answers, given)?,
                unanswered: unanswered(params.yes),
                overwrite: if params.force { Overwrite::Force } else { Overwrite::Refuse },
                commands,
                mode,
                confirmed: confirmed(params.confirm),
            };
            Ok(answers::made(&catalog.new_package(&asked, host)?, mode))
        })
        .await
}

/// Makes the error for a package of which these parameters are missing: on a terminal they are asked for.
async fn unsaid(extension: &CatalogExtension, call: Call, missing: &[&str]) -> Result<Error, Error> {
    let platform = call.host.identity().platform;
    let listed = extension.blocking(call, move |catalog, _| catalog.templates(&platform)).await?;
    let mut names: Vec<String> = listed.into_iter().map(|one| one.word).collect();
    names.dedup();
    let mut error = Error::new(Code::INVALID_ARGUMENT, "a new package needs a template and a directory")
        .help("write `catalog new TYPE DIR`; `catalog template list` shows the types");
    error.detail.name = Some(MISSING.into());
    for parameter in missing {
        let (about, schema) = match *parameter {
            "template" => ("what to make", json!({"type": "string", "enum": names})),
            _ => ("the directory of the new package", json!({"type": "string"})),
        };
        let (path, message) = (Some((*parameter).to_owned()), format!("it must be given: {about}"));
        let (code, severity) = (MISSING.into(), "error".into());
        error.detail.faults.push(InputFault { code, severity, path, message, ..InputFault::default() });
        let (parameter, about) = ((*parameter).to_owned(), about.into());
        error.detail.questions.push(Question { parameter, about, schema, ..Question::default() });
    }
    Ok(error)
}

async fn update(extension: &CatalogExtension, call: Call, params: UpdateFrom) -> Result<Response, Error> {
    let given = pairs(&params.param)?;
    let mode = mode(params.dry_run);
    let confirmed: Confirmed = confirmed(params.confirm);
    extension
        .blocking(call, move |catalog, host| {
            let asked = Update {
                directory: params.directory,
                template: params.template,
                given: with_answers(catalog, params.answers, given)?,
                unanswered: unanswered(params.yes),
                mode,
                confirmed,
            };
            Ok(answers::brought_up(&catalog.update_from_template(&asked, host)?, mode))
        })
        .await
}

fn unanswered(yes: bool) -> Unanswered {
    if yes { Unanswered::TakeDefault } else { Unanswered::Refuse }
}

fn with_answers(
    catalog: &Catalog,
    file: Option<PathBuf>,
    given: BTreeMap<String, Given>,
) -> Result<BTreeMap<String, Given>, OpError> {
    let mut all = file.map(|file| catalog.answers(&file)).transpose()?.unwrap_or_default();
    all.extend(given);
    Ok(all)
}

/// Reads `NAME=VALUE`; the last of a name counts.
fn pairs(words: &[String]) -> Result<BTreeMap<String, Given>, Error> {
    let pair = |word: &String| {
        let (name, value) = word.split_once('=').ok_or_else(|| {
            let message = format!("parameter `param`: `{word}` is no answer");
            Error::new(Code::INVALID_ARGUMENT, message).help("write it as NAME=VALUE")
        })?;
        Ok((name.trim().to_owned(), Given::Text(value.to_owned())))
    };
    words.iter().map(pair).collect()
}

//! Configuration scripts: Lua that computes parameters and chooses files before anything is made.
//!
//! A [`ConfigurationScript`] is not a program that somebody runs. It has a type, limits and a trust domain of its own, and no
//! way leads from it to an execution: no lease is taken for it, nothing is stored for it, no consensus is asked, no receipt is
//! written. It runs in the worker's sandbox as every Lua does, behind a prelude that makes it a function of its arguments:
//! no random numbers, no addresses in texts, tables in the order of their keys, a sort that is stable.

use serde_json::{Map, Value as Json, json};

use super::definition::Glob;
use super::generate::Project;
use super::parameter::Values;
use super::{Template, TemplateError};
use crate::package::model::{Bytes, CpuMillis, FilePath};
use crate::value::Value;
use crate::vm::{Call, Context, Language, Limits, Module, Program, Run, Source, TrustDomain};

/// The longest that a configuration script runs.
pub const WALL_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// Memory of a configuration script.
pub const MEMORY_MAX: Bytes = Bytes(32 << 20);
/// What a configuration script may print.
pub const OUTPUT_MAX: Bytes = Bytes(64 << 10);
/// The most bytes of everything that it computes, in JSON.
pub const RESULT_BYTES_MAX: usize = 256 << 10;
/// The most patterns of files that it leaves out.
pub const SKIP_MAX: usize = 100;

const PRELUDE: &str = include_str!("configure.lua");

/// The script of a template, ready to be asked. It can be evaluated, and can do nothing else.
#[derive(Clone, Debug)]
pub struct ConfigurationScript {
    template: String,
    file: FilePath,
    text: String,
}

/// What a script decided; nothing where a template has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configured {
    /// Whether there was a script.
    pub ran: bool,
    /// What it computed besides parameters.
    pub computed: Map<String, Json>,
    /// Files that are not made, by their paths.
    pub skip: Vec<Glob>,
    /// What it printed.
    pub printed: String,
}

impl ConfigurationScript {
    /// Gives the script of a template, if it has one.
    ///
    /// # Errors
    /// The script is no text.
    pub fn of(template: &Template) -> Result<Option<Self>, TemplateError> {
        let Some(file) = template.definition.script.clone() else { return Ok(None) };
        let bytes = template.file(&file).unwrap_or_default().to_vec();
        let title = template.title();
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(Self { template: title, file, text })),
            Err(_) => Err(TemplateError::Script { template: title, file, reason: "no text: it is no UTF-8".into() }),
        }
    }

    /// Gives what a worker evaluates, within limits that nobody can raise.
    ///
    /// # Errors
    /// A parameter has no form in Lua.
    pub(crate) fn evaluation(
        &self,
        values: &Values,
        project: &Project,
        template: &Template,
    ) -> Result<Run, TemplateError> {
        let wrong = |reason: String| TemplateError::Script {
            template: self.template.clone(),
            file: self.file.clone(),
            reason: format!("nothing: {reason}"),
        };
        let prelude = Module { file: "configuration".into(), source: Source::from(PRELUDE) };
        let script = Module { file: self.file.to_string(), source: Source::from(self.text.as_str()) };
        let modules = [("configuration".to_owned(), prelude), ("script".to_owned(), script)].into();
        let program =
            Program::new(Language::Lua, "configuration", modules).map_err(|error| wrong(error.to_string()))?;
        let about = json!({"project": project.to_json(),
            "template": {"name": template.title(), "version": template.version}, "date": project.date().to_string()});
        let given: Map<String, Json> =
            values.as_map().iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
        let args = [Json::Object(given), about];
        let args = args.iter().map(|json| Value::from_json(json).map_err(|error| wrong(error.to_string())));
        let args = args.collect::<Result<Vec<_>, _>>()?;
        Ok(Run {
            program: program.into(),
            context: Context::default(),
            call: Call { function: "main".into(), args },
            limits: Limits {
                wall: WALL_MAX,
                cpu: CpuMillis(1000),
                memory: MEMORY_MAX,
                output: OUTPUT_MAX,
                temp: Bytes(0),
                ..Limits::default()
            },
            domain: TrustDomain("configuration".into()),
        })
    }

    /// Takes what the script returned: parameters are checked as answers are, the rest becomes variables.
    ///
    /// # Errors
    /// The script gave something else than a table with `parameters` and `skip`, or too much.
    pub(crate) fn decided(
        &self,
        template: &Template,
        values: &Values,
        returned: &Value,
        printed: String,
    ) -> Result<(Values, Configured), TemplateError> {
        let wrong =
            |reason: String| TemplateError::Script { template: self.template.clone(), file: self.file.clone(), reason };
        let returned = returned.to_json();
        if returned.to_string().len() > RESULT_BYTES_MAX {
            return Err(wrong(format!("more than {RESULT_BYTES_MAX} bytes")));
        }
        let fields = match returned {
            Json::Null => Map::new(),
            Json::Array(list) if list.is_empty() => Map::new(),
            Json::Object(fields) => fields,
            other => return Err(wrong(format!("`{other}`, expected a table with `parameters` and `skip`"))),
        };
        let mut configured = Configured { ran: true, printed, ..Configured::default() };
        let mut merged = values.as_map().clone();
        for (field, value) in fields {
            match (field.as_str(), value) {
                ("parameters" | "skip", Json::Array(list)) if list.is_empty() => {}
                ("parameters", Json::Object(computed)) => {
                    self.compute(template, computed, &mut merged, &mut configured.computed)?;
                }
                ("skip", Json::Array(list)) => configured.skip = skipped(&list).map_err(wrong)?,
                (field, value) => {
                    let text: String = value.to_string().chars().take(80).collect();
                    return Err(wrong(format!("`{field} = {text}`, expected tables `parameters` and `skip`")));
                }
            }
        }
        Ok((Values::of(merged), configured))
    }

    fn compute(
        &self,
        template: &Template,
        computed: Map<String, Json>,
        merged: &mut Map<String, Json>,
        free: &mut Map<String, Json>,
    ) -> Result<(), TemplateError> {
        let mut faults = crate::package::Faults { file: self.file.to_string(), list: Vec::new() };
        for (name, value) in computed {
            let Some(parameter) = template.definition.parameter(&name) else {
                if matches!(name.as_str(), "project" | "template") {
                    let reason = format!("a value for `{name}`, which is not the script's to compute");
                    let (template, file) = (self.template.clone(), self.file.clone());
                    return Err(TemplateError::Script { template, file, reason });
                }
                free.insert(name, value);
                continue;
            };
            // Lua has one empty table for lists and objects.
            let is_empty = value.as_array().is_some_and(Vec::is_empty);
            let value = if is_empty && parameter.kind == super::parameter::Kind::Object { json!({}) } else { value };
            match parameter.check(&value) {
                Ok(()) => drop(merged.insert(name, value)),
                Err(fault) => faults.push(fault),
            }
        }
        match faults.list.is_empty() {
            true => Ok(()),
            // What a script computes nobody can be asked for.
            false => Err(TemplateError::Parameters { template: self.template.clone(), faults, asked: Vec::new() }),
        }
    }
}

fn skipped(list: &[Json]) -> Result<Vec<Glob>, String> {
    if list.len() > SKIP_MAX {
        return Err(format!("more than {SKIP_MAX} patterns in `skip`"));
    }
    let pattern = |item: &Json| {
        let text = item.as_str().ok_or_else(|| format!("`{item}` in `skip`, expected a pattern"))?;
        Glob::new(text)
    };
    list.iter().map(pattern).collect()
}

//! Errors about templates as errors of the contract.

use hypermesh_abi::records::{InputFault, Question};
use hypermesh_abi::{Code, Error};

use super::{input_faults, of_failure};
use crate::ops::template::error::NewError;
use crate::package::Faults;
use crate::template::TemplateError;
use crate::template::parameter::{MISSING, Parameter};

pub(super) fn code(error: &NewError) -> Code {
    match error {
        NewError::Unknown { .. } | NewError::NoRecord { .. } => Code::NOT_FOUND,
        NewError::Exists { .. } | NewError::InTheWay { .. } => Code::ALREADY_EXISTS,
        NewError::NotGranted { .. } => Code::POLICY_DENIED,
        _ => Code::INVALID_ARGUMENT,
    }
}

pub(super) fn name(error: &NewError) -> Option<&'static str> {
    Some(match error {
        NewError::Template(error) => match error {
            TemplateError::None { .. } => "NO_TEMPLATE",
            TemplateError::Which { .. } => "WHICH_TEMPLATE",
            TemplateError::Definition { .. } => "INVALID_TEMPLATE",
            TemplateError::Parameters { .. } => "INVALID_PARAMETERS",
            _ => "TEMPLATE_FAILED",
        },
        NewError::Unknown { .. } => "TEMPLATE_NOT_FOUND",
        NewError::Script { .. } => "CONFIGURATION_FAILED",
        NewError::Exists { .. } | NewError::InTheWay { .. } => "FILES_EXIST",
        NewError::NotGranted { .. } => "COMMAND_NOT_GRANTED",
        NewError::CommandFailed { .. } => "COMMAND_FAILED",
        NewError::NoRecord { .. } => "NOT_FROM_TEMPLATE",
        NewError::Record(_) => "INVALID_RECORD",
        NewError::Answers { .. } => "INVALID_ANSWERS",
    })
}

pub(super) fn help(error: &NewError) -> Option<String> {
    Some(match error {
        NewError::Template(TemplateError::None { .. }) => "offer one in `spec.content.templates`: see docs/templates.md".into(),
        NewError::Template(TemplateError::Which { .. }) => "choose one with `--select NAME`".into(),
        NewError::Template(TemplateError::Definition { .. }) => "docs/templates.md has every field".into(),
        NewError::Template(TemplateError::Parameters { template, .. }) => {
            let word = template.split(':').next().unwrap_or(template);
            format!("answer with `--param NAME=VALUE` or `--answers FILE`; `catalog template show {word}` lists them")
        }
        NewError::Template(_) => "whoever made the template must mend it".into(),
        NewError::Unknown { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
        NewError::Unknown { .. } => {
            "`catalog template list` shows the templates; a directory is named as `./DIR`, and a package must be installed".into()
        }
        NewError::Script { failure, .. } | NewError::CommandFailed { failure, .. } => match failure.error.is_beyond_limits() {
            true => "whoever made the template must let it do less".into(),
            false => return None,
        },
        NewError::Exists { .. } => "look at `--dry-run`, and repeat with `--force` if they may go".into(),
        NewError::InTheWay { .. } => "take it away, or name another directory".into(),
        NewError::NotGranted { .. } => "`--commands run` grants it, in the sandbox; `--commands skip` does without".into(),
        NewError::NoRecord { .. } => "name the directory of a package that `catalog new` made".into(),
        NewError::Record(_) => "restore the file from a copy, or make the package anew beside and compare".into(),
        NewError::Answers { .. } => "write a map of parameters, such as `port: 8080`".into(),
    })
}

/// Completes an error with the faults of a template or of the answers to it, or with what its script said.
pub(super) fn complete(error: &NewError, mut converted: Error) -> Error {
    match error {
        NewError::Template(TemplateError::Definition { faults, .. }) => {
            converted.detail.faults = input_faults(faults, None);
        }
        NewError::Template(TemplateError::Parameters { faults, asked, .. }) => {
            converted.detail.faults = input_faults(faults, None);
            converted.detail.questions = asked.iter().map(|parameter| question(parameter, faults)).collect();
        }
        NewError::Template(TemplateError::Render { fault, .. }) => {
            converted.detail.faults = vec![InputFault {
                code: "TEMPLATE".into(),
                severity: "error".into(),
                file: Some(fault.file.clone()),
                line: (fault.line > 0).then_some(fault.line),
                message: fault.message.clone(),
                ..InputFault::default()
            }];
        }
        NewError::Script { failure, .. } | NewError::CommandFailed { failure, .. } => {
            let (message, name) = (converted.message.clone(), converted.detail.name.clone());
            let own = converted.detail.help.clone();
            let mut completed = of_failure(failure, None, converted);
            completed.message = format!("{message}: {failure}");
            completed.detail.name = name;
            completed.detail.help = own.or(completed.detail.help);
            return completed;
        }
        _ => {}
    }
    converted
}

/// Makes the question that a parameter is; what was not given at all has no fault.
fn question(parameter: &Parameter, faults: &Faults) -> Question {
    let fault = faults.list.iter().find(|fault| fault.path == parameter.name && fault.code != MISSING);
    Question {
        parameter: "param".into(),
        name: Some(parameter.name.clone()),
        about: parameter.description.clone(),
        schema: parameter.to_schema(),
        fault: fault.map(|fault| fault.message.clone()),
    }
}

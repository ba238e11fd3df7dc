//! Handlebars in strict mode, with bounds: a name that is not there is an error, and no template takes long.
//!
//! Handlebars itself bounds nothing: nested `each` blocks over short lists run for years without writing a byte, deep nesting
//! eats the stack, and a partial may include itself. So depth is looked at before a text is parsed, partials and decorators
//! are refused, the blocks that repeat are our own and pay for every element from one account, and the output has a bound.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use handlebars::{
    Context, Handlebars, Output, RenderContext, RenderError, RenderErrorReason, Renderable, Template, TemplateError,
};
use serde_json::Value as Json;
use time::Date;
use uuid::Uuid;

use super::{helpers, inspect};

/// The largest text that is rendered, in bytes.
pub const TEXT_BYTES_MAX: usize = 256 << 10;
/// The most bytes that one text becomes.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// The deepest nesting of blocks, and the longest chain of `else if`.
pub const DEPTH_MAX: usize = 32;
/// The deepest nesting of brackets inside one tag.
pub const BRACKETS_MAX: usize = 16;
/// The most work of one renderer: one for each element rendered and each 64 bytes that a helper makes.
pub const WORK_MAX: u64 = 500_000;

/// Renders the texts of one template.
pub struct Renderer {
    registry: Handlebars<'static>,
    account: Account,
}

/// Why a text is not rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", file, place(*line))]
pub struct RenderFault {
    /// The file, or what else the text is.
    pub file: String,
    /// Line, from 1; 0 where there is no place.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// What the work of one renderer is paid from.
#[derive(Clone, Default)]
pub(super) struct Account(Arc<AtomicU64>);

impl Renderer {
    /// Makes a renderer whose `uuid` counts from a seed and whose `date` is this one.
    pub fn new(seed: Uuid, date: Date) -> Self {
        let account = Account::default();
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        registry.set_prevent_indent(true);
        registry.register_escape_fn(handlebars::no_escape);
        helpers::register(&mut registry, &account, seed, date);
        Self { registry, account }
    }

    /// Renders a text; `file` names it in messages.
    ///
    /// # Errors
    /// A fault of grammar, a name that is not there, a helper misused, or a bound.
    pub fn render(&self, file: &str, text: &str, values: &Context) -> Result<String, RenderFault> {
        self.render_parsed(file, &inspect::parse(file, text)?, values)
    }

    /// Renders a text that was parsed.
    pub(super) fn render_parsed(
        &self,
        file: &str,
        template: &Template,
        values: &Context,
    ) -> Result<String, RenderFault> {
        self.account.pay(template.elements.len() as u64).map_err(|error| of_render(file, &error))?;
        let mut output = Bounded(String::new());
        let rendered = template.render(&self.registry, values, &mut RenderContext::new(None), &mut output);
        rendered.map_err(|error| of_render(file, &error))?;
        // What is not written to files is kept, too: all that a template renders has a bound by this.
        self.account.pay(output.0.len() as u64 / 64).map_err(|error| of_render(file, &error))?;
        Ok(output.0)
    }
}

impl Account {
    /// Takes something off the account.
    pub(super) fn pay(&self, work: u64) -> Result<(), RenderError> {
        if self.0.fetch_add(work, Ordering::Relaxed).saturating_add(work) > WORK_MAX {
            let message = format!("rendering takes more than {WORK_MAX} steps: shorten the lists, or nest fewer loops");
            return Err(RenderErrorReason::Other(message).into());
        }
        Ok(())
    }
}

/// Makes the context of a rendering.
///
/// # Panics
/// Never: a JSON value has a JSON form.
pub fn context(values: &Json) -> Context {
    Context::wraps(values).expect("a JSON value has a JSON form")
}

/// Tells whether a text has anything to render.
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

pub(super) fn fault(file: &str, line: u32, message: impl Into<String>) -> RenderFault {
    RenderFault { file: file.to_owned(), line, message: message.into() }
}

pub(super) fn of_template(file: &str, error: &TemplateError) -> RenderFault {
    let line = error.pos().map_or(0, |(line, _)| u32::try_from(line).unwrap_or(0));
    fault(file, line, format!("{}", error.reason()))
}

fn of_render(file: &str, error: &RenderError) -> RenderFault {
    let line = error.line_no.map_or(0, |line| u32::try_from(line).unwrap_or(0));
    let message = match error.reason() {
        RenderErrorReason::MissingVariable(Some(name)) => {
            format!("there is no `{name}`: it is neither a parameter of the template nor what a script computed")
        }
        RenderErrorReason::MissingVariable(None) => "a name is not there".into(),
        RenderErrorReason::HelperNotFound(name) => format!("there is no helper `{name}`"),
        RenderErrorReason::IOError(error) => error.to_string(),
        RenderErrorReason::NestedError(error) => error.to_string(),
        other => other.to_string(),
    };
    fault(file, line, message)
}

fn place(line: u32) -> String {
    if line > 0 { format!(":{line}") } else { String::new() }
}

/// A text that grows up to the bound.
struct Bounded(String);

impl Output for Bounded {
    fn write(&mut self, text: &str) -> Result<(), io::Error> {
        if self.0.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::other(format!("the text becomes larger than {OUTPUT_BYTES_MAX} bytes")));
        }
        self.0.push_str(text);
        Ok(())
    }
}

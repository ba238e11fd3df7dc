//! The helpers of templates: blocks that pay for what they render, and functions of values.

use std::collections::BTreeMap;

use handlebars::{
    BlockContext, Context, Handlebars, Helper, HelperDef, HelperResult, JsonTruthy, Output, RenderContext, RenderError,
    RenderErrorReason, Renderable, ScopedJson, Template,
};
use serde_json::Value as Json;
use time::{Date, format_description};
use uuid::Uuid;

use super::render::Account;

/// The most bytes that a function gives.
const RESULT_BYTES_MAX: usize = 1 << 20;

/// Gives templates their helpers, and takes away those of handlebars that repeat without paying or write elsewhere.
pub(super) fn register(registry: &mut Handlebars<'static>, account: &Account, seed: Uuid, date: Date) {
    for name in ["with", "log"] {
        registry.unregister_helper(name);
    }
    for (name, kind) in [("if", Kind::If), ("unless", Kind::Unless), ("if_eq", Kind::IfEqual), ("each", Kind::Each)] {
        registry.register_helper(name, Box::new(Block { kind, account: account.clone() }));
    }
    let functions: [(&'static str, Function); 8] = [
        ("upper", |call| Ok(call.text(0)?.to_uppercase().into())),
        ("lower", |call| Ok(call.text(0)?.to_lowercase().into())),
        ("replace", |call| call.replaced()),
        ("join", |call| call.joined()),
        ("default", |call| Ok(call.first_given())),
        ("json", |call| Ok(call.given(0)?.to_string().into())),
        ("uuid", |call| Ok(call.uuid()?.to_string().into())),
        ("date", |call| call.dated()),
    ];
    for (name, function) in functions {
        registry.register_helper(name, Box::new(Pure { name, function, account: account.clone(), seed, date }));
    }
}

type Function = fn(&Call<'_, '_>) -> Result<Json, String>;

/// A helper that gives a value.
struct Pure {
    name: &'static str,
    function: Function,
    account: Account,
    seed: Uuid,
    date: Date,
}

/// One use of such a helper.
struct Call<'a, 'rc> {
    helper: &'a Helper<'rc>,
    seed: Uuid,
    date: Date,
}

impl HelperDef for Pure {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let call = Call { helper, seed: self.seed, date: self.date };
        let value = (self.function)(&call).map_err(|reason| refused(self.name, &reason))?;
        let bytes = value.as_str().map_or(0, str::len);
        self.account.pay(1 + bytes as u64 / 64)?;
        Ok(ScopedJson::Derived(value))
    }
}

impl Call<'_, '_> {
    fn given(&self, index: usize) -> Result<&Json, String> {
        match self.helper.param(index) {
            Some(found) if !found.is_value_missing() => Ok(found.value()),
            Some(found) => Err(format!("there is no `{}`", found.relative_path().map_or("value", String::as_str))),
            None => Err(format!("argument {} is missing", index + 1)),
        }
    }

    fn text(&self, index: usize) -> Result<String, String> {
        match self.given(index)? {
            Json::String(text) => Ok(text.clone()),
            Json::Number(number) => Ok(number.to_string()),
            Json::Bool(value) => Ok(value.to_string()),
            other => Err(format!("argument {} is {}, expected text", index + 1, kind(other))),
        }
    }

    fn replaced(&self) -> Result<Json, String> {
        let (text, from, to) = (self.text(0)?, self.text(1)?, self.text(2)?);
        if from.is_empty() {
            return Err("there is no empty text to replace".into());
        }
        let size = text.len() + text.matches(&*from).count() * to.len();
        if size > RESULT_BYTES_MAX {
            return Err(format!("the text becomes larger than {RESULT_BYTES_MAX} bytes"));
        }
        Ok(text.replace(&*from, &to).into())
    }

    fn joined(&self) -> Result<Json, String> {
        let list = self
            .given(0)?
            .as_array()
            .ok_or_else(|| format!("argument 1 is {}", kind(self.helper.params()[0].value())))?;
        let between = if self.helper.param(1).is_some() { self.text(1)? } else { ", ".into() };
        let texts = list.iter().map(|item| match item {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        });
        let joined = texts.collect::<Vec<_>>().join(&between);
        if joined.len() > RESULT_BYTES_MAX {
            return Err(format!("the text becomes larger than {RESULT_BYTES_MAX} bytes"));
        }
        Ok(joined.into())
    }

    /// Gives the first argument that is there and neither null nor an empty text.
    fn first_given(&self) -> Json {
        let there = self.helper.params().iter().filter(|found| !found.is_value_missing());
        let values: Vec<&Json> = there.map(|found| found.value()).collect();
        let given = values.iter().find(|value| !value.is_null() && value.as_str() != Some(""));
        given.or(values.last()).map_or(Json::Null, |value| (*value).clone())
    }

    /// Gives the same for the same template, parameters and argument.
    fn uuid(&self) -> Result<Uuid, String> {
        let label = if self.helper.param(0).is_some() { self.text(0)? } else { String::new() };
        Ok(Uuid::new_v5(&self.seed, label.as_bytes()))
    }

    fn dated(&self) -> Result<Json, String> {
        let form = if self.helper.param(0).is_some() { self.text(0)? } else { "<year>-<month>-<day>".into() };
        // Square brackets have no place in a tag.
        let form = form.replace('<', "[").replace('>', "]");
        let form = format_description::parse_borrowed::<2>(&form).map_err(|error| error.to_string())?;
        self.date.format(&form).map(Json::from).map_err(|error| error.to_string())
    }
}

#[derive(Clone, Copy)]
enum Kind {
    If,
    Unless,
    IfEqual,
    Each,
}

/// A helper that renders what it encloses: not at all, once, or for each item.
struct Block {
    kind: Kind,
    account: Account,
}

impl HelperDef for Block {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        state: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let argument = |index: usize| match helper.param(index) {
            Some(found) if found.is_value_missing() => {
                Err(RenderErrorReason::MissingVariable(found.relative_path().cloned()).into())
            }
            Some(found) => Ok(found.value()),
            None => Err(refused(helper.name(), &format!("argument {} is missing", index + 1))),
        };
        let value = argument(0)?;
        let holds = match self.kind {
            Kind::If => value.is_truthy(false),
            Kind::Unless => !value.is_truthy(false),
            Kind::IfEqual => value == argument(1)?,
            Kind::Each => {
                match items(value).ok_or_else(|| refused("each", "its argument is neither list nor object"))? {
                    items if items.is_empty() => false,
                    items => {
                        let Some(template) = helper.template() else { return Ok(()) };
                        return self.repeat(template, &items, helper, (registry, context), state, out);
                    }
                }
            }
        };
        match if holds { helper.template() } else { helper.inverse() } {
            Some(template) => {
                self.account.pay(1 + template.elements.len() as u64)?;
                template.render(registry, context, state, out)
            }
            None => Ok(()),
        }
    }
}

impl Block {
    fn repeat<'reg: 'rc, 'rc>(
        &self,
        template: &'rc Template,
        items: &[(Json, &Json)],
        helper: &Helper<'rc>,
        (registry, context): (&'reg Handlebars<'reg>, &'rc Context),
        state: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        for (index, (key, item)) in items.iter().enumerate() {
            self.account.pay(1 + weight(item) + template.elements.len() as u64)?;
            let mut block = BlockContext::new();
            block.set_base_value((*item).clone());
            block.set_local_var("index", index.into());
            block.set_local_var("first", (index == 0).into());
            block.set_local_var("last", (index + 1 == items.len()).into());
            block.set_local_var("key", key.clone());
            if helper.has_block_param() {
                block.set_block_params(named(helper, key, item)?);
            }
            state.push_block(block);
            let rendered = template.render(registry, context, state, out);
            state.pop_block();
            rendered?;
        }
        Ok(())
    }
}

/// Gives the names that `as |item key|` asks for.
fn named<'rc>(helper: &Helper<'rc>, key: &Json, item: &Json) -> Result<handlebars::BlockParams<'rc>, RenderError> {
    let mut names = handlebars::BlockParams::new();
    if let Some(name) = helper.block_param() {
        names.add_value(name, item.clone())?;
    } else if let Some((first, second)) = helper.block_param_pair() {
        names.add_value(first, item.clone())?;
        names.add_value(second, key.clone())?;
    }
    Ok(names)
}

/// Gives keys and items of a list or an object, in order.
fn items(value: &Json) -> Option<Vec<(Json, &Json)>> {
    match value {
        Json::Array(list) => Some(list.iter().enumerate().map(|(index, item)| (index.into(), item)).collect()),
        Json::Object(fields) => {
            let sorted: BTreeMap<&String, &Json> = fields.iter().collect();
            Some(sorted.into_iter().map(|(key, item)| (key.as_str().into(), item)).collect())
        }
        _ => None,
    }
}

/// Gives what copying a value costs.
fn weight(value: &Json) -> u64 {
    match value {
        Json::String(text) => text.len() as u64 / 64,
        Json::Array(list) => list.iter().map(|item| 1 + weight(item)).sum(),
        Json::Object(fields) => fields.iter().map(|(key, item)| 1 + key.len() as u64 / 64 + weight(item)).sum(),
        _ => 0,
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

fn refused(helper: &str, reason: &str) -> RenderError {
    RenderErrorReason::Other(format!("helper `{helper}`: {reason}")).into()
}

//! What a text asks of handlebars, looked at before and after it is parsed and before it is rendered.

use std::collections::BTreeSet;

use handlebars::Template;
use handlebars::template::{HelperTemplate, Parameter, TemplateElement};

use super::render::{BRACKETS_MAX, DEPTH_MAX, RenderFault, TEXT_BYTES_MAX, fault, of_template};

/// The most tags of one text.
const TAGS_MAX: usize = 10_000;
/// The most blocks of one text; the parser recurses over them before their nesting is known.
const BLOCKS_MAX: usize = 500;
/// The longest tag.
const TAG_BYTES_MAX: usize = 1024;

/// Parses a text whose form can do no harm.
pub(super) fn parse(file: &str, text: &str) -> Result<Template, RenderFault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(fault(file, 0, format!("the text has {} bytes, more than {TEXT_BYTES_MAX}", text.len())));
    }
    check_tags(file, text)?;
    let template = Template::compile(text).map_err(|error| of_template(file, &error))?;
    check_elements(file, &template, 0)?;
    Ok(template)
}

/// Gives the first part of every name that a text uses.
pub(super) fn names(template: &Template, found: &mut BTreeSet<String>) {
    for element in &template.elements {
        if let TemplateElement::Expression(helper)
        | TemplateElement::HtmlExpression(helper)
        | TemplateElement::HelperBlock(helper) = element
        {
            names_of_helper(helper, found);
        }
    }
}

/// Gives the first part of every name that a tag itself uses, without what stands in its block.
pub(super) fn names_of_call(helper: &HelperTemplate, found: &mut BTreeSet<String>) {
    names_of_parameter(&helper.name, found);
    helper.params.iter().chain(helper.hash.values()).for_each(|parameter| names_of_parameter(parameter, found));
}

fn names_of_helper(helper: &HelperTemplate, found: &mut BTreeSet<String>) {
    names_of_call(helper, found);
    for inner in helper.template.iter().chain(&helper.inverse) {
        names(inner, found);
    }
}

fn names_of_parameter(parameter: &Parameter, found: &mut BTreeSet<String>) {
    if let Some(name) = parameter.as_name() {
        let name = name.trim_start_matches("../").trim_start_matches("./").trim_start_matches("@root/");
        let end = name.find(['.', '/', '[']).unwrap_or(name.len());
        found.insert(name[..end].to_owned());
    }
    if let Parameter::Subexpression(inner) = parameter
        && let TemplateElement::Expression(helper) = inner.as_element()
    {
        names_of_helper(helper, found);
    }
}

/// Bounds what the parser recurses over, as it reads a text: blocks, and brackets inside a tag.
///
/// It must see every tag where the parser sees it. A tag ends at the first `}}`, which is not so where a quoted text, a list
/// or an object in a tag holds braces; so a text may not, and there are no lists and objects in tags.
fn check_tags(file: &str, text: &str) -> Result<(), RenderFault> {
    let (mut tags, mut blocks, mut line) = (0, 0, 1);
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        line += lines(&rest[..at]);
        rest = &rest[at + 2..];
        let inside = rest.trim_start_matches('{');
        tags += 1;
        if tags > TAGS_MAX {
            return Err(fault(file, line, format!("the text has more than {TAGS_MAX} tags")));
        }
        if inside.starts_with('!') {
            continue;
        }
        // Ends are not subtracted: one in a comment would count for the text and not for the parser.
        blocks +=
            usize::from(inside.trim_start_matches(|c: char| c == '~' || c.is_ascii_whitespace()).starts_with('#'));
        let tag = &inside[..inside.find("}}").unwrap_or(inside.len())];
        check_tag(tag).map_err(|message| fault(file, line, message))?;
    }
    if blocks > BLOCKS_MAX {
        return Err(fault(file, 0, format!("the text has more than {BLOCKS_MAX} blocks")));
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), String> {
    if tag.len() > TAG_BYTES_MAX {
        return Err(format!("a tag has more than {TAG_BYTES_MAX} bytes"));
    }
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for c in tag.chars() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => return Err("a tag holds a list or an object; make it a parameter".into()),
            (None, '(') if depth == BRACKETS_MAX => {
                return Err(format!("a tag nests more than {BRACKETS_MAX} brackets"));
            }
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    match quote {
        Some(_) => Err("a quoted text in a tag is not closed, or holds `}}`".into()),
        None => Ok(()),
    }
}

fn check_elements(file: &str, template: &Template, depth: usize) -> Result<(), RenderFault> {
    if depth > DEPTH_MAX {
        return Err(fault(file, 0, format!("blocks nest more than {DEPTH_MAX} deep")));
    }
    for (index, element) in template.elements.iter().enumerate() {
        let line = template.mapping.get(index).map_or(0, |mapping| u32::try_from(mapping.0).unwrap_or(0));
        match element {
            TemplateElement::HelperBlock(helper) => {
                for inner in helper.template.iter().chain(&helper.inverse) {
                    check_elements(file, inner, depth + 1)?;
                }
            }
            TemplateElement::PartialExpression(_) | TemplateElement::PartialBlock(_) => {
                return Err(fault(
                    file,
                    line,
                    "templates have no partials (`{{> ...}}`): put the text where it belongs",
                ));
            }
            TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => {
                return Err(fault(file, line, "templates have no decorators (`{{* ...}}`)"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn lines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(0)
}

//! Whether a component may be compiled: its bounds, its grammar and types, and that it imports types at most.
//!
//! A component can come to more than its bytes. Those inside it may be made any number of times, each of which is compiled: a
//! hundred bytes can stand for a million instances, when every level holds two of the level within. And the types inside types
//! are read by functions that call themselves. So nesting is bounded first, without calls, and with it what the component
//! comes to when every component in it is written out where it is made. Only then is it validated.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmparser::component_types::{ComponentAnyTypeId, ComponentEntityType};
use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentType,
    ComponentTypeDeclaration, ComponentTypeRef, Encoding, Parser, Payload, Validator, types::TypesRef,
};

use super::super::validate::{FEATURES, MISSING_LISTED_MAX, MODULE_BYTES_MAX};

/// How deep components lie in components, and types in types, at most. Tools write three levels, and some more when they
/// compose components of components.
const NESTED_MAX: usize = 16;
/// What a function across the border of a component counts as, beside its bytes: types are unfolded for each, and code is
/// made, by the engine's own bound for a thousand parts of a type.
const FUNCTION_BYTES: u64 = 8 << 10;
/// The most bytes that a component comes to when it is written out, functions counted.
const WRITTEN_OUT_BYTES_MAX: u64 = MODULE_BYTES_MAX as u64;
/// The byte that a type begins a declaration with, among those of another type.
const TYPE_DECLARATION: u8 = 0x01;
/// The bytes that types of components and of instances begin with: those that hold declarations.
const HOLDING_TYPES: [u8; 2] = [0x41, 0x42];

/// Checks a component.
///
/// # Errors
/// It passes a bound, is not valid, or imports more than types.
pub(in crate::vm::wasm) fn check(bytes: &[u8]) -> Result<(), String> {
    let imports = walk(bytes).map_err(Fault::told)?;
    // The validator asserts what it expects of nested instances, where it means to refuse them.
    let validated = catch_unwind(AssertUnwindSafe(|| Validator::new_with_features(FEATURES).validate_all(bytes)));
    let types = validated.map_err(|_| "no valid component: its types nest too deep".to_owned())?;
    let types = types.map_err(|error| invalid(&error))?;
    let is_there = |name: &str| {
        types.component_item_for_import(name).is_some_and(|item| brings_types_only(types.as_ref(), &item.ty))
    };
    let missing: Vec<&str> = imports.into_iter().filter(|name| !is_there(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(describe(&missing)) }
}

/// Bounds how deep components and types lie in each other, and what they come to: for whoever reads a component by functions
/// that call themselves. Safe in any process.
///
/// # Errors
/// It passes a bound, or its form is not that of a component.
pub fn bound_component(bytes: &[u8]) -> Result<(), String> {
    walk(bytes).map(drop).map_err(Fault::told)
}

/// What is wrong with the form of a component.
enum Fault {
    Invalid(wasmparser::Error),
    Bound(String),
}

impl Fault {
    fn told(self) -> String {
        match self {
            Self::Invalid(error) => invalid(&error),
            Self::Bound(reason) => reason,
        }
    }
}

impl From<wasmparser::Error> for Fault {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid(error)
    }
}

/// A component, or a module in one, whose end has not come yet.
struct Open {
    encoding: Encoding,
    /// What it comes to, so far.
    bytes: u64,
    /// The components it knows by number; nothing for those that it does not hold.
    components: Vec<Option<u64>>,
}

/// Goes once through the bytes; gives the names of the imports.
fn walk(bytes: &[u8]) -> Result<Vec<&str>, Fault> {
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    let (mut open, mut imports) = (Vec::new(), Vec::new());
    for payload in parser.parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => {
                if open.len() > NESTED_MAX {
                    return Err(Fault::Bound(format!("its components nest more than {NESTED_MAX} deep")));
                }
                open.push(Open { encoding, bytes: 0, components: Vec::new() });
            }
            Payload::End(_) => close(&mut open)?,
            Payload::ComponentTypeSection(section) => {
                let range = section.range();
                count(&mut open, range.len());
                nest_little(bytes.get(range.clone()).unwrap_or_default(), range.start)?;
            }
            Payload::ComponentImportSection(section) => {
                count(&mut open, section.range().len());
                for import in section {
                    let import = import?;
                    if matches!(import.ty, ComponentTypeRef::Component(_)) {
                        know(&mut open, None);
                    }
                    if open.len() == 1 {
                        imports.push(import.name.name);
                    }
                }
            }
            payload => inside(&mut open, payload)?,
        }
    }
    Ok(imports)
}

/// Counts what stands in a component and makes something.
fn inside(open: &mut [Open], payload: Payload<'_>) -> Result<(), Fault> {
    match payload {
        // What is in them is told by itself.
        Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {}
        Payload::ComponentAliasSection(section) => {
            count(open, section.range().len());
            for alias in section {
                let known = match alias? {
                    ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                        component(open, count, index)
                    }
                    ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => None,
                    _ => continue,
                };
                know(open, known);
            }
        }
        Payload::ComponentExportSection(section) => {
            count(open, section.range().len());
            for export in section {
                let export = export?;
                if export.kind == ComponentExternalKind::Component {
                    let known = component(open, 0, export.index);
                    know(open, known);
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            count(open, section.range().len());
            for instance in section {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    let held = component(open, 0, component_index);
                    let held = held.ok_or_else(|| Fault::Bound("it makes a component that it does not hold".into()))?;
                    count(open, usize::try_from(held).unwrap_or(usize::MAX));
                }
            }
        }
        Payload::ComponentCanonicalSection(section) => {
            count(open, section.range().len());
            let functions = u64::from(section.count()).saturating_mul(FUNCTION_BYTES);
            count(open, usize::try_from(functions).unwrap_or(usize::MAX));
        }
        payload => count(open, payload.as_section().map_or(0, |(_, range)| range.len())),
    }
    Ok(())
}

/// Ends the innermost component or module.
fn close(open: &mut Vec<Open>) -> Result<(), Fault> {
    let Some(closed) = open.pop() else { return Ok(()) };
    if closed.bytes > WRITTEN_OUT_BYTES_MAX {
        let message = format!(
            "with every component in it where it is made, and each function as {FUNCTION_BYTES} bytes, it is longer than \
             {WRITTEN_OUT_BYTES_MAX}"
        );
        return Err(Fault::Bound(message));
    }
    // A module is compiled once, however often it is made.
    if closed.encoding == Encoding::Component {
        know(open, Some(closed.bytes));
    }
    Ok(())
}

fn count(open: &mut [Open], bytes: usize) {
    if let Some(here) = open.last_mut() {
        here.bytes = here.bytes.saturating_add(bytes as u64);
    }
}

/// Gives the next number to a component.
fn know(open: &mut [Open], bytes: Option<u64>) {
    if let Some(here) = open.last_mut() {
        here.components.push(bytes);
    }
}

/// Gives what a component comes to that the innermost one knows by a number, or one around it.
fn component(open: &[Open], outwards: u32, index: u32) -> Option<u64> {
    let around = open.iter().rev().nth(outwards as usize)?;
    around.components.get(index as usize).copied().flatten()
}

/// Goes through a section of types, and counts how deep they lie in each other.
fn nest_little(section: &[u8], offset: usize) -> Result<(), Fault> {
    let mut reader = BinaryReader::new_features(section, offset, FEATURES);
    // How many entries are to come of the section, and of each type that is open in it.
    let mut open = vec![reader.read_var_u32()?];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        let mut ahead = reader.clone();
        let is_type = open.len() == 1 || ahead.read_u8()? == TYPE_DECLARATION;
        if is_type && HOLDING_TYPES.contains(&ahead.read_u8()?) {
            if open.len() > NESTED_MAX {
                return Err(Fault::Bound(format!("its types nest more than {NESTED_MAX} deep")));
            }
            open.push(ahead.read_var_u32()?);
            reader = ahead;
        } else if open.len() == 1 {
            reader.read::<ComponentType<'_>>()?;
        } else {
            reader.read::<ComponentTypeDeclaration<'_>>()?;
        }
    }
    Ok(())
}

/// Tells whether an import brings nothing that has to be there. The validator bounds how deep instances nest.
fn brings_types_only(types: TypesRef<'_>, ty: &ComponentEntityType) -> bool {
    match ty {
        ComponentEntityType::Type { created, .. } => !matches!(created, ComponentAnyTypeId::Resource(_)),
        ComponentEntityType::Instance(id) => types[*id].exports.values().all(|item| brings_types_only(types, &item.ty)),
        _ => false,
    }
}

fn describe(missing: &[&str]) -> String {
    let listed: Vec<String> = missing.iter().take(MISSING_LISTED_MAX).map(|name| format!("`{name}`")).collect();
    let more = missing.len().saturating_sub(MISSING_LISTED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let hint = if missing.iter().any(|name| name.starts_with("wasi:")) {
        "components get no WASI here; build a core module for the target `wasm32-wasip1`"
    } else {
        "a component may import types and nothing else"
    };
    format!("it imports what is not there: {}{more}; {hint}", listed.join(", "))
}

fn invalid(error: &wasmparser::Error) -> String {
    format!("no valid component: {} at byte {:#x}", error.message(), error.offset())
}

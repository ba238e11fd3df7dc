//! What a WebAssembly module exports and imports, with types, and with names of parameters where the module has them.

use std::collections::BTreeMap;

use wasmparser::{
    Encoding, ExternalKind, FuncType, KnownCustom, MemoryType, Name, NameSectionReader, Parser, Payload, TypeRef,
};

use super::{ITEMS_MAX, Item, Kind, PARTS_MAX, Part, Place, wit};
use crate::docgen::Warning;
use crate::docgen::prose::cut;

/// The longest name that is shown, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Reads a module, or the interfaces of a component.
pub(super) fn read(bytes: &[u8], place: Place<'_>, warnings: &mut Vec<Warning>) -> Vec<Item> {
    let mut module = Module::default();
    match module.fill(bytes) {
        Ok(Encoding::Module) => module.items(place),
        Ok(Encoding::Component) => wit::component(bytes, place, warnings),
        Err(error) => {
            let text = format!("`{}` is no valid module: {error}", place.file);
            warnings.push(Warning { code: "MODULE_NOT_READ", text });
            Vec::new()
        }
    }
}

#[derive(Default)]
struct Module {
    types: Vec<FuncType>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    memories: Vec<MemoryType>,
    imports: Vec<(String, String, TypeRef)>,
    exports: Vec<(String, ExternalKind, u32)>,
    /// Names of parameters and locals by function.
    locals: BTreeMap<u32, BTreeMap<u32, String>>,
}

impl Module {
    fn fill(&mut self, bytes: &[u8]) -> wasmparser::Result<Encoding> {
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { encoding: Encoding::Component, .. } => return Ok(Encoding::Component),
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        self.types.push(ty?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        match import.ty {
                            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => self.functions.push(ty),
                            TypeRef::Memory(ty) => self.memories.push(ty),
                            _ => {}
                        }
                        self.imports.push((import.module.into(), import.name.into(), import.ty));
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        self.functions.push(ty?);
                    }
                }
                Payload::MemorySection(section) => {
                    for ty in section {
                        self.memories.push(ty?);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        self.exports.push((export.name.into(), export.kind, export.index));
                    }
                }
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(names) = section.as_known() {
                        self.take_names(names);
                    }
                }
                _ => {}
            }
        }
        Ok(Encoding::Module)
    }

    /// Names are a help: a section that is wrong is as good as none.
    fn take_names(&mut self, names: NameSectionReader<'_>) {
        for name in names.into_iter().map_while(Result::ok) {
            let Name::Local(functions) = name else { continue };
            for function in functions.into_iter().map_while(Result::ok) {
                let names = function.names.into_iter().map_while(Result::ok);
                let names = names.take(PARTS_MAX).map(|naming| (naming.index, naming.name.to_owned()));
                if self.locals.len() < ITEMS_MAX {
                    self.locals.insert(function.index, names.collect());
                }
            }
        }
    }

    fn items(&self, place: Place<'_>) -> Vec<Item> {
        let mut items = vec![Item::new(Kind::Module, place.module, place, 0)];
        for (name, kind, index) in self.exports.iter().take(ITEMS_MAX + 1) {
            let name = cut(name, NAME_BYTES_MAX);
            let item = match kind {
                ExternalKind::Func | ExternalKind::FuncExact => self.function(name, *index, place),
                ExternalKind::Memory => {
                    let memory = self.memories.get(*index as usize);
                    let size = memory.map_or(String::new(), |memory| match memory.maximum {
                        Some(most) => format!(" of {} to {most} pages of 64 KiB", memory.initial),
                        None => format!(" of {} pages of 64 KiB or more", memory.initial),
                    });
                    Item::new(Kind::Export, name, place, 0).with_signature(&format!("memory {name}{size}"))
                }
                ExternalKind::Global => {
                    Item::new(Kind::Export, name, place, 0).with_signature(&format!("global {name}"))
                }
                ExternalKind::Table => Item::new(Kind::Export, name, place, 0).with_signature(&format!("table {name}")),
                ExternalKind::Tag => continue,
            };
            items.push(item);
        }
        for (module, name, ty) in self.imports.iter().take(ITEMS_MAX + 1) {
            let (module, name) = (cut(module, NAME_BYTES_MAX), cut(name, NAME_BYTES_MAX));
            let kind = match ty {
                TypeRef::Func(ty) | TypeRef::FuncExact(ty) => self.types.get(*ty as usize).map_or(String::new(), shape),
                _ => String::new(),
            };
            let item = Item::new(Kind::Import, format!("{module}.{name}"), place, 0);
            items.push(item.with_signature(&format!("{module}.{name}{kind}")));
        }
        items
    }

    fn function(&self, name: &str, index: u32, place: Place<'_>) -> Item {
        let ty = self.functions.get(index as usize).and_then(|ty| self.types.get(*ty as usize));
        // What follows the arrow says how a result is to be read, and is no part of the name that is called.
        let called = name.split("->").next().unwrap_or(name);
        let Some(ty) = ty else { return Item::new(Kind::Function, called, place, 0).with_signature(name) };
        let mut item = Item::new(Kind::Function, called, place, 0);
        let names = self.locals.get(&index);
        let part = |(at, ty): (usize, &wasmparser::ValType)| {
            let name = names.and_then(|names| names.get(&(at as u32))).map(|name| cut(name, NAME_BYTES_MAX).to_owned());
            Part { name: name.unwrap_or_else(|| format!("p{at}")), kind: Some(ty.to_string()), ..Part::default() }
        };
        item.parameters = ty.params().iter().enumerate().take(PARTS_MAX).map(part).collect();
        let result = |ty: &wasmparser::ValType| Part { kind: Some(ty.to_string()), ..Part::default() };
        item.returns = ty.results().iter().take(PARTS_MAX).map(result).collect();
        let parameters: Vec<String> = item
            .parameters
            .iter()
            .map(|part| format!("{}: {}", part.name, part.kind.as_deref().unwrap_or_default()))
            .collect();
        let results = results(ty);
        let read_as = name.split_once("->").map_or(String::new(), |(_, kind)| format!(", read as {kind}"));
        item.with_signature(&format!("{called}({}){results}{read_as}", parameters.join(", ")))
    }
}

fn shape(ty: &FuncType) -> String {
    let parameters: Vec<String> = ty.params().iter().take(PARTS_MAX).map(ToString::to_string).collect();
    format!("({}){}", parameters.join(", "), results(ty))
}

fn results(ty: &FuncType) -> String {
    let results: Vec<String> = ty.results().iter().take(PARTS_MAX).map(ToString::to_string).collect();
    match results.len() {
        0 => String::new(),
        1 => format!(" -> {}", results[0]),
        _ => format!(" -> ({})", results.join(", ")),
    }
}

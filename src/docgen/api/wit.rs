//! Interfaces in the language WIT: what a component of WebAssembly exports and imports, and what a `.wit` file of a package
//! says, each with the text that its author wrote above it.
//!
//! A component carries its interfaces in types of its binary form; `wit-parser` gives them back. Components are documented
//! whatever they import; `vm::wasm` runs those that import nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{
    Function, FunctionKind, Handle, InterfaceId, PackageId, Resolve, Type, TypeDefKind, TypeId, UnresolvedPackageGroup,
    World, WorldId, WorldItem,
};

use super::{Item, Kind, PARTS_MAX, Part, Place, SIGNATURE_BYTES_MAX};
use crate::docgen::Warning;
use crate::docgen::prose::cut;
use crate::vm::wasm::bound_component;

/// The most bytes of a `.wit` file, and the deepest nesting of types in one; the parser recurses over them.
const TEXT_BYTES_MAX: usize = 256 << 10;
const NESTING_MAX: usize = 100;
/// How deep a type without a name is written out.
const DEPTH_MAX: usize = 16;

/// Reads the interfaces of a component. The decoder calls itself for each level of types, so those are bounded before.
pub(super) fn component(bytes: &[u8], place: Place<'_>, warnings: &mut Vec<Warning>) -> Vec<Item> {
    // The decoder means to refuse what it does not know; where it panics instead, the page does without, and not the node.
    let decode = || {
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(bytes).map_err(|error| format!("{error:#}"))));
        decoded.unwrap_or_else(|_| Err("its types are not understood".into()))
    };
    match bound_component(bytes).and_then(|()| decode()) {
        Ok(DecodedWasm::Component(resolve, world)) => Reader::new(&resolve, place).component(world),
        Ok(DecodedWasm::WitPackage(resolve, package)) => Reader::new(&resolve, place).package(package),
        Err(reason) => {
            let text = format!("`{}` is a component whose interfaces cannot be read: {reason}", place.file);
            warnings.push(Warning { code: "COMPONENT_NOT_READ", text });
            Vec::new()
        }
    }
}

/// Reads the interfaces of a `.wit` file that needs no other.
pub(super) fn text(text: &str, place: Place<'_>, warnings: &mut Vec<Warning>) -> Vec<Item> {
    match parse(text, place.file) {
        Ok((resolve, package)) => Reader::new(&resolve, place).package(package),
        Err(reason) => {
            let text = format!("`{}` was not read: {reason}", place.file);
            warnings.push(Warning { code: "WIT_NOT_READ", text });
            Vec::new()
        }
    }
}

fn parse(text: &str, file: &str) -> Result<(Resolve, PackageId), String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("it has more than {TEXT_BYTES_MAX} bytes"));
    }
    let deepest = text.chars().scan(0_usize, |depth, c| {
        match c {
            '<' | '(' | '{' => *depth += 1,
            '>' | ')' | '}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    if deepest.max().unwrap_or(0) > NESTING_MAX {
        return Err(format!("it nests more than {NESTING_MAX} brackets"));
    }
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        let group = UnresolvedPackageGroup::parse(file, text).map_err(|(map, error)| error.render(&map))?;
        let mut resolve = Resolve::default();
        let package = resolve.push_group(group).map_err(|error| error.to_string())?;
        Ok((resolve, package))
    }));
    parsed.unwrap_or_else(|_| Err("its grammar is not understood".into()))
}

struct Reader<'a> {
    resolve: &'a Resolve,
    place: Place<'a>,
    items: Vec<Item>,
}

impl<'a> Reader<'a> {
    fn new(resolve: &'a Resolve, place: Place<'a>) -> Self {
        Self { resolve, place, items: Vec::new() }
    }

    fn component(mut self, world: WorldId) -> Vec<Item> {
        self.world(self.place.module, &self.resolve.worlds[world]);
        self.items
    }

    fn package(mut self, package: PackageId) -> Vec<Item> {
        let resolve = self.resolve;
        let package = &resolve.packages[package];
        let head = self.item(Kind::Module, self.place.module, self.place.module, package.docs.contents.as_deref());
        self.items.push(head);
        for id in package.interfaces.values() {
            self.interface(&resolve.id_of(*id).unwrap_or_default(), *id);
        }
        for (name, world) in &package.worlds {
            self.world(&format!("{}/{name}", package.name), &resolve.worlds[*world]);
        }
        self.items
    }

    fn world(&mut self, module: &str, world: &World) {
        let head = self.item(Kind::Module, module, module, world.docs.contents.as_deref());
        self.items.push(head);
        let mut interfaces = Vec::new();
        for (key, item) in &world.exports {
            match item {
                WorldItem::Function(function) => self.function(module, function),
                WorldItem::Type { id, .. } => self.type_definition(module, *id),
                WorldItem::Interface { id, .. } => interfaces.push((self.resolve.name_world_key(key), *id)),
            }
        }
        for (key, item) in &world.imports {
            let name = self.resolve.name_world_key(key);
            let signature = match item {
                WorldItem::Function(function) => self.signature(&name, function),
                WorldItem::Type { .. } => continue,
                WorldItem::Interface { .. } => format!("import {name}"),
            };
            let item = self.item(Kind::Import, module, &name, None);
            self.items.push(item.with_signature(&signature));
        }
        for (name, id) in interfaces {
            self.interface(&name, id);
        }
    }

    fn interface(&mut self, module: &str, id: InterfaceId) {
        let interface = &self.resolve.interfaces[id];
        let head = self.item(Kind::Module, module, module, interface.docs.contents.as_deref());
        self.items.push(head);
        interface.types.values().for_each(|id| self.type_definition(module, *id));
        interface.functions.values().for_each(|function| self.function(module, function));
    }

    fn function(&mut self, module: &str, function: &Function) {
        let name = self.name_of(function);
        let mut item = self.item(Kind::Function, module, &name, function.docs.contents.as_deref());
        let parameters = parameters_of(function).take(PARTS_MAX);
        item.parameters = parameters.map(|part| self.part(&part.name, Some(&part.ty), None)).collect();
        item.returns = function.result.iter().map(|ty| self.part("", Some(ty), None)).collect();
        let signature = self.signature(&name, function);
        self.items.push(item.with_signature(&signature));
    }

    fn type_definition(&mut self, module: &str, id: TypeId) {
        let ty = &self.resolve.types[id];
        let Some(name) = ty.name.as_deref() else { return };
        let mut item = self.item(Kind::Type, module, name, ty.docs.contents.as_deref());
        let mut signature = format!("{} {name}", ty.kind.as_str());
        item.fields = match &ty.kind {
            TypeDefKind::Record(record) => {
                let field =
                    |field: &wit_parser::Field| self.part(&field.name, Some(&field.ty), field.docs.contents.as_deref());
                record.fields.iter().take(PARTS_MAX).map(field).collect()
            }
            TypeDefKind::Variant(variant) => {
                let case =
                    |case: &wit_parser::Case| self.part(&case.name, case.ty.as_ref(), case.docs.contents.as_deref());
                variant.cases.iter().take(PARTS_MAX).map(case).collect()
            }
            TypeDefKind::Enum(cases) => {
                let case = |case: &wit_parser::EnumCase| self.part(&case.name, None, case.docs.contents.as_deref());
                cases.cases.iter().take(PARTS_MAX).map(case).collect()
            }
            TypeDefKind::Flags(flags) => {
                let flag = |flag: &wit_parser::Flag| self.part(&flag.name, None, flag.docs.contents.as_deref());
                flags.flags.iter().take(PARTS_MAX).map(flag).collect()
            }
            TypeDefKind::Resource => Vec::new(),
            other => {
                let mut written = String::new();
                self.write_kind(other, DEPTH_MAX, &mut written);
                signature = format!("type {name} = {written}");
                Vec::new()
            }
        };
        self.items.push(item.with_signature(&signature));
    }

    fn item(&self, kind: Kind, module: &str, name: &str, doc: Option<&str>) -> Item {
        let place = Place { module, ..self.place };
        let mut item = Item::new(kind, name, place, 0);
        item.doc = cut(doc.unwrap_or_default(), super::DOC_BYTES_MAX).to_owned();
        item
    }

    fn part(&self, name: &str, ty: Option<&Type>, doc: Option<&str>) -> Part {
        let kind = ty.map(|ty| self.written(ty));
        Part { name: name.to_owned(), kind, doc: doc.unwrap_or_default().to_owned(), ..Part::default() }
    }

    /// Names a function as its users do: `counter.next` for a method, `counter.constructor` for what makes one.
    fn name_of(&self, function: &Function) -> String {
        match function.kind.resource() {
            Some(resource) => {
                let resource = self.resolve.types[resource].name.as_deref().unwrap_or("resource");
                format!("{resource}.{}", function.item_name())
            }
            None => function.name.clone(),
        }
    }

    fn signature(&self, name: &str, function: &Function) -> String {
        let word = match function.kind {
            FunctionKind::Static(_) => "static func",
            FunctionKind::AsyncStatic(_) => "static async func",
            FunctionKind::AsyncFreestanding | FunctionKind::AsyncMethod(_) => "async func",
            _ => "func",
        };
        let parameters = parameters_of(function).take(PARTS_MAX);
        let parameters: Vec<String> =
            parameters.map(|part| format!("{}: {}", part.name, self.written(&part.ty))).collect();
        let is_constructor = matches!(function.kind, FunctionKind::Constructor(_));
        let result = function.result.as_ref().filter(|_| !is_constructor);
        let result = result.map_or(String::new(), |ty| format!(" -> {}", self.written(ty)));
        format!("{name}: {word}({}){result}", parameters.join(", "))
    }

    fn written(&self, ty: &Type) -> String {
        let mut text = String::new();
        self.write(ty, DEPTH_MAX, &mut text);
        text
    }

    /// Writes a type as WIT does. Types without names may share parts, so what is written has a bound of its own.
    fn write(&self, ty: &Type, depth: usize, out: &mut String) {
        if out.len() > SIGNATURE_BYTES_MAX {
            return;
        }
        let word = match ty {
            Type::Bool => "bool",
            Type::U8 => "u8",
            Type::U16 => "u16",
            Type::U32 => "u32",
            Type::U64 => "u64",
            Type::S8 => "s8",
            Type::S16 => "s16",
            Type::S32 => "s32",
            Type::S64 => "s64",
            Type::F32 => "f32",
            Type::F64 => "f64",
            Type::Char => "char",
            Type::String => "string",
            Type::ErrorContext => "error-context",
            Type::Id(id) => {
                let ty = &self.resolve.types[*id];
                match (&ty.name, depth) {
                    (Some(name), _) => name.as_str(),
                    (None, 0) => "…",
                    (None, _) => return self.write_kind(&ty.kind, depth - 1, out),
                }
            }
        };
        out.push_str(word);
    }

    fn write_kind(&self, kind: &TypeDefKind, depth: usize, out: &mut String) {
        let mut list = |word: &str, types: &[Option<&Type>]| {
            out.push_str(word);
            for (index, ty) in types.iter().enumerate() {
                out.push_str(if index == 0 { "<" } else { ", " });
                match ty {
                    Some(ty) => self.write(ty, depth, out),
                    None => out.push('_'),
                }
            }
            out.push_str(if types.is_empty() { "" } else { ">" });
        };
        match kind {
            TypeDefKind::Type(ty) => self.write(ty, depth, out),
            TypeDefKind::Handle(Handle::Own(id)) => self.write(&Type::Id(*id), depth, out),
            TypeDefKind::Handle(Handle::Borrow(id)) => list("borrow", &[Some(&Type::Id(*id))]),
            TypeDefKind::Tuple(tuple) => list("tuple", &tuple.types.iter().map(Some).collect::<Vec<_>>()),
            TypeDefKind::Option(ty) => list("option", &[Some(ty)]),
            TypeDefKind::List(ty) => list("list", &[Some(ty)]),
            TypeDefKind::Map(key, value) => list("map", &[Some(key), Some(value)]),
            TypeDefKind::FixedLengthList(ty, length) => {
                out.push_str("list<");
                self.write(ty, depth, out);
                out.push_str(&format!(", {length}>"));
            }
            TypeDefKind::Future(ty) => list("future", &ty.iter().map(Some).collect::<Vec<_>>()),
            TypeDefKind::Stream(ty) => list("stream", &ty.iter().map(Some).collect::<Vec<_>>()),
            TypeDefKind::Result(result) => match (&result.ok, &result.err) {
                (None, None) => list("result", &[]),
                (ok, None) => list("result", &[ok.as_ref()]),
                (ok, err) => list("result", &[ok.as_ref(), err.as_ref()]),
            },
            other => list(other.as_str(), &[]),
        }
    }
}

/// Gives what a caller passes: a method has the resource itself in front.
fn parameters_of(function: &Function) -> impl Iterator<Item = &wit_parser::Param> {
    let is_method = matches!(function.kind, FunctionKind::Method(_) | FunctionKind::AsyncMethod(_));
    function.params.iter().skip(usize::from(is_method))
}

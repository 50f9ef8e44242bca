//! Types that a script defines itself. They are laid out as C does, and written down as the kernel writes its own, on top
//! of which they come: from then on there is no difference.

use std::collections::BTreeMap;
use std::sync::Arc;

use synscope_btf::{Btf, Named, NewMember, Type as Kind, TypeId, Writer};

use super::Checker;
use super::layout::{Layout, Placing};
use super::named::integer_named;
use crate::ast::{self, Tag, TypeKind};
use crate::source::Span;
use crate::typed::ExpressionKind;
use crate::types::Type;
use crate::untold::needed;

/// Bytes that a type takes at most: offsets in bits are of 24 bits.
const MAX_SIZE: u64 = 1 << 20;
/// Bytes of a pointer.
const POINTER: u64 = 8;

/// Types in the making.
struct Definitions {
    kernel: Arc<Btf>,
    writer: Writer,
    /// Those that are defined here.
    layouts: BTreeMap<TypeId, Layout>,
    /// Those with a name, which may be defined later only.
    tagged: BTreeMap<(Named, String), TypeId>,
    typedefs: BTreeMap<String, TypeId>,
}

impl Definitions {
    fn new_type(&mut self, layout: Layout, write: impl FnOnce(&mut Writer) -> TypeId) -> TypeId {
        let id = write(&mut self.writer);
        self.layouts.insert(id, layout);
        id
    }

    /// What a type takes; nothing where that is not known.
    fn layout(&self, id: TypeId) -> Option<Layout> {
        self.layouts.get(&id).copied().or_else(|| of_kernel(&self.kernel, id))
    }
}

/// What one of the kernel's types takes.
fn of_kernel(btf: &Btf, id: TypeId) -> Option<Layout> {
    let (resolved, kind) = btf.resolve(id).ok()?;
    let size = u64::from(btf.size_of(resolved).ok()?);
    Some(match kind {
        Kind::Array(array) => Layout { size, align: of_kernel(btf, array.element)?.align },
        Kind::Struct(found) | Kind::Union(found) => {
            let aligned = found.members.filter_map(|member| {
                let align = of_kernel(btf, member.id)?.align;
                // A member that lies elsewhere tells that the whole is packed.
                Some(if member.bit_size.is_none() && u64::from(member.bit_offset) % (align * 8) != 0 {
                    1
                } else {
                    align
                })
            });
            let align = aligned.max().unwrap_or(1);
            Layout { size, align: if size.is_multiple_of(align) { align } else { 1 } }
        }
        _ => Layout::number(size),
    })
}

fn named(tag: Tag) -> Named {
    match tag {
        Tag::Struct => Named::Struct,
        Tag::Union => Named::Union,
        Tag::Enum => Named::Enum,
    }
}

impl Checker<'_> {
    /// Writes the script's own types down.
    pub(super) fn define(&mut self, program: &ast::Program) {
        let Some(first) = program.definitions.first() else { return };
        let kernel = match self.environment.kernel() {
            Ok(kernel) => Arc::clone(kernel.vmlinux()),
            Err(error) => return self.report(needed(error, span_of(first))),
        };
        let writer = Writer::new(Arc::clone(&kernel));
        let mut types = Definitions {
            kernel,
            writer,
            layouts: BTreeMap::new(),
            tagged: BTreeMap::new(),
            typedefs: BTreeMap::new(),
        };
        // Pointers may point to what comes later.
        for definition in &program.definitions {
            if let ast::Definition::Record(ast::Record { tag, name: Some(name), .. }) = definition {
                let id = types.writer.declare();
                types.tagged.insert((named(*tag), name.text.clone()), id);
            }
        }
        for definition in &program.definitions {
            match definition {
                ast::Definition::Record(record) => drop(self.record(&mut types, record)),
                ast::Definition::Enumeration(enumeration) => drop(self.enumeration(&mut types, enumeration)),
                ast::Definition::Typedef(typedef) => {
                    if let Some(of) = self.member_type(&mut types, &typedef.ty) {
                        let id = types.writer.typedef(&typedef.name.text, of);
                        if let Some(layout) = types.layout(of) {
                            types.layouts.insert(id, layout);
                        }
                        types.typedefs.insert(typedef.name.text.clone(), id);
                    }
                }
            }
        }
        match types.writer.finish() {
            Ok(btf) => self.own = Some(Arc::new(btf)),
            Err(error) => self.error("no-types", error.to_string(), span_of(first)),
        }
    }

    /// A struct or union.
    fn record(&mut self, types: &mut Definitions, record: &ast::Record) -> Option<TypeId> {
        let key = record.name.as_ref().map(|name| (named(record.tag), name.text.clone()));
        let known = key.as_ref().and_then(|key| types.tagged.get(key)).copied();
        let id = known.unwrap_or_else(|| types.writer.declare());
        if types.layouts.contains_key(&id) {
            let name = key.map_or_else(String::new, |(_, name)| name);
            self.error("type-defined", format!("`{name}` is defined twice"), record.span);
            return None;
        }
        if let Some(key) = key {
            types.tagged.insert(key, id);
        }
        let union = record.tag == Tag::Union;
        let mut placing = Placing::new(union, record.packed);
        let mut members = Vec::new();
        for member in &record.members {
            let of = self.member_type(types, &member.ty)?;
            let Some(layout) = types.layout(of) else {
                self.error("type-size", "how large this is is not known here", member.span);
                return None;
            };
            let (start, bit_size) = match &member.bits {
                Some(bits) => {
                    let width = self.width(bits, layout)?;
                    let start = placing.bits(layout, width.into(), member.name.is_some());
                    if start % 8 + u64::from(width) > 64 {
                        self.error("type-size", "this bit field lies over nine bytes", member.span);
                        return None;
                    }
                    (start, width)
                }
                None => (placing.member(layout), 0),
            };
            if placing.finish().size > MAX_SIZE {
                self.error("type-size", format!("a type takes at most {MAX_SIZE} bytes"), member.span);
                return None;
            }
            // Bits without a name are padding.
            if member.bits.is_none() || member.name.is_some() {
                let name = member.name.as_ref().map_or_else(String::new, |name| name.text.clone());
                let bit_offset = u32::try_from(start).unwrap_or(u32::MAX);
                members.push(NewMember { name, id: of, bit_offset, bit_size });
            }
        }
        let layout = placing.finish();
        let name = record.name.as_ref().map_or("", |name| name.text.as_str());
        types.writer.define(id, union, name, u32::try_from(layout.size).unwrap_or(u32::MAX), &members);
        types.layouts.insert(id, layout);
        Some(id)
    }

    /// Bits of a bit field.
    fn width(&mut self, bits: &ast::Expression, of: Layout) -> Option<u32> {
        let most = of.size * 8;
        match self.integer(bits).kind {
            ExpressionKind::Int(width) if u64::try_from(width).is_ok_and(|width| width <= most) => {
                u32::try_from(width).ok()
            }
            _ => {
                self.error("type-size", format!("a bit field of this type has up to {most} bits"), bits.span);
                None
            }
        }
    }

    fn enumeration(&mut self, types: &mut Definitions, enumeration: &ast::Enumeration) -> Option<TypeId> {
        let mut values: Vec<(String, i64)> = Vec::new();
        let mut next = 0;
        for constant in &enumeration.constants {
            if let Some(value) = &constant.value {
                let ExpressionKind::Int(value) = self.integer(value).kind else {
                    self.error("not-literal", "a constant's value must be known here", value.span);
                    return None;
                };
                next = value;
            }
            self.constants.insert(constant.name.text.clone(), next);
            values.push((constant.name.text.clone(), next));
            next = next.wrapping_add(1);
        }
        let signed = values.iter().any(|(_, value)| *value < 0);
        let fits = |value: i64| if signed { i32::try_from(value).is_ok() } else { u32::try_from(value).is_ok() };
        let size = if values.iter().all(|(_, value)| fits(*value)) { 4 } else { 8 };
        let name = enumeration.name.as_ref().map_or("", |name| name.text.as_str());
        let layout = Layout::number(size.into());
        let id = types.new_type(layout, |writer| writer.enumeration(name, size, signed, &values));
        if let Some(name) = &enumeration.name {
            types.tagged.insert((Named::Enum, name.text.clone()), id);
        }
        Some(id)
    }

    /// A type as it is written for a member.
    fn member_type(&mut self, types: &mut Definitions, ty: &ast::Type) -> Option<TypeId> {
        match &ty.kind {
            TypeKind::Named(name) => self.plain_type(types, name, ty.span),
            TypeKind::Tagged(tag, name) => {
                let found = types.tagged.get(&(named(*tag), name.clone())).copied();
                found.or_else(|| self.of_vmlinux(types, named(*tag), name, ty.span))
            }
            TypeKind::Record(record) => self.record(types, record),
            TypeKind::Enumeration(enumeration) => self.enumeration(types, enumeration),
            TypeKind::Pointer(to) => {
                let to = self.pointed_to(types, to)?;
                Some(types.new_type(Layout::number(POINTER), |writer| writer.pointer(to)))
            }
            TypeKind::Array(element, length) => {
                let element = self.member_type(types, element)?;
                let Some(Layout { size, align }) = types.layout(element) else {
                    self.error("type-size", "how large an element is is not known here", ty.span);
                    return None;
                };
                let length = match length {
                    Some(length) => {
                        let ExpressionKind::Int(length) = self.integer(length).kind else {
                            self.error("not-literal", "how many elements there are must be known here", length.span);
                            return None;
                        };
                        u64::try_from(length).ok()
                    }
                    None => Some(0),
                };
                let whole = length.and_then(|length| length.checked_mul(size.max(1)));
                let (Some(length), Some(0..=MAX_SIZE)) = (length, whole) else {
                    self.error("type-size", format!("an array takes at most {MAX_SIZE} bytes"), ty.span);
                    return None;
                };
                let layout = Layout { size: size * length, align };
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                Some(types.new_type(layout, |writer| writer.array(element, length)))
            }
            TypeKind::Function(_) => Some(TypeId::VOID),
        }
    }

    /// What a pointer points to; what nobody defines may be pointed to all the same.
    fn pointed_to(&mut self, types: &mut Definitions, to: &ast::Type) -> Option<TypeId> {
        if let TypeKind::Tagged(tag, name) = &to.kind
            && !types.tagged.contains_key(&(named(*tag), name.clone()))
        {
            return Some(types.kernel.lookup(named(*tag), name).unwrap_or(TypeId::VOID));
        }
        self.member_type(types, to)
    }

    fn plain_type(&mut self, types: &mut Definitions, name: &str, span: Span) -> Option<TypeId> {
        if let Some(Type::Int { size, signed }) = integer_named(name) {
            let layout = Layout::number(size.into());
            return Some(types.new_type(layout, |writer| writer.integer(name, size.into(), signed)));
        }
        match name {
            "void" => Some(TypeId::VOID),
            "bool" | "_Bool" => Some(types.new_type(Layout::number(1), |writer| writer.boolean(name))),
            "float" => Some(types.new_type(Layout::number(4), |writer| writer.float(name, 4))),
            "double" => Some(types.new_type(Layout::number(8), |writer| writer.float(name, 8))),
            _ => types.typedefs.get(name).copied().or_else(|| self.of_vmlinux(types, Named::Typedef, name, span)),
        }
    }

    fn of_vmlinux(&mut self, types: &Definitions, named: Named, name: &str, span: Span) -> Option<TypeId> {
        match types.kernel.find(named, name) {
            Ok(id) => Some(id),
            Err(error) => {
                self.error("unknown-type", error.to_string(), span);
                None
            }
        }
    }
}

fn span_of(definition: &ast::Definition) -> Span {
    match definition {
        ast::Definition::Record(record) => record.span,
        ast::Definition::Enumeration(enumeration) => enumeration.span,
        ast::Definition::Typedef(typedef) => typedef.span,
    }
}

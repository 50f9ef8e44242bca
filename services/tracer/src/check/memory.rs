//! What lies in the kernel's memory: fields, elements, what pointers point to; and types by name.

use std::sync::Arc;

use synscope_btf::{Btf, Field, Type as Kind, TypeId};

use super::Checker;
use super::expression::{number, unknown};
use crate::ast::{self, Builtin, Variable};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::typed::{Arithmetic, Expression, ExpressionKind, Source};
use crate::types::{Access, Enumeration, Record, Type};
use crate::untold::needed;

/// A type of the kernel as one of the language; pointers in it are read as `access` says.
pub(super) fn type_of(btf: &Arc<Btf>, id: TypeId, access: Access) -> Type {
    let Ok((resolved, kind)) = btf.resolve(id) else { return Type::None };
    match kind {
        Kind::Int(int) if int.bool => Type::Bool,
        // The kernel's characters have no sign, those of C and of scripts do; text is told from bytes by it.
        Kind::Int(int) if int.name == "char" => Type::Int { size: 1, signed: true },
        Kind::Int(int) => integer(int.size, int.signed),
        Kind::Enum(found) => match integer(found.size, found.signed) {
            Type::Int { size, signed } => Type::Enum(Enumeration { btf: Arc::clone(btf), id: resolved, size, signed }),
            other => other,
        },
        Kind::Pointer(to) => {
            let user = btf.type_tags(to).is_ok_and(|tags| tags.contains(&"user"));
            let access = if user { Access::User } else { access };
            Type::Pointer { to: Box::new(type_of_target(btf, to, access)), access }
        }
        Kind::Array(array) => Type::Array(Box::new(type_of(btf, array.element, access)), array.length),
        Kind::Struct(_) | Kind::Union(_) => Type::Record(Record { btf: Arc::clone(btf), id: resolved }),
        _ => Type::None,
    }
}

/// Whether it would have a type if the kernel's were known.
fn points_into_kernel(value: &Expression) -> bool {
    matches!(value.kind, ExpressionKind::Source(Source::Task(_)))
        || matches!(&value.ty, Type::Pointer { to, .. } if **to == Type::None)
}

/// What a pointer points to; a pointer to pointers to pointers is looked into once only.
fn type_of_target(btf: &Arc<Btf>, id: TypeId, access: Access) -> Type {
    match btf.resolve(id) {
        Ok((_, Kind::Pointer(to))) => {
            let inner = match btf.resolve(to) {
                Ok((_, Kind::Pointer(_))) | Err(_) => Type::UINT64,
                Ok(_) => type_of(btf, to, access),
            };
            Type::Pointer { to: Box::new(inner), access }
        }
        _ => type_of(btf, id, access),
    }
}

/// Whether a number is in network byte order: its type is called so.
fn is_big_endian(btf: &Btf, id: TypeId) -> bool {
    btf.walk(id).any(|step| matches!(step, Ok((_, Kind::Typedef(named))) if named.name.starts_with("__be")))
}

fn integer(size: u32, signed: bool) -> Type {
    Type::Int { size: u8::try_from(size).ok().filter(|size| matches!(size, 1 | 2 | 4 | 8)).unwrap_or(8), signed }
}

impl Checker<'_> {
    /// `value.name` and `value->name`.
    pub(super) fn field(&mut self, value: &ast::Expression, _arrow: bool, name: &ast::Name, span: Span) -> Expression {
        if matches!(value.kind, ast::ExpressionKind::Builtin(Builtin::Variable(Variable::Args))) {
            return self.args_field(name, span);
        }
        let value = self.expression(value);
        let (pointer, offset, record, access) = match value {
            Expression { ty: Type::Unknown, .. } => return unknown(span),
            Expression {
                ty: Type::Record(record),
                kind: ExpressionKind::Memory { pointer, offset, access, .. },
                ..
            } => (pointer, offset, record, access),
            Expression { ty: Type::Pointer { to, access }, kind, span: place } if matches!(*to, Type::Record(_)) => {
                let Type::Record(record) = (*to).clone() else { return unknown(span) };
                let pointer = Expression { span: place, ty: Type::Pointer { to, access }, kind };
                (Box::new(pointer), 0, record, access)
            }
            Expression { ty: Type::Record(ref record), .. } => {
                let record = record.clone();
                (Box::new(address_of(value)), 0, record, Access::Kernel)
            }
            // That its type is unknown was said.
            Expression { ty: Type::Pointer { to, .. }, .. } if *to == Type::Unknown => return unknown(span),
            other => {
                if let (true, Err(error)) = (points_into_kernel(&other), self.environment.kernel()) {
                    self.report(needed(error, other.span));
                    return unknown(span);
                }
                let message = format!("`{}` has no fields", other.ty);
                self.error("no-fields", message, other.span);
                return unknown(span);
            }
        };
        match record.btf.field(record.id, &name.text) {
            Ok(field) => {
                if is_big_endian(&record.btf, field.id) {
                    self.big_endian.insert(span);
                }
                read_field(&record.btf, &field, pointer, offset, access, span)
            }
            Err(error) => {
                self.error("unknown-field", error.to_string(), name.span);
                unknown(span)
            }
        }
    }

    /// `*value`.
    pub(super) fn dereference(&mut self, value: Expression, span: Span) -> Expression {
        match &value.ty {
            Type::Unknown => unknown(span),
            Type::Pointer { to, access } if **to != Type::None => {
                let (ty, access) = ((**to).clone(), *access);
                read(ty, Box::new(value), 0, access, None, span)
            }
            // As in bpftrace: `*kaddr("jiffies")`.
            Type::Int { .. } => read(Type::UINT64, Box::new(value), 0, Access::Kernel, None, span),
            other => {
                let message = format!("`{other}` does not point to a value");
                self.error("not-a-pointer", message, value.span);
                unknown(span)
            }
        }
    }

    /// `value[index]`.
    pub(super) fn index(&mut self, value: &ast::Expression, index: &ast::Expression, span: Span) -> Expression {
        let value = self.expression(value);
        let index = self.integer(index);
        let (element, pointer, offset, access) = match value {
            Expression { ty: Type::Unknown, .. } => return unknown(span),
            Expression {
                ty: Type::Array(element, length),
                kind: ExpressionKind::Memory { pointer, offset, access, .. },
                ..
            } => {
                if !self.is_element(&index, length, span) {
                    return unknown(span);
                }
                (*element, pointer, offset, access)
            }
            Expression { ty: Type::Array(ref element, length), .. } => {
                if !matches!(index.kind, ExpressionKind::Int(_) if length > 0) {
                    let message = "an element of a copy is taken by a number that is known here";
                    let error = Diagnostic::error("array-index", message, index.span);
                    self.report(error.because("take it where the array itself lies"));
                    return unknown(span);
                }
                if !self.is_element(&index, length, span) {
                    return unknown(span);
                }
                let element = (**element).clone();
                (element, Box::new(address_of(value)), 0, Access::Kernel)
            }
            Expression { ty: Type::Pointer { ref to, access }, .. } if **to != Type::None => {
                ((**to).clone(), Box::new(value), 0, access)
            }
            other => {
                let message = format!("`{}` has no elements", other.ty);
                self.error("no-elements", message, other.span);
                return unknown(span);
            }
        };
        let size = i64::from(element.size().max(1));
        if let ExpressionKind::Int(index) = index.kind {
            return read(element, pointer, offset.wrapping_add(index.wrapping_mul(size)), access, None, span);
        }
        let size = number(size, Type::INT64, span);
        let distance = ExpressionKind::Binary(Arithmetic::Multiply, Box::new(index), Box::new(size));
        let distance = Expression { span, ty: Type::INT64, kind: distance };
        let ty = pointer.ty.stored();
        let moved = ExpressionKind::Binary(Arithmetic::Add, pointer, Box::new(distance));
        // The verifier does not follow pointers that were moved by an unknown number.
        let access = if access == Access::User { Access::User } else { Access::Kernel };
        read(element, Box::new(Expression { span, ty, kind: moved }), offset, access, None, span)
    }

    /// Whether an array has the element of this number, where both are known.
    fn is_element(&mut self, index: &Expression, length: u32, span: Span) -> bool {
        match index.kind {
            ExpressionKind::Int(index) if length > 0 && !(0..i64::from(length)).contains(&index) => {
                let message = format!("the array has {length} elements, and this is number {index}");
                self.error("array-index", message, span);
                false
            }
            _ => true,
        }
    }
}

/// Where a value lies in the probe's own memory.
pub(super) fn address_of(value: Expression) -> Expression {
    let ty = Type::pointer(value.ty.clone());
    Expression { span: value.span, ty, kind: ExpressionKind::AddressOf(Box::new(value)) }
}

/// A field of a struct or union.
fn read_field(
    btf: &Arc<Btf>,
    field: &Field,
    pointer: Box<Expression>,
    offset: i64,
    access: Access,
    span: Span,
) -> Expression {
    let ty = type_of(btf, field.id, access);
    let Some(width) = field.bit_size else {
        return read(ty, pointer, offset + i64::from(field.bit_offset / 8), access, None, span);
    };
    // The bytes of the field's type in which the field lies.
    let unit = ty.size().max(1) * 8;
    let first = field.bit_offset / unit * unit;
    let before = field.bit_offset - first;
    if before + width <= unit {
        return read(ty, pointer, offset + i64::from(first / 8), access, Some((before, width)), span);
    }
    // In a packed struct it may lie over the border of two.
    let (first, before) = (field.bit_offset / 8, field.bit_offset % 8);
    let size = u8::try_from((before + width).div_ceil(8).next_power_of_two()).unwrap_or(8);
    let ty = Type::Int { size, signed: ty.is_signed() };
    read(ty, pointer, offset + i64::from(first), access, Some((before, width)), span)
}

/// A value in memory.
pub(crate) fn read(
    ty: Type,
    pointer: Box<Expression>,
    offset: i64,
    access: Access,
    bits: Option<(u32, u32)>,
    span: Span,
) -> Expression {
    // Characters in a row are text.
    if let Type::Array(element, length @ 1..) = &ty
        && **element == (Type::Int { size: 1, signed: true })
    {
        return super::text::text_at(*pointer, offset, access, None, Type::Text(*length), span);
    }
    // Offsets beyond what an instruction holds are left to the helper.
    let access = match access {
        Access::Direct if i16::try_from(offset).is_err() => Access::Kernel,
        other => other,
    };
    Expression { span, ty, kind: ExpressionKind::Memory { pointer, offset, access, bits } }
}

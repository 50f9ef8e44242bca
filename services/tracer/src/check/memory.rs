//! What lies in the kernel's memory: fields, elements, what pointers point to; and types by name.

use std::sync::Arc;

use synscope_btf::{Btf, Field, Named, Type as Kind, TypeId};

use super::Checker;
use super::expression::{number, unknown};
use crate::ast::{self, Builtin, Measured, Tag, TypeKind, Variable};
use crate::source::Span;
use crate::typed::{Arithmetic, Expression, ExpressionKind};
use crate::types::{Access, Record, Type};

/// A type of the kernel as one of the language; pointers in it are read as `access` says.
pub(super) fn type_of(btf: &Arc<Btf>, id: TypeId, access: Access) -> Type {
    let Ok((resolved, kind)) = btf.resolve(id) else { return Type::None };
    match kind {
        Kind::Int(int) if int.bool => Type::Bool,
        // The kernel's characters have no sign, those of C and of scripts do; text is told from bytes by it.
        Kind::Int(int) if int.name == "char" => Type::Int { size: 1, signed: true },
        Kind::Int(int) => integer(int.size, int.signed),
        Kind::Enum(found) => integer(found.size, found.signed),
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
            other => {
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
                if let ExpressionKind::Int(index) = index.kind
                    && length > 0
                    && !(0..i64::from(length)).contains(&index)
                {
                    let message = format!("the array has {length} elements, and this is number {index}");
                    self.error("array-index", message, span);
                    return unknown(span);
                }
                (*element, pointer, offset, access)
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

    /// `(type)value`.
    pub(super) fn cast(&mut self, ty: &ast::Type, value: &ast::Expression, span: Span) -> Expression {
        let value = self.expression(value);
        let ty = self.type_of(ty);
        match (&value.ty, &ty) {
            (Type::Unknown, _) | (_, Type::Unknown) => unknown(span),
            (from, Type::Int { size, signed }) if from.is_integral() => {
                if let ExpressionKind::Int(value) = value.kind {
                    return number(narrowed(value, *size, *signed), ty, span);
                }
                Expression { span, ty, kind: ExpressionKind::Narrow(Box::new(value)) }
            }
            (from, Type::Bool) if from.is_integral() => {
                let zero = number(0, Type::INT64, span);
                let kind =
                    ExpressionKind::Compare(crate::typed::Comparison::NotEqual, false, Box::new(value), Box::new(zero));
                Expression { span, ty, kind }
            }
            (from, Type::Pointer { .. }) if from.is_integral() => {
                self.argument_taken_for_another(&ty, &value);
                let access = match (from, self.argument_type(&value)) {
                    (Type::Pointer { access: Access::User, .. }, _) => Some(Access::User),
                    // The verifier knows this argument as what the script takes it for.
                    (_, Some(Type::Pointer { to, access })) if ty == Type::pointer((**to).clone()) => Some(*access),
                    _ => None,
                };
                let ty = match (ty, access) {
                    (Type::Pointer { to, .. }, Some(access)) => Type::Pointer { to, access },
                    (other, _) => other,
                };
                Expression { span, ty, kind: ExpressionKind::Retype(Box::new(value)) }
            }
            (from, to) => {
                let message = format!("`{from}` cannot become `{to}`");
                self.error("cast", message, span);
                unknown(span)
            }
        }
    }

    /// A type as written.
    pub(super) fn type_of(&mut self, ty: &ast::Type) -> Type {
        match &ty.kind {
            TypeKind::Named(name) => self.named_type(name, ty.span),
            TypeKind::Tagged(tag, name) => {
                let named = match tag {
                    Tag::Struct => Named::Struct,
                    Tag::Union => Named::Union,
                    Tag::Enum => Named::Enum,
                };
                self.kernel_type(named, name, ty.span)
            }
            TypeKind::Pointer(to) => Type::pointer(self.type_of(to)),
            TypeKind::Array(element, length) => {
                let length = length.as_ref().map(|length| self.integer(length));
                let length = match length.map(|length| length.kind) {
                    Some(ExpressionKind::Int(length)) => u32::try_from(length).unwrap_or(0),
                    _ => 0,
                };
                match &element.kind {
                    TypeKind::Named(name) if name == "string" => Type::Text(length.max(1)),
                    _ => Type::Array(Box::new(self.type_of(element)), length),
                }
            }
            TypeKind::Record(_) | TypeKind::Enumeration(_) | TypeKind::Function(_) => {
                self.error("type", "this type cannot be named here", ty.span);
                Type::Unknown
            }
        }
    }

    fn named_type(&mut self, name: &str, span: Span) -> Type {
        if let Some(ty) = integer_named(name) {
            return ty;
        }
        match name {
            "bool" | "_Bool" => Type::Bool,
            "void" => Type::None,
            "string" => Type::Text(self.settings.max_strlen),
            _ => self.kernel_type(Named::Typedef, name, span),
        }
    }

    fn kernel_type(&mut self, named: Named, name: &str, span: Span) -> Type {
        let found = match self.environment.kernel() {
            Ok(kernel) => kernel.find(named, name).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok(found) => type_of(&found.btf, found.id, Access::Kernel),
            Err(reason) => {
                self.error("unknown-type", reason, span);
                Type::Unknown
            }
        }
    }

    fn measured(&mut self, of: &Measured) -> Type {
        match of {
            Measured::Type(ty) => self.type_of(ty),
            Measured::Value(value) => match &value.kind {
                // A lone name may be a typedef's.
                ast::ExpressionKind::Identifier(name) => self.named_type(name, value.span),
                _ => self.expression(value).ty,
            },
        }
    }

    pub(super) fn size_of(&mut self, of: &Measured, span: Span) -> Expression {
        let ty = self.measured(of);
        if ty == Type::Unknown {
            return unknown(span);
        }
        number(ty.size().into(), Type::UINT64, span)
    }

    pub(super) fn offset_of(&mut self, of: &Measured, path: &[ast::Name], span: Span) -> Expression {
        let mut ty = self.measured(of);
        let mut bits = 0_u64;
        for name in path {
            let Type::Record(record) = &ty else {
                if ty != Type::Unknown {
                    let message = format!("`{ty}` has no fields");
                    self.error("no-fields", message, name.span);
                }
                return unknown(span);
            };
            match record.btf.field(record.id, &name.text) {
                Ok(field) => {
                    bits += u64::from(field.bit_offset);
                    ty = type_of(&record.btf, field.id, Access::Kernel);
                }
                Err(error) => {
                    self.error("unknown-field", error.to_string(), name.span);
                    return unknown(span);
                }
            }
        }
        number(i64::try_from(bits / 8).unwrap_or(0), Type::UINT64, span)
    }
}

/// Integer types by name: the language's own, and C's.
fn integer_named(name: &str) -> Option<Type> {
    let (size, signed) = match name {
        "int8" | "int8_t" | "char" | "signed char" => (1, true),
        "int16" | "int16_t" | "short" | "short int" => (2, true),
        "int32" | "int32_t" | "int" | "signed" | "signed int" => (4, true),
        "int64" | "int64_t" | "long" | "long int" | "long long" | "long long int" => (8, true),
        "uint8" | "uint8_t" | "unsigned char" => (1, false),
        "uint16" | "uint16_t" | "unsigned short" | "unsigned short int" => (2, false),
        "uint32" | "uint32_t" | "unsigned" | "unsigned int" => (4, false),
        "uint64" | "uint64_t" | "unsigned long" | "unsigned long int" | "unsigned long long" | "size_t" => (8, false),
        _ => return None,
    };
    Some(Type::Int { size, signed })
}

/// A number as one of fewer bytes.
pub(crate) fn narrowed(value: i64, size: u8, signed: bool) -> i64 {
    let shift = 64 - 8 * u32::from(size.clamp(1, 8));
    let left = value << shift;
    if signed { left >> shift } else { (left.cast_unsigned() >> shift).cast_signed() }
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
    let bits = (field.bit_offset - first, width);
    read(ty, pointer, offset + i64::from(first / 8), access, Some(bits), span)
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

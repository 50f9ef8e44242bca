//! Types by name, and what they take.

use synscope_btf::Named;

use super::Checker;
use super::expression::{number, unknown};
use super::memory::type_of;
use crate::ast::{self, Measured, Tag, TypeKind};
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind};
use crate::types::{Access, Type};
use crate::untold::needed;

impl Checker<'_> {
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

    /// A type of the script or of the kernel.
    fn kernel_type(&mut self, named: Named, name: &str, span: Span) -> Type {
        if let Some(own) = &self.own
            && let Some(id) = own.lookup(named, name)
        {
            return type_of(own, id, Access::Kernel);
        }
        match self.environment.kernel().map(|kernel| kernel.find(named, name)) {
            Ok(Ok(found)) => return type_of(&found.btf, found.id, Access::Kernel),
            Ok(Err(error)) => self.error("unknown-type", error.to_string(), span),
            Err(error) => self.report(needed(error, span)),
        }
        Type::Unknown
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
pub(super) fn integer_named(name: &str) -> Option<Type> {
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

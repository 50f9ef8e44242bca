//! Types and their definitions as text.

use super::Printer;
use crate::ast::{Enumeration, Name, Record, Tag, Type, TypeKind, Typedef};

fn tag_word(tag: Tag) -> &'static str {
    match tag {
        Tag::Struct => "struct",
        Tag::Union => "union",
        Tag::Enum => "enum",
    }
}

impl Printer {
    pub(super) fn typedef(&mut self, typedef: &Typedef) {
        self.put("typedef ");
        self.declaration(&typedef.ty, &typedef.name.text);
    }

    pub(super) fn record(&mut self, record: &Record) {
        self.put(tag_word(record.tag));
        self.put(" ");
        self.put(if record.packed { "__attribute__((packed)) " } else { "" });
        self.type_name(record.name.as_ref());
        self.put("{");
        self.indent += 1;
        for member in &record.members {
            self.line();
            self.declaration(&member.ty, member.name.as_ref().map_or("", |name| &name.text));
            if let Some(bits) = &member.bits {
                self.put(" : ");
                self.expression(bits);
            }
            self.put(";");
        }
        self.indent -= 1;
        self.line();
        self.put("}");
    }

    pub(super) fn enumeration(&mut self, enumeration: &Enumeration) {
        self.put("enum ");
        self.type_name(enumeration.name.as_ref());
        self.put("{ ");
        self.joined(&enumeration.constants, ", ", |printer, constant| {
            printer.put(&constant.name.text);
            if let Some(value) = &constant.value {
                printer.put(" = ");
                printer.expression(value);
            }
        });
        self.put(" }");
    }

    fn type_name(&mut self, name: Option<&Name>) {
        if let Some(name) = name {
            self.put(&name.text);
            self.put(" ");
        }
    }

    /// A type as casts and `let` write it: stars and brackets from left to right.
    pub(super) fn ty(&mut self, ty: &Type) {
        match &ty.kind {
            TypeKind::Pointer(inner) => {
                self.ty(inner);
                self.put(" *");
            }
            TypeKind::Array(inner, length) => {
                self.ty(inner);
                self.put("[");
                if let Some(length) = length {
                    self.expression(length);
                }
                self.put("]");
            }
            TypeKind::Function(inner) => self.ty(inner),
            _ => self.base(ty),
        }
    }

    /// A type without stars and brackets.
    fn base(&mut self, ty: &Type) {
        match &ty.kind {
            TypeKind::Named(name) => self.put(name),
            TypeKind::Tagged(tag, name) => {
                self.put(tag_word(*tag));
                self.put(" ");
                self.put(name);
            }
            TypeKind::Record(record) => self.record(record),
            TypeKind::Enumeration(enumeration) => self.enumeration(enumeration),
            TypeKind::Pointer(inner) | TypeKind::Array(inner, _) | TypeKind::Function(inner) => self.base(inner),
        }
    }

    /// A C declaration: the base type, then the name with its stars, brackets and parentheses.
    fn declaration(&mut self, ty: &Type, name: &str) {
        self.base(ty);
        let mut around = name.to_owned();
        let mut current = ty;
        loop {
            match &current.kind {
                TypeKind::Pointer(inner) => {
                    let array_or_function = matches!(inner.kind, TypeKind::Array(..) | TypeKind::Function(_));
                    around = if array_or_function { format!("(*{around})") } else { format!("*{around}") };
                    current = inner;
                }
                TypeKind::Array(inner, length) => {
                    let length = length.as_ref().map(|length| super::print_expression(length)).unwrap_or_default();
                    around = format!("{around}[{length}]");
                    current = inner;
                }
                TypeKind::Function(inner) => {
                    around = format!("{around}()");
                    current = inner;
                }
                _ => break,
            }
        }
        if !around.is_empty() {
            self.put(" ");
            self.put(&around);
        }
    }
}

//! Structs, unions, enums and typedefs in C.

use super::types::MAX_SUFFIXES;
use super::{Parser, Result};
use crate::ast::{Constant, Definition, Enumeration, Expression, Member, Name, Record, Tag, Type, TypeKind, Typedef};
use crate::diagnostic::Diagnostic;
use crate::lex::TokenKind;
use crate::source::Span;
use crate::words::C_TYPE_WORDS;

/// What stands around a declared name, nearest first.
enum Modifier {
    Pointer,
    Array(Option<Box<Expression>>),
    Function,
}

impl Parser<'_> {
    /// A definition at the top of the script; a typedef may name several types.
    pub(super) fn definition(&mut self, into: &mut Vec<Definition>) -> Result<()> {
        if self.at_word("typedef") {
            return self.typedef(into);
        }
        let start = self.peek().span;
        let ty = self.specifier()?;
        let definition = match ty.kind {
            TypeKind::Record(record) => Definition::Record(*record),
            TypeKind::Enumeration(enumeration) => Definition::Enumeration(*enumeration),
            _ => {
                let error = Diagnostic::error("no-body", "this definition has no body", ty.span);
                return self.fail(error.because("the kernel's own types are known without being declared"));
            }
        };
        let named = match &definition {
            Definition::Record(record) => record.name.is_some(),
            Definition::Enumeration(_) | Definition::Typedef(_) => true,
        };
        if !named {
            let error = Diagnostic::error("nameless-type", "a struct or union at the top needs a name", start);
            self.diagnostics.push(error);
        }
        into.push(definition);
        Ok(())
    }

    fn typedef(&mut self, into: &mut Vec<Definition>) -> Result<()> {
        let start = self.bump().span;
        let mut base = self.specifier()?;
        loop {
            let (name, ty) = self.declarator(&mut base)?;
            let Some(name) = name else { return self.unexpected("the new name of the type") };
            into.push(Definition::Typedef(Typedef { span: self.since(start), name, ty }));
            if !self.eat(",") {
                break;
            }
        }
        self.expect(";", "behind the typedef").map(|_| ())
    }

    /// The part of a declaration before the names: a named type, or a definition in its place.
    fn specifier(&mut self) -> Result<Type> {
        self.skip_qualifiers();
        let start = self.peek().span;
        let Some(tag) = self.tag() else { return self.named_type() };
        self.bump();
        let packed = self.attributes()?;
        let name = if self.at("{") { None } else { Some(self.name("a type")?) };
        let packed = self.attributes()? || packed;
        if !self.at("{") {
            let text = name.map_or_else(String::new, |name| name.text);
            let ty = Type { span: self.since(start), kind: TypeKind::Tagged(tag, text) };
            self.skip_qualifiers();
            return Ok(ty);
        }
        let kind = if tag == Tag::Enum {
            let constants = self.constants()?;
            let span = self.since(start);
            TypeKind::Enumeration(Box::new(Enumeration { span, name, constants }))
        } else {
            let members = self.nested(Self::members)?;
            let packed = self.attributes()? || packed;
            TypeKind::Record(Box::new(Record { span: self.since(start), tag, name, members, packed }))
        };
        Ok(Type { span: self.since(start), kind })
    }

    fn members(&mut self) -> Result<Vec<Member>> {
        let opened = self.expect("{", "before the members")?;
        let mut members = Vec::new();
        while !self.at("}") {
            if self.peek().kind == TokenKind::End {
                self.expect_closing("}", opened)?;
            }
            let start = self.peek().span;
            let mut base = self.specifier()?;
            if self.at(";") {
                members.push(Member { span: self.since(start), name: None, ty: base, bits: None });
            } else {
                self.declared_members(start, &mut base, &mut members)?;
            }
            self.expect(";", "behind a member")?;
        }
        self.bump();
        Ok(members)
    }

    /// `*a, b[4], c : 3`.
    fn declared_members(&mut self, start: Span, base: &mut Type, members: &mut Vec<Member>) -> Result<()> {
        loop {
            let (name, ty) = self.declarator(base)?;
            let bits = if self.eat(":") { Some(self.expression()?) } else { None };
            if name.is_none() && bits.is_none() {
                return self.unexpected("the name of a member");
            }
            self.attributes()?;
            members.push(Member { span: self.since(start), name, ty, bits });
            if !self.eat(",") {
                return Ok(());
            }
        }
    }

    /// A name with stars, brackets and parentheses around it, and the type that they make of `base`.
    fn declarator(&mut self, base: &mut Type) -> Result<(Option<Name>, Type)> {
        let mut modifiers = Vec::new();
        let name = self.modifiers(&mut modifiers)?;
        let span = base.span;
        let ty = self.shared(base)?;
        let ty = modifiers.into_iter().rev().fold(ty, |ty, modifier| {
            let inner = Box::new(ty);
            let kind = match modifier {
                Modifier::Pointer => TypeKind::Pointer(inner),
                Modifier::Array(length) => TypeKind::Array(inner, length),
                Modifier::Function => TypeKind::Function(inner),
            };
            Type { span, kind }
        });
        Ok((name, ty))
    }

    /// The type for one more name: a definition is kept once, and later names refer to it.
    fn shared(&mut self, base: &mut Type) -> Result<Type> {
        let tagged = match &base.kind {
            TypeKind::Record(record) => record.name.as_ref().map(|name| (record.tag, name.text.clone())),
            TypeKind::Enumeration(found) => found.name.as_ref().map(|name| (Tag::Enum, name.text.clone())),
            _ => return Ok(base.clone()),
        };
        let (tag, name) = tagged.unwrap_or((Tag::Struct, String::new()));
        let next = Type { span: base.span, kind: TypeKind::Tagged(tag, name) };
        if self.at(",") && matches!(&next.kind, TypeKind::Tagged(_, name) if name.is_empty()) {
            let error = Diagnostic::error("nameless-type", "a type without a name can be used once only", base.span);
            return self.fail(error.because("give it a name, or declare the members one by one"));
        }
        Ok(std::mem::replace(base, next))
    }

    fn modifiers(&mut self, modifiers: &mut Vec<Modifier>) -> Result<Option<Name>> {
        let mut stars = 0;
        while self.eat("*") {
            self.skip_qualifiers();
            stars += 1;
        }
        let name = match &self.peek().kind {
            TokenKind::Symbol("(") => {
                let opened = self.bump().span;
                let name = self.nested(|parser| parser.modifiers(modifiers))?;
                self.expect_closing(")", opened)?;
                name
            }
            // `long (int)()` declares nothing: a word of C's own types is never a name.
            TokenKind::Word(word) if !C_TYPE_WORDS.contains(&word.as_str()) => Some(self.field_name()?),
            _ => None,
        };
        loop {
            if self.at("[") {
                let length = self.array_length()?;
                modifiers.push(Modifier::Array(length));
            } else if self.at("(") {
                self.skip_parentheses()?;
                modifiers.push(Modifier::Function);
            } else {
                break;
            }
        }
        modifiers.extend((0..stars).map(|_| Modifier::Pointer));
        if modifiers.len() > MAX_SUFFIXES {
            let message = format!("this type has more than {MAX_SUFFIXES} stars and brackets");
            return self.fail(Diagnostic::error("too-deep", message, self.last_span()));
        }
        Ok(name)
    }

    /// The parameters of a function pointer, which do not matter to a struct's layout.
    fn skip_parentheses(&mut self) -> Result<()> {
        let opened = self.peek().span;
        let mut depth = 0_u32;
        loop {
            match self.peek().kind {
                TokenKind::Symbol("(") => depth += 1,
                TokenKind::Symbol(")") => depth -= 1,
                TokenKind::End | TokenKind::Symbol(";" | "}") => {
                    return self.expect_closing(")", opened).map(|_| ());
                }
                _ => {}
            }
            self.bump();
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn constants(&mut self) -> Result<Vec<Constant>> {
        let opened = self.expect("{", "before the constants")?;
        let mut constants = Vec::new();
        while !self.at("}") {
            let name = self.name("a constant")?;
            let value = if self.eat("=") { Some(self.expression()?) } else { None };
            constants.push(Constant { name, value });
            if !self.eat(",") {
                break;
            }
        }
        self.expect_closing("}", opened)?;
        Ok(constants)
    }

    /// `__attribute__((packed))`; whether it was there.
    fn attributes(&mut self) -> Result<bool> {
        let mut packed = false;
        while self.at_word("__attribute__") {
            self.bump();
            let outer = self.expect("(", "behind `__attribute__`")?;
            let inner = self.expect("(", "behind `__attribute__`")?;
            let attribute = self.name("an attribute")?;
            match attribute.text.as_str() {
                "packed" | "__packed__" => packed = true,
                "preserve_access_index" => {}
                other => {
                    let message = format!("the attribute `{other}` is not understood");
                    return self.fail(Diagnostic::error("unsupported", message, attribute.span));
                }
            }
            self.expect_closing(")", inner)?;
            self.expect_closing(")", outer)?;
        }
        Ok(packed)
    }
}

//! Types as C.

use std::fmt::Write;

use crate::walk::DEPTH_MAX;
use crate::{Btf, BtfError, Composite, Enum, Prototype, Type, TypeId};

/// Characters that are written for one type: the kernel's largest struct takes some 20,000. Without a bound, what a
/// damaged file says would be written for ever.
const LENGTH_MAX: usize = 1 << 18;

impl Btf {
    /// A type as C writes it without a name: `struct sock *`, `u8[16]`, `int (*)(struct sock *, int)`.
    pub fn type_name(&self, id: TypeId) -> Result<String, BtfError> {
        self.declare(id, "")
    }

    /// A variable, member or parameter of a type, as C declares it: `u8 name[16]`.
    pub fn declare(&self, id: TypeId, name: &str) -> Result<String, BtfError> {
        Text::new(self, id).declared(id, name.to_owned(), None)
    }

    /// What a type is, as C: a struct with its members, an enumeration with its constants, what a typedef stands for, a
    /// function's parameters. Structs within a struct that have names are named only.
    pub fn declaration(&self, id: TypeId) -> Result<String, BtfError> {
        let mut text = Text::new(self, id);
        let mut line = match self.type_of(id)? {
            Type::Struct(found) => text.members("struct", &found, Some(0))?,
            Type::Union(found) => text.members("union", &found, Some(0))?,
            Type::Enum(found) => text.constants(&found, Some(0))?,
            Type::Typedef(found) => format!("typedef {}", text.declared(found.target, found.name.to_owned(), Some(0))?),
            Type::Function(found) => return text.declared(found.prototype, found.name.to_owned(), None),
            Type::Variable(found) => text.declared(found.target, found.name.to_owned(), None)?,
            _ => text.declared(id, String::new(), None)?,
        };
        line.push(';');
        Ok(line)
    }

    /// A type's name for an error: one that cannot be told is told by its number.
    pub(crate) fn describe(&self, id: TypeId) -> String {
        self.type_name(id).unwrap_or_else(|_damaged| format!("type {}", id.number()))
    }
}

/// Text being written.
struct Text<'a> {
    btf: &'a Btf,
    /// The type that was asked about.
    of: TypeId,
    /// Characters that may still be written.
    left: usize,
    depth: usize,
}

impl<'a> Text<'a> {
    const fn new(btf: &'a Btf, of: TypeId) -> Self {
        Self { btf, of, left: LENGTH_MAX, depth: 0 }
    }

    /// Takes from what may still be written.
    fn spend(&mut self, length: usize) -> Result<(), BtfError> {
        self.left = self.left.checked_sub(length.max(1)).ok_or(BtfError::Endless(self.of))?;
        Ok(())
    }

    /// A declaration is written from the name outwards: what it is behind it, what it points to before it. With an
    /// indent, unnamed structs are written with their members; without, as `{...}`.
    fn declared(&mut self, id: TypeId, name: String, indent: Option<usize>) -> Result<String, BtfError> {
        self.depth += 1;
        let mut around = name;
        let mut next = id;
        let mut qualifiers = String::new();
        // Whether a `*` was written last: what is an array or a function then needs parentheses.
        let mut pointer = false;
        for _step in 0..=DEPTH_MAX {
            if self.depth > DEPTH_MAX {
                break;
            }
            let found = self.btf.type_of(next)?;
            self.spend(4)?;
            match found {
                Type::Pointer(target) => {
                    let gap = if around.starts_with('(') || !qualifiers.is_empty() { " " } else { "" };
                    around = format!("*{gap}{qualifiers}{around}").trim_end().to_owned();
                    qualifiers.clear();
                    (next, pointer) = (target, true);
                }
                Type::Array(array) => {
                    let inner = if pointer { format!("({around})") } else { around };
                    around = format!("{inner}[{}]", array.length);
                    (next, pointer) = (array.element, false);
                }
                Type::Prototype(prototype) => {
                    let inner = if pointer { format!("({around})") } else { around };
                    around = format!("{inner}({})", self.parameters(&prototype)?);
                    (next, pointer) = (prototype.returns, false);
                }
                Type::Const(target) => next = qualified("const", target, &mut qualifiers),
                Type::Volatile(target) => next = qualified("volatile", target, &mut qualifiers),
                Type::Restrict(target) => next = qualified("restrict", target, &mut qualifiers),
                Type::TypeTag(tag) => {
                    self.spend(tag.name.len())?;
                    let attribute = format!("__attribute__(({}))", tag.name);
                    let word = if tag.attribute { attribute } else { format!("__{}", tag.name) };
                    next = qualified(&word, tag.target, &mut qualifiers);
                }
                last => {
                    let text = self.last(&last, indent)?;
                    self.depth -= 1;
                    let gap = if around.is_empty() || around.starts_with('[') { "" } else { " " };
                    return Ok(format!("{qualifiers}{text}{gap}{around}"));
                }
            }
        }
        Err(BtfError::Endless(self.of))
    }

    /// What a declaration begins with.
    fn last(&mut self, found: &Type<'_>, indent: Option<usize>) -> Result<String, BtfError> {
        let named = |keyword: &str, name: &str| format!("{keyword} {name}");
        let text = match found {
            Type::Void => "void".to_owned(),
            Type::Int(int) => int.name.to_owned(),
            Type::Float(float) => float.name.to_owned(),
            Type::Typedef(typedef) => typedef.name.to_owned(),
            Type::Struct(found) if found.name.is_empty() => self.members("struct", found, indent)?,
            Type::Union(found) if found.name.is_empty() => self.members("union", found, indent)?,
            Type::Enum(found) if found.name.is_empty() => self.constants(found, indent)?,
            Type::Struct(found) => named("struct", found.name),
            Type::Union(found) => named("union", found.name),
            Type::Enum(found) => named("enum", found.name),
            Type::Forward(found) => named(if found.union { "union" } else { "struct" }, found.name),
            Type::Function(found) => found.name.to_owned(),
            Type::Variable(found) => found.name.to_owned(),
            Type::Section(found) => found.name.to_owned(),
            Type::DeclTag(found) => found.name.to_owned(),
            _ => String::new(),
        };
        self.spend(text.len())?;
        Ok(text)
    }

    fn members(&mut self, keyword: &str, found: &Composite<'_>, indent: Option<usize>) -> Result<String, BtfError> {
        let mut text = opening(keyword, found.name);
        if found.members.len() == 0 {
            return Ok(text + "{}");
        }
        let Some(indent) = indent else { return Ok(text + "{...}") };
        text.push_str("{\n");
        for member in found.members.clone() {
            self.spend(indent + 4 + member.name.len())?;
            let mut name = member.name.to_owned();
            if let Some(bits) = member.bit_size {
                write!(name, ": {bits}").unwrap_or_default();
            }
            let member = self.declared(member.id, name, Some(indent + 1))?;
            text.extend(["\t".repeat(indent + 1), member, ";\n".to_owned()]);
        }
        Ok(text + &"\t".repeat(indent) + "}")
    }

    fn constants(&mut self, found: &Enum<'_>, indent: Option<usize>) -> Result<String, BtfError> {
        let mut text = opening("enum", found.name);
        let Some(indent) = indent else { return Ok(text + "{...}") };
        text.push_str("{\n");
        let suffix = match (found.size, found.signed) {
            (8, true) => "LL",
            (8, false) => "ULL",
            _ => "",
        };
        for constant in found.values.clone() {
            let line = format!("{}{} = {}{suffix},\n", "\t".repeat(indent + 1), constant.name, constant.value);
            self.spend(line.len())?;
            text.push_str(&line);
        }
        Ok(text + &"\t".repeat(indent) + "}")
    }

    fn parameters(&mut self, prototype: &Prototype<'_>) -> Result<String, BtfError> {
        let mut all = Vec::new();
        for parameter in prototype.parameters.clone() {
            self.spend(parameter.name.len())?;
            all.push(self.declared(parameter.id, parameter.name.to_owned(), None)?);
        }
        if prototype.variadic {
            all.push("...".to_owned());
        }
        Ok(if all.is_empty() { "void".to_owned() } else { all.join(", ") })
    }
}

fn qualified(word: &str, target: TypeId, qualifiers: &mut String) -> TypeId {
    // An array and what it holds may both be `const`: C says it once.
    if !qualifiers.split_whitespace().any(|other| other == word) {
        qualifiers.push_str(word);
        qualifiers.push(' ');
    }
    target
}

fn opening(keyword: &str, name: &str) -> String {
    if name.is_empty() { format!("{keyword} ") } else { format!("{keyword} {name} ") }
}

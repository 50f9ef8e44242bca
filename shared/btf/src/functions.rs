//! What functions take and return.

use std::slice::Iter;

use crate::record::{Record, Word, number};
use crate::walk::DEPTH_MAX;
use crate::{Btf, BtfError, Named, Pattern, Type, TypeId, Variable};

/// What the typedef of a raw tracepoint's type begins with.
const TRACEPOINT: &str = "btf_trace_";

/// Who sees a function or a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// Its own source file.
    Static,
    /// All.
    Global,
    /// It is declared here and defined elsewhere.
    Extern,
}

impl Linkage {
    pub(crate) const fn of(number: u32) -> Self {
        match number {
            0 => Self::Static,
            2 => Self::Extern,
            _ => Self::Global,
        }
    }
}

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function<'a> {
    /// The function's own number, by which a program is attached to it.
    pub id: TypeId,
    /// Its name.
    pub name: &'a str,
    /// What it takes and returns.
    pub prototype: TypeId,
    /// Who sees it.
    pub linkage: Linkage,
}

/// What a function takes and returns.
#[derive(Debug, Clone)]
pub struct Prototype<'a> {
    /// What it returns.
    pub returns: TypeId,
    /// What it takes.
    pub parameters: Parameters<'a>,
    /// Whether it takes any number of arguments after these.
    pub variadic: bool,
}

impl<'a> Prototype<'a> {
    pub(crate) fn new(btf: &'a Btf, record: &Record<'a>) -> Self {
        // The three dots are a last parameter without a name or a type.
        let (words, variadic) = match record.pairs() {
            [words @ .., last] if last.map(number) == [0, 0] => (words, true),
            words => (words, false),
        };
        Self { returns: TypeId::new(record.word), parameters: Parameters { btf, words: words.iter() }, variadic }
    }
}

/// What a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Its name; empty in the prototypes of pointers.
    pub name: &'a str,
    /// Its type.
    pub id: TypeId,
}

/// The parameters of a function, in order.
#[derive(Debug, Clone)]
pub struct Parameters<'a> {
    btf: &'a Btf,
    words: Iter<'a, [Word; 2]>,
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Parameter<'a>;

    fn next(&mut self) -> Option<Parameter<'a>> {
        let [name, id] = self.words.next()?.map(number);
        Some(Parameter { name: self.btf.name(name), id: TypeId::new(id) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.words.size_hint()
    }
}

impl ExactSizeIterator for Parameters<'_> {}

impl Btf {
    /// The functions of this file whose names are like a pattern, in the file's order.
    pub fn functions(&self, names: &Pattern) -> impl Iterator<Item = Function<'_>> {
        let found = self.named(Named::Function).filter(|(name, _)| names.matches(name));
        found.filter_map(|(_, id)| match self.type_of(id) {
            Ok(Type::Function(function)) => Some(function),
            _ => None,
        })
    }

    /// What a function takes and returns: of a function, of a prototype, or of a pointer to one.
    pub fn prototype(&self, id: TypeId) -> Result<Prototype<'_>, BtfError> {
        let mut of = id;
        for _step in 0..DEPTH_MAX {
            of = match self.resolve(of)?.1 {
                Type::Prototype(found) => return Ok(found),
                Type::Function(function) => function.prototype,
                Type::Pointer(target) | Type::Variable(Variable { target, .. }) => target,
                _ => return Err(BtfError::Unlike { of: self.describe(id), wanted: "function" }),
            };
        }
        Err(BtfError::Endless(id))
    }

    /// What a raw tracepoint gives its programs, in this file; none if there is no such tracepoint. The kernel's own
    /// first parameter, which programs do not get, is not skipped here.
    ///
    /// Each tracepoint has a typedef `btf_trace_…` (`include/trace/bpf_probe.h`), which does not name the parameters.
    /// The function that goes through a tracepoint's callers names them (`include/linux/tracepoint.h`, since 5.10).
    pub fn raw_tracepoint(&self, name: &str) -> Option<Prototype<'_>> {
        let unnamed = self.prototype(self.lookup(Named::Typedef, &format!("{TRACEPOINT}{name}"))?).ok()?;
        let iterate = self.lookup(Named::Function, &format!("__traceiter_{name}"));
        let named = iterate.and_then(|id| self.prototype(id).ok());
        Some(match named {
            Some(named) if named.parameters.len() == unnamed.parameters.len() => {
                Prototype { returns: unnamed.returns, ..named }
            }
            _ => unnamed,
        })
    }

    /// Names of this file's raw tracepoints that are like a pattern, in the file's order.
    pub fn raw_tracepoints(&self, names: &Pattern) -> impl Iterator<Item = &str> {
        let all = self.own_names(Named::Typedef).filter_map(|name| name.strip_prefix(TRACEPOINT));
        all.filter(|name| names.matches(name))
    }
}

//! Tracepoints as tracefs lists them: their names, and the fields of their records.

use std::io;
use std::path::{Path, PathBuf};

use synscope_btf::{Named, Pattern};

use crate::check::Environment;
use crate::check::type_by_id;
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind, Source};
use crate::types::{Access, Type};
use crate::words::nearest;

/// Where tracefs is mounted, on its own or within debugfs.
const FOLDERS: [&str; 2] = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];

/// Why tracepoints cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum TracefsError {
    /// There is no tracefs.
    #[error("tracepoints are read from tracefs, which is not mounted: mount -t tracefs tracefs /sys/kernel/tracing")]
    NotMounted,
    /// A file of it.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that does not say what it should.
    #[error("{} has no number", .0.display())]
    Number(PathBuf),
}

/// A field of a tracepoint's record.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    ty: Type,
    offset: i16,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A number in the record.
    Number,
    /// An array or text in the record.
    Inside,
    /// An array or text whose place in the record stands in the record: the offset is the lower half.
    Elsewhere,
}

impl Field {
    /// The field's value.
    pub(crate) fn read(&self, span: Span) -> Expression {
        let context =
            || Expression { span, ty: Type::pointer(Type::None), kind: ExpressionKind::Source(Source::Context) };
        let part = |size| ExpressionKind::Source(Source::ContextPart(self.offset, size));
        let kind = match self.kind {
            Kind::Number => part(u8::try_from(self.ty.size()).unwrap_or(8)),
            Kind::Inside => {
                let offset = self.offset.into();
                return crate::check::read(self.ty.clone(), Box::new(context()), offset, Access::Kernel, None, span);
            }
            Kind::Elsewhere => {
                let low = Expression { span, ty: Type::Int { size: 2, signed: false }, kind: part(2) };
                let kind = ExpressionKind::Binary(crate::typed::Arithmetic::Add, Box::new(context()), Box::new(low));
                let pointer = Expression { span, ty: Type::pointer(Type::None), kind };
                ExpressionKind::Memory { pointer: Box::new(pointer), offset: 0, access: Access::Kernel, bits: None }
            }
        };
        Expression { span, ty: self.ty.clone(), kind }
    }
}

fn folder() -> Result<&'static Path, TracefsError> {
    for folder in FOLDERS.map(Path::new) {
        match folder.metadata() {
            Ok(_) => return Ok(folder),
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(TracefsError::Read { path: folder.to_owned(), source });
            }
            Err(_) => {}
        }
    }
    Err(TracefsError::NotMounted)
}

fn names(folder: &Path, pattern: &str) -> Result<Vec<String>, TracefsError> {
    // A plain name must not lead out of the folder.
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if !pattern.contains(['*', '?', '[']) {
        let found = plain(pattern) && folder.join(pattern).is_dir();
        return Ok(if found { vec![pattern.to_owned()] } else { Vec::new() });
    }
    let wanted = Pattern::new(pattern);
    let read = |source| TracefsError::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if wanted.matches(&name) && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Tracepoints by their category and name, either of which may be a pattern.
pub(crate) fn events(category: &str, event: &str) -> Result<Vec<(String, String)>, TracefsError> {
    let folder = folder()?;
    let mut found = Vec::new();
    for category in names(folder, category)? {
        found.extend(names(&folder.join(&category), event)?.into_iter().map(|event| (category.clone(), event)));
    }
    Ok(found)
}

/// A tracepoint of nearly this name.
pub(crate) fn near(category: &str, event: &str) -> Option<String> {
    let folder = folder().ok()?;
    let all = events("*", "*").ok()?;
    let same_category = folder.join(category).is_dir();
    let candidates = all.iter().filter(|(other, _)| !same_category || other == category);
    let names: Vec<String> = candidates.map(|(category, event)| format!("{category}:{event}")).collect();
    nearest(&format!("{category}:{event}"), names.iter().map(String::as_str)).map(str::to_owned)
}

/// The number of a tracepoint, and the fields of its record.
pub(crate) fn format(
    category: &str,
    event: &str,
    environment: &Environment,
) -> Result<(u64, Vec<Field>), TracefsError> {
    let folder = folder()?.join(category).join(event);
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|source| TracefsError::Read { path, source })
    };
    let id = read("id")?.trim().parse().map_err(|_not_one| TracefsError::Number(folder.join("id")))?;
    let user = category == "syscalls";
    let fields = read("format")?.lines().filter_map(|line| field(line.trim(), user, environment)).collect();
    Ok((id, fields))
}

/// The fields of a tracepoint's record as tracefs declares them, without those that all have.
pub(crate) fn declarations(category: &str, event: &str) -> Result<Vec<String>, TracefsError> {
    let path = folder()?.join(category).join(event).join("format");
    let text = std::fs::read_to_string(&path).map_err(|source| TracefsError::Read { path, source })?;
    let declared = text.lines().filter_map(|line| line.trim().strip_prefix("field:")?.split(';').next());
    Ok(declared.filter(|declared| !declared.contains(" common_")).map(str::to_owned).collect())
}

/// `field:pid_t prev_pid; offset:24; size:4; signed:1;`, with tabs for the blanks between.
fn field(line: &str, user: bool, environment: &Environment) -> Option<Field> {
    let mut parts = line.strip_prefix("field:")?.split(';').map(str::trim);
    let declaration = parts.next()?;
    let mut number = |name: &str| parts.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let (offset, size, signed) = (number("offset:")?, number("size:")?, number("signed:")? != 0);
    let offset = i16::try_from(offset).ok()?;
    let (elsewhere, array, ty, name) = if let Some(declaration) = declaration.strip_prefix("__data_loc ") {
        let (ty, name) = declaration.rsplit_once(' ')?;
        (true, true, ty.trim_end_matches("[]"), name)
    } else {
        let declared = declaration.split_once('[');
        let (ty, name) = declared.map_or(declaration, |(declared, _)| declared).rsplit_once([' ', '*'])?;
        (false, declared.is_some(), ty, name)
    };
    let pointer = declaration.contains('*');
    let (ty, kind) = if array {
        let length = if elsewhere { 0 } else { size };
        let element = element(ty);
        let count = length / element.size().max(1);
        let kind = if elsewhere { Kind::Elsewhere } else { Kind::Inside };
        (Type::Array(Box::new(element), count), kind)
    } else if pointer {
        let access = if user { Access::User } else { Access::Kernel };
        // `argv` is a pointer to pointers.
        let inner = declaration.matches('*').skip(1);
        let to = inner.fold(pointee(ty, environment), |to, _| Type::Pointer { to: Box::new(to), access });
        (Type::Pointer { to: Box::new(to), access }, Kind::Number)
    } else {
        let size = u8::try_from(size).ok().filter(|size| matches!(size, 1 | 2 | 4 | 8))?;
        // System calls' records have eight bytes for an `int` too, and no sign.
        let declared = if user { declared(ty, environment) } else { None };
        let narrower = declared.filter(|declared| declared.size() < u32::from(size));
        let ty = named(ty, environment).or(narrower).unwrap_or(Type::Int { size, signed });
        (ty, Kind::Number)
    };
    Some(Field { name: name.to_owned(), ty, offset, kind })
}

/// An enumeration, whose values have names.
fn named(ty: &str, environment: &Environment) -> Option<Type> {
    let name = ty.trim().strip_prefix("enum ")?;
    let found = environment.kernel().ok()?.find(Named::Enum, name.trim()).ok()?;
    Some(type_by_id(&found.btf, found.id))
}

/// A number's type by its name.
fn declared(ty: &str, environment: &Environment) -> Option<Type> {
    let vmlinux = environment.kernel().ok()?.vmlinux();
    let id = vmlinux.lookup(Named::Number, ty).or_else(|| vmlinux.lookup(Named::Typedef, ty))?;
    Some(type_by_id(vmlinux, id)).filter(|ty| matches!(ty, Type::Int { .. }))
}

fn element(ty: &str) -> Type {
    let (size, signed) = match ty.trim_start_matches("const ").trim() {
        "char" => (1, true),
        "u16" | "__u16" | "__be16" | "unsigned short" => (2, false),
        "u32" | "__u32" | "__be32" | "unsigned int" => (4, false),
        "int" | "s32" => (4, true),
        "u64" | "__u64" | "unsigned long" => (8, false),
        _ => (1, false),
    };
    Type::Int { size, signed }
}

/// What a pointer points to, if it is a struct or characters.
fn pointee(ty: &str, environment: &Environment) -> Type {
    let words: Vec<&str> = ty.split([' ', '*']).filter(|word| !word.is_empty() && *word != "const").collect();
    match words.as_slice() {
        ["char"] => Type::Int { size: 1, signed: true },
        ["struct", name] => environment
            .kernel()
            .ok()
            .and_then(|kernel| kernel.find(Named::Struct, name).ok())
            .map_or(Type::None, |found| type_by_id(&found.btf, found.id)),
        _ => Type::None,
    }
}

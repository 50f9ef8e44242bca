//! Through names and qualifiers to the type itself, and how large it is.

use crate::{Array, Btf, BtfError, DeclTag, Enum, Int, Sized, Type, TypeId};

/// Types that are gone through to the type itself; the kernel itself goes through 32 (`MAX_RESOLVE_DEPTH`).
pub(crate) const DEPTH_MAX: usize = 32;
/// Bytes of a pointer in the kernel: eBPF has no other.
const POINTER: u32 = 8;

impl Btf {
    /// The types from this one through typedefs, qualifiers and tags to the type itself, which is the last. Here one
    /// sees that a `u32` is called `__be32`, or that what a pointer points to is user memory.
    pub fn walk(&self, id: TypeId) -> impl Iterator<Item = Result<(TypeId, Type<'_>), BtfError>> {
        let mut next = Some(id);
        let mut steps = 0;
        std::iter::from_fn(move || {
            let here = next.take()?;
            steps += 1;
            if steps > DEPTH_MAX {
                return Some(Err(BtfError::Endless(id)));
            }
            let found = self.type_of(here);
            if let Ok(found) = &found {
                next = match found {
                    Type::Typedef(named) => Some(named.target),
                    found => qualified(found),
                };
            }
            Some(found.map(|found| (here, found)))
        })
    }

    /// The type itself, behind typedefs, qualifiers and tags.
    pub fn resolve(&self, id: TypeId) -> Result<(TypeId, Type<'_>), BtfError> {
        self.walk(id).last().unwrap_or(Err(BtfError::NoType(id)))
    }

    /// The type behind qualifiers and tags, a typedef where one is next.
    pub fn unqualified(&self, id: TypeId) -> Result<(TypeId, Type<'_>), BtfError> {
        let is_it = |step: &Result<(TypeId, Type<'_>), BtfError>| match step {
            Ok((_, found)) => qualified(found).is_none(),
            Err(_) => true,
        };
        self.walk(id).find(is_it).unwrap_or(Err(BtfError::NoType(id)))
    }

    /// Marks on a type, such as `user`, `percpu` or `rcu`, also behind typedefs. A pointer's are on what it points to.
    pub fn type_tags(&self, id: TypeId) -> Result<Vec<&str>, BtfError> {
        let mut tags = Vec::new();
        for step in self.walk(id) {
            if let (_, Type::TypeTag(tag)) = step? {
                tags.push(tag.name);
            }
        }
        Ok(tags)
    }

    /// Marks on a struct, function or other declaration, and on its members or parameters.
    pub fn decl_tags(&self, id: TypeId) -> impl Iterator<Item = DeclTag<'_>> {
        // A module may mark what it declares itself only.
        let base = self.base().into_iter().flat_map(move |base| base.own_decl_tags(id));
        base.chain(self.own_decl_tags(id))
    }

    fn own_decl_tags(&self, id: TypeId) -> impl Iterator<Item = DeclTag<'_>> {
        self.tags().of(id).filter_map(|tag| match self.type_of(tag) {
            Ok(Type::DeclTag(tag)) => Some(tag),
            _ => None,
        })
    }

    /// Bytes of a type.
    pub fn size_of(&self, id: TypeId) -> Result<u32, BtfError> {
        let (mut of, mut count) = (id, 1_u32);
        for _step in 0..DEPTH_MAX {
            let size = match self.resolve(of)?.1 {
                Type::Array(Array { element, length, .. }) => {
                    count = count.checked_mul(length).ok_or(BtfError::Endless(id))?;
                    of = element;
                    continue;
                }
                Type::Variable(variable) => {
                    of = variable.target;
                    continue;
                }
                Type::Int(Int { size, .. }) | Type::Float(Sized { size, .. }) | Type::Enum(Enum { size, .. }) => size,
                Type::Struct(composite) | Type::Union(composite) => composite.size,
                Type::Section(section) => section.size,
                Type::Pointer(_) => POINTER,
                _ => return Err(BtfError::Unsized(self.describe(id))),
            };
            return size.checked_mul(count).ok_or(BtfError::Endless(id));
        }
        Err(BtfError::Endless(id))
    }
}

/// What a qualifier or tag is on.
pub(crate) const fn qualified(found: &Type<'_>) -> Option<TypeId> {
    match found {
        Type::Const(target) | Type::Volatile(target) | Type::Restrict(target) => Some(*target),
        Type::TypeTag(tag) => Some(tag.target),
        _ => None,
    }
}

//! Maps: what is known of their keys and values, and how they are used.

use super::Checker;
use crate::ast;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::typed::{Entry, Expression, ExpressionKind, Held, Map, MapId};
use crate::types::{Aggregate, Series, Type};

/// What the uses of a map so far say about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    name: String,
    span: Span,
    key: Keys,
    value: Option<Held>,
}

/// Whether a map has keys.
#[derive(Debug, Clone, PartialEq)]
enum Keys {
    NotKnown,
    None,
    Of(Type),
}

/// Bytes of a map's key: offsets within what programs keep it in are of 16 bits, and more is no use. Old kernels take
/// 512 at most, and say so when the map is made.
const MAX_KEY: u32 = 1 << 14;

impl Checker<'_> {
    /// The map of that name.
    pub(super) fn map(&mut self, name: &ast::Name) -> MapId {
        if let Some(known) = self.maps.iter().position(|map| map.name == name.text) {
            return known;
        }
        self.maps.push(Known { name: name.text.clone(), span: name.span, key: Keys::NotKnown, value: None });
        self.maps.len() - 1
    }

    /// What a map holds, if that is known.
    pub(super) fn held(&self, map: MapId) -> Option<&Held> {
        self.maps.get(map).and_then(|known| known.value.as_ref())
    }

    /// The type of a map's keys: none if it has none, or if nothing is known yet.
    pub(super) fn key_type(&self, map: MapId) -> Option<&Type> {
        match self.maps.get(map).map(|known| &known.key) {
            Some(Keys::Of(ty)) => Some(ty),
            _ => None,
        }
    }

    pub(super) fn map_name(&self, map: MapId) -> String {
        self.maps.get(map).map_or_else(String::new, |known| format!("@{}", known.name))
    }

    /// A map that is read, and nothing is put into it: unless a probe that could not be found would have.
    pub(super) fn undefined_map(&mut self, map: MapId, span: Span) {
        if !self.incomplete {
            let name = self.map_name(map);
            self.error("undefined-map", format!("nothing is put into `{name}`"), span);
        }
    }

    /// An entry as written.
    pub(super) fn entry(&mut self, access: &ast::MapAccess) -> Entry {
        let map = self.map(&access.name);
        let key = access.key.as_ref().map(|key| self.expression(key));
        self.entry_of(map, key, access.span)
    }

    /// An entry by its key.
    pub(super) fn entry_of(&mut self, map: MapId, key: Option<Expression>, span: Span) -> Entry {
        if let Some(Type::None) = key.as_ref().map(|key| &key.ty) {
            self.error("no-value", "this has no value to be a key", span);
        }
        let written = key.as_ref().map(|key| key.ty.stored());
        let name = self.map_name(map);
        let (mut wrong, mut cast) = (None, None);
        if let Some(known) = self.maps.get_mut(map) {
            match (&mut known.key, written) {
                (slot @ Keys::NotKnown, written) => *slot = written.map_or(Keys::None, Keys::Of),
                (Keys::None, None) => {}
                (Keys::Of(known), Some(written)) => {
                    if let Some(joined) = known.join(&written) {
                        *known = joined;
                    } else {
                        cast = cast_to(known, &written);
                        wrong = Some(format!("keys of `{name}` are `{known}`, and this is `{written}`"));
                    }
                }
                (Keys::Of(known), None) => {
                    wrong = Some(format!("`{name}` has keys of type `{known}`, and none is here"));
                }
                (Keys::None, Some(_)) => wrong = Some(format!("`{name}` is used without a key elsewhere")),
            }
            if matches!(&known.key, Keys::Of(key) if key.room() > MAX_KEY) {
                wrong = Some(format!("keys of `{name}` are longer than {MAX_KEY} bytes"));
            }
        }
        if let Some(message) = wrong {
            let first = self.maps.get(map).map(|known| known.span).filter(|first| *first != span);
            let error = Diagnostic::error("key-type", message, span);
            let error = match (cast, &key) {
                (Some(cast), Some(key)) => error.suggest(key.span.before(), cast, "a cast makes it one"),
                _ => error,
            };
            self.report(match first {
                Some(first) => error.label(first, "the map is first used here"),
                None => error,
            });
        }
        let key_type = self.key_type(map).cloned();
        let key = key.map(|key| Box::new(widened(key, key_type.as_ref())));
        Entry { map, key }
    }

    /// A map gets a value.
    pub(super) fn put(&mut self, map: MapId, value: &Expression, span: Span) {
        if value.ty != Type::Unknown {
            self.holds(map, Held::Values(value.ty.stored()), span);
        }
    }

    /// A map gathers values.
    pub(super) fn gathers(&mut self, map: MapId, aggregate: Aggregate, span: Span) {
        self.holds(map, Held::Gathered(aggregate), span);
    }

    fn holds(&mut self, map: MapId, new: Held, span: Span) {
        let name = self.map_name(map);
        let mut wrong = None;
        if let Some(known) = self.maps.get_mut(map) {
            match (&mut known.value, new) {
                (slot @ None, new) => *slot = Some(new),
                (Some(Held::Values(known)), Held::Values(new)) => match known.join(&new) {
                    Some(joined) => *known = joined,
                    None => wrong = Some(format!("`{name}` holds `{known}`, and this is `{new}`")),
                },
                (Some(Held::Gathered(known)), Held::Gathered(new)) if *known == new => {}
                (Some(Held::Gathered(Aggregate::Series(known))), Held::Gathered(Aggregate::Series(new))) => {
                    let signed = known.signed || new.signed;
                    if (Series { signed, ..*known }) == (Series { signed, ..new }) {
                        known.signed = signed;
                    } else {
                        wrong = Some(format!("the series `{name}` has other intervals elsewhere"));
                    }
                }
                (Some(Held::Gathered(known)), Held::Gathered(new)) if known.name() == new.name() => {
                    wrong = Some(format!("the histogram `{name}` has other ranges elsewhere"));
                }
                (Some(Held::Gathered(known)), Held::Gathered(new)) => match signed(*known, new) {
                    Some(joined) => *known = joined,
                    None => wrong = Some(format!("`{name}` holds `{}`, and this is `{}`", known.name(), new.name())),
                },
                (Some(Held::Gathered(known)), Held::Values(new)) => {
                    wrong = Some(format!("`{name}` holds `{}`, and this is `{new}`", known.name()));
                }
                (Some(Held::Values(known)), Held::Gathered(new)) => {
                    wrong = Some(format!("`{name}` holds `{known}`, and this is `{}`", new.name()));
                }
            }
        }
        if let Some(message) = wrong {
            let first = self.maps.get(map).map(|known| known.span).filter(|first| *first != span);
            let error = Diagnostic::error("map-type", message, span);
            self.report(match first {
                Some(first) => error.label(first, "the map is first used here"),
                None => error,
            });
        }
    }

    /// The maps as the script has them.
    pub(super) fn finished_maps(&mut self) -> Vec<Map> {
        let mut finished = Vec::new();
        for known in std::mem::take(&mut self.maps) {
            let value = known.value.unwrap_or(Held::Values(Type::Unknown));
            let key = match known.key {
                Keys::Of(ty) => Some(ty),
                _ => None,
            };
            finished.push(Map { name: known.name, span: known.span, key, value, front: false });
        }
        finished
    }
}

/// A value under the type of the place where it goes: texts grow, numbers have eight bytes anyway.
pub(super) fn widened(mut value: Expression, ty: Option<&Type>) -> Expression {
    if let Some(ty) = ty
        && value.ty.room() != ty.room()
    {
        match (&mut value.kind, ty) {
            (ExpressionKind::Tuple(items), Type::Tuple(types)) => {
                let pairs = std::mem::take(items).into_iter().zip(types);
                *items = pairs.map(|(item, ty)| widened(item, Some(ty))).collect();
                value.ty = ty.clone();
            }
            (_, Type::Tuple(types)) => {
                // A tuple from elsewhere is taken apart and put together anew.
                let span = value.span;
                let from = match &value.ty {
                    Type::Tuple(from) => from.clone(),
                    _ => return value,
                };
                let items = from.into_iter().zip(types).enumerate().map(|(index, (from, ty))| {
                    let kind = ExpressionKind::Element(Box::new(value.clone()), index);
                    widened(Expression { span, ty: from, kind }, Some(ty))
                });
                let kind = ExpressionKind::Tuple(items.collect());
                value = Expression { span, ty: ty.clone(), kind };
            }
            (ExpressionKind::Text(_), _) => value.ty = ty.clone(),
            _ => {
                let span = value.span;
                value = Expression { span, ty: ty.clone(), kind: ExpressionKind::Widen(Box::new(value)) };
            }
        }
    }
    value
}

/// The same aggregate for values with and without sign, if they differ in that only.
fn signed(a: Aggregate, b: Aggregate) -> Option<Aggregate> {
    Some(match (a, b) {
        (Aggregate::Sum { .. }, Aggregate::Sum { .. }) => Aggregate::Sum { signed: true },
        (Aggregate::Average { .. }, Aggregate::Average { .. }) => Aggregate::Average { signed: true },
        (Aggregate::Min { .. }, Aggregate::Min { .. }) => Aggregate::Min { signed: true },
        (Aggregate::Max { .. }, Aggregate::Max { .. }) => Aggregate::Max { signed: true },
        (Aggregate::Stats { .. }, Aggregate::Stats { .. }) => Aggregate::Stats { signed: true },
        _ => return None,
    })
}

/// The cast that makes a pointer of a number, or a number of a pointer, where keys want the other.
fn cast_to(wanted: &Type, written: &Type) -> Option<String> {
    match (wanted, written) {
        (Type::Pointer { .. }, Type::Int { .. }) | (Type::Int { size: 8, .. }, Type::Pointer { .. }) => {
            Some(format!("({wanted})"))
        }
        _ => None,
    }
}

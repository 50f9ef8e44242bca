//! Enums whose values cross the boundary as numbers.

/// An enum of numbers, and each value's name as used on the wire.
macro_rules! numbered {
    ($(#[$top:meta])+ $name:ident { $($(#[$doc:meta])+ $variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$top])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$doc])+ $variant = $number,)+
        }

        impl $name {
            /// The value behind a number from a map or a record, if it is one.
            #[inline(always)]
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Name as used on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}
pub(crate) use numbered;

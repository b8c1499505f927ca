//! The names of an enum's variants in text: `ALL`, `Display` and `FromStr` from one list.

/// Implements `ALL`, `Display` and `FromStr` for an enum whose variants have no fields. The names are those that
/// serde uses; a name after `|` is accepted by `FromStr` as well.
macro_rules! enum_names {
    ($type:ident, $what:literal, { $($variant:ident => $name:literal $(| $alias:literal)*),+ $(,)? }) => {
        impl $type {
            /// All variants, in the order of their documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // `pad` respects a width that the caller specifies.
                f.pad(match self { $(Self::$variant => $name),+ })
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::error::UnetError;

            fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
                match name {
                    $($name $(| $alias)* => Ok(Self::$variant),)+
                    _ => Err($crate::error::UnetError::UnknownName {
                        what: $what,
                        expected: [$($name),+].join(", "),
                        found: name.to_owned(),
                    }),
                }
            }
        }
    };
}

pub(crate) use enum_names;

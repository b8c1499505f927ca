//! The error of `FromStr` for the enums whose variants have names.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// A string is not the name of any variant of an enum. The message lists the names that are expected.
///
/// # Examples
/// ```
/// use ddpm_schedule::Spacing;
///
/// let error = "uniform".parse::<Spacing>().unwrap_err();
/// assert_eq!(error.to_string(), r#"unknown spacing "uniform", expected one of "leading", "trailing", "linspace""#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// What the string should name, for example `"spacing"`.
    pub kind: &'static str,
    /// The string that was found.
    pub found: String,
    /// The names of all variants, in documentation order.
    pub expected: Vec<String>,
}

impl UnknownName {
    /// The error for the string `found`, where the name of one of `variants` was expected.
    pub fn new<T: Display>(kind: &'static str, found: &str, variants: &[T]) -> Self {
        Self { kind, found: found.to_string(), expected: variants.iter().map(T::to_string).collect() }
    }
}

impl Display for UnknownName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} {:?}, expected one of ", self.kind, self.found)?;
        for (i, name) in self.expected.iter().enumerate() {
            write!(f, "{}{name:?}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl Error for UnknownName {}

//! The enums that users choose from have the same names in `Display`, `FromStr` and serde.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use ddpm_diffusion::{Clipping, EpsAfterClip, Method, ReverseVariance};
use ddpm_schedule::UnknownName;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn check<T>(variants: &[T], aliases: &[(&str, T)])
where
    T: Copy + Debug + PartialEq + Display + FromStr<Err = UnknownName> + Serialize + DeserializeOwned,
{
    for variant in variants {
        let name = variant.to_string();
        assert_eq!(serde_json::to_value(variant).unwrap(), serde_json::Value::from(name.as_str()));
        assert_eq!(name.parse(), Ok(*variant));
    }
    for (alias, variant) in aliases {
        assert_eq!(alias.parse(), Ok(*variant));
        assert_eq!(serde_json::from_value::<T>(serde_json::Value::from(*alias)).unwrap(), *variant);
    }
    let error = "unheard-of".parse::<T>().unwrap_err();
    assert_eq!(error.found, "unheard-of");
    assert_eq!(error.expected, variants.iter().map(T::to_string).collect::<Vec<_>>());
}

#[test]
fn method() {
    check(Method::ALL, &[]);
}

#[test]
fn clipping() {
    let (fixed, dynamic) = (Clipping::Fixed, Clipping::Dynamic);
    check(Clipping::ALL, &[("epsilon", Clipping::None), ("clipped-x0", fixed), ("thresholded-x0", dynamic)]);
}

#[test]
fn eps_after_clip() {
    check(EpsAfterClip::ALL, &[]);
}

#[test]
fn reverse_variance() {
    let aliases = [
        ("fixed_large", ReverseVariance::FixedLarge),
        ("fixed_small", ReverseVariance::FixedSmall),
        ("learned_range", ReverseVariance::LearnedRange),
    ];
    check(ReverseVariance::ALL, &aliases);
}

//! The serialized form of schedules and of the enums, and the names of the enums.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use ddpm_schedule::{BetaSchedule, BetaScheduleName, Prediction, ScheduleConfig, Spacing, UnknownName, VarianceKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[test]
fn a_config_needs_two_fields() {
    let config: ScheduleConfig = serde_json::from_str(r#"{"timesteps": 1000, "beta_schedule": "linear"}"#).unwrap();
    assert_eq!(config, ScheduleConfig::new(BetaScheduleName::Linear, 1000));
}

#[test]
fn a_config_round_trips() {
    let full = ScheduleConfig {
        beta_start: Some(8.5e-4),
        beta_end: Some(0.012),
        zero_terminal_snr: true,
        ..ScheduleConfig::new(BetaScheduleName::ScaledLinear, 50)
    };
    let json = serde_json::to_string(&full).unwrap();
    assert_eq!(
        json,
        r#"{"timesteps":50,"beta_schedule":"scaled-linear","beta_start":0.00085,"beta_end":0.012,"#.to_string()
            + r#""rescale_timesteps":false,"zero_terminal_snr":true}"#
    );
    assert_eq!(serde_json::from_str::<ScheduleConfig>(&json).unwrap(), full);
}

#[test]
fn an_unknown_field_is_an_error() {
    let json = r#"{"timesteps": 1000, "beta_schedule": "linear", "beta_stop": 0.02}"#;
    let error = serde_json::from_str::<ScheduleConfig>(json).unwrap_err().to_string();
    assert!(error.contains("beta_stop"), "{error}");
    let error = serde_json::from_str::<ScheduleConfig>(r#"{"timesteps": 1, "beta_schedule": "lineal"}"#).unwrap_err();
    assert!(error.to_string().contains("lineal"), "{error}");
}

#[test]
fn names_of_other_libraries_are_read() {
    let name = |json| serde_json::from_str::<BetaScheduleName>(json).unwrap();
    assert_eq!(name(r#""scaled_linear""#), BetaScheduleName::ScaledLinear);
    let kind = |json| serde_json::from_str::<VarianceKind>(json).unwrap();
    assert_eq!(
        (kind(r#""fixed_small""#), kind(r#""fixed-large""#)),
        (VarianceKind::FixedSmall, VarianceKind::FixedLarge)
    );
    assert_eq!(serde_json::from_str::<Spacing>(r#""trailing""#).unwrap(), Spacing::Trailing);
}

#[test]
fn a_rule_is_internally_tagged() {
    let rule = BetaSchedule::Cosine { offset: 0.008, max_beta: 0.999 };
    let json = serde_json::to_string(&rule).unwrap();
    assert_eq!(json, r#"{"kind":"cosine","offset":0.008,"max_beta":0.999}"#);
    assert_eq!(serde_json::from_str::<BetaSchedule>(&json).unwrap(), rule);
}

/// `Display`, `FromStr` and serde use the same names, and `FromStr` reads serde's aliases.
fn check_names<T>(variants: &[T], aliases: &[(&str, T)])
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
fn enums_have_the_same_names_in_display_from_str_and_serde() {
    check_names(Spacing::ALL, &[]);
    check_names(BetaScheduleName::ALL, &[("scaled_linear", BetaScheduleName::ScaledLinear)]);
    check_names(Prediction::ALL, &[("sample", Prediction::X0), ("v_prediction", Prediction::V)]);
    let aliases = [("fixed_large", VarianceKind::FixedLarge), ("fixed_small", VarianceKind::FixedSmall)];
    check_names(VarianceKind::ALL, &aliases);
}

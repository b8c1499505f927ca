//! Names of enum variants: `Display`, `FromStr` and serde agree.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use ddpm_unet::{
    Activation, ClassEmbedType, DownBlockType, MidBlockType, NetworkConfig, NetworkKind, NoiseNetConfig, ResampleType,
    TimeEmbeddingType, TimeScaleShift, UNet2dConfig, UnetError, UpBlockType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn check<T>(all: &[T])
where
    T: Copy + Debug + Display + PartialEq + FromStr<Err = UnetError> + Serialize + DeserializeOwned,
{
    for value in all {
        let name = value.to_string();
        assert_eq!(name.parse::<T>().unwrap(), *value);
        assert_eq!(serde_json::to_value(value).unwrap(), name);
        assert_eq!(serde_json::from_value::<T>(name.into()).unwrap(), *value);
    }
    let error = "another".parse::<T>().unwrap_err().to_string();
    assert!(all.iter().all(|value| error.contains(&value.to_string())) && error.contains("found another"), "{error}");
}

#[test]
fn names_are_those_of_serde() {
    check(Activation::ALL);
    check(TimeEmbeddingType::ALL);
    check(DownBlockType::ALL);
    check(MidBlockType::ALL);
    check(UpBlockType::ALL);
    check(ResampleType::ALL);
    check(TimeScaleShift::ALL);
    check(ClassEmbedType::ALL);
    assert_eq!("swish".parse::<Activation>().unwrap(), Activation::Silu);
    assert_eq!(serde_json::from_value::<Activation>("swish".into()).unwrap(), Activation::Silu);
    assert_eq!(format!("{:>6}|", Activation::Silu), "  silu|");
}

#[test]
fn the_kind_of_a_network_is_the_field_of_its_configuration() {
    let configs = [NetworkConfig::NoiseNet(NoiseNetConfig::article()), NetworkConfig::UNet2d(UNet2dConfig::cifar10())];
    assert_eq!(configs.each_ref().map(NetworkConfig::kind), NetworkKind::ALL);
    for config in configs {
        assert_eq!(serde_json::to_value(&config).unwrap()["kind"], config.kind().to_string());
        assert_eq!(config.kind().to_string().parse::<NetworkKind>().unwrap(), config.kind());
    }
}

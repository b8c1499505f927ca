//! The configurations that are compiled into the program.

use toml::{Table, Value};

/// Name and TOML document of each preset.
const PRESETS: [(&str, &str); 7] = [
    ("digits", include_str!("../../../assets/presets/digits.toml")),
    ("pictures", include_str!("../../../assets/presets/pictures.toml")),
    ("mnist", include_str!("../../../assets/presets/mnist.toml")),
    ("cifar10", include_str!("../../../assets/presets/cifar10.toml")),
    ("article", include_str!("../../../assets/presets/article.toml")),
    ("ddpm-cifar10", include_str!("../../../assets/presets/ddpm-cifar10.toml")),
    ("ddpm-256", include_str!("../../../assets/presets/ddpm-256.toml")),
];

/// The preset to start from if none is named. `overrides` are the keys that the command line sets: images other than
/// the embedded digits need another preset.
pub(crate) fn default_name(overrides: &Table) -> &'static str {
    let data = overrides.get("data").and_then(|data| data.get("path")).and_then(Value::as_str);
    if data.is_none_or(|data| data == "digits") { "digits" } else { "pictures" }
}

/// The names of all presets.
pub(crate) fn names() -> [&'static str; PRESETS.len()] {
    PRESETS.map(|(name, _)| name)
}

/// The TOML document of the preset `name`, if there is one.
pub(crate) fn document(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(own, _)| *own == name).map(|(_, document)| *document)
}

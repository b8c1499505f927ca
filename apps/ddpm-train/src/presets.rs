//! The configurations that the program carries with it.

/// A preset's name and its document.
const PRESETS: [(&str, &str); 7] = [
    ("digits", include_str!("../../../assets/presets/digits.toml")),
    ("pictures", include_str!("../../../assets/presets/pictures.toml")),
    ("mnist", include_str!("../../../assets/presets/mnist.toml")),
    ("cifar10", include_str!("../../../assets/presets/cifar10.toml")),
    ("article", include_str!("../../../assets/presets/article.toml")),
    ("ddpm-cifar10", include_str!("../../../assets/presets/ddpm-cifar10.toml")),
    ("ddpm-256", include_str!("../../../assets/presets/ddpm-256.toml")),
];

/// The preset to begin with where none is named: by whose images they are.
pub(crate) fn default_name(data: Option<&str>) -> &'static str {
    if data.is_none_or(|data| data == "digits") { "digits" } else { "pictures" }
}

/// The names of all presets.
pub(crate) fn names() -> [&'static str; PRESETS.len()] {
    PRESETS.map(|(name, _)| name)
}

/// The document of that preset.
pub(crate) fn document(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(own, _)| *own == name).map(|(_, document)| *document)
}

//! Suggestions for options that do not exist but are keys of the configuration.

use toml::Table;

use crate::presets;
use crate::run_config::RunConfig;

/// The configuration keys that an unknown option may have meant, with how to set them. The option is without dashes at
/// its start.
pub(crate) fn suggest_key(option: &str) -> Option<String> {
    let name = option.split('=').next().unwrap_or(option).replace('-', "_");
    let mut keys: Vec<String> = Vec::new();
    for preset in presets::names() {
        for (table, fields) in &complete_document(preset)? {
            let matching = fields.as_table()?.keys().map(|key| format!("{table}.{key}"));
            keys.extend(matching.filter(|key| *key == name || key.ends_with(&format!(".{name}"))));
        }
    }
    keys.sort();
    keys.dedup();
    let options: Vec<String> = keys.iter().map(|key| format!("--set {key}=VALUE")).collect();
    (!options.is_empty()).then(|| format!("the configuration has such a key: {}", options.join(" or ")))
}

/// The keys of a preset, with those that it leaves to their defaults.
fn complete_document(preset: &str) -> Option<Table> {
    let document = presets::document(preset)?.parse().ok()?;
    RunConfig::from_document(document).ok()?.to_toml().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::suggest_key;

    #[test]
    fn keys_are_found_with_and_without_their_table() {
        let decay = "the configuration has such a key: --set train.weight_decay=VALUE";
        for option in ["weight-decay", "weight_decay", "weight-decay=0.1", "train.weight_decay"] {
            assert_eq!(suggest_key(option).as_deref(), Some(decay), "{option}");
        }
        assert!(suggest_key("dropout").is_some_and(|text| text.contains("--set model.dropout=VALUE")));
        assert!(suggest_key("block-out-channels").is_some() && suggest_key("x").is_none());
        let steps = suggest_key("steps").unwrap();
        assert!(steps.ends_with("--set sample.steps=VALUE or --set train.steps=VALUE"), "{steps}");
    }
}

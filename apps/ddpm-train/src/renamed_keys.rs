//! Configuration keys with other names in earlier versions. The old names are still accepted.

use toml::{Table, Value};

/// The present name and value of a key: `sample.mean` of earlier versions is now `sample.clip`, with other values.
pub(crate) fn renamed(table: &str, key: String, value: Value) -> (String, Value) {
    if (table, key.as_str()) != ("sample", "mean") {
        return (key, value);
    }
    let value = match value.as_str() {
        Some("epsilon") => "none".into(),
        Some("clipped-x0") => "fixed".into(),
        Some("thresholded-x0") => "dynamic".into(),
        _ => value,
    };
    ("clip".into(), value)
}

/// The document with the present names of all keys. If a key occurs under both names, the present one is kept.
pub(crate) fn with_present_names(document: Table) -> Table {
    let table = |(name, value): (String, Value)| {
        let Value::Table(keys) = value else { return (name, value) };
        let mut present = Table::new();
        for (old, value) in keys {
            let (key, value) = renamed(&name, old.clone(), value);
            if key == old || !present.contains_key(&key) {
                present.insert(key, value);
            }
        }
        (name, Value::Table(present))
    };
    document.into_iter().map(table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, present: &str) {
        let parse = |text: &str| text.parse::<Table>().unwrap();
        assert_eq!(with_present_names(parse(old)), parse(present));
    }

    #[test]
    fn the_old_name_of_the_clipping_is_accepted() {
        check("[sample]\nmean = \"epsilon\"\nsteps = 3", "[sample]\nclip = \"none\"\nsteps = 3");
        check("[sample]\nmean = \"clipped-x0\"", "[sample]\nclip = \"fixed\"");
        check("[sample]\nmean = \"thresholded-x0\"", "[sample]\nclip = \"dynamic\"");
    }

    #[test]
    fn other_keys_and_values_are_kept() {
        check("[train]\nmean = \"epsilon\"", "[train]\nmean = \"epsilon\"");
        check("[sample]\nmean = \"median\"", "[sample]\nclip = \"median\"");
        check("[sample]\nclip = \"none\"\nmean = \"clipped-x0\"", "[sample]\nclip = \"none\"");
        check("[sample]\nmean = \"clipped-x0\"\nclip = \"none\"", "[sample]\nclip = \"none\"");
    }
}

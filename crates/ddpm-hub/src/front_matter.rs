//! The metadata at the beginning of a README.md, for datasets whose metadata are only in the cache.

use serde_json::Value;

/// The metadata between the first two lines `---`, or null if there are none.
///
/// # Errors
/// A description of the YAML error, on one line.
pub(crate) fn front_matter(readme: &str) -> Result<Value, String> {
    let mut lines = readme.trim_start_matches('\u{feff}').lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Ok(Value::Null);
    }
    let head: Vec<&str> = lines.take_while(|line| line.trim_end() != "---").collect();
    let first_line = |error: serde_saphyr::Error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    };
    // serde-saphyr limits the depth of nested lists and the expansion of aliases.
    serde_saphyr::from_str(&head.join("\n")).map_err(first_line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const README: &str = r#"---
license: mit # free
pretty_name: |
  a: b
   - c
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: 'test'
    path:
    - "a b/*"  # two
    - b#c
- config_name: small
  default: true
  data_dir: small
dataset_info:
  features:
    - name: label
      dtype:
        class_label:
          names:
            '0': cat
              or kitten
            '1': dog
    - name: img
      dtype: image
  splits: []
tags:
  - {even: [odd]}
---
# A set
configs: no
"#;

    #[test]
    fn metadata_of_the_library_datasets_are_read() {
        let card = front_matter(README).expect("it is plain");
        assert_eq!(
            card,
            json!({
                "license": "mit",
                "pretty_name": "a: b\n - c\n",
                "tags": [{ "even": ["odd"] }],
                "configs": [
                    { "config_name": "default", "data_files": [
                        { "split": "train", "path": "data/train-*" },
                        { "split": "test", "path": ["a b/*", "b#c"] },
                    ] },
                    { "config_name": "small", "default": true, "data_dir": "small" },
                ],
                "dataset_info": {
                    "features": [
                        { "name": "label", "dtype": {
                            "class_label": { "names": { "0": "cat or kitten", "1": "dog" } },
                        } },
                        { "name": "img", "dtype": "image" },
                    ],
                    "splits": [],
                },
            })
        );
        let brackets =
            "---\nconfigs:\n  - config_name: a\n    data_files: [x.zip, 'y.zip']\n  -\n    data_files: \"**\"\n---";
        let expected = json!([{ "config_name": "a", "data_files": ["x.zip", "y.zip"] }, { "data_files": "**" }]);
        assert_eq!(front_matter(brackets).expect("it is plain")["configs"], expected);
    }

    #[test]
    fn invalid_metadata_are_errors_of_one_line() {
        for (readme, what) in [
            ("---\nconfigs: *known\n---", "unknown anchor"),
            ("---\nconfigs: [\n---", "unclosed"),
            ("---\nconfigs:\n\t- a\n---", "tabs"),
            (&format!("---\nconfigs:\n{}x\n---", "- ".repeat(100_000)), "Depth"),
        ] {
            let error = front_matter(readme).expect_err(what);
            assert!(error.contains(what) && error.lines().count() == 1, "{error}");
        }
        assert_eq!(front_matter("# A set"), Ok(Value::Null));
        assert_eq!(front_matter(""), Ok(Value::Null));
        assert_eq!(front_matter("---\nlicense: mit\n---\n"), Ok(json!({ "license": "mit" })));
    }
}

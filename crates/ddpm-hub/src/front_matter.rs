//! The metadata at the head of a README.md, where the Hub cannot be asked for them: the part of YAML that such metadata
//! use.
//!
//! Only the keys that [`crate::card`] reads are looked at: what else a head holds may be of any form.

use serde_json::{Map, Value};

/// The keys that are read.
const KEYS: [&str; 2] = ["configs", "dataset_info"];
const DEEPEST: usize = 32;

/// A line without its comment: how far it is indented, and the rest.
type Line<'a> = (usize, &'a str);

/// The metadata between the first two lines `---`, or null where there are none.
///
/// # Errors
/// The line that is not understood.
pub(crate) fn front_matter(readme: &str) -> Result<Value, String> {
    let mut lines = readme.trim_start_matches('\u{feff}').lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Ok(Value::Null);
    }
    let head = lines.take_while(|line| line.trim_end() != "---");
    let (mut card, mut section, mut key) = (Map::new(), Vec::new(), None);
    for line in head.chain(["end:"]) {
        let starts = !line.is_empty() && !line.starts_with([' ', '#', '-', '\t']);
        if starts {
            if let Some(key) = key.take() {
                card.insert(key, value(&mut std::mem::take(&mut section))?);
            }
            key = line.split_once(':').map(|(key, _)| key.to_owned()).filter(|key| KEYS.contains(&key.as_str()));
        }
        if key.is_some() {
            let line = if starts { line.split_once(':').map_or("", |(_, rest)| rest) } else { line };
            let text = uncommented(line).trim_start_matches(' ');
            if text.starts_with('\t') {
                return Err(format!("a tab in {}", quoted(line.trim())));
            }
            if !text.is_empty() {
                section.push((if starts { 0 } else { line.len() - line.trim_start_matches(' ').len() }, text));
            }
        }
    }
    Ok(Value::Object(card))
}

/// What lies below a key at the top.
fn value(lines: &mut [Line<'_>]) -> Result<Value, String> {
    let Some(first) = lines.first() else { return Ok(Value::Null) };
    let (indent, mut at) = (first.0, 0);
    let value = block(lines, &mut at, indent, 0)?;
    match lines.get(at) {
        Some((_, rest)) => Err(quoted(rest)),
        None => Ok(value),
    }
}

/// A list, a table or a scalar that begins at line `at`.
fn block(lines: &mut [Line<'_>], at: &mut usize, indent: usize, depth: usize) -> Result<Value, String> {
    let Some((_, text)) = lines.get(*at).copied() else { return Ok(Value::Null) };
    if depth > DEEPEST {
        return Err("lists in lists, too deep".to_owned());
    }
    if is_item(text) {
        let mut items = Vec::new();
        while let Some((_, text)) = lines.get(*at).copied().filter(|(own, text)| *own == indent && is_item(text)) {
            let rest = text[1..].trim_start_matches(' ');
            if rest.is_empty() {
                *at += 1;
                let deeper = lines.get(*at).map(|(own, _)| *own).filter(|own| *own > indent);
                items.push(deeper.map_or(Ok(Value::Null), |own| block(lines, at, own, depth + 1))?);
            } else {
                // What follows the dash is a block of its own, as far in as it stands.
                let own = indent + text.len() - rest.len();
                lines[*at] = (own, rest);
                items.push(block(lines, at, own, depth + 1)?);
            }
        }
        return Ok(Value::Array(items));
    }
    if key_of(text).is_none() {
        *at += 1;
        return scalar(text);
    }
    let mut table = Map::new();
    while let Some((_, text)) = lines.get(*at).copied().filter(|(own, _)| *own == indent) {
        let (key, rest) = key_of(text).ok_or_else(|| quoted(text))?;
        *at += 1;
        let next = lines.get(*at).copied();
        let below = next.filter(|(own, text)| *own > indent || (*own == indent && is_item(text)));
        let value = match (rest, below) {
            ("", Some((own, _))) => block(lines, at, own, depth + 1)?,
            ("", None) => Value::Null,
            (rest, Some((own, _))) if own > indent => {
                // A text that goes on below, as it is or folded.
                let below = lines[*at..].iter().take_while(|(own, _)| *own > indent).map(|(_, text)| *text);
                let whole: Vec<&str> = [rest].into_iter().chain(below).collect();
                *at += whole.len() - 1;
                if rest.starts_with(['|', '>']) { whole[1..].join("\n").into() } else { scalar(&whole.join(" "))? }
            }
            (rest, _) => scalar(rest)?,
        };
        table.insert(key.to_owned(), value);
    }
    Ok(Value::Object(table))
}

/// A line, for a message.
fn quoted(text: &str) -> String {
    const MOST_CHARACTERS: usize = 80;
    format!("`{}`", text.chars().take(MOST_CHARACTERS).flat_map(char::escape_debug).collect::<String>())
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// The key of a line of a table, and what follows it.
fn key_of(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let (key, rest) = match quote {
        Some(quote) => text[1..].split_once(quote)?,
        None if text.starts_with(['{', '[']) => return None,
        None => text.split_at(text.find(": ").or_else(|| text.ends_with(':').then(|| text.len() - 1))?),
    };
    let value = rest.strip_prefix(':')?;
    (value.is_empty() || value.starts_with(' ')).then(|| (key.trim(), value.trim()))
}

/// A word, a quoted text, or a list in brackets.
fn scalar(text: &str) -> Result<Value, String> {
    let bad = || quoted(text);
    let text = text.trim();
    if let Some(inside) = text.strip_prefix('[') {
        let inside = inside.strip_suffix(']').filter(|inside| !inside.contains(['[', ']', '{'])).ok_or_else(bad)?;
        let items = inside.split(',').map(str::trim).filter(|item| !item.is_empty());
        return items.map(scalar).collect::<Result<_, _>>().map(Value::Array);
    }
    if text.starts_with('"') {
        return serde_json::from_str(text).map_err(|_| bad());
    }
    if let Some(inside) = text.strip_prefix('\'') {
        let inside = inside.strip_suffix('\'').ok_or_else(bad)?;
        return Ok(Value::String(inside.replace("''", "'")));
    }
    match text {
        "true" | "True" => Ok(Value::Bool(true)),
        "false" | "False" => Ok(Value::Bool(false)),
        "null" | "~" => Ok(Value::Null),
        _ if text.starts_with(['{', '&', '*', '!', '|', '>', '%', '@', '`']) && !text.starts_with("**") => Err(bad()),
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// The line without a comment and the white space at its end.
fn uncommented(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (i, c) in line.char_indices() {
        match quote {
            None if c == '#' && before == ' ' => return line[..i].trim_end(),
            None if matches!(c, '\'' | '"') && matches!(before, ' ' | '[' | ',') => quote = Some(c),
            Some(own) if own == c => quote = None,
            _ => {}
        }
        before = c;
    }
    line.trim_end()
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
  - {odd: [
---
# A set
configs: no
"#;

    #[test]
    fn the_metadata_that_the_library_datasets_writes() {
        let card = front_matter(README).expect("it is plain");
        assert_eq!(
            card,
            json!({
                "configs": [
                    { "config_name": "default", "data_files": [
                        { "split": "train", "path": "data/train-*" },
                        { "split": "test", "path": ["a b/*", "b#c"] },
                    ] },
                    { "config_name": "small", "default": true, "data_dir": "small" },
                ],
                "dataset_info": {
                    "features": [
                        { "name": "label", "dtype": { "class_label": { "names": { "0": "cat or kitten", "1": "dog" } } } },
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
    fn what_is_not_understood_is_said() {
        for (readme, what) in [
            ("---\nconfigs:\n- {config_name: a}\n---", "{config_name: a}"),
            ("---\nconfigs: *known\n---", "*known"),
            ("---\nconfigs:\n- config_name: a\n  no table\n---", "no table"),
            ("---\nconfigs:\n- config_name: a\n\tdata_dir: b\n---", "a tab"),
            (&format!("---\nconfigs:\n{}x\n---", "- ".repeat(100_000)), "too deep"),
        ] {
            let error = front_matter(readme).expect_err(what);
            assert!(error.contains(what), "{what}");
        }
        assert_eq!(front_matter("# A set"), Ok(Value::Null));
        assert_eq!(front_matter(""), Ok(Value::Null));
        assert_eq!(front_matter("---\nlicense: mit\n---\n"), Ok(json!({})));
    }
}

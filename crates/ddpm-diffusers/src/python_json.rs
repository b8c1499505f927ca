//! JSON as Python's `json.dumps` writes it, with the bare words `NaN`, `Infinity` and `-Infinity`.
//!
//! JSON has no such words. They are read as strings of the same letters. A field that must be a number then refuses
//! them under its own name, and a field that may be infinite accepts them.

use std::borrow::Cow;

/// The words of Python for numbers that are not finite. `-Infinity` comes before `Infinity` because it contains it.
pub(crate) const NOT_FINITE: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Returns the document with every bare word of [`NOT_FINITE`] in quotation marks. Strings stay as they are.
pub(crate) fn quote_not_finite(json: &[u8]) -> Cow<'_, [u8]> {
    let (mut quoted, mut copied, mut at, mut in_string) = (Vec::new(), 0, 0, false);
    while at < json.len() {
        match json[at] {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1,
            b'-' | b'I' | b'N' if !in_string => {
                let word = NOT_FINITE.iter().find(|word| json[at..].starts_with(word.as_bytes()));
                if let Some(word) = word {
                    quoted.extend_from_slice(&json[copied..at]);
                    quoted.extend_from_slice(format!("\"{word}\"").as_bytes());
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    quoted.extend_from_slice(&json[copied..]);
    Cow::Owned(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_outside_of_strings_are_quoted() {
        let check = |document: &str, expected: &str| {
            assert_eq!(String::from_utf8_lossy(&quote_not_finite(document.as_bytes())), expected);
        };
        check(
            r#"{"a": -Infinity, "b":[NaN,Infinity], "c": -1}"#,
            r#"{"a": "-Infinity", "b":["NaN","Infinity"], "c": -1}"#,
        );
        check(r#"{"NaN": "a \" NaN, Infinity", "b": NaN}"#, r#"{"NaN": "a \" NaN, Infinity", "b": "NaN"}"#);
        check(r#"{"a\\": NaN"#, r#"{"a\\": "NaN""#);
        check("\"\\", "\"\\");
        check("", "");
    }
}

//! The access token of a user.

use std::fmt;

use crate::error::{HubError, Result};

/// An access token of the Hub. It is never shown: `Debug` hides it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Creates a token. Returns `None` if the text is empty or white space.
    ///
    /// # Errors
    /// [`HubError::BadToken`] when the text contains a character that tokens do not contain. The error names `from` and
    /// does not contain the text.
    pub fn new(text: &str, from: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if text.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(HubError::BadToken { from: from.to_owned() });
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// The value of the header `Authorization`.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new(" hf_secret\n", "HF_TOKEN").expect("it is plain").expect("it is not empty");
        assert_eq!(token.bearer(), "Bearer hf_secret");
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(Token::new(" \n", "HF_TOKEN").expect("nothing"), None);
        let error = Token::new("hf_secret\r\nHost: x", "HF_TOKEN").expect_err("two lines").to_string();
        assert!(error.contains("HF_TOKEN") && !error.contains("secret"), "{error}");
    }
}

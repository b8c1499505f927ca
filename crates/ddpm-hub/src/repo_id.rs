//! Names of repositories of the Hub.

use std::fmt;
use std::str::FromStr;

use crate::error::{HubError, Result};
use crate::plain_path::check_plain_path;

/// The longest name of an owner or a repository that the Hub accepts, in bytes.
const MAX_NAME_BYTES: usize = 96;

/// The beginnings of the URLs of the web pages of the Hub.
const PAGES: [&str; 2] = ["https://huggingface.co/", "https://hf.co/"];

/// A repository of the Hub at a revision: `OWNER/NAME` or `OWNER/NAME@REVISION`. A revision is a branch, a tag, or a
/// commit of 40 hexadecimal digits. The default revision is `main`.
///
/// # Examples
/// ```
/// use ddpm_hub::RepoId;
///
/// let id: RepoId = "google/ddpm-cifar10-32@main".parse()?;
/// assert_eq!((id.name(), id.revision()), ("google/ddpm-cifar10-32", "main"));
/// assert!("runs/digits/checkpoints".parse::<RepoId>().is_err());
/// assert!("../secret".parse::<RepoId>().is_err());
/// # Ok::<(), ddpm_hub::HubError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoId {
    name: String,
    revision: Option<String>,
}

impl RepoId {
    /// Parses user input: `OWNER/NAME`, `hub:OWNER/NAME`, or the URL of a web page, such as
    /// `https://huggingface.co/OWNER/NAME/tree/REVISION` or `https://huggingface.co/datasets/OWNER/NAME`.
    ///
    /// # Errors
    /// [`HubError::BadId`].
    pub fn typed(text: &str) -> Result<Self> {
        let Some(page) = PAGES.iter().find_map(|page| text.strip_prefix(page)) else {
            return text.strip_prefix("hub:").unwrap_or(text).parse();
        };
        let page = page.strip_prefix("datasets/").unwrap_or(page).trim_end_matches('/');
        match page.split_once("/tree/") {
            Some((name, revision)) => format!("{name}@{revision}").parse(),
            None => page.parse(),
        }
    }

    /// `OWNER/NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch, tag or commit; `main` if none was given.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// Whether a revision was given.
    pub fn has_revision(&self) -> bool {
        self.revision.is_some()
    }

    /// The commit, if the revision is one.
    pub fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }

    /// The same repository at another revision: a commit, branch or tag.
    ///
    /// # Errors
    /// [`HubError::BadId`] when the text is not the name of a revision.
    pub fn at(&self, revision: &str) -> Result<Self> {
        format!("{}@{revision}", self.name).parse()
    }
}

/// Whether the text is a commit: 40 hexadecimal digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

impl FromStr for RepoId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || HubError::BadId { found: text.escape_debug().collect() };
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        let (owner, own) = name.split_once('/').ok_or_else(bad)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let is_name = |name: &str| {
            (1..=MAX_NAME_BYTES).contains(&name.len())
                && name.chars().all(plain)
                && !name.starts_with(['.', '-'])
                && !name.contains("..")
        };
        // The cache writes `a/b` as `a--b`.
        if !is_name(owner) || !is_name(own) || name.contains("--") {
            return Err(bad());
        }
        if let Some(revision) = revision {
            let fits = revision.chars().all(|c| plain(c) || matches!(c, '/' | '+')) && !revision.starts_with('-');
            if !fits || revision.contains("..") || check_plain_path(revision, name).is_err() {
                return Err(bad());
            }
        }
        Ok(Self { name: name.to_owned(), revision: revision.map(str::to_owned) })
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_urls_of_pages_are_parsed() {
        for (text, id) in [
            ("a/b@v1", "a/b@v1"),
            ("hub:a/b", "a/b"),
            ("https://huggingface.co/a/b/", "a/b"),
            ("https://huggingface.co/a/b/tree/v1", "a/b@v1"),
            ("https://hf.co/datasets/a/b", "a/b"),
        ] {
            assert_eq!(RepoId::typed(text).expect("an id").to_string(), id);
        }
        for text in ["hub:hub:a/b", "https://huggingface.co/a", "https://example.org/a/b", "hub:"] {
            assert!(RepoId::typed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn valid_names_are_accepted_and_others_refused() {
        let commit = "a/b@0123456789abcdef0123456789abcdef01234567";
        for id in ["google/ddpm-cifar10-32", "a/b", "A1_.x/y.z", "a/b@v1.0", "a/b@refs/convert/parquet", commit] {
            assert_eq!(id.parse::<RepoId>().expect("an id").to_string(), id);
        }
        assert!(commit.parse::<RepoId>().expect("an id").commit().is_some());
        for text in [
            "", "a", "a/b/c", "/a", "a/", "./a", "a/.b", "-a/b", "a/-b", "../a", "a/..", "a/b..c", "a b/c", "a/b@",
            "a/b@../x", "a/b@-x", "a/b@/x", "a/b@x/", "a\\b/c", "hub:a/b", "a--b/c", "a/b@x@y", "ä/b",
        ] {
            assert!(text.parse::<RepoId>().is_err(), "{text:?}");
        }
    }
}

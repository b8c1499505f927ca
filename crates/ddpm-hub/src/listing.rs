//! What the Hub says of a repository at a commit: its files, their sizes and hashes, its card.

use hf_hub::{Repo, RepoType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{About, Client};
use crate::digest::Digest;
use crate::error::{HubError, Result};
use crate::plain_path::check_stays_inside;
use crate::repo_id::{RepoId, is_commit};

/// A short list of so many files may be cut.
const MOST_SIBLINGS: usize = 1000;
/// A list that does not end is none.
const MOST_PAGES: usize = 10_000;

/// The files of a repository at a commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listing {
    #[serde(rename = "sha")]
    pub(crate) commit: String,
    #[serde(rename = "siblings", default)]
    pub(crate) files: Vec<Entry>,
    /// The front matter of its README.md, as the Hub reads it.
    #[serde(rename = "cardData", default)]
    pub(crate) card: Value,
    /// Whether it is what the Hub lists: what lies in a snapshot that another program has filled may be a part of it.
    #[serde(skip)]
    pub(crate) whole: bool,
}

/// A file of a repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "rfilename")]
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) size: Option<u64>,
    #[serde(rename = "blobId", default)]
    git: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

/// An entry of the paged list, which the Hub calls a tree.
#[derive(Deserialize)]
struct Leaf {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: Option<u64>,
    oid: Option<String>,
    lfs: Option<Lfs>,
}

/// How a large file is known.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Option<String>,
}

impl Entry {
    /// A file of which nothing but its path is known.
    pub(crate) fn named(path: String) -> Self {
        Self { path, size: None, git: None, lfs: None }
    }

    /// The hash that the list has, if it has one. Of a large file the git hash is that of a pointer to it.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match &self.lfs {
            Some(lfs) => lfs.sha256.as_deref().and_then(Digest::parse),
            None => self.git.as_deref().and_then(Digest::parse),
        }
    }
}

impl Listing {
    /// Asks the Hub.
    pub(crate) fn ask(client: &Client, id: &RepoId, kind: RepoType) -> Result<Self> {
        let about = about(id, kind, "");
        let url = client.url(&format!("api/{}?blobs=true", repo(id, kind).api_url()));
        let mut listing = client.get_json::<Self>(&url, &about)?.checked(id)?;
        // The Hub cuts the short list of a large repository without a word.
        if listing.files.is_empty() || listing.files.len() >= MOST_SIBLINGS {
            listing.files = tree(client, id, kind, &listing.commit)?;
            listing = listing.checked(id)?;
        }
        Ok(Self { whole: true, ..listing })
    }

    /// Passes a list that leads nowhere else.
    pub(crate) fn checked(self, id: &RepoId) -> Result<Self> {
        if !is_commit(&self.commit) {
            let problem = format!("expected a commit of 40 digits in `sha`, found {}", self.commit.escape_debug());
            return Err(HubError::BadAnswer { what: id.name().to_owned(), problem });
        }
        self.files.iter().try_for_each(|file| check_stays_inside(&file.path, id.name()))?;
        Ok(self)
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.files.iter().map(|file| file.path.as_str()).collect()
    }

    pub(crate) fn entry(&self, path: &str) -> Option<&Entry> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// Every file at that commit, page by page.
fn tree(client: &Client, id: &RepoId, kind: RepoType, commit: &str) -> Result<Vec<Entry>> {
    let about = about(id, kind, "");
    let mut next = Some(client.url(&format!("api/{}s/{}/tree/{commit}?recursive=true", about.kind, id.name())));
    let (mut files, mut pages) = (Vec::new(), 0);
    while let Some(url) = next {
        pages += 1;
        if pages > MOST_PAGES {
            let problem = format!("a list of more than {MOST_PAGES} pages");
            return Err(HubError::BadAnswer { what: about.what(), problem });
        }
        let (leaves, following) = client.get_page::<Vec<Leaf>>(&url, &about)?;
        let leaves = leaves.into_iter().filter(|leaf| leaf.kind == "file");
        files.extend(leaves.map(|leaf| Entry { path: leaf.path, size: leaf.size, git: leaf.oid, lfs: leaf.lfs }));
        next = following;
    }
    Ok(files)
}

/// Some names, for a message that says what is there.
pub(crate) fn some_names(names: &[&str]) -> String {
    const SHOWN: usize = 6;
    if names.is_empty() {
        return "no files".to_owned();
    }
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| name.escape_debug().collect()).collect();
    let more = if names.len() > SHOWN { format!(", … ({} in all)", names.len()) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// So many files, in words for a message.
pub(crate) fn file_count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// The repository as hf-hub knows it: its names in addresses and in the cache.
pub(crate) fn repo(id: &RepoId, kind: RepoType) -> Repo {
    Repo::with_revision(id.name().to_owned(), kind, id.revision().to_owned())
}

pub(crate) fn about<'a>(id: &'a RepoId, kind: RepoType, file: &'a str) -> About<'a> {
    let kind = if matches!(kind, RepoType::Dataset) { "dataset" } else { "model" };
    About { repository: id.name(), kind, revision: id.revision(), file }
}

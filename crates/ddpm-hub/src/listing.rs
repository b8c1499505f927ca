//! The files of a repository at a commit with their sizes and hashes, and its metadata, as the Hub lists them.

use hf_hub::{Repo, RepoType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Client, RequestTarget};
use crate::digest::Digest;
use crate::error::{HubError, Result};
use crate::plain_path::check_stays_inside;
use crate::repo_id::{RepoId, is_commit};

/// The Hub truncates the list of a repository with this number of files or more.
const SHORT_LISTING_LIMIT: usize = 1000;
/// The largest number of pages of a list. It ends a list that would never end.
const MAX_PAGES: usize = 10_000;

/// The files of a repository at a commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listing {
    #[serde(rename = "sha")]
    pub(crate) commit: String,
    #[serde(rename = "siblings", default)]
    pub(crate) files: Vec<Entry>,
    /// The front matter of its README.md as JSON.
    #[serde(rename = "cardData", default)]
    pub(crate) card: Value,
    /// Whether this is the list of the Hub. The files in a snapshot that another program has downloaded may be a part
    /// of them.
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

/// An entry of the paginated list, which the Hub calls a tree.
#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: Option<u64>,
    oid: Option<String>,
    lfs: Option<Lfs>,
}

/// The hash of a large file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Option<String>,
}

impl Entry {
    /// A file of which only the path is known.
    pub(crate) fn named(path: String) -> Self {
        Self { path, size: None, git: None, lfs: None }
    }

    /// The hash in the list, if there is one. The git hash of a large file is that of its LFS pointer, and is not used.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match &self.lfs {
            Some(lfs) => lfs.sha256.as_deref().and_then(Digest::parse),
            None => self.git.as_deref().and_then(Digest::parse),
        }
    }
}

impl Listing {
    /// Requests the list from the Hub.
    pub(crate) fn ask(client: &Client, id: &RepoId, kind: RepoType) -> Result<Self> {
        let target = request_target(id, kind, "");
        let url = client.url(&format!("api/{}?blobs=true", repo(id, kind).api_url()));
        let mut listing = client.get_json::<Self>(&url, &target)?.checked(id)?;
        // The Hub truncates the list of a large repository without notice, so the paginated list is requested.
        if listing.files.is_empty() || listing.files.len() >= SHORT_LISTING_LIMIT {
            listing.files = tree(client, id, kind, &listing.commit)?;
            listing = listing.checked(id)?;
        }
        Ok(Self { whole: true, ..listing })
    }

    /// Returns the list if no path in it leaves the repository.
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

/// Requests all pages of the list of files at a commit.
fn tree(client: &Client, id: &RepoId, kind: RepoType, commit: &str) -> Result<Vec<Entry>> {
    let target = request_target(id, kind, "");
    let mut next = Some(client.url(&format!("api/{}s/{}/tree/{commit}?recursive=true", target.kind, id.name())));
    let (mut files, mut pages) = (Vec::new(), 0);
    while let Some(url) = next {
        pages += 1;
        if pages > MAX_PAGES {
            let problem = format!("a list of more than {MAX_PAGES} pages");
            return Err(HubError::BadAnswer { what: target.description(), problem });
        }
        let (entries, following) = client.get_page::<Vec<TreeEntry>>(&url, &target)?;
        let entries = entries.into_iter().filter(|entry| entry.kind == "file");
        files.extend(entries.map(|entry| Entry { path: entry.path, size: entry.size, git: entry.oid, lfs: entry.lfs }));
        next = following;
    }
    Ok(files)
}

/// Some of the names, for a message.
pub(crate) fn some_names(names: &[&str]) -> String {
    const SHOWN: usize = 6;
    if names.is_empty() {
        return "no files".to_owned();
    }
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| name.escape_debug().collect()).collect();
    let more = if names.len() > SHOWN { format!(", … ({} in all)", names.len()) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// The number of files as text, for a message.
pub(crate) fn file_count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// The repository as a type of hf-hub, which defines its names in URLs and in the cache.
pub(crate) fn repo(id: &RepoId, kind: RepoType) -> Repo {
    Repo::with_revision(id.name().to_owned(), kind, id.revision().to_owned())
}

pub(crate) fn request_target<'a>(id: &'a RepoId, kind: RepoType, file: &'a str) -> RequestTarget<'a> {
    let kind = if matches!(kind, RepoType::Dataset) { "dataset" } else { "model" };
    RequestTarget { repository: id.name(), kind, revision: id.revision(), file }
}

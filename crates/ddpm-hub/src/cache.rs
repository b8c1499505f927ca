//! The cache of downloaded files, in the layout of the Python library `huggingface_hub`. Each of the two finds the
//! files that the other has downloaded.
//!
//! ```text
//! models--OWNER--NAME/blobs/HASH                 the contents of a file, once for each hash
//! models--OWNER--NAME/snapshots/COMMIT/PATH      a link to the contents
//! models--OWNER--NAME/refs/REVISION              the commit of a branch or tag when it was last downloaded
//! models--OWNER--NAME/ddpm-listings/COMMIT.json  the list of files of the Hub; only this crate writes and reads it
//! .locks/models--OWNER--NAME/HASH.lock           locked while HASH is downloaded
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, RepoType};

use crate::digest::Digest;
use crate::error::{IoContext, Result};
use crate::listing::{Entry, Listing, repo};
use crate::plain_path::check_plain_path;
use crate::repo_id::{RepoId, is_commit};

/// A repository in the cache.
#[derive(Debug)]
pub(crate) struct CachedRepo {
    own: CacheRepo,
    root: PathBuf,
    locks: PathBuf,
    id: RepoId,
}

impl CachedRepo {
    pub(crate) fn new(cache: &Path, id: &RepoId, kind: RepoType) -> Self {
        let repo = repo(id, kind);
        let folder = repo.folder_name();
        let (root, locks) = (cache.join(&folder), cache.join(".locks").join(&folder));
        Self { own: Cache::new(cache.to_owned()).repo(repo), root, locks, id: id.clone() }
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.own.blob_path(digest.hex())
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.own.pointer_path(commit)
    }

    /// The path of a file at a commit, if the whole file is in the cache.
    pub(crate) fn file(&self, commit: &str, entry: &Entry) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(check_plain_path(&entry.path, self.id.name()).ok()?);
        let there = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        entry.size.is_none_or(|size| size == there.len()).then_some(path)
    }

    /// Waits until no other process downloads this hash, and locks it. The operating system releases the lock when the
    /// process ends.
    pub(crate) fn lock(&self, digest: &Digest) -> Result<File> {
        let path = self.locks.join(format!("{}.lock", digest.hex()));
        fs::create_dir_all(&self.locks).on("create directory", &self.locks)?;
        let file = File::options().write(true).create(true).truncate(false).open(&path).on("open", &path)?;
        file.lock().on("lock", &path)?;
        Ok(file)
    }

    /// Creates the link to a blob at a commit.
    pub(crate) fn link(&self, commit: &str, path: &str, blob: &Path) -> Result<PathBuf> {
        let link = self.snapshot(commit).join(check_plain_path(path, self.id.name())?);
        let directory = link.parent().unwrap_or(&link);
        fs::create_dir_all(directory).on("create directory", directory)?;
        // `blobs` is a sibling of `snapshots`. Going up from the file leaves the directories of its path, and the
        // commit.
        let up = "../".repeat(path.split('/').count() + 1);
        let target = PathBuf::from(up).join("blobs").join(blob.file_name().unwrap_or_default());
        if fs::read_link(&link).is_ok_and(|there| there == target) {
            return Ok(link);
        }
        // The link gets a temporary name first and is renamed, so that readers see the old link or the new one.
        let temporary =
            tempfile::Builder::new().prefix(".ddpm-").make_in(directory, |place| link_or_copy(&target, blob, place));
        temporary.on("link", &link)?.into_temp_path().persist(&link).map_err(|error| error.error).on("link", &link)?;
        Ok(link)
    }

    /// The list of files that the Hub returned when this revision was last downloaded, or the files in the snapshot if
    /// there is no such list.
    pub(crate) fn listing(&self) -> Option<Listing> {
        let commit = match self.id.commit() {
            Some(commit) => commit.to_owned(),
            None => fs::read_to_string(self.root.join("refs").join(self.id.revision())).ok()?.trim().to_owned(),
        };
        if !is_commit(&commit) {
            return None;
        }
        let saved = fs::read(self.listing_path(&commit)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let own = saved.filter(|listing: &Listing| listing.commit == commit).and_then(|own| own.checked(&self.id).ok());
        own.map(|own| Listing { whole: true, ..own }).or_else(|| {
            let snapshot = self.snapshot(&commit);
            let mut files = Vec::new();
            list_files(&snapshot, "", &mut files);
            files.sort_by(|a, b| a.path.cmp(&b.path));
            (!files.is_empty()).then_some(Listing { commit, files, card: serde_json::Value::Null, whole: false })
        })
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.root.join("ddpm-listings").join(format!("{commit}.json"))
    }

    /// Stores the list of files, and records that these branches or tags were at its commit. To be called once the
    /// files are in the cache.
    pub(crate) fn remember(&self, listing: &Listing, revisions: &[String]) -> Result<()> {
        let text = serde_json::to_vec(listing).unwrap_or_default();
        write_whole(&self.listing_path(&listing.commit), &text)?;
        let refs = self.root.join("refs");
        revisions.iter().try_for_each(|revision| write_whole(&refs.join(revision), listing.commit.as_bytes()))
    }
}

/// Creates a symbolic link, or where those are not available a hard link or a copy.
fn link_or_copy(target: &Path, blob: &Path, place: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let _ = blob;
        std::os::unix::fs::symlink(target, place)
    }
    #[cfg(not(unix))]
    {
        let _ = target;
        fs::hard_link(blob, place).or_else(|_| fs::copy(blob, place).map(drop))
    }
}

/// Writes a file in one step, so that a reader never sees a part of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    // An unchanged file is not written, so that a read-only cache can be used.
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory).on("create directory", directory)?;
    let mut file = tempfile::Builder::new().prefix(".ddpm-").tempfile_in(directory).on("write in", directory)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).on("write", path)?;
    file.persist(path).map_err(|error| error.error).on("write", path)?;
    Ok(())
}

fn list_files(directory: &Path, prefix: &str, names: &mut Vec<Entry>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with(".ddpm-")) else { continue };
        let path = format!("{prefix}{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => list_files(&entry.path(), &format!("{path}/"), names),
            _ => names.push(Entry::named(path)),
        }
    }
}

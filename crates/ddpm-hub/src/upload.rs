//! Upload of a folder as one commit of a model repository, by the HTTP interface of the Hub for commits.
//!
//! hf-hub 0.5 cannot create commits. Small files are part of the commit; large files are uploaded before, by the
//! protocol of git LFS.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hf_hub::RepoType;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, RequestTarget};
use crate::digest::sha256;
use crate::error::{HubError, IoContext, Result};
use crate::lfs_upload::{LargeFile, upload_large};
use crate::listing::request_target;
use crate::plain_path::check_plain_path;
use crate::repo_id::RepoId;
use crate::transfer_progress::TransferProgress;

/// The number of bytes of each file that the Hub examines to decide how it is uploaded.
const SAMPLE_BYTES: u64 = 512;
/// The largest file that is part of a commit, regardless of what the Hub decides.
const MAX_INLINE_BYTES: u64 = 10 << 20;
const JSON: &str = "application/json";

/// A file to upload.
#[derive(Debug)]
struct Upload {
    /// The path in the repository.
    path: String,
    on_disk: PathBuf,
    bytes: u64,
}

#[derive(Deserialize)]
struct Preupload {
    files: Vec<Mode>,
}

#[derive(Deserialize)]
struct Mode {
    path: String,
    #[serde(rename = "uploadMode")]
    mode: String,
    #[serde(rename = "shouldIgnore", default)]
    ignored: bool,
}

/// Uploads every file below `folder` except for hidden files.
/// Who can see a model that an upload creates. The visibility of an existing model does not change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Everyone.
    #[default]
    Public,
    /// Its owner, and the members of its organization.
    Private,
}

pub(crate) fn upload(
    client: &Client,
    id: &RepoId,
    folder: &Path,
    summary: &str,
    visibility: Visibility,
    progress: &dyn TransferProgress,
) -> Result<()> {
    let mut files = Vec::new();
    files_below(folder, "", id, &mut files)?;
    if files.is_empty() {
        let source = std::io::Error::other("there are no files in it");
        return Err(HubError::Io { action: "upload", path: folder.to_owned(), source });
    }
    let target = request_target(id, RepoType::Model, "");
    create_if_missing(client, id, visibility, &target)?;
    let large = large_files(client, id, &files, &target)?;
    progress.begin(id.name(), files.iter().map(|file| file.bytes).sum());
    let sent = upload_large(client, id, &large, &target, progress).and_then(|()| {
        commit(client, id, &files, &large, summary, &target)?;
        progress.advance(
            files.iter().map(|file| file.bytes).sum::<u64>() - large.iter().map(|file| file.bytes).sum::<u64>(),
        );
        Ok(())
    });
    progress.end();
    sent
}

fn files_below(folder: &Path, prefix: &str, id: &RepoId, files: &mut Vec<Upload>) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder).and_then(Iterator::collect).on("list", folder)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (name, on_disk) = (entry.file_name(), entry.path());
        let name = name.to_str().unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{}", check_plain_path(name, id.name())?);
        let metadata = entry.metadata().on("read", &on_disk)?;
        if metadata.is_dir() {
            files_below(&on_disk, &format!("{path}/"), id, files)?;
        } else {
            files.push(Upload { path, on_disk, bytes: metadata.len() });
        }
    }
    Ok(())
}

fn create_if_missing(client: &Client, id: &RepoId, visibility: Visibility, target: &RequestTarget<'_>) -> Result<()> {
    match client.get_json::<Value>(&client.url(&format!("api/models/{}", id.name())), target) {
        Err(HubError::NoRepository { .. }) => {}
        found => return found.map(drop),
    }
    let (owner, name) = id.name().split_once('/').unwrap_or(("", id.name()));
    let body =
        json!({ "type": "model", "organization": owner, "name": name, "private": visibility == Visibility::Private })
            .to_string();
    match client.post::<Value>(&client.url("api/repos/create"), JSON, &body, target) {
        // Another process has created it in the meantime.
        Err(HubError::Refused { status: 409, .. }) => Ok(()),
        created => created.map(drop),
    }
}

/// Queries the Hub for which files are to be uploaded before the commit, and computes their hashes.
fn large_files(client: &Client, id: &RepoId, files: &[Upload], target: &RequestTarget<'_>) -> Result<Vec<LargeFile>> {
    let mut described = Vec::new();
    for file in files {
        let mut sample = Vec::new();
        let opened = File::open(&file.on_disk).and_then(|file| file.take(SAMPLE_BYTES).read_to_end(&mut sample));
        opened.on("read", &file.on_disk)?;
        described.push(json!({ "path": file.path, "size": file.bytes, "sample": BASE64.encode(&sample) }));
    }
    let url = client.url(&format!("api/models/{}/preupload/{}", id.name(), revision(id)));
    let modes: Preupload = client.post(&url, JSON, &json!({ "files": described }).to_string(), target)?;
    let mut large = Vec::new();
    for file in files {
        let mode = modes.files.iter().find(|mode| mode.path == file.path);
        let is_large = mode.is_some_and(|mode| mode.mode == "lfs" && !mode.ignored) || file.bytes > MAX_INLINE_BYTES;
        if is_large {
            let sha256 = File::open(&file.on_disk).and_then(sha256).on("read", &file.on_disk)?;
            let (path, on_disk, bytes) = (file.path.clone(), file.on_disk.clone(), file.bytes);
            large.push(LargeFile { path, on_disk, bytes, sha256 });
        }
    }
    Ok(large)
}

/// Creates the commit: one line of JSON for its message and one for each file.
fn commit(
    client: &Client,
    id: &RepoId,
    files: &[Upload],
    large: &[LargeFile],
    summary: &str,
    target: &RequestTarget<'_>,
) -> Result<()> {
    let mut lines = vec![json!({ "key": "header", "value": { "summary": summary, "description": "" } }).to_string()];
    for file in files {
        let line = match large.iter().find(|large| large.path == file.path) {
            Some(large) => json!({
                "key": "lfsFile",
                "value": { "path": file.path, "algo": "sha256", "oid": large.sha256, "size": large.bytes },
            }),
            None => {
                let bytes = fs::read(&file.on_disk).on("read", &file.on_disk)?;
                let content = BASE64.encode(bytes);
                json!({ "key": "file", "value": { "path": file.path, "encoding": "base64", "content": content } })
            }
        };
        lines.push(line.to_string());
    }
    let url = client.url(&format!("api/models/{}/commit/{}", id.name(), revision(id)));
    client.post::<Value>(&url, "application/x-ndjson", &(lines.join("\n") + "\n"), target).map(drop)
}

/// The revision, percent-encoded for a URL.
fn revision(id: &RepoId) -> String {
    id.revision().replace('/', "%2F")
}

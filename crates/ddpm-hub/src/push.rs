//! A folder as one commit of a model repository: the Hub's HTTP interface for commits.
//!
//! hf-hub of this version has none. Small files travel inside the commit, large ones before it as git LFS has it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hf_hub::RepoType;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{About, Client};
use crate::digest::sha256;
use crate::error::{HubError, IoContext, Result};
use crate::lfs::{LargeFile, upload_large};
use crate::listing::about;
use crate::plain_path::check_plain_path;
use crate::repo_id::RepoId;
use crate::watch::Watch;

/// As much of each file as the Hub wants to see to say how it is to be uploaded.
const SAMPLE_BYTES: u64 = 512;
/// A file beyond that does not travel inside a commit, whatever the Hub says.
const LARGEST_INSIDE: u64 = 10 << 20;
const JSON: &str = "application/json";

/// A file that is to be uploaded.
#[derive(Debug)]
struct Upload {
    /// In the repository.
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

/// Uploads every file below `folder`, but those whose names begin with a dot.
pub(crate) fn push(client: &Client, id: &RepoId, folder: &Path, summary: &str, watch: &dyn Watch) -> Result<()> {
    let mut files = Vec::new();
    files_below(folder, "", id, &mut files)?;
    if files.is_empty() {
        let source = std::io::Error::other("there are no files in it");
        return Err(HubError::Io { action: "upload", path: folder.to_owned(), source });
    }
    let about = about(id, RepoType::Model, "");
    create_if_absent(client, id, &about)?;
    let large = large_files(client, id, &files, &about)?;
    watch.begin(id.name(), files.iter().map(|file| file.bytes).sum());
    let sent = upload_large(client, id, &large, &about, watch).and_then(|()| {
        commit(client, id, &files, &large, summary, &about)?;
        watch.advance(
            files.iter().map(|file| file.bytes).sum::<u64>() - large.iter().map(|file| file.bytes).sum::<u64>(),
        );
        Ok(())
    });
    watch.end();
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

fn create_if_absent(client: &Client, id: &RepoId, about: &About<'_>) -> Result<()> {
    match client.get_json::<Value>(&client.url(&format!("api/models/{}", id.name())), about) {
        Err(HubError::NoRepository { .. }) => {}
        found => return found.map(drop),
    }
    let (owner, name) = id.name().split_once('/').unwrap_or(("", id.name()));
    let body = json!({ "type": "model", "organization": owner, "name": name }).to_string();
    match client.post::<Value>(&client.url("api/repos/create"), JSON, &body, about) {
        // Somebody else was quicker.
        Err(HubError::Refused { status: 409, .. }) => Ok(()),
        created => created.map(drop),
    }
}

/// Asks which files are to be uploaded before the commit, and computes their hashes.
fn large_files(client: &Client, id: &RepoId, files: &[Upload], about: &About<'_>) -> Result<Vec<LargeFile>> {
    let mut described = Vec::new();
    for file in files {
        let mut sample = Vec::new();
        let opened = File::open(&file.on_disk).and_then(|file| file.take(SAMPLE_BYTES).read_to_end(&mut sample));
        opened.on("read", &file.on_disk)?;
        described.push(json!({ "path": file.path, "size": file.bytes, "sample": BASE64.encode(&sample) }));
    }
    let url = client.url(&format!("api/models/{}/preupload/{}", id.name(), revision(id)));
    let modes: Preupload = client.post(&url, JSON, &json!({ "files": described }).to_string(), about)?;
    let mut large = Vec::new();
    for file in files {
        let mode = modes.files.iter().find(|mode| mode.path == file.path);
        let is_large = mode.is_some_and(|mode| mode.mode == "lfs" && !mode.ignored) || file.bytes > LARGEST_INSIDE;
        if is_large {
            let sha256 = File::open(&file.on_disk).and_then(sha256).on("read", &file.on_disk)?;
            let (path, on_disk, bytes) = (file.path.clone(), file.on_disk.clone(), file.bytes);
            large.push(LargeFile { path, on_disk, bytes, sha256 });
        }
    }
    Ok(large)
}

/// One line of JSON for the message and one for each file.
fn commit(
    client: &Client,
    id: &RepoId,
    files: &[Upload],
    large: &[LargeFile],
    summary: &str,
    about: &About<'_>,
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
    client.post::<Value>(&url, "application/x-ndjson", &(lines.join("\n") + "\n"), about).map(drop)
}

/// As it stands in an address.
fn revision(id: &RepoId) -> String {
    id.revision().replace('/', "%2F")
}

//! Upload of large files by the protocol of git LFS: as a whole, or in parts if the Hub requests parts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::Method;
use ureq::http::header::{CONTENT_LENGTH, ETAG};

use crate::client::{Client, RequestTarget, text};
use crate::error::{HubError, Result};
use crate::repo_id::RepoId;
use crate::transfer_progress::TransferProgress;

const LFS_JSON: &str = "application/vnd.git-lfs+json";
/// The largest number of files in one request of the LFS batch API.
const MAX_OBJECTS_PER_BATCH: usize = 100;

/// A file that is uploaded before the commit that refers to it.
#[derive(Debug)]
pub(crate) struct LargeFile {
    pub(crate) path: String,
    pub(crate) on_disk: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    /// `None` if the Hub has the file already.
    actions: Option<Actions>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

/// Uploads the files that the Hub does not have yet.
pub(crate) fn upload_large(
    client: &Client,
    id: &RepoId,
    files: &[LargeFile],
    target: &RequestTarget<'_>,
    progress: &dyn TransferProgress,
) -> Result<()> {
    for files in files.chunks(MAX_OBJECTS_PER_BATCH) {
        let objects: Vec<_> = files.iter().map(|file| json!({ "oid": file.sha256, "size": file.bytes })).collect();
        let body = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "hash_algo": "sha256",
            "ref": { "name": id.revision() },
            "objects": objects,
        });
        let url = client.url(&format!("{}.git/info/lfs/objects/batch", id.name()));
        let batch: Batch = client.post(&url, LFS_JSON, &body.to_string(), target)?;
        for file in files {
            let target = RequestTarget { file: &file.path, ..*target };
            let object = batch.objects.iter().find(|object| object.oid == file.sha256);
            let object = object.ok_or_else(|| bad(&target, "an answer to each file"))?;
            if let Some(error) = &object.error {
                return Err(HubError::BadAnswer { what: target.description(), problem: error.to_string() });
            }
            match object.actions.as_ref().and_then(|actions| Some((actions, actions.upload.as_ref()?))) {
                Some((actions, upload)) => {
                    send(client, file, upload, &target, progress)?;
                    if let Some(verify) = &actions.verify {
                        let body = json!({ "oid": file.sha256, "size": file.bytes }).to_string();
                        let headers = [("Content-Type", LFS_JSON), ("Accept", LFS_JSON)];
                        client.send(Method::POST, &verify.href, &headers, &|| body.as_str(), &target)?;
                    }
                }
                None => progress.advance(file.bytes),
            }
        }
    }
    Ok(())
}

fn send(
    client: &Client,
    file: &LargeFile,
    upload: &Action,
    target: &RequestTarget<'_>,
    progress: &dyn TransferProgress,
) -> Result<()> {
    let Some(part_bytes) = upload.header.get("chunk_size") else {
        let headers: Vec<(&str, &str)> =
            upload.header.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
        return put(client, &upload.href, &headers, file, 0, file.bytes, target, progress).map(drop);
    };
    let number = part_bytes.as_u64().or_else(|| part_bytes.as_str()?.parse().ok());
    let part_bytes = number.filter(|bytes| *bytes > 0).ok_or_else(|| bad(target, "a chunk_size in bytes"))?;
    // The header contains the URL of each part under its number.
    let numbered = upload.header.iter().filter_map(|(name, url)| Some((name.parse::<u64>().ok()?, url.as_str()?)));
    let parts: BTreeMap<u64, &str> = numbered.collect();
    if parts.len() as u64 != file.bytes.div_ceil(part_bytes) {
        return Err(bad(target, "an address for each part"));
    }
    let mut done = Vec::new();
    for (i, (number, url)) in (0u64..).zip(parts) {
        let from = i * part_bytes;
        let etag = put(client, url, &[], file, from, part_bytes.min(file.bytes - from), target, progress)?;
        if etag.is_empty() {
            return Err(bad(target, "an ETag for each part"));
        }
        done.push(json!({ "partNumber": number, "etag": etag }));
    }
    let body = json!({ "oid": file.sha256, "parts": done }).to_string();
    let headers = [("Content-Type", LFS_JSON), ("Accept", LFS_JSON)];
    client.send(Method::POST, &upload.href, &headers, &|| body.as_str(), target).map(drop)
}

/// Uploads a range of a file. Returns the `ETag` of the response.
#[expect(clippy::too_many_arguments, reason = "a part of a file, its destination, and the progress to report")]
fn put(
    client: &Client,
    url: &str,
    headers: &[(&str, &str)],
    file: &LargeFile,
    from: u64,
    bytes: u64,
    target: &RequestTarget<'_>,
    progress: &dyn TransferProgress,
) -> Result<String> {
    let length = bytes.to_string();
    let headers: Vec<_> = headers
        .iter()
        .copied()
        .filter(|(name, _)| !name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str()))
        .chain([(CONTENT_LENGTH.as_str(), length.as_str())])
        .collect();
    // Every attempt reads the range again from its start.
    let body = || SendBody::from_owned_reader(Part::open(file, from, bytes));
    let response = client.send(Method::PUT, url, &headers, &body, target)?;
    progress.advance(bytes);
    Ok(text(response.headers(), ETAG.as_str()).to_owned())
}

/// A range of a file as a reader. An error of opening the file is returned by the first read.
struct Part(io::Result<io::Take<File>>);

impl Part {
    fn open(file: &LargeFile, from: u64, bytes: u64) -> Self {
        Self(File::open(&file.on_disk).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            Ok(file.take(bytes))
        }))
    }
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Ok(file) => file.read(into),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

fn bad(target: &RequestTarget<'_>, expected: &str) -> HubError {
    HubError::BadAnswer { what: target.description(), problem: format!("expected {expected} for the upload") }
}

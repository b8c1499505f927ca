//! Download of one file into the cache. The file gets its final name only after its hash has been verified.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;

use tracing::{debug, warn};
use ureq::http::StatusCode;
use ureq::http::header::CONTENT_RANGE;

use crate::cache::CachedRepo;
use crate::client::{Client, FileResponse, MAX_TRIES, RequestTarget, text};
use crate::digest::Digest;
use crate::error::{HubError, IoContext, Result};
use crate::steady_reader::SteadyReader;
use crate::transfer_progress::TransferProgress;

/// The file to download.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) url: &'a str,
    pub(crate) size: Option<u64>,
    pub(crate) target: RequestTarget<'a>,
}

/// Downloads a file unless the cache has it. Returns the path of the blob.
///
/// An incomplete file is called `HASH.incomplete` and is never read as a whole file. It is locked, so a second process
/// waits and then finds the file. A later download continues with the bytes of an interrupted one.
pub(crate) fn download(
    client: &Client,
    cache: &CachedRepo,
    source: Source<'_>,
    listed: Option<Digest>,
    progress: &dyn TransferProgress,
) -> Result<PathBuf> {
    let digest = match listed {
        Some(digest) => digest,
        None => client
            .get(source.url, Some("bytes=0-0"), &source.target)?
            .digest
            .ok_or_else(|| HubError::NoHash { what: source.target.description() })?,
    };
    let blob = cache.blob(&digest);
    let whole =
        || fs::metadata(&blob).is_ok_and(|there| there.is_file() && source.size.is_none_or(|s| s == there.len()));
    if whole() {
        progress.advance(source.size.unwrap_or(0));
        return Ok(blob);
    }
    let _lock = cache.lock(&digest)?;
    if whole() {
        progress.advance(source.size.unwrap_or(0));
        return Ok(blob);
    }
    let directory = blob.parent().unwrap_or(&blob);
    fs::create_dir_all(directory).on("create directory", directory)?;
    let part = directory.join(format!("{}.incomplete", digest.hex()));
    let filled = match fill(client, &part, &digest, source, progress) {
        // The bytes of an interrupted download may belong to another file, or a bit may have flipped on the way.
        Err(HubError::WrongHash { .. }) => fill(client, &part, &digest, source, progress),
        filled => filled,
    };
    if filled.is_err() && fs::metadata(&part).is_ok_and(|part| part.len() == 0) {
        // There are no bytes to continue with.
        let _ = fs::remove_file(&part);
    }
    filled?;
    fs::rename(&part, &blob).on("rename", &part)?;
    Ok(blob)
}

/// Completes the file `part` and verifies its hash. A file with another hash is removed.
fn fill(
    client: &Client,
    part: &Path,
    digest: &Digest,
    source: Source<'_>,
    progress: &dyn TransferProgress,
) -> Result<()> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(part).on("open", part)?;
    let mut at = file.metadata().on("read", part)?.len();
    if source.size.is_some_and(|size| at > size) {
        file.set_len(0).on("write", part)?;
        at = 0;
    }
    progress.advance(at);
    let mut size = source.size;
    let mut tries = 0;
    while size.is_none_or(|size| at < size) || (size == Some(0) && tries == 0) {
        tries += 1;
        let before = at;
        let range = format!("bytes={at}-");
        let result = client.get(source.url, (at > 0).then_some(range.as_str()), &source.target);
        let FileResponse { response, .. } = match result {
            // The existing bytes are the whole file, or more than that: the hash decides.
            Err(HubError::Refused { status: 416, .. }) if at > 0 && size.is_none() => break,
            answer => answer?,
        };
        if at > 0 && !is_continuation(&response, at) {
            file.set_len(0).on("write", part)?;
            at = 0;
        }
        file.seek(SeekFrom::Start(at)).on("write", part)?;
        let rest = response.body().content_length();
        if size.is_none() {
            size = rest.map(|rest| rest.saturating_add(at));
        }
        // One byte more than the size of the file, so that a longer file is detected.
        let limit = size.map_or(u64::MAX, |size| size - at.min(size) + 1);
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut body = SteadyReader::new(body).take(limit);
        let (copied, broken) = copy(&mut body, &mut file, progress).on("write", part)?;
        at += copied;
        if size.is_some_and(|size| at >= size) || (size.is_none() && broken.is_none()) {
            break;
        }
        let is_slow = broken.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
        if at > before && !is_slow {
            // The download makes progress, so the number of attempts is reset.
            tries = 1;
        }
        let reason = broken.map_or_else(|| "the connection was closed".to_owned(), |error| error.to_string());
        debug!("{}: {reason} at byte {at}", source.target.description());
        if tries >= MAX_TRIES {
            break;
        }
        sleep(client.retry_delay(tries));
    }
    if let Some(expected) = size.filter(|size| *size != at) {
        if at > expected {
            let _ = fs::remove_file(part);
            return Err(HubError::TooLong { what: source.target.description(), expected });
        }
        return Err(HubError::WrongSize { what: source.target.description(), expected, found: at });
    }
    file.rewind().on("read", part)?;
    let found = digest.of_file(&mut file, at).on("read", part)?;
    if found != *digest {
        if let Err(error) = fs::remove_file(part) {
            warn!("cannot remove {}: {error}", part.display());
        }
        let (expected, found) = (digest.to_string(), found.to_string());
        return Err(HubError::WrongHash { what: source.target.description(), expected, found });
    }
    file.sync_all().on("sync", part)
}

/// Whether the response continues at byte `at`, as requested.
fn is_continuation(response: &ureq::http::Response<ureq::Body>, at: u64) -> bool {
    let range = text(response.headers(), CONTENT_RANGE.as_str());
    response.status() == StatusCode::PARTIAL_CONTENT && range.starts_with(&format!("bytes {at}-"))
}

/// Copies to the end of the input or until reading fails. Returns the number of bytes and the reading error, if any.
/// Only writing errors are errors of this function.
fn copy(from: &mut impl Read, to: &mut File, progress: &dyn TransferProgress) -> io::Result<(u64, Option<io::Error>)> {
    let mut part = vec![0; 1 << 16];
    let mut copied = 0;
    loop {
        match from.read(&mut part) {
            Ok(0) => return Ok((copied, None)),
            Ok(read) => {
                to.write_all(&part[..read])?;
                copied += read as u64;
                progress.advance(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok((copied, Some(error))),
        }
    }
}

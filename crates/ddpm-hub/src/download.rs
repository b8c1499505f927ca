//! One file: into the cache, verified before it has its name there.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;

use tracing::{debug, warn};
use ureq::http::StatusCode;
use ureq::http::header::CONTENT_RANGE;

use crate::cache::CachedRepo;
use crate::client::{About, Answer, Client, TRIES, text};
use crate::digest::Digest;
use crate::error::{HubError, IoContext, Result};
use crate::watch::Watch;

/// What is to be downloaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) url: &'a str,
    pub(crate) size: Option<u64>,
    pub(crate) about: About<'a>,
}

/// Downloads what the cache does not have; the path of the blob.
///
/// What is on its way is `HASH.incomplete`, which nobody reads as a file, under a lock: a second process waits and
/// finds it done. What an interrupted process left is gone on with.
pub(crate) fn download(
    client: &Client,
    cache: &CachedRepo,
    source: Source<'_>,
    listed: Option<Digest>,
    watch: &dyn Watch,
) -> Result<PathBuf> {
    let digest = match listed {
        Some(digest) => digest,
        None => client
            .get(source.url, Some("bytes=0-0"), &source.about)?
            .digest
            .ok_or_else(|| HubError::NoHash { what: source.about.what() })?,
    };
    let blob = cache.blob(&digest);
    let whole =
        || fs::metadata(&blob).is_ok_and(|there| there.is_file() && source.size.is_none_or(|s| s == there.len()));
    if whole() {
        watch.advance(source.size.unwrap_or(0));
        return Ok(blob);
    }
    let _lock = cache.lock(&digest)?;
    if whole() {
        watch.advance(source.size.unwrap_or(0));
        return Ok(blob);
    }
    let directory = blob.parent().unwrap_or(&blob);
    fs::create_dir_all(directory).on("create directory", directory)?;
    let part = directory.join(format!("{}.incomplete", digest.hex()));
    let filled = match fill(client, &part, &digest, source, watch) {
        // What an earlier process left may not be of this file, or a bit has turned over on the way.
        Err(HubError::WrongHash { .. }) => fill(client, &part, &digest, source, watch),
        filled => filled,
    };
    if filled.is_err() && fs::metadata(&part).is_ok_and(|part| part.len() == 0) {
        // There is nothing to go on with.
        let _ = fs::remove_file(&part);
    }
    filled?;
    fs::rename(&part, &blob).on("rename", &part)?;
    Ok(blob)
}

/// Fills `part` to the whole file and verifies it. Where it is another one, it is removed.
fn fill(client: &Client, part: &Path, digest: &Digest, source: Source<'_>, watch: &dyn Watch) -> Result<()> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(part).on("open", part)?;
    let mut at = file.metadata().on("read", part)?.len();
    if source.size.is_some_and(|size| at > size) {
        file.set_len(0).on("write", part)?;
        at = 0;
    }
    watch.advance(at);
    let mut size = source.size;
    let mut tries = 0;
    while size.is_none_or(|size| at < size) || (size == Some(0) && tries == 0) {
        tries += 1;
        let before = at;
        let range = format!("bytes={at}-");
        let asked = client.get(source.url, (at > 0).then_some(range.as_str()), &source.about);
        let Answer { response, .. } = match asked {
            // What is there already is longer than the file, or all of it: its hash will tell.
            Err(HubError::Refused { status: 416, .. }) if at > 0 && size.is_none() => break,
            answer => answer?,
        };
        if at > 0 && !goes_on(&response, at) {
            file.set_len(0).on("write", part)?;
            at = 0;
        }
        file.seek(SeekFrom::Start(at)).on("write", part)?;
        let rest = response.body().content_length();
        if size.is_none() {
            size = rest.map(|rest| rest.saturating_add(at));
        }
        // One more than the file has: more than that is another file.
        let limit = size.map_or(u64::MAX, |size| size - at.min(size) + 1);
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader().take(limit);
        let (copied, broken) = copy(&mut body, &mut file, watch).on("write", part)?;
        at += copied;
        if size.is_some_and(|size| at >= size) || (size.is_none() && broken.is_none()) {
            break;
        }
        if at > before {
            // It goes on, however slowly.
            tries = 1;
        }
        let reason = broken.unwrap_or_else(|| "the connection was closed".to_owned());
        debug!("{}: {reason} at byte {at}", source.about.what());
        if tries >= TRIES {
            break;
        }
        sleep(client.pause(tries));
    }
    if let Some(expected) = size.filter(|size| *size != at) {
        if at > expected {
            let _ = fs::remove_file(part);
            return Err(HubError::TooLong { what: source.about.what(), expected });
        }
        return Err(HubError::WrongSize { what: source.about.what(), expected, found: at });
    }
    file.rewind().on("read", part)?;
    let found = digest.of_file(&mut file, at).on("read", part)?;
    if found != *digest {
        if let Err(error) = fs::remove_file(part) {
            warn!("cannot remove {}: {error}", part.display());
        }
        let (expected, found) = (digest.to_string(), found.to_string());
        return Err(HubError::WrongHash { what: source.about.what(), expected, found });
    }
    file.sync_all().on("sync", part)
}

/// Whether the answer begins at byte `at`, as was asked.
fn goes_on(response: &ureq::http::Response<ureq::Body>, at: u64) -> bool {
    let range = text(response.headers(), CONTENT_RANGE.as_str());
    response.status() == StatusCode::PARTIAL_CONTENT && range.starts_with(&format!("bytes {at}-"))
}

/// Copies to the end or to where it breaks off: how many bytes, and what broke. Only writing fails.
fn copy(from: &mut impl Read, to: &mut File, watch: &dyn Watch) -> io::Result<(u64, Option<String>)> {
    let mut part = vec![0; 1 << 16];
    let mut copied = 0;
    loop {
        match from.read(&mut part) {
            Ok(0) => return Ok((copied, None)),
            Ok(read) => {
                to.write_all(&part[..read])?;
                copied += read as u64;
                watch.advance(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok((copied, Some(error.to_string()))),
        }
    }
}

//! A repository at one commit, as the Hub lists it, or as it is in the cache if the Hub is not available.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hf_hub::RepoType;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tracing::{info, warn};

use crate::cache::CachedRepo;
use crate::client::Client;
use crate::config::HubConfig;
use crate::download::{Source, download};
use crate::error::{HubError, IoContext, Result};
use crate::front_matter::front_matter;
use crate::listing::{Entry, Listing, file_count, repo, request_target};
use crate::plain_path::check_plain_path;
use crate::repo_id::RepoId;
use crate::transfer_progress::TransferProgress;

/// The characters of a path that are percent-encoded in a URL.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'+')
    .add(b'&')
    .add(b'\\');

/// The number of simultaneous downloads.
const PARALLEL_DOWNLOADS: usize = 4;

/// A repository at one commit.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    client: &'a Client,
    id: RepoId,
    kind: RepoType,
    cache: CachedRepo,
    pub(crate) listing: Listing,
    /// The reason for using only the cache, if the Hub is not available.
    cache_only: Option<CacheOnly>,
}

/// The reason for using only the cache.
#[derive(Debug)]
enum CacheOnly {
    /// `HF_HUB_OFFLINE` is set. Contains the directory of the cache.
    Offline(PathBuf),
    /// The Hub returned an error, which is taken out when it is reported.
    Refused { why: Mutex<Option<HubError>>, cache: PathBuf },
}

impl<'a> Snapshot<'a> {
    /// Requests the commit of the revision and its files from the Hub, or takes them from the cache if the Hub is not
    /// available.
    pub(crate) fn open(client: &'a Client, config: &HubConfig, id: &RepoId, kind: RepoType) -> Result<Self> {
        let cache = CachedRepo::new(&config.cache, id, kind);
        let with = |listing, cache_only, cache| Self { client, id: id.clone(), kind, cache, listing, cache_only };
        if config.offline {
            let listing = cache
                .listing()
                .ok_or_else(|| HubError::Offline { what: id.to_string(), cache: config.cache.clone() })?;
            return Ok(with(listing, Some(CacheOnly::Offline(config.cache.clone())), cache));
        }
        match Listing::ask(client, id, kind) {
            Ok(listing) => Ok(with(listing, None, cache)),
            Err(error) if error.allows_cached_files() => {
                let Some(listing) = cache.listing() else { return Err(error) };
                warn!("{error}: {} is taken from the cache, commit {:.8}", id.name(), listing.commit);
                let cache_only = CacheOnly::Refused { why: Mutex::new(Some(error)), cache: config.cache.clone() };
                Ok(with(listing, Some(cache_only), cache))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.cache.snapshot(&self.listing.commit)
    }

    /// Downloads the given files, unless the cache has them. Returns their paths in the cache, in the same order.
    pub(crate) fn files(&self, paths: &[String], progress: &dyn TransferProgress) -> Result<Vec<PathBuf>> {
        let entry = |path: &String| {
            check_plain_path(path, self.id.name())?;
            self.listing.entry(path).ok_or_else(|| match self.cache_only.as_ref().filter(|_| !self.listing.whole) {
                Some(cache_only) => cache_only.missing_error(request_target(&self.id, self.kind, path).description()),
                None => HubError::NoFile { repository: self.id.to_string(), file: path.escape_debug().collect() },
            })
        };
        let entries: Vec<&Entry> = paths.iter().map(entry).collect::<Result<_>>()?;
        let cached: Vec<_> = entries.iter().map(|entry| self.cache.file(&self.listing.commit, entry)).collect();
        let missing: Vec<&Entry> =
            entries.iter().zip(&cached).filter(|(_, there)| there.is_none()).map(|(entry, _)| *entry).collect();
        if let Some(first) = missing.first() {
            if let Some(cache_only) = &self.cache_only {
                let more = missing.len() - 1;
                let first = request_target(&self.id, self.kind, &first.path).description();
                return Err(cache_only.missing_error(if more == 0 {
                    first
                } else {
                    format!("{first} and {more} more")
                }));
            }
            let bytes = missing.iter().filter_map(|entry| entry.size).sum();
            let unknown = if missing.iter().any(|entry| entry.size.is_none()) { " or more" } else { "" };
            info!("{}: downloading {}, {:.1} MB{unknown}", self.id, file_count(missing.len()), bytes as f64 / 1e6);
            progress.begin(self.id.name(), bytes);
            let fetched = self.fetch_all(&missing, progress);
            progress.end();
            fetched?;
        }
        Ok(paths.iter().map(|path| self.root().join(path)).collect())
    }

    /// Records that this revision and the given ones are complete in the cache, for later use without the network. A
    /// cache that cannot be written to only gives a warning, because the files are available.
    pub(crate) fn remember(&self, others: &[String]) {
        if self.cache_only.is_some() {
            return;
        }
        let mut revisions = others.to_vec();
        if self.id.commit().is_none() {
            revisions.push(self.id.revision().to_owned());
        }
        if let Err(error) = self.cache.remember(&self.listing, &revisions) {
            let reason = std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
            warn!("{error}{reason}: without the network {} may not be found in the cache", self.id.name());
        }
    }

    /// Converts an error about missing files into one that says that only the cache was searched.
    pub(crate) fn explain(&self, error: HubError) -> HubError {
        match (&self.cache_only, error) {
            (Some(cache_only), HubError::NoModel { repository, found }) => {
                cache_only.missing_error(format!("a whole model of {repository}, found {found}"))
            }
            (Some(cache_only), HubError::NoImages { repository, of, found }) if !self.listing.whole => {
                cache_only.missing_error(format!("images of {repository}{of}, found {found}"))
            }
            (_, error) => error,
        }
    }

    /// Reads the metadata of a snapshot that another program has downloaded.
    pub(crate) fn read_card(&mut self) -> Result<()> {
        if self.listing.whole {
            return Ok(());
        }
        let path = self.root().join("README.md");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                self.listing.card = front_matter(&text).map_err(|problem| HubError::BadCard { path, problem })?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                warn!("{}: there are no metadata in the cache (README.md): names tell the split", self.id.name());
            }
            Err(error) => return Err(error).on("read", &path),
        }
        Ok(())
    }

    /// Warns if the files may be incomplete, and fails if they are known to be incomplete.
    pub(crate) fn check_whole(&self, paths: &[String]) -> Result<()> {
        let Some(cache_only) = self.cache_only.as_ref().filter(|_| !self.listing.whole) else { return Ok(()) };
        if let Some(missing) = missing_shard(paths) {
            return Err(cache_only.missing_error(request_target(&self.id, self.kind, &missing).description()));
        }
        let (id, found) = (self.id.name(), file_count(paths.len()));
        warn!("{id}: another program has filled the cache: {found}, of which it is not known whether they are all");
        Ok(())
    }

    /// Downloads several files at once. After the first failure no other download is started.
    fn fetch_all(&self, missing: &[&Entry], progress: &dyn TransferProgress) -> Result<()> {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let failure = || failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL_DOWNLOADS.min(missing.len()) {
                scope.spawn(|| {
                    while failure().is_none() {
                        let Some(entry) = missing.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                        if let Err(error) = self.fetch(entry, progress) {
                            failure().get_or_insert(error);
                        }
                    }
                });
            }
        });
        match failure().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn fetch(&self, entry: &Entry, progress: &dyn TransferProgress) -> Result<()> {
        let commit = &self.listing.commit;
        let path = utf8_percent_encode(&entry.path, RESERVED);
        let url = self.client.url(&format!("{}/resolve/{commit}/{path}", repo(&self.id, self.kind).url()));
        let source = Source { url: &url, size: entry.size, target: request_target(&self.id, self.kind, &entry.path) };
        let blob = download(self.client, &self.cache, source, entry.digest(), progress)?;
        self.cache.link(commit, &entry.path, &blob).map(drop)
    }
}

impl CacheOnly {
    /// The error for files that only the Hub has.
    fn missing_error(&self, missing: String) -> HubError {
        let offline = |what, cache: &Path| HubError::Offline { what, cache: cache.to_owned() };
        match self {
            Self::Offline(cache) => offline(missing, cache),
            Self::Refused { why, cache } => {
                match why.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
                    Some(why) => HubError::NotCached { why: Box::new(why), missing },
                    // The error of the Hub has been reported before.
                    None => offline(missing, cache),
                }
            }
        }
    }
}

/// The first missing file of a numbered series: `train-00000-of-00005.parquet`.
fn missing_shard(paths: &[String]) -> Option<String> {
    paths.iter().find_map(|path| {
        let (before, after) = path.rsplit_once("-of-")?;
        let number = before.rsplit('-').next()?;
        let digits = after.chars().take_while(char::is_ascii_digit).count();
        let (total, ending) = after.split_at(digits);
        let (stem, width) = (before.strip_suffix(number)?, number.len());
        if width != digits || !number.bytes().all(|b| b.is_ascii_digit()) || width > 9 {
            return None;
        }
        let count: usize = total.parse().ok()?;
        let all = (0..count).map(|i| format!("{stem}{i:0width$}-of-{total}{ending}"));
        // One more name than there are paths is enough: one of them is missing, however large the number in the name
        // is.
        all.take(paths.len() + 1).find(|name| !paths.contains(name))
    })
}

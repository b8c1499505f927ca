//! A repository at one commit: as the Hub has it, or as the cache has it where the Hub cannot be asked.

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
use crate::listing::{Entry, Listing, about, file_count, repo};
use crate::plain_path::check_plain_path;
use crate::repo_id::RepoId;
use crate::watch::Watch;

/// What a part of a path in an address may not hold as it is.
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

/// Files that are downloaded at once.
const AT_ONCE: usize = 4;

/// A repository at one commit.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    client: &'a Client,
    id: RepoId,
    kind: RepoType,
    cache: CachedRepo,
    pub(crate) listing: Listing,
    /// Why the Hub cannot be asked, where it cannot.
    alone: Option<Alone>,
}

/// Why the cache has to do.
#[derive(Debug)]
enum Alone {
    /// It was forbidden to ask.
    Offline(PathBuf),
    /// It gives nothing: why.
    Refused { why: Mutex<Option<HubError>>, cache: PathBuf },
}

impl<'a> Snapshot<'a> {
    /// Asks the Hub at which commit the revision is and what is there; where that cannot be, takes what the cache has.
    pub(crate) fn open(client: &'a Client, config: &HubConfig, id: &RepoId, kind: RepoType) -> Result<Self> {
        let cache = CachedRepo::new(&config.cache, id, kind);
        let with = |listing, alone, cache| Self { client, id: id.clone(), kind, cache, listing, alone };
        if config.offline {
            let listing = cache
                .listing()
                .ok_or_else(|| HubError::Offline { what: id.to_string(), cache: config.cache.clone() })?;
            return Ok(with(listing, Some(Alone::Offline(config.cache.clone())), cache));
        }
        match Listing::ask(client, id, kind) {
            Ok(listing) => Ok(with(listing, None, cache)),
            Err(error) if error.leaves_the_cache() => {
                let Some(listing) = cache.listing() else { return Err(error) };
                warn!("{error}: {} is taken from the cache, commit {:.8}", id.name(), listing.commit);
                let alone = Alone::Refused { why: Mutex::new(Some(error)), cache: config.cache.clone() };
                Ok(with(listing, Some(alone), cache))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.cache.snapshot(&self.listing.commit)
    }

    /// The files of these paths, which the list has; their places on disk, in the same order.
    pub(crate) fn files(&self, paths: &[String], watch: &dyn Watch) -> Result<Vec<PathBuf>> {
        let entry = |path: &String| {
            check_plain_path(path, self.id.name())?;
            self.listing.entry(path).ok_or_else(|| match self.alone.as_ref().filter(|_| !self.listing.whole) {
                Some(alone) => alone.without(about(&self.id, self.kind, path).what()),
                None => HubError::NoFile { repository: self.id.to_string(), file: path.escape_debug().collect() },
            })
        };
        let entries: Vec<&Entry> = paths.iter().map(entry).collect::<Result<_>>()?;
        let cached: Vec<_> = entries.iter().map(|entry| self.cache.file(&self.listing.commit, entry)).collect();
        let missing: Vec<&Entry> =
            entries.iter().zip(&cached).filter(|(_, there)| there.is_none()).map(|(entry, _)| *entry).collect();
        if let Some(first) = missing.first() {
            if let Some(alone) = &self.alone {
                let more = missing.len() - 1;
                let first = about(&self.id, self.kind, &first.path).what();
                return Err(alone.without(if more == 0 { first } else { format!("{first} and {more} more") }));
            }
            let bytes = missing.iter().filter_map(|entry| entry.size).sum();
            let unknown = if missing.iter().any(|entry| entry.size.is_none()) { " or more" } else { "" };
            info!("{}: downloading {}, {:.1} MB{unknown}", self.id, file_count(missing.len()), bytes as f64 / 1e6);
            watch.begin(self.id.name(), bytes);
            let fetched = self.fetch_all(&missing, watch);
            watch.end();
            fetched?;
        }
        Ok(paths.iter().map(|path| self.root().join(path)).collect())
    }

    /// Remembers that this revision, and others that were found at its commit, are whole: for a time without network.
    /// Where the cache cannot be written to, what is asked for is there all the same.
    pub(crate) fn remember(&self, others: &[String]) {
        if self.alone.is_some() {
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

    /// What an error that says what is not there means where only the cache was looked into.
    pub(crate) fn explain(&self, error: HubError) -> HubError {
        match (&self.alone, error) {
            (Some(alone), HubError::NoModel { repository, found }) => {
                alone.without(format!("a whole model of {repository}, found {found}"))
            }
            (Some(alone), HubError::NoImages { repository, of, found }) if !self.listing.whole => {
                alone.without(format!("images of {repository}{of}, found {found}"))
            }
            (_, error) => error,
        }
    }

    /// Reads the metadata of a snapshot that another program has filled; what is there of the images may be a part.
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

    /// Says where it is not known that these are all files that were asked for, and fails where they are known not to
    /// be.
    pub(crate) fn check_whole(&self, paths: &[String]) -> Result<()> {
        let Some(alone) = self.alone.as_ref().filter(|_| !self.listing.whole) else { return Ok(()) };
        if let Some(missing) = missing_shard(paths) {
            return Err(alone.without(about(&self.id, self.kind, &missing).what()));
        }
        let (id, found) = (self.id.name(), file_count(paths.len()));
        warn!("{id}: another program has filled the cache: {found}, of which it is not known whether they are all");
        Ok(())
    }

    /// Downloads some at once; after the first failure none is begun.
    fn fetch_all(&self, missing: &[&Entry], watch: &dyn Watch) -> Result<()> {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let failure = || failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(missing.len()) {
                scope.spawn(|| {
                    while failure().is_none() {
                        let Some(entry) = missing.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                        if let Err(error) = self.fetch(entry, watch) {
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

    fn fetch(&self, entry: &Entry, watch: &dyn Watch) -> Result<()> {
        let commit = &self.listing.commit;
        let path = utf8_percent_encode(&entry.path, RESERVED);
        let url = self.client.url(&format!("{}/resolve/{commit}/{path}", repo(&self.id, self.kind).url()));
        let source = Source { url: &url, size: entry.size, about: about(&self.id, self.kind, &entry.path) };
        let blob = download(self.client, &self.cache, source, entry.digest(), watch)?;
        self.cache.link(commit, &entry.path, &blob).map(drop)
    }
}

impl Alone {
    /// That something is missing, which only the Hub has.
    fn without(&self, missing: String) -> HubError {
        let offline = |what, cache: &Path| HubError::Offline { what, cache: cache.to_owned() };
        match self {
            Self::Offline(cache) => offline(missing, cache),
            Self::Refused { why, cache } => {
                match why.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
                    Some(why) => HubError::NotCached { why: Box::new(why), missing },
                    // It has been said before.
                    None => offline(missing, cache),
                }
            }
        }
    }
}

/// The first file that is missing of those whose names say how many they are: `train-00000-of-00005.parquet`.
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
        // Of so many names one is missing, whatever number a name tells.
        all.take(paths.len() + 1).find(|name| !paths.contains(name))
    })
}

//! A repository at one commit: as the Hub has it, or as the cache has it where the Hub cannot be asked.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hf_hub::RepoType;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tracing::warn;

use crate::cache::CachedRepo;
use crate::client::Client;
use crate::config::HubConfig;
use crate::download::{Source, download};
use crate::error::{HubError, Result};
use crate::listing::{Entry, Listing, about, repo};
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
    /// Nobody answered: what that was.
    Network(Mutex<Option<HubError>>),
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
            Err(error) if error.is_network() => {
                let Some(listing) = cache.listing() else { return Err(error) };
                warn!("{error}: {} is taken from the cache, commit {:.8}", id.name(), listing.commit);
                Ok(with(listing, Some(Alone::Network(Mutex::new(Some(error)))), cache))
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
            self.listing.entry(path).ok_or_else(|| self.no_file(path))
        };
        let entries: Vec<&Entry> = paths.iter().map(entry).collect::<Result<_>>()?;
        let cached: Vec<_> = entries.iter().map(|entry| self.cache.file(&self.listing.commit, entry)).collect();
        let missing: Vec<&Entry> =
            entries.iter().zip(&cached).filter(|(_, there)| there.is_none()).map(|(entry, _)| *entry).collect();
        if let Some(first) = missing.first() {
            if let Some(alone) = &self.alone {
                return Err(self.incomplete(alone, first));
            }
            watch.begin(self.id.name(), missing.iter().filter_map(|entry| entry.size).sum());
            let fetched = self.fetch_all(&missing, watch);
            watch.end();
            fetched?;
        }
        Ok(paths.iter().map(|path| self.root().join(path)).collect())
    }

    /// Remembers that this revision is whole, for a time without network.
    pub(crate) fn remember(&self) -> Result<()> {
        if self.alone.is_some() { Ok(()) } else { self.cache.remember(&self.listing) }
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

    fn no_file(&self, path: &str) -> HubError {
        HubError::NoFile { repository: self.id.to_string(), file: path.escape_debug().collect() }
    }

    fn incomplete(&self, alone: &Alone, missing: &Entry) -> HubError {
        let what = about(&self.id, self.kind, &missing.path).what();
        match alone {
            Alone::Offline(cache) => HubError::Offline { what, cache: cache.clone() },
            Alone::Network(error) => error
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take()
                .unwrap_or_else(|| self.no_file(&missing.path)),
        }
    }
}

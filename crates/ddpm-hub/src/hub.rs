//! What the programs ask of the Hub.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hf_hub::RepoType;
use tracing::{info, warn};

use crate::client::Client;
use crate::config::HubConfig;
use crate::dataset_files::{Wanted, dataset_files};
use crate::error::{HubError, Result};
use crate::model_files::{model_files, shards};
use crate::push::push;
use crate::push_right::check_right;
use crate::repo_id::RepoId;
use crate::snapshot::Snapshot;
use crate::watch::Watch;

/// A Hub and its cache.
#[derive(Debug, Clone)]
pub struct Hub {
    client: Client,
    config: HubConfig,
    /// Branches and tags of datasets that were asked for their commits, with these: remembered when the files are
    /// there.
    asked: Arc<Mutex<Vec<(RepoId, String)>>>,
}

/// The images of a dataset, on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetFiles {
    /// In the order of their names in the repository.
    pub paths: Vec<PathBuf>,
    /// The column of images of Parquet files, where the dataset's metadata say.
    pub column: Option<String>,
    /// The commit that they are of.
    pub commit: String,
}

impl Hub {
    /// A Hub that is asked as `config` says.
    pub fn new(config: HubConfig) -> Self {
        Self { client: Client::new(&config), config, asked: Arc::default() }
    }

    /// Downloads what the cache lacks of a model: the path of a pipeline, a UNet or a model file.
    ///
    /// # Errors
    /// [`HubError::NoModel`] when the repository holds none, and everything that may go wrong on the way: see
    /// [`HubError`].
    pub fn model(&self, id: &RepoId, watch: &dyn Watch) -> Result<PathBuf> {
        let snapshot = Snapshot::open(&self.client, &self.config, id, RepoType::Model)?;
        let files = model_files(&snapshot.listing.names(), id).map_err(|error| snapshot.explain(error))?;
        if let Some(index) = &files.shards {
            // It is small, and says what else is needed.
            let on_disk = snapshot.files(std::slice::from_ref(index), watch)?;
            snapshot.files(&shards(&on_disk[0], index, id)?, watch)?;
        }
        let mut paths = snapshot.files(&files.paths, watch)?;
        snapshot.remember(&[]);
        Ok(if files.own { paths.swap_remove(0) } else { snapshot.root() })
    }

    /// The commit that a dataset is at: its revision, where that is one, without asking. When this Hub has downloaded
    /// the dataset at that commit, the cache knows that the revision was there.
    ///
    /// # Errors
    /// As [`Hub::dataset`].
    pub fn dataset_commit(&self, id: &RepoId) -> Result<String> {
        match id.commit() {
            Some(commit) => Ok(commit.to_owned()),
            None => {
                let commit = Snapshot::open(&self.client, &self.config, id, RepoType::Dataset)?.listing.commit;
                let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
                asked.push((id.at(&commit)?, id.revision().to_owned()));
                Ok(commit)
            }
        }
    }

    /// Downloads what the cache lacks of a split of a dataset.
    ///
    /// # Errors
    /// [`HubError::NoImages`], [`HubError::NoChoice`], and everything that may go wrong on the way: see [`HubError`].
    pub fn dataset(&self, id: &RepoId, wanted: &Wanted, watch: &dyn Watch) -> Result<DatasetFiles> {
        let mut snapshot = Snapshot::open(&self.client, &self.config, id, RepoType::Dataset)?;
        snapshot.read_card()?;
        let chosen = dataset_files(&snapshot.listing, wanted, id).map_err(|error| snapshot.explain(error))?;
        info!("{}: {}", id.name(), chosen.told());
        snapshot.check_whole(&chosen.paths)?;
        let paths = snapshot.files(&chosen.paths, watch)?;
        self.remember(&snapshot, id);
        Ok(DatasetFiles { paths, column: chosen.column, commit: snapshot.listing.commit.clone() })
    }

    /// Downloads one file of a dataset, unless the cache has it: its path in the cache.
    ///
    /// # Errors
    /// [`HubError::NoFile`] when the dataset has no such file at this revision, and every error of a download: see
    /// [`HubError`].
    pub fn dataset_file(&self, id: &RepoId, file: &str, watch: &dyn Watch) -> Result<PathBuf> {
        let snapshot = Snapshot::open(&self.client, &self.config, id, RepoType::Dataset)?;
        let mut paths = snapshot.files(&[file.to_owned()], watch)?;
        self.remember(&snapshot, id);
        Ok(paths.swap_remove(0))
    }

    /// Records in the cache which revisions [`Hub::dataset_commit`] found at the commit of this snapshot.
    fn remember(&self, snapshot: &Snapshot<'_>, id: &RepoId) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let revisions = asked.iter().filter(|(at, _)| at == id).map(|(_, revision)| revision.clone());
        snapshot.remember(&revisions.collect::<Vec<_>>());
    }

    /// Whether an upload may be begun at all: there is a token, it may write to that owner's models, and the branch
    /// exists. Where the Hub cannot be asked now, a warning says so: it may be there when the upload begins.
    ///
    /// # Errors
    /// Those of an upload without a token or network, [`HubError::TokenRefused`], [`HubError::PushNotAllowed`],
    /// [`HubError::NoBranch`].
    pub fn check_push(&self, id: &RepoId) -> Result<()> {
        self.check_push_here(id)?;
        match check_right(&self.client, id) {
            Ok(()) => Ok(()),
            Err(
                error @ (HubError::TokenRefused { .. } | HubError::PushNotAllowed { .. } | HubError::NoBranch { .. }),
            ) => Err(error),
            Err(error) => {
                warn!("{error}: whether the upload will be allowed is not known yet");
                Ok(())
            }
        }
    }

    /// What can be told without the Hub.
    fn check_push_here(&self, id: &RepoId) -> Result<()> {
        let what = id.to_string();
        if self.config.offline {
            return Err(HubError::OfflinePush { what });
        }
        if self.config.token.is_none() { Err(HubError::PushWithoutToken { what }) } else { Ok(()) }
    }

    /// Uploads every file below `folder` as one commit to the model `id`, which is created where it is not there yet,
    /// public. The address of the model.
    ///
    /// # Errors
    /// [`HubError::PushWithoutToken`], [`HubError::OfflinePush`], and everything that may go wrong on the way: see
    /// [`HubError`].
    pub fn push(&self, id: &RepoId, folder: &Path, summary: &str, watch: &dyn Watch) -> Result<String> {
        self.check_push_here(id)?;
        push(&self.client, id, folder, summary, watch)?;
        Ok(self.client.url(id.name()))
    }
}

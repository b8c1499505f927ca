//! The Hub as the programs use it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hf_hub::RepoType;
use tracing::{info, warn};

use crate::client::Client;
use crate::config::HubConfig;
use crate::dataset_files::{DatasetSelection, dataset_files};
use crate::error::{HubError, Result};
use crate::model_files::{model_files, shards};
use crate::repo_id::RepoId;
use crate::snapshot::Snapshot;
use crate::transfer_progress::TransferProgress;
use crate::upload::{Visibility, upload};
use crate::upload_permission::check_upload_permission;

/// A client of the Hugging Face Hub with a cache.
#[derive(Debug, Clone)]
pub struct Hub {
    client: Client,
    config: HubConfig,
    /// The datasets at a commit for which [`Hub::dataset_commit`] resolved a branch or tag, with that branch or tag. It
    /// is recorded in the cache once the files are there.
    asked: Arc<Mutex<Vec<(RepoId, String)>>>,
}

/// The downloaded files of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetFiles {
    /// The paths, in the order of their names in the repository.
    pub paths: Vec<PathBuf>,
    /// The column of images in Parquet files, if the metadata of the dataset name it.
    pub column: Option<String>,
    /// The commit of the files.
    pub commit: String,
}

impl Hub {
    /// Creates a client. Sends no request.
    pub fn new(config: HubConfig) -> Self {
        Self { client: Client::new(&config), config, asked: Arc::default() }
    }

    /// Downloads the files of a model, unless the cache has them. Returns the path of a diffusers pipeline, of a UNet
    /// directory, or of a model file.
    ///
    /// # Errors
    /// [`HubError::NoModel`] when the repository does not hold a model, and every error of a download: see
    /// [`HubError`].
    pub fn model(&self, id: &RepoId, progress: &dyn TransferProgress) -> Result<PathBuf> {
        let snapshot = Snapshot::open(&self.client, &self.config, id, RepoType::Model)?;
        let files = model_files(&snapshot.listing.names(), id).map_err(|error| snapshot.explain(error))?;
        if let Some(index) = &files.shards {
            // The index is small, and lists the other files of the model.
            let on_disk = snapshot.files(std::slice::from_ref(index), progress)?;
            snapshot.files(&shards(&on_disk[0], index, id)?, progress)?;
        }
        let mut paths = snapshot.files(&files.paths, progress)?;
        snapshot.remember(&[]);
        Ok(if files.own { paths.swap_remove(0) } else { snapshot.root() })
    }

    /// The commit of the revision of a dataset. No request is sent if the revision is a commit. When the dataset is
    /// downloaded at that commit afterwards, the cache records that the revision pointed to it.
    ///
    /// # Errors
    /// The errors of [`Hub::dataset`].
    pub fn dataset_commit(&self, id: &RepoId) -> Result<String> {
        match id.commit() {
            Some(commit) => Ok(commit.to_owned()),
            None => {
                let commit = Snapshot::open(&self.client, &self.config, id, RepoType::Dataset)?.listing.commit;
                let mut resolved = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
                resolved.push((id.at(&commit)?, id.revision().to_owned()));
                Ok(commit)
            }
        }
    }

    /// Downloads the files of a split of a dataset, unless the cache has them.
    ///
    /// # Errors
    /// [`HubError::NoImages`], [`HubError::UnknownChoice`], and every error of a download: see [`HubError`].
    pub fn dataset(
        &self,
        id: &RepoId,
        wanted: &DatasetSelection,
        progress: &dyn TransferProgress,
    ) -> Result<DatasetFiles> {
        let mut snapshot = Snapshot::open(&self.client, &self.config, id, RepoType::Dataset)?;
        snapshot.read_card()?;
        let chosen = dataset_files(&snapshot.listing, wanted, id).map_err(|error| snapshot.explain(error))?;
        info!("{}: {}", id.name(), chosen.description());
        snapshot.check_whole(&chosen.paths)?;
        let paths = snapshot.files(&chosen.paths, progress)?;
        self.remember(&snapshot, id);
        Ok(DatasetFiles { paths, column: chosen.column, commit: snapshot.listing.commit.clone() })
    }

    /// Downloads one file of a dataset, unless the cache has it. Returns its path in the cache.
    ///
    /// # Errors
    /// [`HubError::NoFile`] when the dataset has no such file at this revision, and every error of a download: see
    /// [`HubError`].
    pub fn dataset_file(&self, id: &RepoId, file: &str, progress: &dyn TransferProgress) -> Result<PathBuf> {
        let snapshot = Snapshot::open(&self.client, &self.config, id, RepoType::Dataset)?;
        let mut paths = snapshot.files(&[file.to_owned()], progress)?;
        self.remember(&snapshot, id);
        Ok(paths.swap_remove(0))
    }

    /// Records in the cache which revisions [`Hub::dataset_commit`] found at the commit of this snapshot.
    fn remember(&self, snapshot: &Snapshot<'_>, id: &RepoId) {
        let resolved = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let revisions = resolved.iter().filter(|(at, _)| at == id).map(|(_, revision)| revision.clone());
        snapshot.remember(&revisions.collect::<Vec<_>>());
    }

    /// Checks before a training run whether an upload to the model `id` can succeed: there is a token, it may write to
    /// models of this owner, and the branch exists. If the Hub cannot be reached, this function logs a warning and
    /// succeeds, because it may be reachable when the upload starts.
    ///
    /// # Errors
    /// [`HubError::UploadWithoutToken`], [`HubError::OfflineUpload`], [`HubError::TokenRefused`],
    /// [`HubError::UploadNotPermitted`], [`HubError::NoBranch`].
    pub fn check_upload(&self, id: &RepoId) -> Result<()> {
        self.check_upload_locally(id)?;
        match check_upload_permission(&self.client, id) {
            Ok(()) => Ok(()),
            Err(
                error @ (HubError::TokenRefused { .. }
                | HubError::UploadNotPermitted { .. }
                | HubError::NoBranch { .. }),
            ) => Err(error),
            Err(error) => {
                warn!("{error}: whether the upload will be allowed is not known yet");
                Ok(())
            }
        }
    }

    /// The checks that need no request.
    fn check_upload_locally(&self, id: &RepoId) -> Result<()> {
        let what = id.to_string();
        if self.config.offline {
            return Err(HubError::OfflineUpload { what });
        }
        if self.config.token.is_none() { Err(HubError::UploadWithoutToken { what }) } else { Ok(()) }
    }

    /// Uploads every file below `folder` as one commit to the model `id`, which is created with the given visibility if
    /// it does not exist. Returns the URL of the model.
    ///
    /// # Errors
    /// [`HubError::UploadWithoutToken`], [`HubError::OfflineUpload`], and every error of an upload: see [`HubError`].
    pub fn upload(
        &self,
        id: &RepoId,
        folder: &Path,
        summary: &str,
        visibility: Visibility,
        progress: &dyn TransferProgress,
    ) -> Result<String> {
        self.check_upload_locally(id)?;
        upload(&self.client, id, folder, summary, visibility, progress)?;
        Ok(self.client.url(id.name()))
    }
}

//! The datasets that `data.path` can name instead of a path: `hub:OWNER/NAME[@REVISION]` and `candle:NAME[@COMMIT]`.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "candle-datasets")]
use ddpm_data::CandleDataset;
use ddpm_hub::RepoId;

#[cfg(not(feature = "candle-datasets"))]
use crate::dataset_prefix::NO_CANDLE_DATASETS;
use crate::dataset_prefix::{CANDLE, HUB};

/// A dataset, at a revision where one was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DatasetName {
    /// `hub:OWNER/NAME[@REVISION]`.
    Hub(RepoId),
    /// `candle:NAME[@COMMIT]`.
    #[cfg(feature = "candle-datasets")]
    Candle { dataset: CandleDataset, commit: Option<String> },
}

impl DatasetName {
    /// The repository of the Hub that holds the dataset, at the revision to request.
    pub(crate) fn repository(&self) -> anyhow::Result<RepoId> {
        match self {
            Self::Hub(id) => Ok(id.clone()),
            #[cfg(feature = "candle-datasets")]
            Self::Candle { dataset, commit } => {
                let revision = commit.as_deref().unwrap_or(CandleDataset::REVISION);
                Ok(dataset.repository().parse::<RepoId>()?.at(revision)?)
            }
        }
    }

    /// Whether the user gave a revision.
    pub(crate) fn has_revision(&self) -> bool {
        match self {
            Self::Hub(id) => id.has_revision(),
            #[cfg(feature = "candle-datasets")]
            Self::Candle { commit, .. } => commit.is_some(),
        }
    }

    /// Whether both name the same dataset, regardless of the revisions.
    pub(crate) fn is_same_dataset(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hub(a), Self::Hub(b)) => a.name() == b.name(),
            #[cfg(feature = "candle-datasets")]
            (Self::Candle { dataset: a, .. }, Self::Candle { dataset: b, .. }) => a == b,
            #[cfg(feature = "candle-datasets")]
            _ => false,
        }
    }

    /// The same dataset at one commit.
    pub(crate) fn at(&self, commit: &str) -> anyhow::Result<Self> {
        match self {
            Self::Hub(id) => Ok(Self::Hub(id.at(commit)?)),
            #[cfg(feature = "candle-datasets")]
            Self::Candle { dataset, .. } => Ok(Self::Candle { dataset: *dataset, commit: Some(commit.to_owned()) }),
        }
    }
}

impl FromStr for DatasetName {
    type Err = anyhow::Error;

    #[cfg(feature = "candle-datasets")]
    fn from_str(path: &str) -> anyhow::Result<Self> {
        let Some(name) = path.strip_prefix(CANDLE) else { return hub_dataset(path) };
        let (name, commit) = match name.split_once('@') {
            Some((name, commit)) => (name, Some(commit.to_owned())),
            None => (name, None),
        };
        let name = Self::Candle { dataset: name.parse()?, commit };
        // A commit that is no valid revision is reported now.
        name.repository()?;
        Ok(name)
    }

    #[cfg(not(feature = "candle-datasets"))]
    fn from_str(path: &str) -> anyhow::Result<Self> {
        if path.starts_with(CANDLE) {
            anyhow::bail!(NO_CANDLE_DATASETS);
        }
        hub_dataset(path)
    }
}

fn hub_dataset(path: &str) -> anyhow::Result<DatasetName> {
    Ok(DatasetName::Hub(path.strip_prefix(HUB).unwrap_or(path).parse()?))
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(id) => write!(f, "{HUB}{id}"),
            #[cfg(feature = "candle-datasets")]
            Self::Candle { dataset, commit } => {
                write!(f, "{CANDLE}{dataset}")?;
                commit.as_ref().map_or(Ok(()), |commit| write!(f, "@{commit}"))
            }
        }
    }
}

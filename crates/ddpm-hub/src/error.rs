//! The crate's error: of which repository and file, what was expected and what was found, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T, E = HubError> = std::result::Result<T, E>;

/// Everything that can go wrong between here and the Hub. A message is one line and does not repeat that of its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No name of a repository.
    #[error("expected OWNER/NAME or OWNER/NAME@REVISION, found {found}")]
    BadId {
        /// What was given.
        found: String,
    },
    /// No address of a Hub.
    #[error("HF_ENDPOINT: expected an address such as https://huggingface.co, found {found}")]
    BadEndpoint {
        /// What was given.
        found: String,
    },
    /// A token with characters that no token has.
    #[error("the token in {from} holds a character that no token has")]
    BadToken {
        /// The variable or the file that it was read from.
        from: String,
    },
    /// Nobody says where the cache is.
    #[error("no home directory: set HF_HOME or HF_HUB_CACHE to a directory for what is downloaded")]
    NoHome,
    /// 401 without a token.
    #[error(
        "{what}: the Hub asks for a token (401): there is no such repository, or it is private or gated; set HF_TOKEN"
    )]
    TokenMissing {
        /// The repository, and the file where it is one.
        what: String,
    },
    /// 401 with a token.
    #[error("{what}: the Hub refuses the token (401): it is wrong or expired; set HF_TOKEN to another")]
    TokenRefused {
        /// The repository, and the file where it is one.
        what: String,
    },
    /// 403: the token's owner may not.
    #[error("{what}: the Hub forbids it (403): the token lacks the right")]
    Forbidden {
        /// The repository, and the file where it is one.
        what: String,
    },
    /// Its conditions have to be accepted first.
    #[error(
        "{what} is gated: accept its conditions on its page of the Hub, and set HF_TOKEN to a token of that account"
    )]
    Gated {
        /// The repository, and the file where it is one.
        what: String,
    },
    /// 404: the repository.
    #[error("{repository}: the Hub has no such {kind} (404)")]
    NoRepository {
        /// The repository.
        repository: String,
        /// `model` or `dataset`.
        kind: &'static str,
    },
    /// 404: the revision.
    #[error("{repository}: the Hub has no revision {revision} of it (404)")]
    NoRevision {
        /// The repository.
        repository: String,
        /// The branch, tag or commit.
        revision: String,
    },
    /// 404: the file.
    #[error("{repository}: the Hub has no file {file} in it (404)")]
    NoFile {
        /// The repository.
        repository: String,
        /// The file's path in it.
        file: String,
    },
    /// 429 or 5xx, every time.
    #[error("{what}: the Hub is busy ({status}), {tries} times in a row: try again later")]
    Busy {
        /// The repository, and the file where it is one.
        what: String,
        /// The last status.
        status: u16,
        /// How often it was asked.
        tries: u32,
    },
    /// Another status that is none of success.
    #[error("{what}: {host} answers {status}{}", said(message))]
    Refused {
        /// The repository, and the file where it is one.
        what: String,
        /// Who answered.
        host: String,
        /// The status.
        status: u16,
        /// What else was said, if anything.
        message: String,
    },
    /// No network, no such host, nobody listens, no answer in time.
    #[error("{what}: {host} cannot be reached ({reason})")]
    Unreachable {
        /// The repository, and the file where it is one.
        what: String,
        /// Who was asked.
        host: String,
        /// Why not.
        reason: String,
    },
    /// An answer that is none.
    #[error("{what}: the answer of the Hub is not understood: {problem}")]
    BadAnswer {
        /// The repository, and the file where it is one.
        what: String,
        /// The expected and the found.
        problem: String,
    },
    /// A name that would leave its directory.
    #[error("{repository}: `{name}` is no plain file name: refused")]
    UnsafeName {
        /// The repository.
        repository: String,
        /// The name, escaped.
        name: String,
    },
    /// The bytes are not those that the Hub lists.
    #[error("{what} is damaged: expected {expected}, found {found}; it is removed")]
    WrongHash {
        /// The repository and the file.
        what: String,
        /// The hash that the Hub lists.
        expected: String,
        /// The hash of what came.
        found: String,
    },
    /// Fewer or more bytes than the Hub lists, every time.
    #[error(
        "{what}: expected {expected} bytes, found {found}: the download broke off, the same command goes on with it"
    )]
    WrongSize {
        /// The repository and the file.
        what: String,
        /// The size that the Hub lists.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Neither lists nor headers tell the hash of a file.
    #[error("{what}: the Hub tells no hash of it, expected X-Linked-ETag or ETag: refused")]
    NoHash {
        /// The repository and the file.
        what: String,
    },
    /// HF_HUB_OFFLINE, and it is not in the cache.
    #[error("{what} is not in the cache {}, and HF_HUB_OFFLINE forbids to download it", cache.display())]
    Offline {
        /// The repository, and the file where it is one.
        what: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// Something that needs the network, under HF_HUB_OFFLINE.
    #[error("{what}: HF_HUB_OFFLINE forbids to upload")]
    OfflinePush {
        /// The repository.
        what: String,
    },
    /// The repository holds no model that is known here.
    #[error(
        "{repository} holds no model of a known form: expected a pipeline (model_index.json), a UNet (config.json with \
         diffusion_pytorch_model.*) or model.safetensors, found {found}"
    )]
    NoModel {
        /// The repository.
        repository: String,
        /// Some of its files.
        found: String,
    },
    /// The dataset holds no pictures that are known here.
    #[error("{repository} holds no pictures of a known form (Parquet, zip, tar, images){of}: found {found}")]
    NoPictures {
        /// The repository.
        repository: String,
        /// Of which split, and which part.
        of: String,
        /// Some of its files.
        found: String,
    },
    /// The metadata have others.
    #[error("{repository}: expected data.{field} to be one of {known}, found {found}")]
    NoChoice {
        /// The repository.
        repository: String,
        /// `split` or `subset`.
        field: &'static str,
        /// Those that there are.
        known: String,
        /// What was asked for.
        found: String,
    },
    /// An upload without a token.
    #[error("{what}: an upload needs a token: set HF_TOKEN to one that may write")]
    PushWithoutToken {
        /// The repository.
        what: String,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl HubError {
    /// Whether the Hub itself could not be asked: what is in the cache may serve then.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    /// Whether what was asked for does not exist, or is none: a matter of what was typed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::BadId { .. }
                | Self::BadEndpoint { .. }
                | Self::NoRepository { .. }
                | Self::NoRevision { .. }
                | Self::NoChoice { .. }
                | Self::PushWithoutToken { .. }
                | Self::OfflinePush { .. }
        )
    }
}

/// Names the file and the deed in an error of the system.
pub(crate) trait IoContext<T> {
    /// Turns the system's error into this crate's.
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| HubError::Io { action, path: path.to_owned(), source })
    }
}

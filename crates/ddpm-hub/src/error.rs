//! The error type of this crate.

use std::io;
use std::path::{Path, PathBuf};

/// The result type of this crate.
pub type Result<T, E = HubError> = std::result::Result<T, E>;

/// Why a download or an upload failed. A message is one line, and does not repeat the message of its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The text is not the name of a repository.
    #[error("expected OWNER/NAME or OWNER/NAME@REVISION, found {found}")]
    BadId {
        /// The text.
        found: String,
    },
    /// The text is not the address of a Hub.
    #[error("HF_ENDPOINT: expected an address such as https://huggingface.co, found {found}")]
    BadEndpoint {
        /// The text.
        found: String,
    },
    /// The token contains a character that tokens do not contain.
    #[error("the token in {from} contains an invalid character")]
    BadToken {
        /// The variable or the file of the token.
        from: String,
    },
    /// The directory of the cache is unknown.
    #[error("no home directory: set HF_HOME or HF_HUB_CACHE to a directory for downloaded files")]
    NoCacheDirectory,
    /// Status 401 for a request without a token.
    #[error(
        "{what}: the Hub requires a token (401): the repository does not exist, or it is private or gated; set HF_TOKEN"
    )]
    TokenMissing {
        /// The repository, and the file if the error concerns one.
        what: String,
    },
    /// Status 401 for a request with a token.
    #[error("{what}: the Hub refuses the token (401): it is wrong or expired; set HF_TOKEN to another")]
    TokenRefused {
        /// The repository, and the file if the error concerns one.
        what: String,
    },
    /// Status 403: the owner of the token lacks a permission.
    #[error("{what}: the Hub forbids it (403): {}", message_or_default(message))]
    Forbidden {
        /// The repository, and the file if the error concerns one.
        what: String,
        /// The message of the Hub, which may be empty.
        message: String,
    },
    /// Status 403: the Hub has disabled the repository for everyone.
    #[error("{what}: the Hub has disabled the repository for everyone (403)")]
    Disabled {
        /// The repository, and the file if the error concerns one.
        what: String,
    },
    /// The conditions of a gated repository have not been accepted.
    #[error(
        "{what} is gated: accept its conditions on its page of the Hub, and set HF_TOKEN to a token of that account"
    )]
    Gated {
        /// The repository, and the file if the error concerns one.
        what: String,
    },
    /// Status 404: the repository does not exist.
    #[error("{repository}: the Hub has no such {kind} (404)")]
    NoRepository {
        /// The repository.
        repository: String,
        /// `model` or `dataset`.
        kind: &'static str,
    },
    /// Status 404: the revision does not exist.
    #[error("{repository}: the Hub has no revision {revision} of it (404)")]
    NoRevision {
        /// The repository.
        repository: String,
        /// The branch, tag or commit.
        revision: String,
    },
    /// Status 404: the file does not exist.
    #[error("{repository}: the Hub has no file {file} in it (404)")]
    NoFile {
        /// The repository.
        repository: String,
        /// The path of the file in the repository.
        file: String,
    },
    /// Status 429 or 5xx for every attempt.
    #[error("{what}: the Hub is busy ({status}), asked {}{}", attempts(*tries), retry_advice(*requested_secs))]
    Busy {
        /// The repository, and the file if the error concerns one.
        what: String,
        /// The last status.
        status: u16,
        /// The number of attempts.
        tries: u32,
        /// The delay in seconds that the Hub requests, if any.
        requested_secs: Option<u64>,
    },
    /// Another status that is not success.
    #[error("{what}: {host} answers {status}{}", message_suffix(message))]
    Refused {
        /// The repository, and the file if the error concerns one.
        what: String,
        /// The host that sent the response.
        host: String,
        /// The status.
        status: u16,
        /// The message in the response, which may be empty.
        message: String,
    },
    /// The host cannot be reached: it is unknown, refuses the connection or does not respond in time.
    #[error("{what}: {host} cannot be reached ({reason})")]
    Unreachable {
        /// The repository, and the file if the error concerns one.
        what: String,
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
    /// The response is not valid.
    #[error("{what}: invalid response of the Hub: {problem}")]
    BadAnswer {
        /// The repository, and the file if the error concerns one.
        what: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// The response is an HTML page instead of JSON.
    #[error(
        "{what}: expected JSON from {host}, found an HTML page (HF_ENDPOINT may be wrong, or the network may \
         require a login)"
    )]
    NotAHub {
        /// The repository, and the file if the error concerns one.
        what: String,
        /// The host.
        host: String,
    },
    /// A file name would leave its directory.
    #[error("{repository}: `{name}` is no plain file name, so it is refused")]
    UnsafeName {
        /// The repository.
        repository: String,
        /// The name, with special characters escaped.
        name: String,
    },
    /// The contents of a file differ from those that the Hub lists.
    #[error("{what} is damaged: expected {expected}, found {found}; the file is removed")]
    WrongHash {
        /// The repository and the file.
        what: String,
        /// The hash that the Hub lists.
        expected: String,
        /// The hash of the downloaded file.
        found: String,
    },
    /// Fewer bytes than the Hub lists arrived, in every attempt.
    #[error("{what}: expected {expected} bytes, found {found}: the download broke off; the same command continues it")]
    WrongSize {
        /// The repository and the file.
        what: String,
        /// The size that the Hub lists, in bytes.
        expected: u64,
        /// The number of bytes that arrived.
        found: u64,
    },
    /// More bytes than the Hub lists arrived.
    #[error(
        "{what}: expected {expected} bytes, found more: the file is not the one that the Hub lists, and is removed"
    )]
    TooLong {
        /// The repository and the file.
        what: String,
        /// The size that the Hub lists, in bytes.
        expected: u64,
    },
    /// The Hub gives no hash of a file.
    #[error("{what}: expected its hash in X-Linked-ETag or ETag, found none, so it is refused")]
    NoHash {
        /// The repository and the file.
        what: String,
    },
    /// `HF_HUB_OFFLINE` is set, and the file is not in the cache.
    #[error("{what} is not in the cache {}, and HF_HUB_OFFLINE forbids downloading it", cache.display())]
    Offline {
        /// The repository, and the file if the error concerns one.
        what: String,
        /// The directory of the cache.
        cache: PathBuf,
    },
    /// The Hub refuses the request, and the cache holds only a part of the files.
    #[error("{why}; the cache lacks {missing}")]
    NotCached {
        /// The error of the Hub.
        why: Box<HubError>,
        /// The missing files.
        missing: String,
    },
    /// The metadata of a dataset in the cache are not valid.
    #[error(
        "{}: the metadata are not understood, {problem}: without the Hub the files of the split are unknown",
        path.display()
    )]
    BadCard {
        /// The path of the README.md.
        path: PathBuf,
        /// The line and the problem.
        problem: String,
    },
    /// The metadata of a dataset list files outside of its repository.
    #[error("{repository}: its metadata list files outside of the repository, which is not supported: {pattern}")]
    ExternalFiles {
        /// The repository.
        repository: String,
        /// The address of the files.
        pattern: String,
    },
    /// An upload was requested although `HF_HUB_OFFLINE` is set.
    #[error("{what}: HF_HUB_OFFLINE forbids uploads")]
    OfflineUpload {
        /// The repository.
        what: String,
    },
    /// The repository does not hold a model in a supported format.
    #[error(
        "{repository} holds no model in a supported format: expected a pipeline (model_index.json), a UNet \
         (config.json with diffusion_pytorch_model.*) or model.safetensors, found {found}"
    )]
    NoModel {
        /// The repository.
        repository: String,
        /// Some of its files.
        found: String,
    },
    /// The dataset does not hold images in a supported format.
    #[error("{repository} holds no images in a supported format (Parquet, zip, tar, images){of}: found {found}")]
    NoImages {
        /// The repository.
        repository: String,
        /// The split and the subset.
        of: String,
        /// Some of its files.
        found: String,
    },
    /// The split or subset does not exist.
    #[error("{repository}: expected data.{field} to be one of {known}, found {found}")]
    UnknownChoice {
        /// The repository.
        repository: String,
        /// `split` or `subset`.
        field: &'static str,
        /// The existing values.
        known: String,
        /// The requested value.
        found: String,
    },
    /// An upload was requested without a token.
    #[error("{what}: an upload needs a token: set HF_TOKEN to one with write permission")]
    UploadWithoutToken {
        /// The repository.
        what: String,
    },
    /// The token does not permit the upload.
    #[error("{what}: an upload needs another token: {reason}")]
    UploadNotPermitted {
        /// The repository.
        what: String,
        /// The reason.
        reason: String,
    },
    /// The revision of an upload is not an existing branch.
    #[error("{what}: an upload needs a branch that exists, and this one does not")]
    NoBranch {
        /// The repository with the revision.
        what: String,
    },
    /// The operating system reported an error.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The action that failed, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

fn message_suffix(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn message_or_default(message: &str) -> &str {
    if message.is_empty() { "the token lacks a permission" } else { message }
}

fn attempts(tries: u32) -> String {
    if tries == 1 { "once".to_owned() } else { format!("{tries} times") }
}

fn retry_advice(requested_secs: Option<u64>) -> String {
    requested_secs.map_or(": try again later".to_owned(), |secs| format!(": try again in {secs} s"))
}

impl HubError {
    /// Whether the Hub could not be reached.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. } | Self::NotAHub { .. })
    }

    /// Whether files in the cache may be used instead: the Hub does not provide the repository, for any reason other
    /// than a missing revision or an unsafe name.
    pub(crate) fn allows_cached_files(&self) -> bool {
        self.is_network()
            || matches!(
                self,
                Self::TokenMissing { .. }
                    | Self::TokenRefused { .. }
                    | Self::Forbidden { .. }
                    | Self::Disabled { .. }
                    | Self::Gated { .. }
                    | Self::NoRepository { .. }
                    | Self::Refused { .. }
                    | Self::BadAnswer { .. }
            )
    }

    /// Whether the Hub does not have, or does not show, the repository. A mistyped name gives such an error.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoRepository { .. } | Self::TokenMissing { .. })
    }

    /// Whether the error is one of usage: what was requested does not exist or is not valid, or the token does not
    /// permit it.
    pub fn is_usage(&self) -> bool {
        if let Self::NotCached { why, .. } = self {
            return why.is_usage();
        }
        matches!(
            self,
            Self::BadId { .. }
                | Self::BadEndpoint { .. }
                | Self::BadToken { .. }
                | Self::TokenMissing { .. }
                | Self::TokenRefused { .. }
                | Self::Gated { .. }
                | Self::NoRepository { .. }
                | Self::NoRevision { .. }
                | Self::UnknownChoice { .. }
                | Self::NoBranch { .. }
                | Self::UploadNotPermitted { .. }
                | Self::UploadWithoutToken { .. }
                | Self::OfflineUpload { .. }
        )
    }
}

/// Adds the action and the path to an I/O error.
pub(crate) trait IoContext<T> {
    /// Converts the error into a [`HubError::Io`].
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| HubError::Io { action, path: path.to_owned(), source })
    }
}

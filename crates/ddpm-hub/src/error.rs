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
    #[error("{what}: the Hub forbids it (403): {}", or_right(message))]
    Forbidden {
        /// The repository, and the file where it is one.
        what: String,
        /// What the Hub says of it, if anything.
        message: String,
    },
    /// 403: nobody may.
    #[error("{what}: the Hub has disabled it (403): nobody can have it")]
    Disabled {
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
    #[error("{what}: the Hub is busy ({status}), asked {}{}", times(*tries), later(*wanted_secs))]
    Busy {
        /// The repository, and the file where it is one.
        what: String,
        /// The last status.
        status: u16,
        /// How often it was asked.
        tries: u32,
        /// The pause that it wants, in seconds, where it says so.
        wanted_secs: Option<u64>,
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
    /// A page for people, where an answer for programs was expected.
    #[error(
        "{what}: the answer of {host} is not a Hub's: expected JSON, found HTML (HF_ENDPOINT may be wrong, or the \
         network wants a login first)"
    )]
    NotAHub {
        /// The repository, and the file where it is one.
        what: String,
        /// Who was asked.
        host: String,
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
    /// Fewer bytes than the Hub lists, every time.
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
    /// More bytes than the Hub lists.
    #[error("{what}: expected {expected} bytes, found more: it is another file than the Hub lists, and removed")]
    TooLong {
        /// The repository and the file.
        what: String,
        /// The size that the Hub lists.
        expected: u64,
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
    /// The Hub does not give it, and the cache has a part only.
    #[error("{why}; the cache lacks {missing}")]
    NotCached {
        /// Why the Hub does not give it.
        why: Box<HubError>,
        /// What is missing.
        missing: String,
    },
    /// The metadata in the cache, where the Hub does not give them.
    #[error(
        "{}: the metadata are not understood, {problem}: without the Hub it is not known which files are wanted",
        path.display()
    )]
    BadCard {
        /// The README.md.
        path: PathBuf,
        /// The line.
        problem: String,
    },
    /// Metadata that name files of another place.
    #[error("{repository}: its metadata name files that are not in it, which is not supported: {pattern}")]
    Elsewhere {
        /// The repository.
        repository: String,
        /// The address.
        pattern: String,
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
    /// The dataset holds no images that are known here.
    #[error("{repository} holds no images of a known form (Parquet, zip, tar, images){of}: found {found}")]
    NoImages {
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
    /// An upload with a token that does not allow it.
    #[error("{what}: an upload needs another token: {reason}")]
    PushNotAllowed {
        /// The repository.
        what: String,
        /// What the token is.
        reason: String,
    },
    /// An upload to what is no branch.
    #[error("{what}: an upload needs a branch that exists, found none of that name")]
    NoBranch {
        /// The repository, with the revision.
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

fn or_right(message: &str) -> &str {
    if message.is_empty() { "the token lacks the right" } else { message }
}

fn times(tries: u32) -> String {
    if tries == 1 { "once".to_owned() } else { format!("{tries} times") }
}

fn later(wanted_secs: Option<u64>) -> String {
    wanted_secs.map_or(": try again later".to_owned(), |secs| format!(": it wants a pause of {secs} s, try again then"))
}

impl HubError {
    /// Whether the Hub itself could not be asked.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. } | Self::NotAHub { .. })
    }

    /// Whether the Hub gives nothing, for whatever reason: what is in the cache may serve then. A revision that does
    /// not exist, or a name that is dangerous, is another matter.
    pub(crate) fn leaves_the_cache(&self) -> bool {
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

    /// Whether the Hub has, or shows, no such repository: a name that was typed wrong is answered so.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoRepository { .. } | Self::TokenMissing { .. })
    }

    /// Whether what was asked for does not exist, or is none, or the token does not fit: a matter of what was typed or
    /// set.
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
                | Self::NoChoice { .. }
                | Self::NoBranch { .. }
                | Self::PushNotAllowed { .. }
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

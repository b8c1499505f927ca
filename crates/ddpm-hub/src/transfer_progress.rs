//! Progress of downloads and uploads.

/// Receives the progress of a download or an upload. Several threads call it at once.
pub trait TransferProgress: Sync {
    /// A transfer of `bytes` bytes starts. `what` is the name of the repository.
    fn begin(&self, what: &str, bytes: u64);
    /// `bytes` more bytes have been transferred.
    fn advance(&self, bytes: u64);
    /// The transfer has ended, with or without success.
    fn end(&self);
}

/// Ignores all progress.
impl TransferProgress for () {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}

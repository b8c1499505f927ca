//! Who hears how a transfer goes.

/// Hears of the progress of a download or an upload. Called from several threads at once.
pub trait Watch: Sync {
    /// A transfer of so many bytes begins. `what` names it.
    fn begin(&self, what: &str, bytes: u64);
    /// So many more bytes have been transferred.
    fn advance(&self, bytes: u64);
    /// It is over, well or not.
    fn end(&self);
}

/// Nobody.
impl Watch for () {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}

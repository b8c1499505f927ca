//! The version of diffusers whose format is written.

/// The value of `_diffusers_version` in the files that are written.
pub(crate) const DIFFUSERS_VERSION: &str = "0.42.1";

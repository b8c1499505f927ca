//! The files that `tests/golden/generate_metrics.py` writes.

use std::path::PathBuf;

/// A path in `tests/golden`.
pub(crate) fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/golden", name].iter().collect()
}

/// The results of the reference implementations.
pub(crate) fn results() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(golden("metrics.json")).unwrap()).unwrap()
}

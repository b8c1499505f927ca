//! Tensor files of `torch.save`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle_core::DType;
use ddpm_checkpoint::{Tensors, check_finite};

use crate::error::{DiffusersError, IoContext, Result};

/// Reads the tensors of a file of `torch.save` as f32.
///
/// Nothing in the file is executed: candle's reader supports the few instructions that tensors need and refuses others.
/// candle leaves out a tensor of a type that it does not support and writes a line about it to standard error; the
/// comparison of the tensors with the network reports it as missing later.
///
/// # Errors
/// [`DiffusersError::Damaged`] for a file that is not a zip archive or that candle cannot read;
/// [`CheckpointError::NotFinite`](ddpm_checkpoint::CheckpointError::NotFinite).
pub(crate) fn read_pickle(path: &Path) -> Result<Tensors> {
    const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";
    let mut magic = Vec::new();
    File::open(path).and_then(|file| file.take(ZIP_MAGIC.len() as u64).read_to_end(&mut magic)).on("read", path)?;
    if magic != ZIP_MAGIC {
        let problem = "expected a zip archive, as torch.save writes since PyTorch 1.6, found something else";
        return Err(DiffusersError::damaged(path, problem));
    }
    let damaged = |source: candle_core::Error| {
        // The lines after the first are a backtrace, if backtraces are enabled.
        let reason = source.to_string().lines().next().unwrap_or_default().to_owned();
        let problem = format!("expected the tensors of torch.save, found what cannot be read: {reason}");
        DiffusersError::damaged(path, problem)
    };
    let mut tensors = Tensors::new();
    for (name, tensor) in candle_core::pickle::read_all(path).map_err(damaged)? {
        let tensor = tensor.to_dtype(DType::F32).map_err(damaged)?;
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).map_err(damaged)?;
        check_finite(&values, 0, &name, path)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

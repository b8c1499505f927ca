//! Reading all tensors of a file of `torch.save`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use candle_core::{Device, Tensor};
use ddpm_checkpoint::{Tensors, check_finite};

use crate::error::{FeaturesError, IoContext, Result};
use crate::pth::arena::StridedTensor;
use crate::pth::legacy_file::{is_legacy, open_legacy};
use crate::pth::problem::Problem;
use crate::pth::storage_source::{Contents, bytes_of};
use crate::pth::zip_file::open_zip;

/// The memory for the tensors is at most this many times the length of the file. Tensors may share storages, and 16-bit
/// elements become f32.
const MAX_EXPANSION: u64 = 16;
/// The number of bytes by which a format is recognized.
const START_BYTES: u64 = 16;

/// The two formats of `torch.save`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PthFormat {
    /// Before PyTorch 1.6.
    Legacy,
    /// A zip archive.
    Zip,
}

/// The format of a file that starts with these bytes.
pub(crate) fn detect_pth(start: &[u8]) -> Option<PthFormat> {
    match start {
        _ if is_legacy(start) => Some(PthFormat::Legacy),
        [b'P', b'K', 3, 4, ..] => Some(PthFormat::Zip),
        _ => None,
    }
}

/// Reads the tensors of a file of `torch.save` as contiguous f32 tensors on the CPU.
///
/// Both formats are read: zip archives, and the format before PyTorch 1.6. The file holds a dictionary of tensors, or a
/// dictionary that holds one under `state_dict`, `model_state_dict`, `model`, `teacher` or `ema`. Floating-point
/// numbers of 16, 32 and 64 bits and integers are converted to f32, to the nearest value where they are not exact.
///
/// Nothing in the file is executed. The memory for the tensors is at most 16 times the length of the file.
///
/// # Errors
/// [`FeaturesError::RefusedGlobal`] naming a Python object that weights do not need, such as `os.system`;
/// [`FeaturesError::Pth`] for a file that is damaged or cut short; [`FeaturesError::UnknownFormat`] for a file of
/// another format; [`FeaturesError::Checkpoint`] for a value that is not finite; [`FeaturesError::Io`].
pub fn read_pth(path: impl AsRef<Path>) -> Result<Tensors> {
    let path = path.as_ref();
    let start = file_start(path)?;
    let file = File::open(path).on("open", path)?;
    let length = file.metadata().on("read", path)?.len();
    let contents = match detect_pth(&start) {
        Some(PthFormat::Legacy) => open_legacy(file, length),
        Some(PthFormat::Zip) => open_zip(file, length),
        None => return Err(FeaturesError::UnknownFormat { path: path.to_owned(), found: describe(&start) }),
    };
    contents.and_then(|contents| check_size(contents, length)).map_err(|p| p.in_file(path)).and_then(|c| copy(c, path))
}

/// The first bytes of a regular file. Pipes and devices are refused because reading them may block or never end.
pub(crate) fn file_start(path: &Path) -> Result<Vec<u8>> {
    let metadata = fs::metadata(path).on("open", path)?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a directory" } else { "no regular file" };
        return Err(FeaturesError::UnknownFormat { path: path.to_owned(), found: found.to_owned() });
    }
    let mut start = Vec::new();
    File::open(path).on("open", path)?.take(START_BYTES).read_to_end(&mut start).on("read", path)?;
    Ok(start)
}

/// Describes the first bytes of a file.
pub(crate) fn describe(start: &[u8]) -> String {
    if start.is_empty() { "an empty file".to_owned() } else { format!("a file that starts with {start:02x?}") }
}

/// Compares the length of the file with the memory for all tensors and with their storages: the entries of an archive
/// could overlap, and the same bytes be read again and again.
fn check_size(contents: Contents, length: u64) -> Result<Contents, Problem> {
    let total = contents.tensors.values().fold(0_u64, |total, tensor| total.saturating_add(4 * tensor.count() as u64));
    if total > MAX_EXPANSION.saturating_mul(length) {
        return Problem::damaged(format!("tensors of {total} bytes in a file of {length} bytes"));
    }
    let mut storages = BTreeMap::new();
    for tensor in contents.tensors.values() {
        storages.insert(&tensor.storage.key, bytes_of(&tensor.storage)? as u64);
    }
    let total = storages.into_values().fold(0_u64, u64::saturating_add);
    if total > length {
        return Problem::damaged(format!("storages of {total} bytes in a file of {length} bytes"));
    }
    Ok(contents)
}

/// Copies all tensors out of their storages, each of which is read once.
fn copy(mut contents: Contents, path: &Path) -> Result<Tensors> {
    let mut by_storage: BTreeMap<Rc<str>, Vec<(String, StridedTensor)>> = BTreeMap::new();
    for (name, tensor) in contents.tensors {
        by_storage.entry(tensor.storage.key.clone()).or_default().push((name, tensor));
    }
    let mut tensors = Tensors::new();
    for views in by_storage.into_values() {
        let storage = &views[0].1.storage;
        if let Some((name, other)) = views.iter().find(|(_, view)| view.storage != *storage) {
            let (first, found) = (storage.len, other.storage.len);
            let problem = format!("the storage of `{name}` is described as {first} and as {found} elements");
            return Err(Problem::Damaged(problem).in_file(path));
        }
        let bytes = contents.source.read(storage).map_err(|problem| problem.in_file(path))?;
        let elements = storage.element.to_f32(&bytes).map_err(|problem| problem.in_file(path))?;
        for (name, view) in &views {
            let values = view.copy_from(&elements);
            check_finite(&values, 0, name, path)?;
            tensors.insert(name.clone(), Tensor::from_vec(values, view.shape.as_slice(), &Device::Cpu)?);
        }
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pth::arena::Storage;
    use crate::pth::element_type::ElementType;
    use crate::pth::storage_source::StorageSource;

    struct NoBytes;

    impl StorageSource for NoBytes {
        fn read(&mut self, _: &Storage) -> Result<Vec<u8>, Problem> {
            Problem::damaged("nothing is read")
        }
    }

    #[test]
    fn storages_of_more_bytes_than_the_file_are_refused() {
        let contents = || {
            let tensor = |i: usize| {
                let storage = Storage { key: i.to_string().into(), element: ElementType::F32, len: 250 };
                (i.to_string(), StridedTensor::new(storage, 0, vec![1], vec![1]).expect("within the storage"))
            };
            Contents { tensors: (0..3).map(tensor).collect(), source: Box::new(NoBytes) }
        };
        let Err(Problem::Damaged(problem)) = check_size(contents(), 2999) else { panic!("more than the file") };
        assert_eq!(problem, "storages of 3000 bytes in a file of 2999 bytes");
        assert!(check_size(contents(), 3000).is_ok());
    }
}

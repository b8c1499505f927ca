//! The header of a safetensors file: its length, then JSON with the names, types, shapes and offsets of the tensors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::path::Path;

use candle_core::{DType, Tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{CheckpointError, IoContext, Result};
use crate::versioned_json::check_size;

/// The only metadata key. safetensors writes metadata in the order of a hash map, so that the bytes of a file with two
/// keys would not be reproducible.
const DESCRIPTION_KEY: &str = "ddpm";
/// The key of the metadata in the JSON, beside the names of the tensors.
const METADATA_KEY: &str = "__metadata__";
/// The largest header, enough for about 80,000 tensors. The limit of the format, 100 MB, would let a small file cause
/// an allocation of gigabytes.
const MAX_HEADER_BYTES: u64 = 8 << 20;
/// The size of the length before the JSON, and the alignment of the tensors after it.
const LENGTH_BYTES: u64 = 8;

/// A header that is consistent with its file: the tensors follow each other without gap or overlap up to the last byte.
#[derive(Debug)]
pub(crate) struct Header {
    /// The value of the metadata key `ddpm`, if there is one.
    pub(crate) description: Option<String>,
    /// The tensors in the order of their data.
    pub(crate) tensors: Vec<(String, TensorInfo)>,
}

impl Header {
    /// Reads the header of a file of `length` bytes. Allocates a small multiple of the size of the header, which is at
    /// most 8 MiB and at most the size of the file.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`], [`CheckpointError::TooLarge`], [`CheckpointError::Io`].
    pub(crate) fn read(reader: &mut dyn Read, length: u64, path: &Path) -> Result<Self> {
        let damaged = |problem: String| CheckpointError::damaged(path, problem);
        if length < LENGTH_BYTES {
            return Err(damaged(format!("{length} bytes are too few for a safetensors file")));
        }
        let mut bytes = [0; LENGTH_BYTES as usize];
        reader.read_exact(&mut bytes).on("read", path)?;
        let claimed_length = u64::from_le_bytes(bytes);
        let available = length - LENGTH_BYTES;
        if claimed_length > available {
            let problem = "the file is truncated, or is not a safetensors file";
            return Err(damaged(format!("expected a header of {claimed_length} bytes, found {available}: {problem}")));
        }
        check_size(usize::try_from(claimed_length).unwrap_or(usize::MAX), "header", MAX_HEADER_BYTES, path)?;
        let mut json = vec![0; claimed_length as usize];
        reader.read_exact(&mut json).on("read", path)?;
        // safetensors checks that the offsets are contiguous and match the shapes and types.
        if let Ok(UniqueKeys(Some(key))) = serde_json::from_slice(&json) {
            return Err(damaged(format!("its header: expected each tensor once, found `{key}` twice")));
        }
        let metadata: Metadata = serde_json::from_slice(&json).map_err(|e| damaged(format!("its header: {e}")))?;
        let (expected, found) = (metadata.data_len() as u64, available - claimed_length);
        if expected != found {
            return Err(damaged(format!("expected {expected} bytes of tensors, found {found}")));
        }
        Ok(Self::from_metadata(&metadata))
    }

    fn from_metadata(metadata: &Metadata) -> Self {
        let description = metadata.metadata().as_ref().and_then(|map| map.get(DESCRIPTION_KEY).cloned());
        let with_info = |name: String| metadata.info(&name).cloned().map(|info| (name, info));
        Self { description, tensors: metadata.offset_keys().into_iter().filter_map(with_info).collect() }
    }

    /// Writes the header of a file of `tensors`, f32, in the order of their names.
    ///
    /// # Errors
    /// [`CheckpointError::WrongType`], [`CheckpointError::UnsafeName`], [`CheckpointError::TooLarge`],
    /// [`CheckpointError::Io`].
    pub(crate) fn write(
        out: &mut dyn Write,
        description: Option<String>,
        tensors: &BTreeMap<String, Tensor>,
        path: &Path,
    ) -> Result<()> {
        let mut infos = Vec::with_capacity(tensors.len());
        let mut offset = 0;
        for (name, tensor) in tensors {
            let info = tensor_info(name, tensor, offset, path)?;
            offset = info.data_offsets.1;
            infos.push((name.clone(), info));
        }
        let map = description.map(|json| HashMap::from([(DESCRIPTION_KEY.to_owned(), json)]));
        let metadata = Metadata::new(map, infos).map_err(std::io::Error::other).on("encode", path)?;
        let mut json = serde_json::to_vec(&metadata).map_err(std::io::Error::from).on("encode", path)?;
        json.resize(json.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
        check_size(json.len(), "header", MAX_HEADER_BYTES, path)?;
        out.write_all(&(json.len() as u64).to_le_bytes()).on("write", path)?;
        out.write_all(&json).on("write", path)
    }
}

/// The first key of a JSON object that occurs twice. A map would keep one of the values.
struct UniqueKeys(Option<String>);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = UniqueKeys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<UniqueKeys, A::Error> {
                let (mut seen, mut twice) = (BTreeSet::new(), None);
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if !seen.insert(key.clone()) && twice.is_none() {
                        twice = Some(key);
                    }
                }
                Ok(UniqueKeys(twice))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// The entry of a tensor whose data starts at `offset`.
fn tensor_info(name: &str, tensor: &Tensor, offset: usize, path: &Path) -> Result<TensorInfo> {
    if name == METADATA_KEY {
        return Err(CheckpointError::UnsafeName { path: path.to_owned(), name: name.to_owned() });
    }
    if tensor.dtype() != DType::F32 {
        return Err(CheckpointError::WrongType {
            path: path.to_owned(),
            tensor: name.to_owned(),
            expected: "f32",
            found: format!("{:?}", tensor.dtype()).to_lowercase(),
        });
    }
    let end = offset + tensor.elem_count() * size_of::<f32>();
    Ok(TensorInfo { dtype: Dtype::F32, shape: tensor.dims().to_vec(), data_offsets: (offset, end) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, data_bytes: u64, expected: &str) {
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend(json.as_bytes());
        let length = file.len() as u64 + data_bytes;
        let read = Header::read(&mut file.as_slice(), length, Path::new("m"));
        let message = read.map_or_else(|error| error.to_string(), |header| format!("{:?}", header.tensors));
        assert!(message.contains(expected), "{json}: {message}");
    }

    #[test]
    fn a_header_must_be_consistent_with_its_file() {
        check("{}", 0, "[]");
        check("{}", 1, "expected 0 bytes of tensors, found 1");
        check(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8, "\"a\"");
        check(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 7, "expected 8 bytes of tensors, found 7");
        check(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12, "invalid offset for tensor `a`");
        check(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8, "invalid shape");
        check(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, 8, "overflow");
        check(r#"{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#, 8, "unknown variant `F33`");
        check(r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8, "invalid value");
        let entry = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        check(&format!("{{{entry},{entry}}}"), 4, "expected each tensor once, found `a` twice");
        check("[1]", 0, "its header");
        check("", 0, "its header");
    }

    #[test]
    fn a_wrong_length_causes_no_allocation() {
        let mut file = (1_u64 << 60).to_le_bytes().to_vec();
        file.extend([b'{'; 100]);
        let error = Header::read(&mut file.as_slice(), 108, Path::new("m")).expect_err("the length is wrong");
        assert!(error.to_string().contains("expected a header of 1152921504606846976 bytes, found 100"), "{error}");
        // A sparse file can be that long; then the limit applies.
        let error = Header::read(&mut file.as_slice(), 1 << 61, Path::new("m")).expect_err("the length is wrong");
        assert!(matches!(error, CheckpointError::TooLarge { limit: MAX_HEADER_BYTES, .. }), "{error}");
    }
}

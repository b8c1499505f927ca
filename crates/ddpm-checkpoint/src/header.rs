//! The head of a safetensors file: its length, then JSON with the names, types, shapes and places of the tensors.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::path::Path;

use candle_core::{DType, Tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::{CheckpointError, IoContext, Result};
use crate::versioned_json::check_size;

/// The one metadata key. With two, the order of a hash map would decide about the bytes.
const DESCRIPTION_KEY: &str = "ddpm";
/// The key under which safetensors keeps metadata among the tensors.
const METADATA_KEY: &str = "__metadata__";
/// Room for some 80,000 tensors; the format's own limit of 100 MB lets a small file ask for gigabytes.
const MAX_HEADER_BYTES: u64 = 8 << 20;
/// The bytes of the length in front of the JSON; also the alignment of what follows it.
const LENGTH_BYTES: u64 = 8;

/// A header that fits its file: the tensors follow each other without gap or overlap up to the file's last byte.
#[derive(Debug)]
pub(crate) struct Header {
    /// The JSON under the key `ddpm`, if there is one.
    pub(crate) description: Option<String>,
    /// Names and forms in the order of the data.
    pub(crate) tensors: Vec<(String, TensorInfo)>,
}

impl Header {
    /// Reads the head of a file of `length` bytes. Allocates no more than a small multiple of the header, and that is
    /// bounded by both the file and 8 MiB.
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
        let announced = u64::from_le_bytes(bytes);
        let available = length - LENGTH_BYTES;
        if announced > available {
            let problem = "is it cut short, or no safetensors file?";
            return Err(damaged(format!("its header claims {announced} bytes, {available} are there: {problem}")));
        }
        check_size(usize::try_from(announced).unwrap_or(usize::MAX), "header", MAX_HEADER_BYTES, path)?;
        let mut json = vec![0; announced as usize];
        reader.read_exact(&mut json).on("read", path)?;
        // This checks that the places are contiguous and fit shapes and types.
        let metadata: Metadata = serde_json::from_slice(&json).map_err(|e| damaged(format!("its header: {e}")))?;
        let (claimed, found) = (metadata.data_len() as u64, available - announced);
        if claimed != found {
            return Err(damaged(format!("its tensors take {claimed} bytes, {found} are there")));
        }
        Ok(Self::from_metadata(&metadata))
    }

    fn from_metadata(metadata: &Metadata) -> Self {
        let description = metadata.metadata().as_ref().and_then(|map| map.get(DESCRIPTION_KEY).cloned());
        let with_form = |name: String| metadata.info(&name).cloned().map(|info| (name, info));
        Self { description, tensors: metadata.offset_keys().into_iter().filter_map(with_form).collect() }
    }

    /// Writes the head of a file that holds `tensors`, f32, in the order of their names.
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
            let info = describe(name, tensor, offset, path)?;
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

fn describe(name: &str, tensor: &Tensor, offset: usize, path: &Path) -> Result<TensorInfo> {
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
    fn headers_are_believed_only_when_they_fit_the_file() {
        check("{}", 0, "[]");
        check("{}", 1, "its tensors take 0 bytes, 1 are there");
        check(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8, "\"a\"");
        check(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 7, "take 8 bytes, 7 are there");
        check(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12, "invalid offset for tensor `a`");
        check(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8, "invalid shape");
        check(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, 8, "overflow");
        check(r#"{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#, 8, "unknown variant `F33`");
        check(r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8, "invalid value");
        check("[1]", 0, "its header");
        check("", 0, "its header");
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let mut file = (1_u64 << 60).to_le_bytes().to_vec();
        file.extend([b'{'; 100]);
        let error = Header::read(&mut file.as_slice(), 108, Path::new("m")).expect_err("it lies");
        assert!(error.to_string().contains("claims 1152921504606846976 bytes, 100 are there"), "{error}");
        // A huge sparse file would hold it: the limit steps in.
        let error = Header::read(&mut file.as_slice(), 1 << 61, Path::new("m")).expect_err("it lies");
        assert!(matches!(error, CheckpointError::TooLarge { limit: MAX_HEADER_BYTES, .. }), "{error}");
    }
}

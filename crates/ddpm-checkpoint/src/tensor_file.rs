//! Reading and writing named tensors as a safetensors file, in a stream of small chunks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use crate::atomic_file::replace_file;
use crate::error::{CheckpointError, IoContext, Result};
use crate::finite::check_finite;
use crate::half_precision::{bf16_to_f32, f16_to_f32};
use crate::header::Header;

/// Tensors by name. The order of the map is the order in the file.
pub type Tensors = BTreeMap<String, Tensor>;

/// The size of the chunks in which values are converted, a multiple of every element size.
const CHUNK_BYTES: usize = 1 << 16;

/// Reads the tensors of a safetensors file as f32 tensors on the CPU.
///
/// The types f32, f16 and bf16 are supported; f16 and bf16 are converted exactly. Metadata is ignored, so that weights
/// saved by PyTorch can be read. The function needs the memory of the tensors and a small constant: a header that
/// claims more data than the file has is an error and causes no allocation.
///
/// # Errors
/// [`CheckpointError::NotFound`]; [`CheckpointError::NotAModel`] for a directory or a device;
/// [`CheckpointError::Damaged`]; [`CheckpointError::WrongType`]; [`CheckpointError::NotFinite`] naming the tensor;
/// [`CheckpointError::Io`].
pub fn read_tensors(path: impl AsRef<Path>) -> Result<Tensors> {
    let path = path.as_ref();
    let (mut reader, length) = open(path)?;
    read_stream(&mut reader, length, path).map(|(_, tensors)| tensors)
}

/// Writes tensors, which must be f32 and finite, as a safetensors file. The file is replaced atomically. The same
/// tensors always give the same bytes.
///
/// # Errors
/// [`CheckpointError::WrongType`], [`CheckpointError::NotFinite`], [`CheckpointError::Io`]. A previous file at `path`
/// is then unchanged.
pub fn write_tensors(path: impl AsRef<Path>, tensors: &Tensors) -> Result<()> {
    let path = path.as_ref();
    replace_file(path, |out| write_stream(out, None, tensors, path))
}

/// Opens a regular file and returns its length. Pipes and devices are refused because reading them may block or never
/// end.
pub(crate) fn open(path: &Path) -> Result<(BufReader<File>, u64)> {
    let not_a_model = |found: &str| CheckpointError::NotAModel { path: path.to_owned(), found: found.to_owned() };
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(CheckpointError::NotFound { path: path.to_owned() });
        }
        found => found.on("access", path)?,
    };
    if !found.is_file() {
        return Err(not_a_model(if found.is_dir() { "it is a directory" } else { "it is not a regular file" }));
    }
    Ok((BufReader::with_capacity(4 * CHUNK_BYTES, File::open(path).on("open", path)?), found.len()))
}

/// Reads a file of `length` bytes. Returns the value of the metadata key `ddpm` and the tensors.
pub(crate) fn read_stream(reader: &mut dyn Read, length: u64, path: &Path) -> Result<(Option<String>, Tensors)> {
    let header = Header::read(reader, length, path)?;
    // All types are checked before the first tensor is read, which may take long.
    check_types(&header.tensors, path)?;
    let mut tensors = BTreeMap::new();
    for (name, info) in header.tensors {
        let tensor = read_tensor(reader, &name, info, path)?;
        tensors.insert(name, tensor);
    }
    Ok((header.description, tensors))
}

/// Checks the types of all tensors.
fn check_types(tensors: &[(String, TensorInfo)], path: &Path) -> Result<()> {
    let wrong: Vec<_> = tensors.iter().filter(|(name, info)| decoder(name, info.dtype, path).is_err()).collect();
    let [(name, info), others @ ..] = &wrong[..] else { return Ok(()) };
    decoder(name, info.dtype, path).map(drop).map_err(|error| match error {
        CheckpointError::WrongType { path, tensor, expected, found } if !others.is_empty() => {
            let found = format!("{found} (and {} more of {} tensors)", others.len(), tensors.len());
            CheckpointError::WrongType { path, tensor, expected, found }
        }
        error => error,
    })
}

/// Writes a file: the header with `description` as metadata, then the tensors in the order of their names.
pub(crate) fn write_stream(
    out: &mut dyn Write,
    description: Option<String>,
    tensors: &Tensors,
    path: &Path,
) -> Result<()> {
    Header::write(out, description, tensors, path)?;
    tensors.iter().try_for_each(|(name, tensor)| write_tensor(out, name, tensor, path))
}

/// Converts the bytes of one element to f32.
type Decode = fn(&[u8]) -> f32;

/// The size of an element in bytes, and its conversion to f32.
fn decoder(name: &str, dtype: Dtype, path: &Path) -> Result<(usize, Decode)> {
    match dtype {
        Dtype::F32 => Ok((4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        Dtype::F16 => Ok((2, |b| f16_to_f32(u16::from_le_bytes([b[0], b[1]])))),
        Dtype::F64 => Ok((8, |b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)),
        Dtype::BF16 => Ok((2, |b| bf16_to_f32(u16::from_le_bytes([b[0], b[1]])))),
        other => Err(CheckpointError::WrongType {
            path: path.to_owned(),
            tensor: name.to_owned(),
            expected: "f64, f32, f16 or bf16",
            found: other.to_string().to_lowercase(),
        }),
    }
}

fn read_tensor(reader: &mut dyn Read, name: &str, info: TensorInfo, path: &Path) -> Result<Tensor> {
    let (element_bytes, decode) = decoder(name, info.dtype, path)?;
    let mut remaining = info.data_offsets.1 - info.data_offsets.0;
    let mut values: Vec<f32> = Vec::new();
    values.try_reserve_exact(remaining / element_bytes).map_err(std::io::Error::other).on("allocate for", path)?;
    let mut chunk = vec![0; remaining.min(CHUNK_BYTES)];
    while remaining > 0 {
        let part = &mut chunk[..remaining.min(CHUNK_BYTES)];
        reader.read_exact(part).on("read", path)?;
        remaining -= part.len();
        let start = values.len();
        values.extend(part.chunks_exact(element_bytes).map(decode));
        check_finite(&values[start..], start, name, path)?;
    }
    Tensor::from_vec(values, info.shape, &Device::Cpu).map_err(|source| tensor_error(name, path, source))
}

fn write_tensor(out: &mut dyn Write, name: &str, tensor: &Tensor, path: &Path) -> Result<()> {
    let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
    let values = values.map_err(|source| tensor_error(name, path, source))?;
    check_finite(&values, 0, name, path)?;
    let mut chunk = [0; CHUNK_BYTES];
    for part in values.chunks(CHUNK_BYTES / size_of::<f32>()) {
        for (bytes, value) in chunk.chunks_exact_mut(size_of::<f32>()).zip(part) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        out.write_all(&chunk[..size_of_val(part)]).on("write", path)?;
    }
    Ok(())
}

fn tensor_error(name: &str, path: &Path, source: candle_core::Error) -> CheckpointError {
    CheckpointError::Tensor { path: path.to_owned(), tensor: name.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    fn bytes_of(tensors: &Tensors) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        write_stream(&mut bytes, None, tensors, Path::new("m"))?;
        Ok(bytes)
    }

    fn one(name: &str, tensor: candle_core::Result<Tensor>) -> Tensors {
        BTreeMap::from([(name.to_owned(), tensor.expect("a tensor"))])
    }

    #[test]
    fn the_reference_implementation_reads_the_file() {
        let tensors = one("b", Tensor::new(&[[1.0_f32, -2.5]], &Device::Cpu));
        let bytes = bytes_of(&tensors).expect("a Vec accepts every write");
        let read = safetensors::SafeTensors::deserialize(&bytes).expect("well-formed");
        let view = read.tensor("b").expect("it exists");
        assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &[1, 2][..]));
        assert_eq!(view.data(), [1.0_f32.to_le_bytes(), (-2.5_f32).to_le_bytes()].concat());
        // The format recommends that the data begin at a multiple of eight bytes.
        assert_eq!((bytes.len() - 8) % 8, 0);
    }

    #[test]
    fn other_float_types_are_converted_and_integers_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("pytorch.safetensors");
        let save = |dtype| {
            let tensor = Tensor::new(&[0.5_f32, -3.0], &Device::Cpu).and_then(|t| t.to_dtype(dtype)).expect("cast");
            candle_core::safetensors::save(&std::collections::HashMap::from([("w", tensor)]), &path).expect("room");
            read_tensors(&path)
        };
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            let read = save(dtype).expect("accepted");
            assert_eq!(read["w"].to_vec1::<f32>().expect("f32 now"), [0.5, -3.0]);
        }
        let error = save(DType::U32).expect_err("refused");
        assert!(error.to_string().contains("tensor `w` is of type u32, expected f64, f32, f16 or bf16"), "{error}");
        let integers = Tensor::new(&[1_u32], &Device::Cpu).expect("room");
        let all = ["a", "b", "c"].map(|name| (name, integers.clone()));
        candle_core::safetensors::save(&std::collections::HashMap::from(all), &path).expect("room");
        let error = read_tensors(&path).expect_err("refused");
        assert!(error.to_string().contains("(and 2 more of 3 tensors)"), "{error}");
    }

    #[test]
    fn values_that_are_not_finite_are_named_in_reading_and_writing() {
        let mut values = vec![0.0_f32; 40_000];
        let clean = bytes_of(&one("w", Tensor::new(values.as_slice(), &Device::Cpu))).expect("finite");
        values[30_000] = f32::NAN;
        let error = bytes_of(&one("w", Tensor::new(values.as_slice(), &Device::Cpu))).expect_err("a NaN");
        let expected = "m: tensor `w` holds a value that is not finite (NaN at index 30000)";
        assert_eq!(error.to_string(), expected);
        let mut dirty = clean.clone();
        let at = clean.len() - 4 * 10_000;
        dirty[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        let error = read_stream(&mut dirty.as_slice(), dirty.len() as u64, Path::new("m")).expect_err("a NaN");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn other_types_and_the_reserved_name_are_refused() {
        let error = bytes_of(&one("w", Tensor::new(&[1_u32], &Device::Cpu))).expect_err("u32");
        assert!(error.to_string().contains("tensor `w` is of type u32, expected f32"), "{error}");
        let error = bytes_of(&one("__metadata__", Tensor::new(&[1_f32], &Device::Cpu))).expect_err("reserved");
        assert!(matches!(error, CheckpointError::UnsafeName { .. }), "{error}");
    }

    #[test]
    fn a_view_is_written_in_the_order_of_its_indices() {
        let transposed = Tensor::new(&[[1.0_f32, 2.0], [3.0, 4.0]], &Device::Cpu).and_then(|t| t.t());
        let bytes = bytes_of(&one("w", transposed)).expect("finite");
        let (_, read) = read_stream(&mut bytes.as_slice(), bytes.len() as u64, Path::new("m")).expect("valid");
        assert_eq!(read["w"].to_vec2::<f32>().expect("a matrix"), [[1.0, 3.0], [2.0, 4.0]]);
    }
}

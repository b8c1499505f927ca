//! One array of NumPy's format `.npy`.
//!
//! The format is a header, which is a Python dictionary, and the values. This reader accepts what the metrics need and
//! refuses the rest with a reason. Nothing is evaluated; arrays of Python objects are refused. A general parser of
//! Python literals would be a dependency whose recursion has to be limited for hostile headers.

use std::io::Read;

/// The longest header, in bytes. NumPy's have 118.
const MAX_HEADER: u32 = 4096;
const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// The type of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F4,
    F8,
    I8,
}

/// A parsed header.
#[derive(Debug, PartialEq)]
pub(crate) struct NpyHeader {
    kind: Kind,
    big_endian: bool,
    /// The lengths of the axes.
    pub(crate) shape: Vec<u64>,
}

/// What is wrong, in one line.
type Problem = String;

impl NpyHeader {
    /// Reads a header of at most 4,096 bytes.
    pub(crate) fn read(reader: &mut dyn Read) -> Result<Self, Problem> {
        let mut start = [0; 8];
        read_exact(reader, &mut start)?;
        if start[..6] != MAGIC {
            return Err("found other bytes, expected a NumPy array".to_owned());
        }
        let length = match start[6] {
            1 => {
                let mut length = [0; 2];
                read_exact(reader, &mut length)?;
                u32::from(u16::from_le_bytes(length))
            }
            2 | 3 => {
                let mut length = [0; 4];
                read_exact(reader, &mut length)?;
                u32::from_le_bytes(length)
            }
            version => return Err(format!("found version {version} of the NumPy format, expected 1 to 3")),
        };
        if length > MAX_HEADER {
            return Err(format!("found a header of {length} bytes, expected at most {MAX_HEADER}"));
        }
        let mut header = vec![0; length as usize];
        read_exact(reader, &mut header)?;
        let header = String::from_utf8(header).map_err(|_| "the header is not text".to_owned())?;
        Self::parse(&header)
    }

    /// Parses a dictionary such as `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(header: &str) -> Result<Self, Problem> {
        let value = |key: &str| {
            let (_, value) = header.split_once(&format!("'{key}':")).ok_or(format!("the header has no key {key}"))?;
            Ok::<&str, Problem>(value.trim_start())
        };
        let descr = value("descr")?;
        let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(descr, _)| descr);
        let (kind, big_endian) = match descr {
            Some("<f8" | "=f8") => (Kind::F8, false),
            Some(">f8") => (Kind::F8, true),
            Some("<f4" | "=f4") => (Kind::F4, false),
            Some(">f4") => (Kind::F4, true),
            Some("<i8" | "=i8") => (Kind::I8, false),
            Some("|O") => return Err("found Python objects, expected numbers".to_owned()),
            Some(other) => return Err(format!("found values of type {other:?}, expected f4 or f8")),
            None => return Err("found structured values, expected f4 or f8".to_owned()),
        };
        let shape = value("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (shape, _) = shape.ok_or("the shape is not a tuple")?;
        // Python 2 writes long integers with an L.
        let axes = shape.split(',').map(|axis| axis.trim().trim_end_matches('L')).filter(|axis| !axis.is_empty());
        let shape = axes.map(str::parse).collect::<Result<_, _>>();
        let shape = shape.map_err(|_| "the shape is not a tuple of numbers".to_owned())?;
        Ok(Self { kind, big_endian, shape })
    }

    /// Whether the values are floating-point numbers.
    pub(crate) fn is_float(&self) -> bool {
        self.kind != Kind::I8
    }

    /// Reads the values as f64, in the order of the file: `fortran_order` is ignored, because a covariance is
    /// symmetric. The caller has checked that the shape is small enough. Memory grows with the bytes that there are,
    /// not with those that the shape announces.
    pub(crate) fn read_values(&self, reader: &mut dyn Read) -> Result<Vec<f64>, Problem> {
        let size = if self.kind == Kind::F4 { 4 } else { 8 };
        let expected = self.shape.iter().product::<u64>() * size;
        let mut bytes = Vec::new();
        let found = reader.take(expected + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if found as u64 != expected {
            let more = if found as u64 > expected { "more" } else { "fewer" };
            return Err(format!("found {more} than the {expected} bytes that the shape {:?} needs", self.shape));
        }
        Ok(bytes.chunks_exact(size as usize).map(|bytes| self.value(bytes)).collect())
    }

    fn value(&self, bytes: &[u8]) -> f64 {
        let mut ordered = [0; 8];
        let ordered = &mut ordered[..bytes.len()];
        ordered.copy_from_slice(bytes);
        if self.big_endian {
            ordered.reverse();
        }
        match (self.kind, &*ordered) {
            (Kind::F4, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            (Kind::F8, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            (_, &[a, b, c, d, e, f, g, h]) => i64::from_le_bytes([a, b, c, d, e, f, g, h]) as f64,
            _ => f64::NAN,
        }
    }
}

fn read_exact(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<(), Problem> {
    reader.read_exact(buffer).map_err(|error| format!("the header is incomplete: {error}"))
}

/// An array in NumPy's format. `descr` is `<f8` or `<i8`; `values` has eight bytes for each element of the shape.
pub(crate) fn npy_bytes(descr: &str, shape: &str, values: impl Iterator<Item = [u8; 8]>) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // The values start at a multiple of 64 bytes; the header ends with a line break.
    while !(MAGIC.len() + 4 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = [&MAGIC[..], &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
    bytes.extend(values.flatten());
    bytes
}

//! The size and SHA-256 of a file, computed as it is written or read.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{IoContext, Result};

/// The entry of a file in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileDigest {
    /// The size of the file.
    pub(crate) bytes: u64,
    /// The SHA-256 of the file, as 64 lower-case hexadecimal digits.
    pub(crate) sha256: String,
}

/// The SHA-256 of files one after the other, as 64 lower-case hexadecimal digits.
///
/// # Errors
/// [`CheckpointError::Io`](crate::CheckpointError::Io) if one cannot be read.
pub fn sha256_of_files(paths: &[impl AsRef<Path>]) -> Result<String> {
    let mut hashing = Hashing::new(io::sink());
    for path in paths {
        let path = path.as_ref();
        let mut file = File::open(path).on("open", path)?;
        io::copy(&mut file, &mut hashing).on("read", path)?;
    }
    Ok(hashing.finish().1.sha256)
}

/// A writer or reader that counts and hashes the bytes on their way to or from `inner`.
pub(crate) struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    bytes: u64,
}

impl<T> Hashing<T> {
    /// Wraps a writer or a reader.
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    /// Returns the wrapped value and the digest of all bytes so far.
    pub(crate) fn finish(self) -> (T, FileDigest) {
        let mut sha256 = String::with_capacity(64);
        for byte in self.hasher.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        (self.inner, FileDigest { bytes: self.bytes, sha256 })
    }

    fn record(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.record(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.record(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of "abc" (FIPS 180-2, appendix B, first example).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn written_bytes_are_hashed() {
        let mut writer = Hashing::new(Vec::new());
        writer.write_all(b"a").expect("a Vec accepts every write");
        writer.write_all(b"bc").expect("a Vec accepts every write");
        let (bytes, digest) = writer.finish();
        assert_eq!(bytes, b"abc");
        assert_eq!(digest, FileDigest { bytes: 3, sha256: ABC.to_owned() });
    }

    #[test]
    fn read_bytes_are_hashed() {
        let mut reader = Hashing::new(&b"abc"[..]);
        io::copy(&mut reader, &mut io::sink()).expect("reading memory succeeds");
        assert_eq!(reader.finish().1.sha256, ABC);
    }
}

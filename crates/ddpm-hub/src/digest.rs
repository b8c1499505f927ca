//! The hashes by which the Hub identifies files.

use std::fmt;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The hash of a file, in hexadecimal digits. It is the name of the file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Digest {
    /// The SHA-256 of the contents, for large files.
    Sha256(String),
    /// The SHA-1 of `blob LENGTH\0` and the contents, as in git, for small files.
    Git(String),
}

impl Digest {
    /// Parses a hash, which may have the form of an `ETag` header.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches("W/").trim_matches('"');
        if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')) {
            return None;
        }
        match text.len() {
            64 => Some(Self::Sha256(text.to_owned())),
            40 => Some(Self::Git(text.to_owned())),
            _ => None,
        }
    }

    /// Computes the hash of the same kind of a file of `bytes` bytes.
    pub(crate) fn of_file(&self, file: &mut File, bytes: u64) -> io::Result<Self> {
        Ok(match self {
            Self::Sha256(_) => Self::Sha256(sha256(file)?),
            Self::Git(_) => {
                let mut hash = Sha1::new();
                hash.update(format!("blob {bytes}\0"));
                each_part(file, |part| hash.update(part))?;
                Self::Git(hex(&hash.finalize()))
            }
        })
    }

    pub(crate) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Git(_)) { "git " } else { "SHA-256 " })?;
        f.write_str(self.hex())
    }
}

/// The SHA-256 of the rest of the input, in hexadecimal digits.
pub(crate) fn sha256(reader: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    each_part(reader, |part| hash.update(part))?;
    Ok(hex(&hash.finalize()))
}

fn each_part(reader: impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let mut part = vec![0; 1 << 16];
    loop {
        match reader.read(&mut part)? {
            0 => return Ok(()),
            read => take(&part[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn hashes_equal_those_of_git_and_sha256sum() {
        let mut file = tempfile::tempfile().expect("room");
        file.write_all(b"hello\n").expect("room");
        let mut of = |kind: &Digest| {
            file.rewind().expect("a file");
            kind.of_file(&mut file, 6).expect("a file")
        };
        // The output of `git hash-object` and `sha256sum` for the same bytes.
        let git = Digest::parse("W/\"ce013625030ba8dba906f756967f9e9ca394464a\"").expect("forty digits");
        assert_eq!(of(&git), git);
        let large =
            Digest::parse("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03").expect("64 digits");
        assert_eq!(of(&large), large);
        for bad in ["", "../../x", "ce013625030ba8dba906f756967f9e9ca394464", &"G".repeat(40), &"a".repeat(41)] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }
}

//! The cache of resized images: one file for each set and conversion, to which every image is appended once.
//!
//! ```text
//! magic                                    8 bytes: MAGIC
//! index width height channels checksum     20 bytes, little-endian u32: a record, then its samples
//! …
//! ```
//!
//! A process that is killed leaves at most one incomplete record at the end, which the next one removes. One process at
//! a time appends, under a lock of the operating system; others read what is there. The samples are read at their
//! position when they are needed, through the page cache of the system: a memory map would do the same, but a process
//! that uses it is killed when another program shortens the file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use crate::error::DataError;
use crate::image::Image;

/// The first bytes of a cache file. The digit is the version of the format and of everything that determines the
/// pixels: decoders, conversion and resizing.
const MAGIC: &[u8; 8] = b"ddpmimg1";
/// The extension of cache files.
const EXTENSION: &str = "images";
const HEADER_BYTES: usize = 20;
/// The largest record. Larger images take about as long to read as to decode.
const MAX_SAMPLES: usize = 4 << 20;

/// Resized images on the disk, by their index in their set. [`Loader::cache`](crate::Loader::cache) returns the one of
/// a loader.
#[derive(Debug)]
pub struct ImageCache {
    path: PathBuf,
    max_bytes: u64,
    /// The number of images when the cache was opened.
    len_at_start: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    records: HashMap<u32, Record>,
    /// The length of the valid part of the file.
    end: u64,
    /// Whether this process may append.
    writes: bool,
    /// The total size of the other files of the cache.
    others: u64,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    offset: u64,
    width: u32,
    height: u32,
    channels: u32,
    checksum: u32,
}

impl Record {
    fn len(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * u64::from(self.channels)
    }

    /// The CRC-32 of the other fields of the header and the samples.
    fn compute_checksum(&self, index: u32, samples: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        [index, self.width, self.height, self.channels].iter().for_each(|field| crc.update(&field.to_le_bytes()));
        crc.update(samples);
        crc.sum()
    }
}

impl ImageCache {
    /// Opens the file of the set and conversion that `key` identifies in `directory`, and creates it if it does not
    /// exist. The files of the cache together take at most `max_bytes`; the one that was opened longest ago is removed
    /// first.
    ///
    /// # Errors
    /// [`DataError::Io`] when the file cannot be opened or created.
    pub(crate) fn open(directory: &Path, key: &str, max_bytes: u64) -> Result<Self, DataError> {
        fs::create_dir_all(directory).map_err(DataError::io(directory))?;
        let name: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = directory.join(name).with_extension(EXTENSION);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(DataError::io(&path))?;
        let writes = file.try_lock().is_ok();
        let (records, end) = read_records(&mut file).map_err(DataError::io(&path))?;
        if writes {
            prepare_to_append(&mut file, end).map_err(DataError::io(&path))?;
            let _ = file.set_modified(SystemTime::now());
        }
        let end = end.max(MAGIC.len() as u64);
        let others = other_files(directory, &path).iter().map(|other| other.bytes).sum();
        debug!("{} resized images are in {}", records.len(), path.display());
        let len_at_start = records.len();
        Ok(Self { path, max_bytes, len_at_start, state: Mutex::new(State { file, records, end, writes, others }) })
    }

    /// The number of images in the cache.
    pub fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).records.len()
    }

    /// The number of images that the cache had when it was opened.
    pub fn len_at_start(&self) -> usize {
        self.len_at_start
    }

    /// Whether the cache has no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Image `index`, if the cache has it and it can be read.
    pub(crate) fn get(&self, index: usize) -> Option<Image> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let record = *state.records.get(&u32::try_from(index).ok()?)?;
        let mut samples = vec![0; record.len() as usize];
        let read = state.file.seek(SeekFrom::Start(record.offset)).and_then(|_| state.file.read_exact(&mut samples));
        if read.is_err() || record.checksum != record.compute_checksum(index as u32, &samples) {
            // The image is decoded, and appended again.
            state.records.remove(&(index as u32));
            return None;
        }
        let [width, height, channels] = [record.width, record.height, record.channels].map(|n| n as usize);
        Some(Image { width, height, channels, samples })
    }

    /// Appends an image, unless it is there, another process appends to the file, or the cache is full.
    pub(crate) fn put(&self, index: usize, image: &Image) {
        let Ok(number) = u32::try_from(index) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.writes || image.samples.len() > MAX_SAMPLES || state.records.contains_key(&number) {
            return;
        }
        let bytes = (HEADER_BYTES + image.samples.len()) as u64;
        if !self.make_room(&mut state, bytes) {
            warn!(
                "the cache of resized images is full: {} holds {} images; data.cache_gb = {} is its limit",
                self.path.display(),
                state.records.len(),
                self.max_bytes / GB
            );
            state.writes = false;
            return;
        }
        match append(&mut state, number, image) {
            Ok(record) => drop(state.records.insert(number, record)),
            Err(error) => {
                let end = state.end;
                let _ = state.file.set_len(end);
                warn!("{}: {error}; no more resized images are cached", self.path.display());
                state.writes = false;
            }
        }
    }

    /// Removes other files of the cache until `bytes` more fit. Files that other processes use stay.
    fn make_room(&self, state: &mut State, bytes: u64) -> bool {
        if state.end + bytes + state.others <= self.max_bytes {
            return true;
        }
        let mut others = other_files(self.path.parent().unwrap_or(&self.path), &self.path);
        others.sort_by_key(|other| other.opened);
        state.others = others.iter().map(|other| other.bytes).sum();
        for other in others {
            if state.end + bytes + state.others <= self.max_bytes {
                break;
            }
            let is_free = File::open(&other.path).is_ok_and(|file| file.try_lock().is_ok());
            if is_free && fs::remove_file(&other.path).is_ok() {
                state.others -= other.bytes;
            }
        }
        state.end + bytes + state.others <= self.max_bytes
    }
}

/// A gigabyte, the unit of the limit.
pub(crate) const GB: u64 = 1_000_000_000;

struct OtherFile {
    path: PathBuf,
    bytes: u64,
    opened: SystemTime,
}

/// The files of the cache besides `own`.
fn other_files(directory: &Path, own: &Path) -> Vec<OtherFile> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_other = |path: &PathBuf| path != own && path.extension().is_some_and(|extension| extension == EXTENSION);
    entries
        .map(|entry| entry.path())
        .filter(is_other)
        .filter_map(|path| {
            let metadata = fs::metadata(&path).ok()?;
            Some(OtherFile {
                path,
                bytes: metadata.len(),
                opened: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            })
        })
        .collect()
}

/// Reads the headers of all complete records, and returns where they end. A file that is none of this format has none.
fn read_records(file: &mut File) -> std::io::Result<(HashMap<u32, Record>, u64)> {
    let len = file.metadata()?.len();
    let mut records = HashMap::new();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    reader.seek(SeekFrom::Start(0))?;
    let mut magic = [0; MAGIC.len()];
    if len < magic.len() as u64 || reader.read_exact(&mut magic).is_err() || magic != *MAGIC {
        return Ok((records, 0));
    }
    let mut end = magic.len() as u64;
    let mut header = [0; HEADER_BYTES];
    while end + HEADER_BYTES as u64 <= len {
        reader.read_exact(&mut header)?;
        let (index, record) = parse_header(&header, end + HEADER_BYTES as u64);
        let is_valid = (1..=MAX_SAMPLES as u64).contains(&record.len()) && [1, 3, 4].contains(&record.channels);
        if !is_valid || record.offset + record.len() > len {
            break;
        }
        records.insert(index, record);
        end = record.offset + record.len();
        reader.seek_relative(record.len() as i64)?;
    }
    Ok((records, end))
}

/// Cuts off what is behind the last complete record. A new file, and one of another format, starts again.
fn prepare_to_append(file: &mut File, end: u64) -> std::io::Result<()> {
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    if end == 0 { file.write_all(MAGIC) } else { Ok(()) }
}

fn append(state: &mut State, index: u32, image: &Image) -> std::io::Result<Record> {
    let [width, height, channels] = [image.width, image.height, image.channels].map(|n| n as u32);
    let offset = state.end + HEADER_BYTES as u64;
    let mut record = Record { offset, width, height, channels, checksum: 0 };
    record.checksum = record.compute_checksum(index, &image.samples);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + image.samples.len());
    for field in [index, width, height, channels, record.checksum] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(&image.samples);
    state.file.seek(SeekFrom::Start(state.end))?;
    state.file.write_all(&bytes)?;
    state.end += bytes.len() as u64;
    Ok(record)
}

fn parse_header(header: &[u8; HEADER_BYTES], offset: u64) -> (u32, Record) {
    let mut fields = header.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let mut next = || fields.next().unwrap_or_default();
    let index = next();
    let [width, height, channels, checksum] = [next(), next(), next(), next()];
    // The product of three fields could overflow; no image has so long a side.
    let [width, height] = [width, height].map(|side| if side > 1 << 20 { 0 } else { side });
    (index, Record { offset, width, height, channels: channels.min(5), checksum })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(value: u8, side: usize) -> Image {
        Image { width: side, height: side, channels: 3, samples: vec![value; 3 * side * side] }
    }

    fn open(directory: &Path, key: &str) -> ImageCache {
        ImageCache::open(directory, key, GB).unwrap()
    }

    #[test]
    fn images_are_found_again() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path(), "a");
        assert!(cache.get(0).is_none());
        cache.put(7, &image(1, 3));
        cache.put(2, &image(2, 5));
        cache.put(2, &image(3, 5));
        for cache in [cache, open(root.path(), "a")] {
            assert_eq!((cache.get(7).unwrap(), cache.get(2).unwrap(), cache.len()), (image(1, 3), image(2, 5), 2));
        }
        assert!(open(root.path(), "b").get(7).is_none());
    }

    #[test]
    fn a_file_cut_at_any_byte_is_continued() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path(), "a");
        (0..3).for_each(|i| cache.put(i, &image(i as u8, 2)));
        let path = cache.path().to_owned();
        drop(cache);
        let whole = fs::read(&path).unwrap();
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let cache = open(root.path(), "a");
            let complete = end.saturating_sub(MAGIC.len()) / (HEADER_BYTES + 12);
            assert_eq!(cache.len(), complete, "{end}");
            (0..3).for_each(|i| cache.put(i, &image(i as u8, 2)));
            (0..3).for_each(|i| assert_eq!(cache.get(i).unwrap(), image(i as u8, 2)));
            drop(cache);
            assert_eq!(fs::read(&path).unwrap(), whole, "{end}");
        }
    }

    #[test]
    fn a_damaged_image_is_not_returned() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path(), "a");
        (0..2).for_each(|i| cache.put(i, &image(i as u8, 2)));
        let path = cache.path().to_owned();
        drop(cache);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x41;
            fs::write(&path, damaged).unwrap();
            let cache = open(root.path(), "a");
            for i in 0..2 {
                assert!(cache.get(i).is_none_or(|found| found == image(i as u8, 2)), "byte {at}");
            }
        }
    }

    #[test]
    fn one_process_appends_and_others_read() {
        let root = tempfile::tempdir().unwrap();
        let first = open(root.path(), "a");
        first.put(0, &image(0, 2));
        let second = open(root.path(), "a");
        second.put(1, &image(1, 2));
        assert_eq!((second.get(0).unwrap(), second.len()), (image(0, 2), 1));
        drop(first);
        let third = open(root.path(), "a");
        third.put(1, &image(1, 2));
        assert_eq!(open(root.path(), "a").len(), 2);
    }

    #[test]
    fn the_files_together_stay_below_the_limit() {
        let root = tempfile::tempdir().unwrap();
        let open = |key: &str| ImageCache::open(root.path(), key, 2000).unwrap();
        let fill = |cache: &ImageCache| (0..100).for_each(|i| cache.put(i, &image(1, 8)));
        let used = || other_files(root.path(), Path::new("")).iter().map(|file| file.bytes).sum::<u64>();
        let first = open("a");
        fill(&first);
        assert!(first.len() > 5 && used() <= 2000, "{} images, {} bytes", first.len(), used());
        // A file in use is not removed; then there is no room.
        let second = open("b");
        fill(&second);
        assert!(second.len() < 5 && used() <= 2000);
        drop((first, second));
        let third = open("c");
        fill(&third);
        assert!(third.len() > 5 && used() <= 2000, "{} images, {} bytes", third.len(), used());
    }
}

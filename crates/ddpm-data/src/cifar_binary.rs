//! CIFAR-10 and CIFAR-100 binary files: records of one or two label bytes and a 32 × 32 RGB image in three planes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::byte_storage::ByteStorage;
use crate::error::DataError;
use crate::labels::FileLabels;
use crate::raw_images::RawImages;

/// The width and the height of an image, in pixels.
const SIDE: usize = 32;

/// The number of samples of an image.
const IMAGE_LEN: usize = 3 * SIDE * SIDE;

/// The formats of the CIFAR-10 and CIFAR-100 files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cifar {
    /// A record has one label, from 0 to 9.
    Cifar10,
    /// A record has two labels: one of 20 superclasses, and one of 100 classes, which is the one that is used.
    Cifar100,
}

impl Cifar {
    pub(crate) const ALL: [Self; 2] = [Self::Cifar10, Self::Cifar100];

    /// The number of label bytes before an image.
    const fn labels(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    const fn classes(self) -> u8 {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// The number of bytes of a record.
    pub(crate) const fn record_len(self) -> usize {
        self.labels() + IMAGE_LEN
    }

    /// The file with the names of the classes, one in each line, which the archive holds beside the images.
    const fn names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }
}

/// Reads `data_batch_1.bin`, or `train.bin` of CIFAR-100, or a file of the same format. The samples stay in the file.
///
/// # Errors
/// [`DataError`] when the file cannot be read, its length is not a whole number of records, or a label is not below the
/// number of classes.
pub(crate) fn read_cifar_binary(path: &Path, format: Cifar) -> Result<(RawImages, FileLabels), DataError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(DataError::io(path))?;
    let len = file.metadata().map_err(DataError::io(path))?.len();
    let record_len = format.record_len();
    if len == 0 || !len.is_multiple_of(record_len as u64) {
        let problem = format!("expected whole records of {record_len} bytes, found {len} bytes");
        return Err(DataError::invalid(name, problem));
    }
    let mut reader = BufReader::new(&file);
    let (mut record, mut labels) = (vec![0; record_len], Vec::new());
    for i in 0..len / record_len as u64 {
        reader.read_exact(&mut record).map_err(DataError::io(path))?;
        let (label, last) = (record[format.labels() - 1], format.classes() - 1);
        if label > last {
            let problem = format!("record {i}: expected a label from 0 to {last}, found {label}");
            return Err(DataError::invalid(name, problem));
        }
        labels.push(u32::from(label));
    }
    let bytes = ByteStorage::from_file(path.to_path_buf(), file)?;
    let images = RawImages {
        name,
        bytes,
        first_record: 0,
        record_len,
        image_offset: format.labels(),
        width: SIDE,
        height: SIDE,
        channels: 3,
    };
    Ok((images, FileLabels { class_names: class_names(path, format), ..FileLabels::numbers(labels) }))
}

/// The names of the classes, from the file beside the images.
fn class_names(path: &Path, format: Cifar) -> Option<Vec<String>> {
    /// More than the names of a hundred classes take.
    const MAX_BYTES: u64 = 1 << 16;
    let file = File::open(path.with_file_name(format.names_file())).ok()?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    (names.len() == usize::from(format.classes())).then_some(names)
}

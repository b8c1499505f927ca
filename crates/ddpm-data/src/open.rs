//! Opening of image files and folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, warn};

use crate::chained_sources::ChainedSources;
use crate::cifar_binary::read_cifar_binary;
use crate::config::DataConfig;
use crate::digits::digits;
use crate::error::{DataError, one_line};
use crate::file_kind::{FileKind, file_kind};
use crate::fingerprint::{DataFingerprint, content_key};
use crate::folder::{ImageFiles, files_below};
use crate::idx::read_idx;
use crate::image_source::ImageSource;
use crate::parquet_source::read_parquet;
use crate::tar_archive::read_tar;
use crate::zip_archive::read_zip;

/// Opens the images at the path of a configuration.
///
/// The format of a file is recognized by its first bytes, not by its name. A folder may hold files of different
/// formats; its images are in the order of their paths. Labels and other files are ignored.
///
/// # Examples
/// ```
/// use ddpm_data::{DataConfig, open};
///
/// let config: DataConfig = serde_json::from_str(r#"{ "path": "digits" }"#).unwrap();
/// let digits = open(&config).unwrap();
/// assert_eq!(digits.len(), 1797);
/// assert_eq!(digits.decode(0).unwrap().width, 8);
/// ```
///
/// # Errors
/// [`DataError`] when the path cannot be read, a file of several images is corrupt, or there are no images.
pub fn open(config: &DataConfig) -> Result<Arc<dyn ImageSource>, DataError> {
    config.validate()?;
    if config.path == "digits" {
        let digits = digits()?;
        let fingerprint = DataFingerprint::of_embedded(digits.len(), "digits", digits.bytes.len());
        return Ok(Arc::new(ChainedSources::new(vec![Box::new(digits)]).identified(fingerprint, None)));
    }
    let path = Path::new(&config.path);
    let metadata = std::fs::metadata(path).map_err(DataError::io(path))?;
    if !metadata.is_dir() && !metadata.is_file() {
        let problem = "expected a folder or a file, found a pipe, a socket or a device";
        return Err(DataError::invalid(path.display(), problem));
    }
    let files = if metadata.is_dir() { files_below(path)? } else { vec![path.to_path_buf()] };
    // A single file may have another name in another place: its name relative to itself is empty.
    open_named(config, files, |file| file.strip_prefix(path).unwrap_or(file))
}

/// Opens the given files, in this order, as the images of the configuration. The path of the configuration only appears
/// in messages: this function is [`open`] for files that were downloaded from there.
///
/// # Errors
/// The errors of [`open`].
pub fn open_files(config: &DataConfig, files: Vec<PathBuf>) -> Result<Arc<dyn ImageSource>, DataError> {
    // The directory of downloaded files depends on the machine.
    open_named(config, files, |path| path.file_name().map_or(path, Path::new))
}

/// Opens files which `name_of` gives the names that identify the set.
fn open_named(
    config: &DataConfig,
    files: Vec<PathBuf>,
    name_of: impl Fn(&Path) -> &Path,
) -> Result<Arc<dyn ImageSource>, DataError> {
    let (mut used, all_files) = (Vec::new(), files.len());
    let source = ChainedSources::new(sources(files, config.column.as_deref(), &mut used)?);
    if source.is_empty() {
        return Err(DataError::Empty { path: PathBuf::from(&config.path), files: all_files });
    }
    let fingerprint = DataFingerprint::of_files(source.len(), &used, &name_of)?;
    let cache_key = format!("{} {:?}", content_key(&used, &name_of)?, config.column);
    Ok(Arc::new(source.identified(fingerprint, Some(cache_key))))
}

/// One source for each file of several images, and one for each sequence of single images between them. `used` receives
/// the files that hold images.
fn sources(
    files: Vec<PathBuf>,
    column: Option<&str>,
    used: &mut Vec<PathBuf>,
) -> Result<Vec<Box<dyn ImageSource>>, DataError> {
    let mut sources: Vec<Box<dyn ImageSource>> = Vec::new();
    let (mut image_files, mut unsupported) = (Vec::new(), Vec::new());
    for path in files {
        let kind = file_kind(&path)?;
        if !matches!(kind, FileKind::Other) {
            used.push(path.clone());
        }
        let source: Box<dyn ImageSource> = match kind {
            FileKind::Image => {
                image_files.push(path);
                continue;
            }
            FileKind::Other => {
                debug!("{} is not a file of images", one_line(path.display()));
                if has_image_extension(&path) {
                    unsupported.push(path);
                }
                continue;
            }
            FileKind::Idx { gzip } => Box::new(read_idx(&path, gzip)?),
            FileKind::CifarBinary => Box::new(read_cifar_binary(&path)?),
            FileKind::Parquet => Box::new(read_parquet(&path, column)?),
            FileKind::Zip => Box::new(read_zip(&path)?),
            FileKind::Tar { gzip } => Box::new(read_tar(&path, gzip)?),
        };
        if !image_files.is_empty() {
            sources.push(Box::new(ImageFiles(std::mem::take(&mut image_files))));
        }
        sources.push(source);
    }
    if !image_files.is_empty() {
        sources.push(Box::new(ImageFiles(image_files)));
    }
    if !unsupported.is_empty() {
        warn_of_unsupported(&unsupported);
    }
    Ok(sources)
}

/// The largest number of files that a warning lists.
const MAX_LISTED_FILES: usize = 5;

fn warn_of_unsupported(files: &[PathBuf]) {
    let names: Vec<String> = files.iter().take(MAX_LISTED_FILES).map(|path| one_line(path.display())).collect();
    let more = if files.len() > MAX_LISTED_FILES { ", …" } else { "" };
    let count = files.len();
    warn!(
        "files with the extension of an image that are not in a supported format are left out, {count}: {}{more}",
        names.join(", ")
    );
}

/// Whether the extension of a file is that of an image format, supported or not, so that a user may expect it to be
/// read.
fn has_image_extension(path: &Path) -> bool {
    const EXTENSIONS: [&str; 16] = [
        "png", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2", "psd",
        "svg",
    ];
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

//! From a path to a set of images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, warn};

use crate::archive::{read_tar, read_zip};
use crate::cifar_binary::read_cifar_binary;
use crate::digits::digits;
use crate::error::one_line;
use crate::file_kind::{FileKind, file_kind};
use crate::folder::{Folder, files_below};
use crate::idx::read_idx;
use crate::parquet_source::read_parquet;
use crate::source::Chain;
use crate::{DataConfig, DataError, ImageSource};

/// Opens the set that the configuration names. What a file is, its first bytes tell, not its name; a folder may hold any
/// mixture, in the order of the paths. Labels and other files are passed over.
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
/// When the path cannot be read, a file that should hold many images is damaged, or there is no image.
pub fn open(config: &DataConfig) -> Result<Arc<dyn ImageSource>, DataError> {
    config.validate()?;
    if config.path == "digits" {
        return Ok(Arc::new(digits()?));
    }
    let path = Path::new(&config.path);
    let metadata = std::fs::metadata(path).map_err(DataError::io(path))?;
    if !metadata.is_dir() && !metadata.is_file() {
        let problem = "expected a folder or a file, found neither: a pipe, a socket or a device";
        return Err(DataError::damaged(path.display(), problem));
    }
    open_files(config, if metadata.is_dir() { files_below(path)? } else { vec![path.to_path_buf()] })
}

/// Opens these files, in this order, as the set that the configuration names: [`open`] for files that lie elsewhere.
///
/// # Errors
/// As [`open`].
pub fn open_files(config: &DataConfig, files: Vec<PathBuf>) -> Result<Arc<dyn ImageSource>, DataError> {
    let source = Chain::new(sources(files, config.column.as_deref())?);
    if source.is_empty() {
        return Err(DataError::Empty { path: PathBuf::from(&config.path) });
    }
    Ok(Arc::new(source))
}

/// A source for each file of many images, and one for each run of single images between them.
fn sources(files: Vec<PathBuf>, column: Option<&str>) -> Result<Vec<Box<dyn ImageSource>>, DataError> {
    let mut sources: Vec<Box<dyn ImageSource>> = Vec::new();
    let (mut images, mut left_out) = (Vec::new(), Vec::new());
    for path in files {
        let source: Box<dyn ImageSource> = match file_kind(&path)? {
            FileKind::Image => {
                images.push(path);
                continue;
            }
            FileKind::Other => {
                debug!("{} holds no images", one_line(path.display()));
                if has_name_of_a_image(&path) {
                    left_out.push(path);
                }
                continue;
            }
            FileKind::Idx { gzip } => Box::new(read_idx(&path, gzip)?),
            FileKind::CifarBinary => Box::new(read_cifar_binary(&path)?),
            FileKind::Parquet => Box::new(read_parquet(&path, column)?),
            FileKind::Zip => Box::new(read_zip(&path)?),
            FileKind::Tar { gzip } => Box::new(read_tar(&path, gzip)?),
        };
        if !images.is_empty() {
            sources.push(Box::new(Folder(std::mem::take(&mut images))));
        }
        sources.push(source);
    }
    if !images.is_empty() {
        sources.push(Box::new(Folder(images)));
    }
    if !left_out.is_empty() {
        let names: Vec<String> = left_out.iter().take(NAMED).map(|path| one_line(path.display())).collect();
        let more = if left_out.len() > NAMED { ", …" } else { "" };
        let count = left_out.len();
        warn!(
            "files named like images that hold none of a known format are left out, {count}: {}{more}",
            names.join(", ")
        );
    }
    Ok(sources)
}

/// Files that a warning names at most.
const NAMED: usize = 5;

/// Whether somebody may expect an image in a file of that name, of a format that is read or of another.
fn has_name_of_a_image(path: &Path) -> bool {
    const EXTENSIONS: [&str; 16] = [
        "png", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2", "psd",
        "svg",
    ];
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

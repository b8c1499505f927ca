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
use crate::folder_labels::{common_depth, folder_label};
use crate::idx::read_idx;
use crate::idx_labels::{labels_path, read_idx_labels};
use crate::image_source::ImageSource;
use crate::label_table::LabelTable;
use crate::labeling::Labeling;
use crate::labels::{FileLabel, FileLabels, Labels, combine};
use crate::parquet_source::read_parquet;
use crate::tar_archive::read_tar;
use crate::zip_archive::read_zip;

/// Opens the images at the path of a configuration.
///
/// The format of a file is recognized by its first bytes, not by its name. A folder may hold files of different
/// formats; its images are in the order of their paths. Other files are ignored.
///
/// # Classes
/// Unless [`DataConfig::labels`] is [`Labeling::None`], the class of an image is, in this order,
/// 1. the label that its file stores with it: in Parquet and CIFAR files; in the file of labels beside an IDX file;
/// 2. that of the row with its path in `metadata.csv` or `metadata.jsonl`;
/// 3. the name of its folder directly below the path, or of the outermost folder of an archive that not all of its
///    images are in.
///
/// The images have no classes if there are fewer than two.
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
/// [`DataError`] when the path cannot be read, a file of several images is corrupt, there are no images, an image has
/// no class although others do, a class is not a known one, or a class has no images.
pub fn open(config: &DataConfig) -> Result<Arc<dyn ImageSource>, DataError> {
    config.validate()?;
    if config.path == "digits" {
        let (digits, labels) = digits()?;
        let fingerprint = DataFingerprint::of_embedded(digits.len(), "digits", digits.bytes.len());
        let labels = match config.labels {
            Labeling::Auto => combine(&config.path, &[labels], |i| digits.name(i))?,
            Labeling::None => None,
        };
        let source = ChainedSources::new(vec![Box::new(digits)]);
        return Ok(Arc::new(source.labeled(labels).identified(fingerprint, None)));
    }
    let path = Path::new(&config.path);
    let metadata = std::fs::metadata(path).map_err(DataError::io(path))?;
    if !metadata.is_dir() && !metadata.is_file() {
        let problem = "expected a folder or a file, found a pipe, a socket or a device";
        return Err(DataError::invalid(path.display(), problem));
    }
    let files = if metadata.is_dir() { files_below(path)? } else { vec![path.to_path_buf()] };
    // A single file may have another name in another place: its name relative to itself is empty.
    let source = open_named(config, files, |file| file.strip_prefix(path).unwrap_or(file))?;
    if let Some(labels) = source.labels().filter(|_| metadata.is_dir()) {
        check_class_folders(path, labels)?;
    }
    Ok(source)
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
    let mut read = ReadFiles::default();
    let all_files = files.len();
    read.add_all(config, files)?;
    let ReadFiles { sources, labels, used, label_files } = read;
    let source = ChainedSources::new(sources);
    if source.is_empty() {
        return Err(DataError::Empty { path: PathBuf::from(&config.path), files: all_files });
    }
    let cache_key = format!("{} {:?}", content_key(&used, &name_of)?, config.column);
    let labels = combine(&config.path, &labels, |index| source.name(index))?;
    // Files of labels are a part of the set only if the labels are used.
    let used: Vec<PathBuf> = if labels.is_some() { used.into_iter().chain(label_files).collect() } else { used };
    let fingerprint = DataFingerprint::of_files(source.len(), &used, &name_of)?;
    Ok(Arc::new(source.labeled(labels).identified(fingerprint, Some(cache_key))))
}

/// Checks that every folder directly below `path` is a class if folders are classes.
fn check_class_folders(path: &Path, labels: &Labels) -> Result<(), DataError> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(path).map_err(DataError::io(path))? {
        let entry = entry.map_err(DataError::io(path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_dir() {
            folders.push(name);
        }
    }
    folders.sort();
    let is_class = |name: &&String| labels.classes().contains(name);
    if !folders.iter().any(|name| is_class(&name)) {
        return Ok(());
    }
    match folders.iter().find(|name| !is_class(name)) {
        Some(empty) => Err(DataError::invalid(
            path.display(),
            format!("class {empty} has no images: remove the folder, or train without classes, --set data.labels=none"),
        )),
        None => Ok(()),
    }
}

/// The files of a set while they are read, in their order.
#[derive(Default)]
struct ReadFiles {
    /// One source for each file of several images, and one for each sequence of single images between them.
    sources: Vec<Box<dyn ImageSource>>,
    /// The labels of each source.
    labels: Vec<FileLabels>,
    /// The files that hold images.
    used: Vec<PathBuf>,
    /// The files that hold nothing but labels.
    label_files: Vec<PathBuf>,
}

impl ReadFiles {
    fn add_all(&mut self, config: &DataConfig, files: Vec<PathBuf>) -> Result<(), DataError> {
        let labeled = config.labels == Labeling::Auto;
        let classes = match labeled {
            true => ClassFolders::new(config, &files)?,
            false => ClassFolders::default(),
        };
        let (mut image_files, mut unsupported) = (Vec::new(), Vec::new());
        for path in files {
            let kind = file_kind(&path)?;
            if !matches!(kind, FileKind::Other) {
                self.used.push(path.clone());
            }
            if let FileKind::Image = kind {
                image_files.push(path);
                continue;
            }
            if let FileKind::Other = kind {
                debug!("{} is not a file of images", one_line(path.display()));
                if has_image_extension(&path) {
                    unsupported.push(path);
                }
                continue;
            }
            self.add_image_files(std::mem::take(&mut image_files), &classes);
            let (source, labels) = self.read_collection(&path, kind, config)?;
            let labels = match labeled {
                true => classes.complete(&path, labels),
                false => FileLabels::missing(source.len()),
            };
            self.sources.push(source);
            self.labels.push(labels);
        }
        self.add_image_files(image_files, &classes);
        self.label_files.extend(classes.table.files);
        if !unsupported.is_empty() {
            warn_of_unsupported(&unsupported);
        }
        Ok(())
    }

    fn add_image_files(&mut self, files: Vec<PathBuf>, classes: &ClassFolders) {
        if files.is_empty() {
            return;
        }
        let of_image = files.iter().map(|path| classes.label(path)).collect();
        self.labels.push(FileLabels { of_image, class_names: None });
        self.sources.push(Box::new(ImageFiles(files)));
    }

    /// Reads a file of several images.
    fn read_collection(
        &mut self,
        path: &Path,
        kind: FileKind,
        config: &DataConfig,
    ) -> Result<(Box<dyn ImageSource>, FileLabels), DataError> {
        let labeled = config.labels == Labeling::Auto;
        Ok(match kind {
            FileKind::Idx { gzip } => {
                let images = read_idx(path, gzip)?;
                let labels = match labels_path(path).filter(|_| labeled) {
                    Some(labels_path) => {
                        let labels = read_idx_labels(&labels_path, images.len())?;
                        self.label_files.push(labels_path);
                        labels
                    }
                    None => FileLabels::missing(images.len()),
                };
                (Box::new(images), labels)
            }
            FileKind::CifarBinary(format) => boxed(read_cifar_binary(path, format)?),
            FileKind::Parquet => {
                boxed(read_parquet(path, config.column.as_deref(), config.label_column.as_deref(), labeled)?)
            }
            FileKind::Zip => boxed(read_zip(path)?),
            FileKind::Tar { gzip } => boxed(read_tar(path, gzip)?),
            FileKind::Image | FileKind::Other => unreachable!("files of one image or none are handled before"),
        })
    }
}

fn boxed<S: ImageSource + 'static>((source, labels): (S, FileLabels)) -> (Box<dyn ImageSource>, FileLabels) {
    (Box::new(source), labels)
}

/// The classes that tables and folders give to image files.
#[derive(Default)]
struct ClassFolders {
    table: LabelTable,
    /// The number of folders in a path up to the one whose subfolders are classes; `None` if none is.
    depth: Option<usize>,
}

impl ClassFolders {
    fn new(config: &DataConfig, files: &[PathBuf]) -> Result<Self, DataError> {
        let table = LabelTable::read(files, config.label_column.as_deref())?;
        let root = Path::new(&config.path);
        // Downloaded files are not below the path of the configuration: the folder of all of them takes its place.
        let is_below = files.iter().all(|file| file.starts_with(root)) && root.is_dir();
        let depth = if is_below {
            common_depth([root.join("file").as_path()].into_iter())
        } else {
            common_depth(files.iter().map(PathBuf::as_path))
        };
        Ok(Self { table, depth: Some(depth) })
    }

    /// The class of the image file at `path`.
    fn label(&self, path: &Path) -> FileLabel {
        self.table.label(path).unwrap_or_else(|| self.folder(path))
    }

    fn folder(&self, path: &Path) -> FileLabel {
        self.depth.map_or(FileLabel::Missing, |depth| folder_label(path, depth))
    }

    /// The labels of a file of several images: its own, or its folder's if it has none.
    fn complete(&self, path: &Path, labels: FileLabels) -> FileLabels {
        if labels.are_missing() {
            FileLabels { of_image: vec![self.folder(path); labels.of_image.len()], class_names: None }
        } else {
            labels
        }
    }
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

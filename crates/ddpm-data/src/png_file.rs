//! PNG files.

use std::io::Write;
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::{DataError, Image};

/// Writes an image as PNG. A file that was there is replaced in one step: nobody sees half an image.
///
/// # Errors
/// When the file cannot be written.
pub fn save_png(path: &Path, image: &Image) -> Result<(), DataError> {
    let colour = match image.channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => ExtendedColorType::Rgba8,
    };
    let mut bytes = Vec::new();
    let (width, height) = (image.width as u32, image.height as u32);
    PngEncoder::new(&mut bytes)
        .write_image(&image.samples, width, height, colour)
        .map_err(|error| DataError::damaged(path.display(), error))?;
    write_whole(path, &bytes)
}

/// Writes a file beside its place and moves it there.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        // The mode of any other file, not the owner's alone as temporary files have it; the name is one that a run's directory is
        // cleared of.
        let mut name = std::ffi::OsString::from(format!(".ddpm-tmp-{}-0-", std::process::id()));
        name.push(path.file_name().unwrap_or_default());
        let temporary = path.with_file_name(name);
        let written = std::fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            // Without this a power cut may leave an empty file under the name.
            file.sync_all()
        });
        let moved = written.and_then(|()| std::fs::rename(&temporary, path));
        if moved.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        moved
    };
    write().map_err(DataError::io(path))
}

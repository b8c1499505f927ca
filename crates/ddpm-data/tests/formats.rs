//! Every input format, written by the tests and read back, and malicious files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use ddpm_data::{DataConfig, DataError, Image, ImageSource, open, save_png};
use image::{DynamicImage, ImageFormat, RgbImage};

fn config(path: &Path) -> DataConfig {
    serde_json::from_value(serde_json::json!({ "path": path })).unwrap()
}

fn opened(path: &Path) -> Result<Arc<dyn ImageSource>, DataError> {
    open(&config(path))
}

fn refused(path: &Path) -> String {
    let error = opened(path).err().unwrap_or_else(|| panic!("{} was opened", path.display())).to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    error
}

/// An image whose pixels identify their position.
fn rgb(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 20) as u8, (y * 20) as u8, 200]))
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(rgb(9, 7)).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn six_formats_are_found_by_content_and_in_order() {
    let root = tempfile::tempdir().unwrap();
    let formats =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::Tiff];
    for (i, format) in formats.into_iter().enumerate() {
        let folder = root.path().join(format!("deep/{i}"));
        fs::create_dir_all(&folder).unwrap();
        // The file names do not identify the formats.
        fs::write(folder.join("file.dat"), encoded(format)).unwrap();
    }
    fs::write(root.path().join("notes.txt"), "no image").unwrap();
    fs::write(root.path().join(".hidden.png"), encoded(ImageFormat::Png)).unwrap();
    fs::write(root.path().join("empty.png"), "").unwrap();
    let source = opened(root.path()).unwrap();
    assert_eq!(source.len(), 6);
    for (i, format) in formats.into_iter().enumerate() {
        assert!(source.name(i).contains(&format!("deep/{i}/file.dat")), "{}", source.name(i));
        let image = source.decode(i).unwrap();
        // The GIF decoder always returns an alpha channel.
        let channels = if format == ImageFormat::Gif { 4 } else { 3 };
        assert_eq!((image.width, image.height, image.channels), (9, 7, channels));
        // JPEG and GIF are lossy, but swapped axes or channels would exceed the tolerance.
        let near = image.pixel(8, 1).iter().zip([160, 20, 200]).all(|(a, b)| a.abs_diff(b) < 24);
        assert!(near, "{format:?}: {:?}", image.pixel(8, 1));
    }
}

#[cfg(unix)]
#[test]
fn a_cycle_of_links_ends() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.png"), encoded(ImageFormat::Png)).unwrap();
    std::os::unix::fs::symlink(root.path(), root.path().join("again")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.path().join("dangling")).unwrap();
    assert_eq!(opened(root.path()).unwrap().len(), 1);
}

#[test]
fn the_orientation_of_a_camera_is_applied() {
    // A TIFF header with one entry, orientation 6: rotate by 90° clockwise.
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let mut app1 = vec![0xff, 0xe1];
    app1.extend(u16::to_be_bytes(exif.len() as u16 + 2));
    app1.append(&mut exif);
    let mut jpeg = encoded(ImageFormat::Jpeg);
    jpeg.splice(2..2, app1);
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), jpeg).unwrap();
    let image = opened(root.path()).unwrap().decode(0).unwrap();
    assert_eq!((image.width, image.height), (7, 9));
}

fn idx(images: u32, side: u32, samples: usize) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    for n in [images, side, side] {
        bytes.extend(n.to_be_bytes());
    }
    bytes.extend((0..samples).map(|i| i as u8));
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files_plain_and_compressed() {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in [("plain", idx(3, 2, 12)), ("gzip", gzip(&idx(3, 2, 12)))] {
        let path = root.path().join(name);
        fs::write(&path, bytes).unwrap();
        let source = opened(&path).unwrap();
        assert_eq!(source.len(), 3);
        assert_eq!(source.decode(2).unwrap().samples, [8, 9, 10, 11]);
    }
    // Labels beside the images are ignored.
    fs::write(root.path().join("labels"), [0, 0, 8, 1, 0, 0, 0, 1, 7]).unwrap();
    assert_eq!(opened(root.path()).unwrap().len(), 6);
}

#[test]
fn wrong_idx_headers_allocate_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x");
    for (bytes, expected) in [
        (idx(u32::MAX, 28, 100), "declares"),
        (idx(u32::MAX, u32::MAX, 100), "declares"),
        (idx(3, 2, 11), "found 11"),
        (idx(3, 2, 13), "found more"),
        (idx(0, 2, 0), "declares 0 images"),
        (idx(1, 2, 4)[..9].to_vec(), "header"),
        (gzip(&idx(10, 28, 7840))[..60].to_vec(), ""),
        (gzip(&idx(1, 2, 10_000_000)), "found more"),
        // The file is refused before anything is decompressed.
        (gzip(&idx(3_000_000, 28, 100)), "decompression bomb"),
        (idx(1, 32_769, 100), "sides of at most 32768"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = refused(&path);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn cifar_binary_records() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data_batch_1.bin");
    let mut record = vec![7u8];
    for plane in [10u8, 20, 30] {
        record.extend([plane; 1024]);
    }
    fs::write(&path, record.repeat(2)).unwrap();
    let source = opened(root.path()).unwrap();
    assert_eq!(source.len(), 2);
    let image = source.decode(1).unwrap();
    assert_eq!((image.width, image.height, image.pixel(31, 31)), (32, 32, &[10, 20, 30][..]));
    record[0] = 10;
    fs::write(&path, &record).unwrap();
    assert!(refused(&path).contains("label"));
}

/// A decoded set is as large as its file, so only the requested images are read.
#[test]
fn sets_of_raw_images_are_read_image_by_image() {
    let root = tempfile::tempdir().unwrap();
    let (images, cifar) = (root.path().join("images"), root.path().join("data_batch_1.bin"));
    fs::write(&images, idx(3, 2, 12)).unwrap();
    fs::write(&cifar, vec![0; 2 * 3073]).unwrap();
    for (path, at, image) in [(&images, 16 + 4, 1), (&cifar, 3073 + 1, 1)] {
        let source = opened(path).unwrap();
        let mut bytes = fs::read(path).unwrap();
        bytes[at] = 77;
        fs::write(path, &bytes).unwrap();
        assert_eq!(source.decode(image).unwrap().samples[0], 77, "{}", path.display());
        // A file that has disappeared is an error that names it.
        fs::write(path, &bytes[..at]).unwrap();
        let error = source.decode(image).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn archives_of_images() {
    let root = tempfile::tempdir().unwrap();
    let (png, jpeg) = (encoded(ImageFormat::Png), encoded(ImageFormat::Jpeg));
    // A name that leaves the directory is shown in messages and never used as a path.
    let zip = zip_of(&[("a/1.png", &png), ("../../2.jpg", &jpeg), ("readme.txt", b"hello"), ("a/._1.png", &png)]);
    let path = root.path().join("set.zip");
    fs::write(&path, &zip).unwrap();
    let source = opened(&path).unwrap();
    assert_eq!(source.len(), 2);
    assert!(source.name(1).ends_with("set.zip:../../2.jpg"));
    assert_eq!(source.decode(1).unwrap().width, 9);

    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(png.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "b/x.png", &png[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    for (name, bytes) in [("set.tar", tar.clone()), ("set.tar.gz", gzip(&tar))] {
        let path = root.path().join(name);
        fs::write(&path, bytes).unwrap();
        let source = opened(&path).unwrap();
        assert_eq!((source.len(), source.decode(0).unwrap().height), (1, 7));
    }
    // An archive that is cut at the end of an entry, or has a wrong checksum, is corrupt although all of its images are
    // complete.
    let entries = tar.len() - 1024;
    assert!(tar[entries..].iter().all(|byte| *byte == 0));
    fs::write(&path, &tar[..entries]).unwrap();
    assert!(refused(&path).contains("the end is missing"));
    let mut packed = gzip(&tar);
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    fs::write(&path, &packed).unwrap();
    assert!(refused(&path).contains("checksum"), "{}", refused(&path));
    // An archive that is cut anywhere is an error or gives its complete images, and never a panic.
    for bytes in [&zip, &tar] {
        for end in (4..bytes.len()).step_by(97) {
            let path = root.path().join("cut");
            fs::write(&path, &bytes[..end]).unwrap();
            let _ = opened(&path).map(|source| (0..source.len()).for_each(|i| drop(source.decode(i))));
        }
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused() {
    assert!(refused(Path::new("/dev/zero")).contains("expected a folder or a file"));
}

#[test]
fn a_zip_bomb_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut bomb = encoded(ImageFormat::Png);
    bomb.resize(257 << 20, 0);
    let path = root.path().join("bomb.zip");
    fs::write(&path, zip_of(&[("huge.png", &bomb)])).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20);
    assert!(refused(&path).contains("256 MiB"));
}

/// A tar archive of one image whose name is too long for its header, in the GNU or the PAX form.
fn tar_of_long_name(name: &str, pax: bool) -> Vec<u8> {
    let png = encoded(ImageFormat::Png);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = if pax { tar::Header::new_ustar() } else { tar::Header::new_gnu() };
    header.set_size(png.len() as u64);
    if pax {
        tar.append_pax_extensions([("path", name.as_bytes())]).unwrap();
        tar.append_data(&mut header, "short.png", &png[..]).unwrap();
    } else {
        tar.append_data(&mut header, name, &png[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn long_names_in_a_tar_archive_are_complete() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("set.tar");
    let name = format!("{}/a.png", "folder".repeat(30));
    for pax in [false, true] {
        fs::write(&path, tar_of_long_name(&name, pax)).unwrap();
        let source = opened(&path).unwrap();
        assert_eq!((source.len(), source.name(0).ends_with(&name)), (1, true), "{}", source.name(0));
    }
}

/// A name of half a gigabyte is refused by its size and not read.
#[test]
fn a_tar_whose_names_are_bombs_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("bomb.tar.gz");
    for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(1 << 29);
        header.set_cksum();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(header.as_bytes()).unwrap();
        // The data are much shorter than the header declares. A reader of the data would report the early end, not the
        // size.
        encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
        fs::write(&path, encoder.finish().unwrap()).unwrap();
        let error = refused(&path);
        assert!(error.contains("expected a name or extension of at most 1048576 bytes, found 536870912"), "{error}");
    }
}

#[test]
fn a_truncated_gzip_file_is_corrupt_and_not_empty() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("images.gz");
    fs::write(&path, &gzip(&idx(3, 2, 12))[..8]).unwrap();
    assert!(refused(&path).contains("damaged gzip"));
}

#[cfg(unix)]
#[test]
fn a_newline_in_a_name_does_not_break_the_line() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("two\nlines\u{1b}[31m");
    let png = encoded(ImageFormat::Png);
    fs::write(&path, &png[..png.len() / 2]).unwrap();
    let source = opened(&path).unwrap();
    let decoding = source.decode(0).unwrap_err().to_string();
    let opening = opened(&root.path().join("no\nfile")).unwrap_err().to_string();
    let zip = root.path().join("set.zip");
    fs::write(&zip, zip_of(&[("a\nb.png", &png)])).unwrap();
    for text in [source.name(0), decoding, opening, opened(&zip).unwrap().name(0)] {
        assert!(!text.contains(char::is_control) && text.contains("\\n"), "{text}");
    }
}

#[test]
fn errors_of_corrupt_images_name_them() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x");
    let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Tiff];
    for format in formats {
        let whole = encoded(format);
        for end in (16..whole.len() - 2).step_by(13) {
            fs::write(&path, &whole[..end]).unwrap();
            let Ok(source) = opened(&path) else { continue };
            if let Err(error) = source.decode(0) {
                assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            } else {
                // A decoder may accept a missing trailer, but a JPEG must not pass with half of its image gray.
                assert_ne!(format, ImageFormat::Jpeg, "{end} of {} bytes", whole.len());
            }
        }
    }
    // A PNG header that declares 65,535 × 65,535 pixels.
    let mut huge = encoded(ImageFormat::Png);
    huge[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
    fs::write(&path, huge).unwrap();
    assert!(opened(&path).unwrap().decode(0).is_err());
}

#[test]
fn a_path_without_images_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    assert!(refused(root.path()).contains("no images found"));
    assert!(refused(&root.path().join("absent")).contains("No such file"));
    let path = root.path().join("bad.parquet");
    for bytes in
        [&b"PAR1"[..], b"PAR1 and then nothing of the kind PAR1", &[b"PAR1".as_slice(), &[255; 40], b"PAR1"].concat()]
    {
        fs::write(&path, bytes).unwrap();
        refused(&path);
    }
}

#[test]
fn written_images_are_read_back() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("new/folder/a.png");
    for channels in [1, 3, 4] {
        let samples: Vec<u8> = (0..12 * channels).map(|i| (i * 5) as u8).collect();
        let image = Image { width: 4, height: 3, channels, samples };
        save_png(&path, &image).unwrap();
        assert_eq!(opened(&path).unwrap().decode(0).unwrap(), image);
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
}

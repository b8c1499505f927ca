//! Files of `torch.save`: what PyTorch wrote is read, and what is damaged or hostile is refused with one line.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::Device;
use ddpm_features::{FeaturesError, NetworkKind, load, read_pth, read_weights};

const FILES: [&str; 4] = ["legacy", "zip", "legacy_checkpoint", "zip_checkpoint"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/features").join(name).with_extension("pth")
}

/// Reads `bytes` as a file.
fn read(bytes: &[u8]) -> Result<ddpm_checkpoint::Tensors, FeaturesError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    fs::write(&path, bytes).unwrap();
    read_weights(&path)
}

/// A zip archive as `torch.save` writes it.
fn archive(entries: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, zip::write::SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn stored(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    archive(&[("a/data.pkl", pickle), ("a/data/0", storage)], zip::CompressionMethod::Stored)
}

/// A pickle of `{"w": tensor}` over the storage "0" of `len` floats, with this shape and these strides.
fn pickle(len: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
    let int = |value: u32| [&b"J"[..], &value.to_le_bytes()].concat();
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let tuple = |values: &[u32]| [b"(".to_vec(), values.iter().flat_map(|v| int(*v)).collect(), b"t".to_vec()].concat();
    let storage = [
        b"(".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        int(len),
        b"tQ".to_vec(),
    ];
    let tensor = [
        b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec(),
        storage.concat(),
        int(0),
        tuple(shape),
        tuple(strides),
        b"\x89}tR".to_vec(),
    ];
    [b"\x80\x02}".to_vec(), text("w"), tensor.concat(), b"s.".to_vec()].concat()
}

#[test]
fn tensors_equal_those_that_pytorch_saved() {
    for name in FILES {
        let tensors = read_pth(golden(name)).unwrap();
        let values = |tensor: &str| tensors[tensor].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(tensors.len(), 10, "{name}");
        assert_eq!((tensors["matrix"].dims(), values("matrix")), (&[2, 3][..], vec![0.0, 0.25, 0.5, 0.75, 1.0, 1.25]));
        let transposed = vec![0.0, 0.75, 0.25, 1.0, 0.5, 1.25];
        assert_eq!((tensors["transposed"].dims(), values("transposed")), (&[3, 2][..], transposed));
        assert_eq!(values("tail"), [1.0, 1.25]);
        assert_eq!(values("parameter"), [0.5]);
        assert_eq!((values("half"), values("bfloat16")), (vec![1.5, -2.0], vec![1.5, -2.0]));
        assert_eq!((tensors["double"].dims(), values("double")), (&[1, 1][..], vec![0.25]));
        assert_eq!((tensors["count"].dims(), values("count")), (&[][..], vec![7.0]));
        assert_eq!(values("mask"), [1.0, 0.0]);
        assert_eq!(tensors["empty"].dims(), [0, 3]);
        assert!(tensors.values().all(|tensor| tensor.is_contiguous()));
    }
}

#[test]
fn every_truncation_is_an_error_that_names_the_file() {
    for name in FILES {
        let bytes = fs::read(golden(name)).unwrap();
        for length in (0..bytes.len()).step_by(7).chain(bytes.len() - 9..bytes.len()) {
            let text = read(&bytes[..length]).unwrap_err().to_string();
            assert!(text.contains("weights.pth") && !text.contains('\n'), "{name} at {length}: {text}");
        }
    }
}

#[test]
fn other_objects_are_refused_by_name() {
    let call = b"\x80\x02cos\nsystem\nX\x09\x00\x00\x00echo aaaa\x85R.";
    for pickle in [&call[..], b"\x80\x04\x8c\x02os\x8c\x06system\x93."] {
        let error = read(&stored(pickle, b"")).unwrap_err();
        assert!(matches!(&error, FeaturesError::RefusedGlobal { global, .. } if global == "os.system"), "{error}");
        assert!(error.to_string().contains("refers to the Python object `os.system`, which is refused"), "{error}");
    }
    let mut legacy = fs::read(golden("legacy")).unwrap();
    let at = legacy.windows(11).position(|window| window == b"ccollection").unwrap();
    legacy.splice(at..at + 25, b"cposix\nsystem\n".iter().copied());
    let error = read(&legacy).unwrap_err().to_string();
    assert!(error.contains("`posix.system`"), "{error}");
}

#[test]
fn hostile_sizes_are_refused() {
    let floats = [0_u8; 24];
    assert_eq!(read(&stored(&pickle(6, &[2, 3], &[3, 1]), &floats)).unwrap()["w"].dims(), [2, 3]);
    let refused = |pickle: &[u8], expected: &str| {
        let error = read(&stored(pickle, &floats)).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    };
    refused(&pickle(6, &[3, 3], &[3, 1]), "not within its storage of 6 elements");
    refused(&pickle(6, &[1 << 30, 1 << 30], &[0, 0]), "not within its storage");
    refused(&pickle(1 << 30, &[1 << 30], &[1]), "in a file of");
    refused(&pickle(7, &[6], &[1]), "expected 28 bytes, found 24");
    refused(&pickle(6, &[6], &[u32::MAX]), "expected a size, found -1");
    let entries = [("a/data.pkl", &pickle(6, &[6], &[1])[..]), ("a/data/0", &floats[..])];
    let error = read(&archive(&entries, zip::CompressionMethod::Deflated)).unwrap_err().to_string();
    assert!(error.contains("without compression"), "{error}");
    let error = read(&archive(&entries[1..], zip::CompressionMethod::Stored)).unwrap_err().to_string();
    assert!(error.contains("no entry data.pkl"), "{error}");
}

#[test]
fn values_that_are_not_finite_are_named() {
    let nan = [0_f32, f32::NAN].map(f32::to_le_bytes).concat();
    let error = read(&stored(&pickle(2, &[2], &[1]), &nan)).unwrap_err().to_string();
    assert!(error.contains("tensor `w` holds a value that is not finite (NaN at index 1)"), "{error}");
}

#[test]
fn the_content_decides_about_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    let tensors = read_pth(golden("zip")).unwrap();
    ddpm_checkpoint::write_tensors(&path, &tensors).unwrap();
    assert_eq!(read_weights(&path).unwrap().len(), tensors.len());
    let kind = NetworkKind::EfficientNetLite0;
    let error = load(&path, kind, kind.preprocessing(), &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("weights.pth holds the weights of another network than efficientnet-lite0"), "{error}");
    for bytes in [&b""[..], b"\x89PNG\r\n\x1a\n and more", b"x"] {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, FeaturesError::UnknownFormat { .. }), "{error}");
    }
    let error = read_weights(folder.path()).unwrap_err().to_string();
    assert!(error.contains("found a directory"), "{error}");
    assert!(matches!(read_weights(folder.path().join("missing")), Err(FeaturesError::Io { .. })));
}

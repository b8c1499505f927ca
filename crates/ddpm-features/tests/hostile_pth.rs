//! Short files of `torch.save` cannot fill the memory or keep the reader busy: values that are used again and again are
//! shared or short.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::File;
use std::io::Write;

use ddpm_features::read_pth;
use zip::write::SimpleFileOptions;

/// An instruction that pushes a text.
fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Instructions that push a storage of one element.
fn storage(key: &str) -> Vec<u8> {
    [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", &text(key), &text("cpu"), b"K\x01tQ"].concat()
}

/// Instructions that keep the arguments of a tensor of shape [1] as value 1, with `more` behind them.
fn tensor_arguments(key: &str, more: &[u8]) -> Vec<u8> {
    [b"(", &storage(key)[..], b"K\x00K\x01\x85K\x01\x85", more, b"tq\x010"].concat()
}

/// Keeps the function that rebuilds tensors as value 0.
const REBUILD: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\nq\x000";

/// The error for an archive with this pickle, without the path.
fn error(pickle: &[&[u8]]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pth");
    let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("a/data.pkl", options).unwrap();
    archive.write_all(&pickle.concat()).unwrap();
    archive.finish().unwrap();
    let error = read_pth(&path).unwrap_err().to_string();
    assert!(!error.contains('\n'), "one line: {error}");
    error.split_once("torch.save: ").unwrap_or_else(|| panic!("{error}")).1.to_owned()
}

#[test]
fn long_names_are_refused_before_a_million_tensors_share_them() {
    let calls = b"h\x00h\x01R0".repeat(100_000);
    let found = error(&[b"\x80\x02", REBUILD, &tensor_arguments(&"k".repeat(1 << 20), b""), &calls, b"}."]);
    assert_eq!(found, "the key of a storage: expected at most 1024 bytes, found 1048576");
    let one = [&tensor_arguments("0", b"")[..], b"h\x00h\x01Rq\x020", &text(&"n".repeat(1 << 20)), b"q\x030"].concat();
    let found = error(&[b"\x80\x02", REBUILD, &one, b"}(", &b"h\x03h\x02".repeat(100_000), b"u."]);
    assert_eq!(found, "the name of a tensor: expected at most 1024 bytes, found 1048576");
}

#[test]
fn long_tuples_are_not_read_again_and_again() {
    let arguments = tensor_arguments("0", &b"N".repeat(100_000));
    let found = error(&[b"\x80\x02", REBUILD, &arguments, &b"h\x00h\x01R0".repeat(100_000), b"}."]);
    assert_eq!(found, "arguments: expected at most 16 values, found 100004");
    let shape = [b"(", &storage("0")[..], b"K\x00(", &b"K\x01".repeat(100_000), b"tK\x01\x85tR."].concat();
    let found = error(&[b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n", &shape]);
    assert_eq!(found, "the shape of a tensor: expected at most 16 values, found 100000");
}

#[test]
fn groups_are_not_nested_without_end() {
    assert_eq!(error(&[&b"(".repeat(1 << 20)]), "more than 4096 groups in each other");
}

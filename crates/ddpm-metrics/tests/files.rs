//! Files of reference statistics: those of NumPy, our own, and damaged ones.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod golden_files;

use std::io::Write;
use std::path::{Path, PathBuf};

use ddpm_metrics::{FeatureStatistics, MetricsError, read_spatial_statistics, read_statistics, write_statistics};
use golden_files::{golden, results};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

fn expected(name: &str) -> Vec<f64> {
    results()["file"][name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// An array with a header of version 1. The length of the header is not a multiple of 64, which readers accept.
fn array(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), values].concat()
}

fn bytes(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes an archive of arrays.
fn archive(folder: &TempDir, arrays: &[(&str, Vec<u8>)]) -> PathBuf {
    let path = folder.path().join("statistics.npz");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
    path
}

/// The message of the error without the path, which must be its start, in one line.
fn message(path: &Path) -> String {
    let message = read_statistics(path).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message.strip_prefix(&path.display().to_string()).unwrap_or_else(|| panic!("no path in {message}")).to_owned()
}

#[test]
fn files_of_other_tools_are_read() {
    let exact = ["pytorch_fid", "edm", "adm", "big_endian"].map(|name| (name, 0.0));
    for (name, tolerance) in exact.into_iter().chain([("f32", f64::from(f32::EPSILON))]) {
        let found = read_statistics(golden(&format!("metrics/{name}.npz"))).unwrap();
        for (found, expected) in [(found.mean(), expected("mu")), (found.covariance(), expected("sigma"))] {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= tolerance * expected.abs(), "{name}: {found} and {expected}");
            }
        }
        assert_eq!(found.count(), None);
    }
    let path = golden("metrics/adm.npz");
    let (pool, spatial) = (read_statistics(&path).unwrap(), read_spatial_statistics(&path).unwrap());
    let sigma = pool.covariance();
    assert_eq!(spatial.mean(), &pool.mean()[..2]);
    assert_eq!(spatial.covariance(), [sigma[0], sigma[1], sigma[3], sigma[4]]);
}

#[test]
fn other_contents_of_numpy_are_refused() {
    let refused = |name: &str| message(&golden(&format!("metrics/{name}.npz")));
    assert_eq!(
        refused("images_only"),
        ": found arr_0, the images of a batch, expected the statistics mu: compute them from the images first"
    );
    assert_eq!(refused("objects"), ", mu: found Python objects, expected numbers");
    let spatial = read_spatial_statistics(golden("metrics/edm.npz")).unwrap_err().to_string();
    assert!(spatial.ends_with("edm.npz, mu_s: not in the file"), "{spatial}");
}

#[test]
fn our_own_files_are_read_to_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("own.npz");
    for count in [None, Some(50_000)] {
        let statistics = FeatureStatistics::new(vec![0.1, -1e300], vec![1.0 / 3.0, 0.2, 0.2, 7e-300], count).unwrap();
        write_statistics(&path, &statistics).unwrap();
        assert_eq!(read_statistics(&path).unwrap(), statistics);
    }
    let names: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["own.npz"]);

    let missing = folder.path().join("missing/own.npz");
    let statistics = FeatureStatistics::new(vec![0.0], vec![1.0], None).unwrap();
    assert!(matches!(write_statistics(&missing, &statistics), Err(MetricsError::Io { action: "write", .. })));
    assert!(matches!(read_statistics(&missing), Err(MetricsError::Io { action: "read", .. })));
    assert_eq!(message(folder.path()), ": not a file");
}

#[test]
fn truncated_files_are_errors_at_every_length() {
    let folder = TempDir::new().unwrap();
    for name in ["pytorch_fid", "edm"] {
        let whole = std::fs::read(golden(&format!("metrics/{name}.npz"))).unwrap();
        let path = folder.path().join("short.npz");
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            message(&path);
        }
    }
}

#[test]
fn changed_bytes_are_errors_or_change_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("changed.npz");
    for name in ["pytorch_fid", "edm"] {
        let source = golden(&format!("metrics/{name}.npz"));
        let (whole, intact) = (std::fs::read(&source).unwrap(), read_statistics(&source).unwrap());
        for i in 0..whole.len() {
            for change in [0x01, 0xff] {
                let mut bytes = whole.clone();
                bytes[i] ^= change;
                std::fs::write(&path, &bytes).unwrap();
                match read_statistics(&path) {
                    // The times of files and the like are not used; values have checksums.
                    Ok(found) => assert_eq!(found, intact, "{name}, byte {i}"),
                    Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
                }
            }
        }
    }
}

#[test]
fn invalid_arrays_are_named() {
    let folder = TempDir::new().unwrap();
    let (mu, sigma) = (bytes(&[0.0, 0.0]), bytes(&[1.0, 0.5, 0.5, 1.0]));
    let good = || array("'<f8'", "(2,)", &mu);
    let check = |mu: Vec<u8>, sigma: Vec<u8>, expected: &str| {
        assert_eq!(message(&archive(&folder, &[("mu", mu), ("sigma", sigma)])), expected);
    };
    let limits = "with a width from 1 to 8192";
    let check_mu = |mu: Vec<u8>, expected: &str| check(mu, array("'<f8'", "(2, 2)", &sigma), expected);
    check_mu(array("'<f8'", "(2, 1)", &mu), &format!(", mu: found the shape [2, 1], expected [width], {limits}"));
    check_mu(array("'<f8'", "(0,)", &[]), &format!(", mu: found the shape [0], expected [width], {limits}"));
    // A shape that would take an exabyte is refused before anything is allocated.
    let huge = format!(", mu: found the shape [{}], expected [width], {limits}", 1u64 << 60);
    check_mu(array("'<f8'", "(1152921504606846976,)", &mu), &huge);
    check_mu(array("'<f8'", "(99999999999999999999,)", &mu), ", mu: the shape is not a tuple of numbers");
    check_mu(array("'<f8'", "2", &mu), ", mu: the shape is not a tuple");
    check_mu(array("'<f8'", "(3,)", &mu), ", mu: found fewer than the 24 bytes that the shape [3] needs");
    check_mu(array("'<f8'", "(1,)", &mu), ", mu: found more than the 8 bytes that the shape [1] needs");
    check_mu(array("'<i8'", "(2,)", &mu), ", mu: found integers, expected f4 or f8");
    check_mu(array("'<c16'", "(1,)", &mu), ", mu: found values of type \"<c16\", expected f4 or f8");
    check_mu(array("[('a', '<f8')]", "(2,)", &mu), ", mu: found structured values, expected f4 or f8");
    check_mu(array("'|O'", "(2,)", &mu), ", mu: found Python objects, expected numbers");
    check_mu(b"text, not an array".to_vec(), ", mu: found other bytes, expected a NumPy array");
    check_mu(b"\x93NUMPY\x07\x00".to_vec(), ", mu: found version 7 of the NumPy format, expected 1 to 3");
    let long = b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec();
    check_mu(long, ", mu: found a header of 4294967295 bytes, expected at most 4096");
    check_mu(array("'<f8'", "(2,)", &bytes(&[0.0, f64::NAN])), ", mu: value 1 is NaN, expected a finite number");

    let limits = "with a width from 1 to 8192";
    let shape = |found: &str| format!(", sigma: found the shape {found}, expected [2, 2], {limits}");
    check(good(), array("'<f8'", "(4,)", &sigma), &shape("[4]"));
    check(good(), array("'<f8'", "(8192, 8192)", &sigma), &shape("[8192, 8192]"));
    let short = ", sigma: found fewer than the 32 bytes that the shape [2, 2] needs";
    check(good(), array("'<f8'", "(2, 2)", &sigma[..31]), short);
    let with = |values: [f64; 4]| array("'<f8'", "(2, 2)", &bytes(&values));
    let infinite = ", sigma: [0, 1] is inf, expected a finite number";
    check(good(), with([1.0, f64::INFINITY, 0.5, 1.0]), infinite);
    let asymmetric = ", sigma: [1, 0] is 0.5 and [0, 1] is 0.25, expected a symmetric matrix";
    check(good(), with([1.0, 0.25, 0.5, 1.0]), asymmetric);
    let negative = ", sigma: [1, 1] is -1, expected a variance of at least 0";
    check(good(), with([1.0, 0.0, 0.0, -1.0]), negative);

    assert_eq!(message(&archive(&folder, &[("mu", good())])), ", sigma: not in the file");
    let arrays = |n: Vec<u8>| [("mu", good()), ("sigma", with([1.0, 0.0, 0.0, 1.0])), ("n", n)];
    let n = archive(&folder, &arrays(array("'<i8'", "()", &(-5i64).to_le_bytes())));
    assert_eq!(message(&n), ", n: found -5, expected at least 1");
    let n = archive(&folder, &arrays(array("'<f8'", "()", &bytes(&[5.0]))));
    assert_eq!(message(&n), ", n: expected a single integer of type i8");
}

#[test]
fn an_archive_that_expands_without_end_is_refused_by_its_shape() {
    // 16 MiB of zeros that compress to 16 KiB, after an array of two values.
    let folder = TempDir::new().unwrap();
    let mut zeros = array("'<f8'", "(2,)", &[]);
    zeros.resize(zeros.len() + (16 << 20), 0);
    let path = archive(&folder, &[("mu", zeros), ("sigma", Vec::new())]);
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    assert_eq!(message(&path), ", mu: found more than the 16 bytes that the shape [2] needs");
}

#[test]
fn python_2_and_fortran_order_are_read() {
    let folder = TempDir::new().unwrap();
    let mu = array("'=f8'", "(2L,)", &bytes(&[1.0, 2.0]));
    let header = "{'descr': '>f4', 'fortran_order': True, 'shape': (2, 2), }\n";
    let values: Vec<u8> = [4f32, 1.0, 1.0, 9.0].iter().flat_map(|value| value.to_be_bytes()).collect();
    let start = [b"\x93NUMPY\x02\x00", &(header.len() as u32).to_le_bytes()[..]].concat();
    let sigma = [&start[..], header.as_bytes(), &values].concat();
    let found = read_statistics(archive(&folder, &[("mu", mu), ("sigma", sigma)])).unwrap();
    assert_eq!((found.mean(), found.covariance()), (&[1.0, 2.0][..], &[4.0, 1.0, 1.0, 9.0][..]));
}

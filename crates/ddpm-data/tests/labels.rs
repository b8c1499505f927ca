//! Classes of images, from every source of them, and sets whose classes are incomplete.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use ddpm_data::{
    ClassBalance, DataConfig, DataError, Image, ImageSource, Labeling, Loader, LoaderConfig, open, save_png,
};
use serde_json::json;

fn config(path: &Path) -> DataConfig {
    serde_json::from_value(json!({ "path": path })).unwrap()
}

fn labels_of(source: &Arc<dyn ImageSource>) -> Option<Vec<(String, String)>> {
    let labels = source.labels()?;
    let class = |i: usize| labels.classes()[labels.label(i) as usize].clone();
    Some((0..source.len()).map(|i| (source.name(i).rsplit('/').next().unwrap().to_owned(), class(i))).collect())
}

/// The class of each image in order; empty without classes.
fn classes(config: &DataConfig) -> Result<String, DataError> {
    let source = open(config)?;
    Ok(labels_of(&source).unwrap_or_default().into_iter().map(|(_, class)| class).collect::<Vec<_>>().join(" "))
}

fn write_image(path: &Path, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    save_png(path, &Image { width: 2, height: 2, channels: 1, samples: vec![value; 4] }).unwrap();
}

fn png() -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.png");
    write_image(&path, 9);
    fs::read(path).unwrap()
}

/// A folder with images at these paths.
fn folder(images: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (i, image) in images.iter().enumerate() {
        write_image(&root.path().join(image), i as u8);
    }
    root
}

#[test]
fn folders_are_classes() {
    let root = folder(&["b/2.png", "a/1.png", "b/deep/3.png"]);
    assert_eq!(classes(&config(root.path())).unwrap(), "a b b");
    let none = DataConfig { labels: Labeling::None, ..config(root.path()) };
    assert_eq!(classes(&none).unwrap(), "");
    // One folder, or none, is no class.
    assert_eq!(classes(&config(folder(&["a/1.png", "a/2.png"]).path())).unwrap(), "");
    assert_eq!(classes(&config(folder(&["1.png", "2.png"]).path())).unwrap(), "");
}

#[test]
fn incomplete_classes_are_refused_with_a_way_out() {
    let root = folder(&["a/1.png", "b/2.png", "3.png"]);
    let error = open(&config(root.path())).map(drop).unwrap_err().to_string();
    assert!(error.contains("expected a class for every image, found 1 without one"), "{error}");
    assert!(error.contains("3.png among them; data.labels = \"none\""), "{error}");

    let root = folder(&["a/1.png", "b/2.png"]);
    fs::create_dir(root.path().join("c")).unwrap();
    let error = open(&config(root.path())).map(drop).unwrap_err().to_string();
    assert!(error.contains("class c has no images: remove the folder, or train without classes"), "{error}");
    let none = DataConfig { labels: Labeling::None, ..config(root.path()) };
    assert_eq!(open(&none).unwrap().len(), 2);
}

#[test]
fn archives_have_classes_too() {
    let root = tempfile::tempdir().unwrap();
    let names = ["set/dog/1.png", "set/cat/2.png", "set/dog/3.png"];
    let path = root.path().join("set.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for name in names {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&png()).unwrap();
    }
    zip.finish().unwrap();
    assert_eq!(classes(&config(&path)).unwrap(), "dog cat dog");

    let path = root.path().join("set.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
    for name in names {
        let bytes = png();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.finish().unwrap();
    assert_eq!(classes(&config(&path)).unwrap(), "dog cat dog");
    // Archives of one class each, in folders of their own.
    let classes_root = tempfile::tempdir().unwrap();
    for class in ["x", "y"] {
        fs::create_dir(classes_root.path().join(class)).unwrap();
        let mut tar = tar::Builder::new(fs::File::create(classes_root.path().join(class).join("all.tar")).unwrap());
        let bytes = png();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append_data(&mut header, "1.png", bytes.as_slice()).unwrap();
        tar.finish().unwrap();
    }
    assert_eq!(classes(&config(classes_root.path())).unwrap(), "x y");
}

fn idx(images: u32) -> Vec<u8> {
    let header = [[0, 0, 8, 3], images.to_be_bytes(), 1u32.to_be_bytes(), 1u32.to_be_bytes()].concat();
    [header, vec![7; images as usize]].concat()
}

fn idx_labels(labels: &[u8]) -> Vec<u8> {
    [&[0, 0, 8, 1][..], &(labels.len() as u32).to_be_bytes(), labels].concat()
}

#[test]
fn idx_images_have_the_labels_of_the_file_beside_them() {
    for gzip in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = root.path().join(name);
            if !gzip {
                return fs::write(path, bytes).unwrap();
            }
            let file = fs::File::create(root.path().join(format!("{name}.gz"))).unwrap();
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        };
        write("train-images-idx3-ubyte", &idx(4));
        assert_eq!(classes(&config(root.path())).unwrap(), "");
        write("train-labels-idx1-ubyte", &idx_labels(&[3, 10, 2, 3]));
        assert_eq!(classes(&config(root.path())).unwrap(), "3 10 2 3");
        assert_eq!(open(&config(root.path())).unwrap().labels().unwrap().classes(), ["2", "3", "10"]);
        for (labels, expected) in [
            (idx_labels(&[1, 2]), "expected 4 labels, one for each image, found 2"),
            (idx(4), "expected IDX labels, magic"),
            ([&idx_labels(&[1, 2, 3, 4]), &[5][..]].concat(), "declares 4 labels; found more"),
            (idx_labels(&[1, 2, 3, 4])[..10].to_vec(), "declares 4 labels; found 2"),
            (vec![0, 0], "the header"),
        ] {
            write("train-labels-idx1-ubyte", &labels);
            let error = open(&config(root.path())).map(drop).unwrap_err().to_string();
            assert!(error.contains("train-labels") && error.contains(expected), "{error}");
        }
    }
}

#[test]
fn cifar_files_have_classes_with_names_from_the_file_beside_them() {
    let root = tempfile::tempdir().unwrap();
    let record = |labels: &[u8]| [labels, &[0; 3072]].concat();
    fs::write(root.path().join("data_batch_1.bin"), [record(&[1]), record(&[0])].concat()).unwrap();
    assert_eq!(classes(&config(root.path())).unwrap(), "1 0");
    let path = root.path().join("train.bin");
    fs::write(&path, [record(&[0, 42]), record(&[19, 7])].concat()).unwrap();
    let source = open(&config(&path)).unwrap();
    assert_eq!((source.len(), source.decode(1).unwrap().width), (2, 32));
    assert_eq!(classes(&config(&path)).unwrap(), "42 7");
    fs::write(&path, record(&[0, 100])).unwrap();
    let error = open(&config(&path)).map(drop).unwrap_err().to_string();
    assert!(error.contains("record 0: expected a label from 0 to 99, found 100"), "{error}");

    let root = tempfile::tempdir().unwrap();
    let records: Vec<u8> = (0..10).flat_map(|label| record(&[label])).collect();
    fs::write(root.path().join("test_batch.bin"), records).unwrap();
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    fs::write(root.path().join("batches.meta.txt"), names).unwrap();
    assert_eq!(classes(&config(root.path())).unwrap(), names.trim().replace('\n', " "));
}

#[test]
fn tables_name_the_classes_of_files_and_are_a_part_of_the_fingerprint() {
    let root = folder(&["1.png", "deep/2.png", "deep/3.png"]);
    let unlabeled = open(&DataConfig { labels: Labeling::None, ..config(root.path()) }).unwrap().fingerprint();
    let table = "file_name,label,size\n1.png,cat,big\ndeep/2.png,dog,big\ndeep/3.png,cat,small\n";
    fs::write(root.path().join("metadata.csv"), table).unwrap();
    assert_eq!(classes(&config(root.path())).unwrap(), "cat dog cat");
    let by_size = DataConfig { label_column: Some("size".into()), ..config(root.path()) };
    assert_eq!(classes(&by_size).unwrap(), "big big small");
    let none = DataConfig { labels: Labeling::None, ..config(root.path()) };
    assert_eq!(open(&none).unwrap().fingerprint(), unlabeled);
    assert_ne!(open(&config(root.path())).unwrap().fingerprint(), unlabeled);
}

#[test]
fn batches_hold_the_classes_of_their_images() {
    let root = folder(&["a/1.png", "b/2.png", "b/3.png", "b/4.png", "b/5.png", "b/6.png"]);
    // An undecodable image is replaced by one whose class it then has.
    fs::write(root.path().join("b/6.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    for balance in [ClassBalance::None, ClassBalance::Uniform] {
        let config = DataConfig { class_balance: balance, max_bad_share: 0.5, ..config(root.path()) };
        let loader = Loader::new(open(&config).unwrap(), LoaderConfig::new(&config, 2, 0, 1, [2, 2]), 0).unwrap();
        let mut of_class = [0; 2];
        for batch in loader.take(60) {
            let batch = batch.unwrap();
            let images = batch.images.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
            for (image, label) in images.iter().zip(batch.labels.unwrap()) {
                // The samples of image a/1.png are 0, which is −1; those of the others are larger.
                assert_eq!(label == 0, image[0] == -1.0, "{image:?}");
                of_class[label as usize] += 1;
            }
        }
        let share = f64::from(of_class[0]) / 120.0;
        let expected = if balance == ClassBalance::Uniform { 0.4..0.62 } else { 0.12..0.3 };
        assert!(expected.contains(&share), "{balance}: {share}");
    }
}

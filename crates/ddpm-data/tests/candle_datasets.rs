//! Image sources from the `Dataset` values of candle-datasets, and the Parquet files of its named datasets.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![cfg(feature = "candle-datasets")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_datasets::vision::{Dataset, mnist};
use ddpm_data::{
    CandleDataset, CandleImages, CandleSplit, DataConfig, DataError, Image, ImageSource, Loader, LoaderConfig, open,
    open_files, save_png,
};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

fn dataset(images: &Tensor) -> Dataset {
    let labels = Tensor::zeros(images.dim(0).unwrap(), DType::U8, &Device::Cpu).unwrap();
    Dataset {
        train_images: images.clone(),
        train_labels: labels.clone(),
        test_images: images.narrow(0, 0, 1).unwrap(),
        test_labels: labels,
        labels: 10,
    }
}

/// The sample of a test image at (x, y): different in every row, column and channel.
fn sample(x: usize, y: usize, channel: usize) -> u8 {
    (x + 40 * y + 100 * channel) as u8
}

/// [channel, height, width] samples, as the tensors of candle-datasets hold them.
fn planes(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let rows = |c: usize| (0..height).flat_map(move |y| (0..width).map(move |x| sample(x, y, c)));
    (0..channels).flat_map(rows).collect()
}

fn assert_upright(image: &Image, channels: usize) {
    assert_eq!(image.channels, channels);
    for (x, y) in (0..image.height).flat_map(|y| (0..image.width).map(move |x| (x, y))) {
        let expected: Vec<u8> = (0..channels).map(|channel| sample(x, y, channel)).collect();
        assert_eq!(image.pixel(x, y), expected, "({x}, {y})");
    }
}

#[test]
fn color_images_keep_their_orientation_and_their_channels() {
    let bytes = Tensor::from_vec(planes(3, 2, 3), (1, 3, 2, 3), &Device::Cpu).unwrap();
    let floats = (bytes.to_dtype(DType::F32).unwrap() / 255.0).unwrap();
    for images in [bytes, floats] {
        let images = Tensor::cat(&[&images, &images], 0).unwrap();
        let source = CandleImages::new("a", &dataset(&images), CandleSplit::Train).unwrap();
        let image = source.decode(1).unwrap();
        assert_eq!((source.len(), image.width, image.height), (2, 3, 2));
        assert_upright(&image, 3);
        assert_eq!(CandleImages::new("a", &dataset(&images), CandleSplit::Test).unwrap().len(), 1);
        assert_eq!(source.name(1), "a, split train, image 1");
    }
}

#[test]
fn flat_rows_of_samples_are_square_images() {
    for channels in [1, 3] {
        let samples = planes(6, 6, channels);
        let images = Tensor::from_vec(samples.clone(), (1, samples.len()), &Device::Cpu).unwrap();
        let image = CandleImages::new("a", &dataset(&images), CandleSplit::Train).unwrap().decode(0).unwrap();
        assert_upright(&image, channels);
    }
    let images = Tensor::from_vec(planes(4, 3, 1), (1, 3, 4), &Device::Cpu).unwrap();
    assert_upright(&CandleImages::new("a", &dataset(&images), CandleSplit::Train).unwrap().decode(0).unwrap(), 1);
}

#[test]
fn other_shapes_and_values_are_errors() {
    for shape in [vec![5], vec![2, 7], vec![2, 2, 4, 4], vec![1, 1, 1, 2, 2], vec![2, 0]] {
        let images = Tensor::zeros(shape.as_slice(), DType::F32, &Device::Cpu).unwrap();
        let error = CandleImages::new("a", &dataset(&images), CandleSplit::Train).unwrap_err().to_string();
        assert!(error.contains("a, split train: expected images of the shape"), "{error}");
    }
    for value in [-0.5f32, 1.5, f32::NAN] {
        let images = Tensor::full(value, (1, 16), &Device::Cpu).unwrap();
        let source = CandleImages::new("a", &dataset(&images), CandleSplit::Train).unwrap();
        let error = source.decode(0).unwrap_err().to_string();
        assert!(error.contains("image 0: expected values in [0, 1], found"), "{error}");
    }
}

fn idx(magic: u8, sizes: &[u32], samples: &[u8]) -> Vec<u8> {
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
    [&[0, 0, 8, magic], sizes.as_slice(), samples].concat()
}

#[test]
fn files_that_candle_datasets_reads_give_the_images_that_this_crate_reads() {
    let root = tempfile::tempdir().unwrap();
    let samples: Vec<u8> = (0..3 * 16).map(|i| (i * 5) as u8).collect();
    for split in ["train", "t10k"] {
        let images = root.path().join(format!("{split}-images-idx3-ubyte"));
        fs::write(images, idx(3, &[3, 4, 4], &samples)).unwrap();
        fs::write(root.path().join(format!("{split}-labels-idx1-ubyte")), idx(1, &[3], &[0, 1, 2])).unwrap();
    }
    let theirs = CandleImages::new("a", &mnist::load_dir(root.path()).unwrap(), CandleSplit::Train).unwrap();
    let ours = open(&config(&root.path().join("train-images-idx3-ubyte"))).unwrap();
    assert_eq!((theirs.len(), ours.len()), (3, 3));
    (0..3).for_each(|i| assert_eq!(theirs.decode(i).unwrap(), ours.decode(i).unwrap()));
}

#[test]
fn a_dataset_is_loaded_in_batches() {
    let images = Tensor::full(1.0f32, (4, 3, 8, 8), &Device::Cpu).unwrap();
    let source = Arc::new(CandleImages::new("a", &dataset(&images), CandleSplit::Train).unwrap());
    let loading = LoaderConfig::new(&config(Path::new("candle")), 2, 0, 3, [8, 8]);
    let mut loader = Loader::new(source, loading, 0).unwrap();
    let batch = loader.next().unwrap().unwrap();
    assert_eq!(batch.images.dims(), [2, 3, 8, 8]);
    assert_eq!(batch.images.min_all().unwrap().to_scalar::<f32>().unwrap(), 1.0);
}

fn config(path: &Path) -> DataConfig {
    serde_json::from_value(serde_json::json!({ "path": path })).unwrap()
}

/// A Parquet file with the columns of CIFAR-10 on the Hub: a struct of encoded bytes and a path, and a label.
fn cifar_parquet(images: usize) -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a.png");
    let pixels = (0..32).flat_map(|y| (0..32).map(move |x| (x, y)));
    let samples = pixels.flat_map(|(x, y)| (0..3).map(move |channel| sample(x, y, channel))).collect();
    save_png(&file, &Image { width: 32, height: 32, channels: 3, samples }).unwrap();
    let encoded = ByteArray::from(fs::read(file).unwrap());
    let schema = "message schema { required group img { required binary bytes; required binary path (STRING); } \
                  required int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::default())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for value in [encoded, ByteArray::from("a.png")] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&vec![value; images], None, None).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&vec![3; images], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

/// Writes the bytes where the Hub has the training file of CIFAR-10, and opens the file.
fn open_cifar(root: &Path, bytes: &[u8]) -> Result<Arc<dyn ImageSource>, DataError> {
    let path = root.join(CandleDataset::Cifar10.file(CandleSplit::Train));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    open_files(&config(root), vec![path])
}

#[test]
fn the_parquet_file_of_cifar10_gives_upright_images() {
    let root = tempfile::tempdir().unwrap();
    let source = open_cifar(root.path(), &cifar_parquet(2)).unwrap();
    assert_eq!(source.len(), 2);
    let image = source.decode(1).unwrap();
    assert_eq!((image.width, image.height), (32, 32));
    assert_upright(&image, 3);
}

/// candle-datasets 0.11 skips errors of the reader, which then repeats the same error forever.
#[test]
fn corrupt_parquet_files_end_with_an_error_or_with_undecodable_images() {
    let root = tempfile::tempdir().unwrap();
    let whole = cifar_parquet(3);
    for len in [0, 4, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        assert!(open_cifar(root.path(), &whole[..len]).is_err(), "{len} bytes");
    }
    for at in (4..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        // A changed byte of an image is found when the image is decoded; others when the file is opened.
        if let Ok(source) = open_cifar(root.path(), &bytes) {
            (0..source.len()).for_each(|i| drop(source.decode(i)));
        }
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for dataset in CandleDataset::ALL {
        assert_eq!(dataset.to_string().parse::<CandleDataset>().unwrap(), *dataset);
    }
    for split in CandleSplit::ALL {
        assert_eq!(split.to_string().parse::<CandleSplit>().unwrap(), *split);
    }
    let error = "cifar100".parse::<CandleDataset>().unwrap_err().to_string();
    assert!(error.contains("found candle:cifar100"), "{error}");
}

//! Batches depend on the seed and their position alone; undecodable images; published datasets.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stderr, reason = "a test that skips says so")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ddpm_data::{CacheConfig, DataConfig, DataError, Image, ImageSource, Loader, LoaderConfig, open};

/// `images` images of 4 × 4 pixels, each of one value. Those in `bad` cannot be decoded.
#[derive(Debug)]
struct Flat {
    images: usize,
    bad: Vec<usize>,
}

impl ImageSource for Flat {
    fn len(&self) -> usize {
        self.images
    }

    fn name(&self, index: usize) -> String {
        format!("image {index}")
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        if self.bad.contains(&index) {
            return Err(DataError::Invalid { name: self.name(index), problem: "torn".into() });
        }
        Ok(Image { width: 4, height: 4, channels: 1, samples: vec![index as u8; 16] })
    }
}

fn loader(source: Flat, workers: usize, start: u64, bad_share: f64) -> Result<Loader, DataError> {
    let data: DataConfig = serde_json::from_value(serde_json::json!({
        "path": "x", "workers": workers, "max_bad_share": bad_share, "horizontal_flip": true, "random_crop": true,
    }))
    .unwrap();
    Loader::new(Arc::new(source), LoaderConfig::new(&data, 3, 7, 1, [3, 2]), start)
}

fn batch(loader: &mut Loader) -> (u64, u64, Vec<f32>) {
    let batch = loader.next().unwrap().unwrap();
    assert_eq!(batch.images.dims(), [3, 1, 3, 2]);
    (batch.epoch, batch.index, batch.images.flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn a_batch_depends_on_the_seed_and_its_position_alone() {
    let source = || Flat { images: 10, bad: vec![4] };
    let mut one = loader(source(), 1, 0, 0.2).unwrap();
    let all: Vec<_> = (0..9).map(|_| batch(&mut one)).collect();
    assert_eq!(all.iter().map(|b| (b.0, b.1)).collect::<Vec<_>>()[2..4], [(0, 2), (1, 3)]);
    let mut many = loader(source(), 3, 0, 0.2).unwrap();
    assert!(all.iter().all(|expected| batch(&mut many) == *expected));
    let mut late = loader(source(), 2, 5, 0.2).unwrap();
    assert!(all[5..].iter().all(|expected| batch(&mut late) == *expected));
}

/// One image whose pixels identify their position: 20 · row + column, with 6 rows and 12 columns.
#[derive(Debug)]
struct Gradient;

impl ImageSource for Gradient {
    fn len(&self) -> usize {
        1
    }

    fn name(&self, _: usize) -> String {
        "gradient".into()
    }

    fn decode(&self, _: usize) -> Result<Image, DataError> {
        let samples = (0..6u8).flat_map(|y| (0..12u8).map(move |x| 20 * y + x)).collect();
        Ok(Image { width: 12, height: 6, channels: 1, samples })
    }
}

/// The crops of six rows and six columns of [`Gradient`]: the first column of each, and whether it is flipped.
fn crops(random_crop: bool, horizontal_flip: bool) -> Vec<(i32, bool)> {
    let data: DataConfig = serde_json::from_value(serde_json::json!({
        "path": "x", "random_crop": random_crop, "horizontal_flip": horizontal_flip,
    }))
    .unwrap();
    let loader = Loader::new(Arc::new(Gradient), LoaderConfig::new(&data, 1, 7, 1, [6, 6]), 0).unwrap();
    let crop = |batch: Result<ddpm_data::Batch, DataError>| {
        let values: Vec<f32> = batch.unwrap().images.flatten_all().unwrap().to_vec1().unwrap();
        let pixels: Vec<i32> = values.iter().map(|v| i32::from(ddpm_data::value_to_pixel(*v))).collect();
        let (first, step) = (pixels[0], pixels[1] - pixels[0]);
        // Every pixel follows from the first two, so neither rows nor columns are exchanged.
        for (i, pixel) in (0..).zip(&pixels) {
            assert_eq!(*pixel, first + 20 * (i / 6) + step * (i % 6), "{pixels:?}");
        }
        assert!(step.abs() == 1);
        (if step == 1 { first } else { first - 5 }, step == -1)
    };
    loader.take(200).map(crop).collect()
}

#[test]
fn random_crops_and_flips_reach_everything_evenly() {
    assert!(crops(false, false).iter().all(|crop| *crop == (3, false)), "the center, as it is");
    let count =
        |crops: &[(i32, bool)], wanted: &dyn Fn(&(i32, bool)) -> bool| crops.iter().filter(|c| wanted(c)).count();
    // 200 fair coins: 100 heads with a standard deviation of 7.
    let flipped = crops(false, true);
    assert!(flipped.iter().all(|crop| crop.0 == 3));
    assert!((65..=135).contains(&count(&flipped, &|crop| crop.1)), "{flipped:?}");
    // Seven positions, of which the two at the ends are half as likely: 33 and 17 crops, with standard deviations of 5
    // and 4.
    let cropped = crops(true, false);
    assert!(cropped.iter().all(|crop| !crop.1 && (0..=6).contains(&crop.0)));
    for place in 0..=6 {
        let found = count(&cropped, &|crop| crop.0 == place);
        let expected = if place == 0 || place == 6 { 2..=36 } else { 8..=60 };
        assert!(expected.contains(&found), "place {place}: {found}");
    }
    // Switching one augmentation off does not change the other.
    let both = crops(true, true);
    assert!(both.iter().zip(flipped.iter().zip(&cropped)).all(|(both, (flip, crop))| *both == (crop.0, flip.1)));
}

#[test]
fn one_undecodable_image_is_replaced_and_too_many_are_an_error() {
    let source = Flat { images: 10, bad: vec![2] };
    let mut loader_of_one = loader(source, 2, 0, 0.01).unwrap();
    (0..12).for_each(|_| drop(batch(&mut loader_of_one)));
    // A share of zero allows none.
    let source = Flat { images: 10, bad: vec![2] };
    let error = loader(source, 2, 0, 0.0).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("1 of 10 images cannot be decoded, more than data.max_bad_share = 0 allows"), "{error}");
    let source = Flat { images: 10, bad: vec![2, 5, 8] };
    let mut loader = loader(source, 2, 0, 0.2).unwrap();
    let error = loader.find_map(Result::err).unwrap().to_string();
    assert!(error.contains("3 of 10 images") && error.contains("image 2: torn; image 5: torn"), "{error}");
    assert!(!error.contains('\n'), "{error}");
    assert!(loader.next().is_none());
}

/// Squares of noise with a key, which count how often they are decoded.
#[derive(Debug)]
struct Counted {
    decoded: AtomicUsize,
}

impl ImageSource for Counted {
    fn len(&self) -> usize {
        10
    }

    fn name(&self, index: usize) -> String {
        format!("image {index}")
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        // Image 3 is small.
        let side = if index == 3 { 3 } else { 12 };
        let samples = (0..3 * side * side).map(|i| ((i * i + 31 * index) % 251) as u8).collect();
        Ok(Image { width: side, height: side, channels: 3, samples })
    }

    fn cache_key(&self) -> Option<String> {
        Some("noise".into())
    }
}

/// With a cache, batches are the same; images are decoded once, also by a later loader, but not with another
/// conversion.
#[test]
fn a_cache_changes_nothing_but_the_time() {
    for random_crop in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let batches = |cache: bool, height: usize| {
            let source = Arc::new(Counted { decoded: AtomicUsize::new(0) });
            let data: DataConfig = serde_json::from_value(serde_json::json!({
                "path": "x", "horizontal_flip": true, "random_crop": random_crop
            }))
            .unwrap();
            let mut config = LoaderConfig::new(&data, 5, 7, 1, [height, 4]);
            config.cache = cache.then(|| CacheConfig { directory: root.path().into(), max_bytes: 1_000_000 });
            let mut loader = Loader::new(source.clone(), config, 0).unwrap();
            let values: Vec<Vec<f32>> = (0..8)
                .map(|_| loader.next().unwrap().unwrap().images.flatten_all().unwrap().to_vec1().unwrap())
                .collect();
            (values, source.decoded.load(Ordering::Relaxed), loader.cache().map(|cache| cache.len()))
        };
        let (expected, decoded, _) = batches(false, 4);
        assert!(decoded >= 40);
        let (values, decoded, cached) = batches(true, 4);
        assert!(values == expected && (13..20).contains(&decoded) && cached == Some(9), "{decoded} {cached:?}");
        let (values, decoded, _) = batches(true, 4);
        assert!(values == expected && (4..8).contains(&decoded), "{decoded}");
        let (_, decoded, cached) = batches(true, 5);
        assert!(decoded >= 13 && cached == Some(9), "{decoded} {cached:?}");
    }
}

#[test]
fn a_set_without_decodable_images_is_an_error() {
    let source = Flat { images: 6, bad: (0..6).collect() };
    let error = loader(source, 1, 0, 1.0).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(error.contains("none of 100 images tried in a row") && !error.contains("max_bad_share"), "{error}");
}

#[test]
fn a_panicking_source_is_an_error() {
    #[derive(Debug)]
    struct Bug;
    impl ImageSource for Bug {
        fn len(&self) -> usize {
            10
        }
        fn name(&self, _: usize) -> String {
            "bug".into()
        }
        fn decode(&self, _: usize) -> Result<Image, DataError> {
            panic!("a bug of the source")
        }
    }
    let data: DataConfig = serde_json::from_value(serde_json::json!({ "path": "x" })).unwrap();
    let mut loader = Loader::new(Arc::new(Bug), LoaderConfig::new(&data, 3, 7, 1, [3, 2]), 0).unwrap();
    assert!(matches!(loader.next(), Some(Err(DataError::Thread))));
}

#[test]
fn invalid_configurations_are_refused() {
    let source = || Flat { images: 2, bad: vec![] };
    assert!(matches!(loader(source(), 1, 0, 0.0), Err(DataError::SmallerThanBatch { images: 2, batch_size: 3 })));
    let data: DataConfig = serde_json::from_value(serde_json::json!({ "path": "x" })).unwrap();
    for channels in [0, 2, 5] {
        let config = LoaderConfig::new(&data, 1, 7, channels, [3, 2]);
        let error = Loader::new(Arc::new(source()), config, 0).unwrap_err().to_string();
        assert!(error.contains(&format!("found {channels}")), "{error}");
    }
}

#[test]
fn dropping_a_loader_ends_its_threads() {
    let source = Arc::new(Flat { images: 10, bad: vec![] });
    let data: DataConfig = serde_json::from_value(serde_json::json!({ "path": "x" })).unwrap();
    let shared: Arc<dyn ImageSource> = source.clone();
    let loader = Loader::new(shared, LoaderConfig::new(&data, 3, 7, 1, [3, 2]), 0).unwrap();
    drop(loader);
    for _ in 0..500 {
        if Arc::strong_count(&source) == 1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("a thread still holds the source after five seconds");
}

/// The published datasets in the directory beside the checkout, if it exists.
fn real(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn mnist_has_the_published_mean() {
    let Some(path) = real("mnist") else { return };
    let data: DataConfig = serde_json::from_value(serde_json::json!({ "path": path, "fit": "pad" })).unwrap();
    let source = open(&data).unwrap();
    assert_eq!(source.len(), 60_000);
    // The mean of the training pixels of MNIST is 33.3 of 255 (0.1307).
    let mean = (0..2000).map(|i| source.decode(i).unwrap().samples.iter().map(|v| f64::from(*v)).sum::<f64>() / 784.0);
    let mean = mean.sum::<f64>() / 2000.0;
    assert!((mean - 33.3).abs() < 0.7, "{mean}");
    let mut loader = Loader::new(source, LoaderConfig::new(&data, 64, 0, 1, [32, 32]), 0).unwrap();
    let images = loader.next().unwrap().unwrap().images;
    // The two rows of padding are black.
    let edge = images.narrow(2, 0, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(edge.iter().all(|v| *v == -1.0));
}

#[test]
fn cifar10_reads_from_parquet() {
    let Some(path) = real("cifar10") else { return };
    let data: DataConfig = serde_json::from_value(serde_json::json!({ "path": path })).unwrap();
    let source = open(&data).unwrap();
    assert_eq!(source.len(), 50_000);
    let mut sums = [0.0; 3];
    for i in (0..50_000).step_by(100) {
        let image = source.decode(i).unwrap();
        assert_eq!((image.width, image.height, image.channels), (32, 32, 3));
        image.samples.chunks(3).for_each(|p| sums.iter_mut().zip(p).for_each(|(sum, v)| *sum += f64::from(*v)));
    }
    // The published channel means of CIFAR-10 are 125.3, 123.0 and 113.9. The means of 500 images are within a few
    // units.
    let means = sums.map(|sum| sum / (500.0 * 1024.0));
    assert!(means.iter().zip([125.3, 123.0, 113.9]).all(|(a, b)| (a - b).abs() < 8.0), "{means:?}");
}

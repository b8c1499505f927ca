//! Images that are held out of the training, to see how a model does on images that it has not seen.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::decode_request::DecodeRequest;
use crate::error::DataError;
use crate::fingerprint::DataFingerprint;
use crate::image::Image;
use crate::image_source::ImageSource;
use crate::labels::Labels;

/// The number of images from which a share of them is held out unless a configuration says otherwise.
const MIN_IMAGES: usize = 200;
/// The share that is held out unless a configuration says otherwise.
const DEFAULT_SHARE: f64 = 0.05;

/// The share of a set of `images` images that is held out if the configuration leaves it open: 5 % of sets of at least
/// 200 images, and nothing of smaller ones.
pub fn default_holdout_share(images: usize) -> f64 {
    if images >= MIN_IMAGES { DEFAULT_SHARE } else { 0.0 }
}

/// A set of images in two parts.
#[derive(Debug, Clone)]
pub struct HoldoutSplit {
    /// The images to train on.
    pub training: Arc<dyn ImageSource>,
    /// The images that are held out.
    pub held_out: Arc<dyn ImageSource>,
}

impl HoldoutSplit {
    /// Holds out about the share `share` of the images of `source`, which was opened at `path`.
    ///
    /// Whether an image is held out depends on a hash of its name relative to `path` (of its position, in files of
    /// several images) and on `share` alone: adding images moves no other image from one part to the other, and a
    /// larger share holds out the images of a smaller one and others. A class that would have no image left to train
    /// on keeps all of its images.
    ///
    /// # Examples
    /// ```
    /// use ddpm_data::{DataConfig, HoldoutSplit, open};
    ///
    /// let config: DataConfig = serde_json::from_str(r#"{ "path": "digits" }"#)?;
    /// let split = HoldoutSplit::new(open(&config)?, "digits", 0.05);
    /// assert_eq!(split.training.len() + split.held_out.len(), 1797);
    /// assert!((80..100).contains(&split.held_out.len()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(source: Arc<dyn ImageSource>, path: &str, share: f64) -> Self {
        let mut is_held_out: Vec<bool> =
            (0..source.len()).map(|index| position(&source.name(index), path) < share).collect();
        if let Some(labels) = source.labels() {
            let mut left = vec![0_usize; labels.classes().len()];
            for (index, held_out) in is_held_out.iter().enumerate() {
                left[labels.label(index) as usize] += usize::from(!held_out);
            }
            for (index, held_out) in is_held_out.iter_mut().enumerate() {
                *held_out &= left[labels.label(index) as usize] > 0;
            }
        }
        let part = |held_out: bool| {
            let images = (0..source.len()).filter(|index| is_held_out[*index] == held_out).collect();
            Arc::new(Subset::new(source.clone(), images, format!("held out {held_out} {share}")))
        };
        Self { training: part(false), held_out: part(true) }
    }
}

/// The position of an image in [0, 1), from a hash of its name relative to the path of its set.
fn position(name: &str, path: &str) -> f64 {
    let relative = match name.strip_prefix(path) {
        Some(relative) => relative.trim_start_matches(['/', '\\']),
        // Files of a downloaded set are in a directory that depends on the machine.
        None => Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or(name),
    };
    let digest = Sha256::digest(relative.replace('\\', "/").as_bytes());
    let bits = digest.iter().take(6).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    bits as f64 / (1_u64 << 48) as f64
}

/// Some of the images of a set.
#[derive(Debug)]
struct Subset {
    source: Arc<dyn ImageSource>,
    /// The images, by their indices in `source`.
    images: Vec<usize>,
    labels: Option<Labels>,
    /// What distinguishes the subset from others of the same set.
    key: String,
}

impl Subset {
    fn new(source: Arc<dyn ImageSource>, images: Vec<usize>, key: String) -> Self {
        let labels = source.labels().map(|labels| labels.subset(&images));
        Self { source, images, labels, key }
    }
}

impl ImageSource for Subset {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn name(&self, index: usize) -> String {
        self.source.name(self.images[index])
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        self.source.decode(self.images[index])
    }

    fn decode_as(&self, index: usize, request: &mut DecodeRequest<'_>) -> Result<Image, DataError> {
        self.source.decode_as(self.images[index], request)
    }

    fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// That of the whole set, which a run is compared with.
    fn fingerprint(&self) -> Option<DataFingerprint> {
        self.source.fingerprint()
    }

    fn cache_key(&self) -> Option<String> {
        let set = self.source.cache_key()?;
        // All images of the set have the indices of the set.
        if self.images.len() == self.source.len() { Some(set) } else { Some(format!("{set} {}", self.key)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gray images of one pixel with these names, of two classes in turn.
    #[derive(Debug)]
    struct Named(Vec<String>, Labels);

    impl Named {
        fn new(names: impl Iterator<Item = String>) -> Arc<Self> {
            let names: Vec<String> = names.collect();
            let labels = (0..names.len() as u32).map(|i| i % 2).collect();
            let labels = Labels::new(vec!["a".into(), "b".into()], labels).expect("two classes");
            Arc::new(Self(names, labels))
        }
    }

    impl ImageSource for Named {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn name(&self, index: usize) -> String {
            self.0[index].clone()
        }

        fn decode(&self, index: usize) -> Result<Image, DataError> {
            Ok(Image { width: 1, height: 1, channels: 1, samples: vec![index as u8] })
        }

        fn labels(&self) -> Option<&Labels> {
            Some(&self.1)
        }
    }

    fn names(source: &dyn ImageSource) -> Vec<String> {
        (0..source.len()).map(|index| source.name(index)).collect()
    }

    #[test]
    fn the_split_depends_on_relative_names_only() {
        let split = |root: &str, images: usize| {
            let source = Named::new((0..images).map(|i| format!("{root}/food/{i}.png")));
            HoldoutSplit::new(source, root, 0.1)
        };
        let relative = |root: &str, source: &dyn ImageSource| -> Vec<String> {
            names(source).iter().map(|name| name.strip_prefix(root).expect("below").to_owned()).collect()
        };
        let (few, many, moved) = (split("a", 300), split("a", 1000), split("/elsewhere/b", 300));
        let held_out = relative("a", few.held_out.as_ref());
        assert!((15..45).contains(&held_out.len()), "{}", held_out.len());
        assert_eq!(held_out, relative("/elsewhere/b", moved.held_out.as_ref()));
        assert_eq!(held_out, relative("a", many.held_out.as_ref())[..held_out.len()]);
        assert_eq!(few.training.len() + few.held_out.len(), 300);
        assert!(names(few.training.as_ref()).iter().all(|name| !names(few.held_out.as_ref()).contains(name)));
    }

    #[test]
    fn images_and_labels_keep_belonging_together() {
        let source = Named::new((0..200).map(|i| format!("{i}")));
        let HoldoutSplit { training, held_out } = HoldoutSplit::new(source, "", 0.3);
        for part in [training, held_out] {
            for index in 0..part.len() {
                let original = part.name(index).parse::<u32>().expect("a number");
                assert_eq!(u32::from(part.decode(index).expect("valid").samples[0]), original);
                assert_eq!(part.labels().expect("labeled").label(index), original % 2);
            }
        }
    }

    #[test]
    fn a_class_keeps_its_last_image() {
        let source = Named::new((0..2).map(|i| format!("{i}")));
        let split = HoldoutSplit::new(source, "", 1.0);
        assert_eq!((split.training.len(), split.held_out.len()), (2, 0));
        let none = HoldoutSplit::new(Named::new((0..9).map(|i| format!("{i}"))), "", 0.0);
        assert_eq!((none.training.len(), none.held_out.len()), (9, 0));
    }

    #[test]
    fn small_sets_are_not_split_by_default() {
        assert_eq!([199, 200].map(default_holdout_share), [0.0, 0.05]);
    }
}

//! The concatenation of several image sources.

use crate::decode_request::DecodeRequest;
use crate::error::DataError;
use crate::fingerprint::DataFingerprint;
use crate::image::Image;
use crate::image_source::ImageSource;
use crate::labels::Labels;

/// Several sources as one: the images of the first source come first.
#[derive(Debug)]
pub(crate) struct ChainedSources {
    /// Each source with the number of images before it.
    parts: Vec<(usize, Box<dyn ImageSource>)>,
    len: usize,
    labels: Option<Labels>,
    fingerprint: Option<DataFingerprint>,
    cache_key: Option<String>,
}

impl ChainedSources {
    pub(crate) fn new(sources: Vec<Box<dyn ImageSource>>) -> Self {
        let mut len = 0;
        let mut parts = Vec::new();
        for source in sources {
            let offset = len;
            len += source.len();
            parts.push((offset, source));
        }
        Self { parts, len, labels: None, fingerprint: None, cache_key: None }
    }

    /// The same sources with the classes of all images.
    pub(crate) fn labeled(self, labels: Option<Labels>) -> Self {
        Self { labels, ..self }
    }

    /// The same sources with what identifies their files and, if images of them may be kept, the contents of the files.
    pub(crate) fn identified(self, fingerprint: DataFingerprint, cache_key: Option<String>) -> Self {
        Self { fingerprint: Some(fingerprint), cache_key, ..self }
    }

    /// The source that holds image `index`, and the index of the image in that source.
    fn locate(&self, index: usize) -> (&dyn ImageSource, usize) {
        // The last part that starts at or before the index. Empty parts before it start at the same index; they are
        // skipped.
        let part = self.parts.partition_point(|(offset, _)| *offset <= index) - 1;
        let (offset, source) = &self.parts[part];
        (source.as_ref(), index - offset)
    }
}

impl ImageSource for ChainedSources {
    fn len(&self) -> usize {
        self.len
    }

    fn name(&self, index: usize) -> String {
        let (source, index) = self.locate(index);
        source.name(index)
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        let (source, index) = self.locate(index);
        source.decode(index)
    }

    fn decode_as(&self, index: usize, request: &mut DecodeRequest<'_>) -> Result<Image, DataError> {
        let (source, index) = self.locate(index);
        source.decode_as(index, request)
    }

    fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    fn fingerprint(&self) -> Option<DataFingerprint> {
        self.fingerprint.clone()
    }

    fn cache_key(&self) -> Option<String> {
        self.cache_key.clone()
    }
}

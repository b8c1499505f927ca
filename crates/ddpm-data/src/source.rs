//! A set of images.

use crate::{DataError, Image};

/// Images by index, decoded one at a time. Shared between threads.
pub trait ImageSource: Send + Sync + std::fmt::Debug {
    /// How many images there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a person would call image `index`: its path, or its place in a file.
    fn name(&self, index: usize) -> String;

    /// Image `index`, below [`ImageSource::len`].
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    fn decode(&self, index: usize) -> Result<Image, DataError>;
}

/// Several sources one after the other.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Each with the number of images before it.
    parts: Vec<(usize, Box<dyn ImageSource>)>,
    len: usize,
}

impl Chain {
    pub(crate) fn new(sources: Vec<Box<dyn ImageSource>>) -> Self {
        let mut len = 0;
        let mut parts = Vec::new();
        for source in sources {
            let before = len;
            len += source.len();
            parts.push((before, source));
        }
        Self { parts, len }
    }

    fn find(&self, index: usize) -> (&dyn ImageSource, usize) {
        // The last part that begins at or before the index; empty parts before it begin there too, and are passed over.
        let part = self.parts.partition_point(|(before, _)| *before <= index) - 1;
        let (before, source) = &self.parts[part];
        (source.as_ref(), index - before)
    }
}

impl ImageSource for Chain {
    fn len(&self) -> usize {
        self.len
    }

    fn name(&self, index: usize) -> String {
        let (source, index) = self.find(index);
        source.name(index)
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        let (source, index) = self.find(index);
        source.decode(index)
    }
}

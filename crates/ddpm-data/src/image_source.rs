//! The trait of everything that provides images by index.

use crate::decode_request::DecodeRequest;
use crate::error::DataError;
use crate::fingerprint::DataFingerprint;
use crate::image::Image;
use crate::labels::Labels;

/// A set of images that are decoded one at a time, by index. Sources are shared between threads.
///
/// # Examples
/// ```
/// use ddpm_data::{DataError, Image, ImageSource};
///
/// /// 256 gray images of one pixel each.
/// #[derive(Debug)]
/// struct Grays;
///
/// impl ImageSource for Grays {
///     fn len(&self) -> usize {
///         256
///     }
///
///     fn name(&self, index: usize) -> String {
///         format!("gray {index}")
///     }
///
///     fn decode(&self, index: usize) -> Result<Image, DataError> {
///         Ok(Image { width: 1, height: 1, channels: 1, samples: vec![index as u8] })
///     }
/// }
///
/// assert_eq!(Grays.decode(7)?.samples, [7]);
/// # Ok::<(), DataError>(())
/// ```
pub trait ImageSource: Send + Sync + std::fmt::Debug {
    /// The number of images.
    fn len(&self) -> usize;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of image `index` in messages: its path, or its position in a file.
    fn name(&self, index: usize) -> String;

    /// Decodes image `index`, which is below [`ImageSource::len`].
    ///
    /// # Errors
    /// [`DataError`] when the image cannot be read or decoded.
    fn decode(&self, index: usize) -> Result<Image, DataError>;

    /// Decodes image `index` as `request` asks. A source may return a smaller image than [`ImageSource::decode`], and
    /// should reserve the memory that it takes.
    ///
    /// # Errors
    /// The errors of [`ImageSource::decode`]; [`DataError::Invalid`] when the image is larger than the budget.
    fn decode_as(&self, index: usize, request: &mut DecodeRequest<'_>) -> Result<Image, DataError> {
        let _ = request;
        self.decode(index)
    }

    /// The classes of the images; `None` if they have none.
    fn labels(&self) -> Option<&Labels> {
        None
    }

    /// Identifies the set, so that a training that continues can notice another one. `None` if the source cannot tell;
    /// the sources of [`open`](crate::open) can.
    fn fingerprint(&self) -> Option<DataFingerprint> {
        None
    }

    /// Identifies the contents of the set, so that prepared images of it can be kept. `None` if they change or need not
    /// be kept, because decoding them takes no time.
    fn cache_key(&self) -> Option<String> {
        None
    }
}

//! Named, counter-based random streams as tensors.
//!
//! Owns every random draw of the workspace. A [`Stream`] is a ChaCha12 generator whose key is
//! (seed, [`Purpose`], position): whoever knows the name of a draw can make it again, in any order and
//! in any process. That is what makes a resumed run draw what the run that never stopped would have
//! drawn, and what makes an image independent of the batch it was sampled in.
//!
//! It leaves out: global state, reseeding, entropy from the operating system.
//!
//! Reading order: [`Purpose`], [`Stream`], [`ImageNoise`].

mod image_noise;
mod purpose;
mod stream;

pub use image_noise::ImageNoise;
pub use purpose::Purpose;
pub use stream::Stream;

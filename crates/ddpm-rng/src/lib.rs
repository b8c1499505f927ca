//! Named, counter-based random streams as tensors.
//!
//! All random numbers of the workspace come from this crate. A [`Stream`] is a ChaCha12 generator whose key is (seed,
//! [`Purpose`], position). Equal names give equal draws, in any order and in any process. Therefore a resumed training
//! run draws the same numbers as an uninterrupted one, and an image does not depend on the batch in which it is
//! sampled.
//!
//! The crate has no global state, no reseeding, and no entropy from the operating system.
//!
//! Reading order: [`Purpose`], [`Stream`], [`ImageNoise`].

mod image_noise;
mod purpose;
mod stream;

pub use image_noise::ImageNoise;
pub use purpose::Purpose;
pub use stream::Stream;

/// The example of the README, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

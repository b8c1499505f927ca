//! The purpose of a random stream, which is a part of its name.

/// The use of a stream's draws. Streams of different purposes are independent for every seed and position.
///
/// The discriminants are part of the key of a stream. They never change, because a change would break the
/// reproducibility of existing runs, and the number of a removed purpose is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights. The position is the index of the parameter in the order of names.
    InitialWeights = 1,
    /// The order of the training set. The position is the epoch.
    Shuffle = 2,
    /// Random crops and flips. The position is the number of training samples before this one.
    Augmentation = 3,
    /// The index of the image that replaces one that cannot be decoded. The position is that of the sample.
    Replacement = 4,
    /// The timesteps t of a training batch. The position is the number of batches before it.
    Timesteps = 5,
    /// The noise ε of a training batch. The position is the number of batches before it.
    TrainingNoise = 6,
    /// x_T and the noise of all sampling steps. The position is the index of the image.
    SamplingNoise = 7,
    /// x_T and the noise of all sampling steps for previews during training. The position is the index of the image.
    PreviewNoise = 8,
    /// Dropout masks. The position is the number of batches before this one.
    Dropout = 9,
    /// Synthetic batches for measuring speed. The position is the index of the batch.
    Synthetic = 10,
    /// Draws of a Monte Carlo estimate, such as that of the variational bound.
    Evaluation = 11,
    /// Which images of a training batch are trained without their class. The position is the number of batches before
    /// it.
    ClassDropout = 12,
    /// The noise of the known pixels and of the steps back to a higher noise level when an image is inpainted. The
    /// position is the index of the image.
    InpaintingNoise = 13,
    /// The order of the timesteps of a validation. The position is the band of the noise level.
    ValidationTimesteps = 14,
    /// The noise of a validation. The position is the band of the noise level, and the first image of the batch in it.
    ValidationNoise = 15,
}

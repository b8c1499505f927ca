//! What a random stream is for: the middle part of its name.

/// What a stream's draws are used for. Two purposes never share a draw, whatever the seed and position.
///
/// The numbers behind the names are part of the reproducibility contract: they never change, and a
/// purpose that is retired keeps its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights; the position is the index of the parameter in name order.
    InitialWeights = 1,
    /// The order of the training set; the position is the epoch.
    Shuffle = 2,
    /// Crops and flips; the position is the number of samples drawn before this one.
    Augmentation = 3,
    /// The stand-in for an image that cannot be decoded; the position is that of the sample.
    Replacement = 4,
    /// The time steps t of a training batch; the position is the number of batches before it.
    TimeSteps = 5,
    /// The noise ε of a training batch; the position is the number of batches before it.
    TrainingNoise = 6,
    /// x_T and the noise of every sampling step; the position is the index of the image.
    SamplingNoise = 7,
    /// The same for the previews drawn while training.
    PreviewNoise = 8,
    /// Dropout masks; the position is the number of batches before this one.
    Dropout = 9,
    /// Synthetic batches for measuring speed; the position is the index of the batch.
    Synthetic = 10,
    /// Draws of a Monte Carlo estimate, such as the variational bound's.
    Evaluation = 11,
}

//! What can be wrong with a request to the diffusion process.

/// Why a quantity could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusionError {
    /// A time step is not an index into the schedule.
    #[error("time step {found}: expected an index below {len}")]
    TimeStep {
        /// The index.
        found: usize,
        /// The steps of the schedule.
        len: usize,
    },
    /// A step whose coefficients no tensor can hold: nothing of x_0 is left in x_t, so a prediction of ε says nothing of it, and
    /// Heun's method cannot divide by √ᾱ.
    #[error(
        "time step {timestep}: alpha_bar is {alpha_bar:e}, expected more: {}; spacing \"leading\" with fewer steps than the \
         schedule's leaves the last of them out",
        if *heun {
            "heun divides by its root, another method does not where the network predicts v or x_0"
        } else {
            "a predicted noise says nothing of x_0 there, as a prediction of v or x_0 would"
        }
    )]
    NoSignal {
        /// The index in the schedule that the network was trained with.
        timestep: usize,
        /// ᾱ there: 0, or so small that its reciprocal is no f32.
        alpha_bar: f64,
        /// Whether Heun's method was to divide by its root.
        heun: bool,
    },
    /// A field of a sampler's configuration is out of its range.
    #[error("{field}: expected {expected}, found {found}")]
    Option {
        /// The field of [`SamplerConfig`](crate::SamplerConfig).
        field: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        found: f64,
    },
    /// A learnt variance is asked for, and the network has learnt none.
    #[error("variance: expected a network with {} channels of output, a learnt variance beside its prediction, found {channels}", 2 * .channels)]
    NoVariance {
        /// Channels of an image.
        channels: usize,
    },
    /// A recording of every 0th step.
    #[error("steps between recorded moments: expected at least 1, found 0")]
    RecordEvery,
    /// Two tensors that belong together differ in shape.
    #[error("{what}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        what: &'static str,
        /// What it should be.
        expected: Vec<usize>,
        /// What it is.
        found: Vec<usize>,
    },
    /// A number of steps that the schedule does not have.
    #[error(transparent)]
    Schedule(#[from] ddpm_schedule::ScheduleError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The first axis of a tensor; nothing of a scalar, which has none.
pub(crate) fn batch(tensor: &candle_core::Tensor) -> &[usize] {
    tensor.dims().get(..1).unwrap_or_default()
}

/// An error unless `found` is `expected`.
pub(crate) fn check_shape(what: &'static str, found: &[usize], expected: &[usize]) -> Result<(), DiffusionError> {
    if found == expected {
        return Ok(());
    }
    Err(DiffusionError::Shape { what, expected: expected.to_vec(), found: found.to_vec() })
}

//! The error type of the crate, and the checks of tensor shapes.

/// The reason why a quantity of the diffusion process could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusionError {
    /// A timestep is not an index into the schedule.
    #[error("timestep {found}: expected an index below {len}")]
    Timestep {
        /// The index.
        found: usize,
        /// The length of the schedule.
        len: usize,
    },
    /// A coefficient of a timestep is infinite because ᾱ is 0 or nearly 0: x_t contains no signal, so x_0 cannot be
    /// computed from predicted ε, and Heun's method cannot divide by √ᾱ.
    #[error(
        "timestep {timestep}: alpha_bar is {alpha_bar:e}, so x_t contains no signal and {}; \
         use a model that predicts v or x_0{}, \
         or the spacing \"leading\" with fewer steps than the schedule has, which omits the last timestep",
        if *heun { "heun cannot divide by its root" } else { "x_0 cannot be computed from predicted noise" },
        if *heun { " with another method" } else { "" }
    )]
    NoSignal {
        /// The index in the schedule that the network was trained with.
        timestep: usize,
        /// ᾱ of this timestep: 0, or so small that 1 / √ᾱ is infinite in f32.
        alpha_bar: f64,
        /// Whether Heun's method needed the division by √ᾱ.
        heun: bool,
    },
    /// A field of a sampler's configuration is out of its range.
    #[error("{field}: expected {expected}, found {found}")]
    Option {
        /// The field of [`SamplerConfig`](crate::SamplerConfig).
        field: &'static str,
        /// The valid range.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// The configuration uses a learned variance, but the network does not predict one.
    #[error(
        "variance: expected a network with {} channels of output, a learned variance beside its prediction, \
         found {channels}",
        2 * .channels
    )]
    NoVariance {
        /// Number of channels of an image, and of the network's output.
        channels: usize,
    },
    /// The interval of a [`TrajectoryRecorder`](crate::TrajectoryRecorder) is 0.
    #[error("interval of the trajectory recorder: expected at least 1 timestep, found 0")]
    RecordInterval,
    /// A tensor has another shape than expected.
    #[error("{what}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The name of the tensor.
        what: &'static str,
        /// The expected shape.
        expected: Vec<usize>,
        /// The shape of the tensor.
        found: Vec<usize>,
    },
    /// The schedule cannot be respaced to the requested number of steps.
    #[error(transparent)]
    Schedule(#[from] ddpm_schedule::ScheduleError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// So that functions that return a result of candle can use `?`. An error of candle is returned as it was.
impl From<DiffusionError> for candle_core::Error {
    fn from(error: DiffusionError) -> Self {
        match error {
            DiffusionError::Candle(error) => error,
            error => Self::wrap(error),
        }
    }
}

/// The size of the first axis of a tensor, as a slice of length 1; empty for a scalar.
pub(crate) fn batch_axis(tensor: &candle_core::Tensor) -> &[usize] {
    tensor.dims().get(..1).unwrap_or_default()
}

/// Returns [`DiffusionError::Shape`] unless `found` equals `expected`.
pub(crate) fn check_shape(what: &'static str, found: &[usize], expected: &[usize]) -> Result<(), DiffusionError> {
    if found == expected {
        return Ok(());
    }
    Err(DiffusionError::Shape { what, expected: expected.to_vec(), found: found.to_vec() })
}

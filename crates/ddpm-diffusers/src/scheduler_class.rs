//! The scheduler classes of diffusers that are supported.

/// A scheduler class of diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchedulerClass {
    /// `DDPMScheduler`: ancestral sampling.
    Ddpm,
    /// `DDIMScheduler`.
    Ddim,
    /// `DPMSolverMultistepScheduler`: DPM-Solver++ and its stochastic form.
    DpmSolver,
    /// `HeunDiscreteScheduler`.
    Heun,
}

impl SchedulerClass {
    /// All classes, in the order in which an error message lists them.
    pub(crate) const ALL: [Self; 4] = [Self::Ddpm, Self::Ddim, Self::DpmSolver, Self::Heun];

    /// The name of the class in Python.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "DDPMScheduler",
            Self::Ddim => "DDIMScheduler",
            Self::DpmSolver => "DPMSolverMultistepScheduler",
            Self::Heun => "HeunDiscreteScheduler",
        }
    }
}

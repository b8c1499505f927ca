//! The scheduler classes of diffusers that are read.

use ddpm_diffusion::Method;

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
    /// `EulerDiscreteScheduler`: Euler's method on the probability-flow ODE.
    Euler,
    /// `EulerAncestralDiscreteScheduler`: Euler's method with noise added in each step.
    EulerAncestral,
    /// `PNDMScheduler`: pseudo linear multistep method.
    Pndm,
    /// `LMSDiscreteScheduler`: linear multistep method.
    Lms,
    /// `UniPCMultistepScheduler`: UniPC, a multistep predictor and corrector.
    UniPc,
    /// `DEISMultistepScheduler`: DEIS, a multistep exponential integrator.
    Deis,
}

impl SchedulerClass {
    /// All classes, in the order in which an error message lists them.
    pub(crate) const ALL: &[Self] = &[
        Self::Ddpm,
        Self::Ddim,
        Self::DpmSolver,
        Self::Heun,
        Self::Euler,
        Self::EulerAncestral,
        Self::Pndm,
        Self::Lms,
        Self::UniPc,
        Self::Deis,
    ];

    /// The name of the class in Python.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "DDPMScheduler",
            Self::Ddim => "DDIMScheduler",
            Self::DpmSolver => "DPMSolverMultistepScheduler",
            Self::Heun => "HeunDiscreteScheduler",
            Self::Euler => "EulerDiscreteScheduler",
            Self::EulerAncestral => "EulerAncestralDiscreteScheduler",
            Self::Pndm => "PNDMScheduler",
            Self::Lms => "LMSDiscreteScheduler",
            Self::UniPc => "UniPCMultistepScheduler",
            Self::Deis => "DEISMultistepScheduler",
        }
    }

    /// The method of this project that is closest to a class without an implementation here.
    ///
    /// Euler's method on the ODE in the variables x / √ᾱ and σ is DDIM (Song et al. 2021, section 4.3). The multistep
    /// methods are replaced by the multistep method that is here.
    pub(crate) fn closest(self) -> Option<Method> {
        match self {
            Self::Ddpm | Self::Ddim | Self::DpmSolver | Self::Heun => None,
            Self::Euler => Some(Method::Ddim),
            Self::EulerAncestral => Some(Method::Ddpm),
            Self::Pndm | Self::Lms | Self::UniPc | Self::Deis => Some(Method::DpmSolver),
        }
    }

    /// Whether the class has the fields of dynamic thresholding.
    pub(crate) fn has_thresholding(self) -> bool {
        matches!(self, Self::Ddpm | Self::Ddim | Self::DpmSolver | Self::UniPc | Self::Deis)
    }

    /// Whether the class has the field `clip_sample`.
    pub(crate) fn has_clipping(self) -> bool {
        matches!(self, Self::Ddpm | Self::Ddim | Self::Heun)
    }
}

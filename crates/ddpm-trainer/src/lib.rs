//! Training of diffusion models: the training step, optimizer, EMA, learning-rate schedules and the training loop.
//!
//! This crate owns algorithm 1 of Ho et al. 2020 and everything around it that the result of a run depends on: what a
//! step does, what is saved, and when. It takes batches from an iterator and any network as a [`TrainableModel`]. It
//! depends neither on image files nor on networks, and it reports to an [`Observer`] instead of printing.
//!
//! Every random draw is named by the seed and the position of the batch, so a run that is restored from a [`Snapshot`]
//! continues with the same bits as a run that was never interrupted.
//!
//! Reading order: [`TrainConfig`]; [`Trainer`], whose `step` is the training step; [`ParameterUpdate`], which is its
//! second half, with [`clip_scale`], [`Adam`] and [`Ema`]; [`train`], the loop around it, with
//! [`LearningRateSchedule`], [`Preview`] and [`Observer`]. What is minimized is an `Objective` of `ddpm-diffusion`.

mod adam;
mod adam_config;
mod adam_moments;
mod batch_gradients;
mod batch_noise;
mod captured_step;
mod cpu_update;
mod ema;
mod ema_decays;
mod error;
mod further_averages;
mod gpu_update;
mod gradient_buckets;
mod gradient_clip;
mod job;
mod learning_rate;
mod named_variables;
mod observer;
mod pairwise_sum;
mod parameter_update;
mod preview;
mod step_report;
mod train_config;
mod trainable_model;
mod trainer;
mod training_batch;
mod training_loop;
mod training_state;
mod validation;
mod validation_history;

pub use adam::Adam;
pub use adam_config::{AdamConfig, Optimizer};
pub use cpu_update::CpuUpdate;
pub use ema::{Ema, EmaDecay};
pub use ema_decays::EmaDecays;
pub use error::TrainerError;
pub use gpu_update::GpuUpdate;
pub use gradient_clip::{clip_scale, global_norm};
pub use job::check_ranks;
pub use learning_rate::LearningRateSchedule;
pub use observer::{Event, Observer};
pub use parameter_update::{CapturedUpdate, ParameterUpdate, UpdateConfig};
pub use preview::{Preview, PreviewImages, PreviewOutcome};
pub use step_report::StepReport;
pub use train_config::TrainConfig;
pub use trainable_model::{ClassLabels, TrainableDenoiser, TrainableModel};
pub use trainer::{StepOutcome, Trainer};
pub use training_batch::TrainingBatch;
pub use training_loop::{Outcome, save_checkpoint, train};
pub use training_state::{Snapshot, TrainingState};
pub use validation::{BandLosses, Validation, ValidationLine, ValidationReport, max_validation_images};
pub use validation_history::{MemorizationForecast, ValidationHistory};

/// The README's example, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Optimisers, EMA, learning-rate schedules and the training loop.
//!
//! Owns algorithm 1 of Ho et al. 2020 and everything around it that a run's result depends on: what a step does, what
//! is saved, when. It takes an iterator of batches and any network as a [`TrainableModel`]; it knows neither images nor files of
//! data, and tells an [`Observer`] what happens instead of drawing or printing.
//!
//! Every random draw is named by the seed and the position of the batch, so a run that is restored from a [`Snapshot`]
//! goes on as if it had never stopped.
//!
//! Reading order: [`TrainConfig`], [`Trainer`], [`train`]; then [`Adam`], [`clip_scale`], [`Ema`],
//! [`LearningRateSchedule`], [`Preview`].

mod adam;
mod ema;
mod error;
mod gradient_clip;
mod learning_rate;
mod model;
mod preview;
mod train_config;
mod trainer;
mod training_loop;

pub use adam::{Adam, AdamConfig, Optimizer};
pub use ema::{Ema, ema_decay};
pub use error::TrainerError;
pub use gradient_clip::{clip_scale, global_norm};
pub use learning_rate::LearningRateSchedule;
pub use model::{TrainableDenoiser, TrainableModel};
pub use preview::Preview;
pub use train_config::TrainConfig;
pub use trainer::{Snapshot, StepReport, Trainer, TrainingState};
pub use training_loop::{Event, Observer, Outcome, save_checkpoint, train};

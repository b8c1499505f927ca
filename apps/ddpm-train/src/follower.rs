//! A rank other than rank 0: it takes its share of the steps and writes nothing.

use anyhow::Context;
use ddpm_cli::{ExitReason, StopSignal, usage_error};
use ddpm_trainer::{Event, Observer, Trainer};

use crate::briefing::Briefing;
use crate::model::new_model;
use crate::model_description::describe_model;
use crate::previews::preview;
use crate::run_classes::RunClasses;
use crate::run_config::RunConfig;
use crate::run_images::RunImages;
use crate::session::{Runtime, loader, next_batch};
use crate::training_data::stored;

/// Takes this rank's share of the training that rank 0 directs, until its last step or a signal.
pub(crate) fn train_share(runtime: Runtime<'_>) -> anyhow::Result<ExitReason> {
    let job = runtime.job;
    let stop = StopSignal::install_for(job)?;
    let Some(briefing) = Briefing::receive(job)? else { return Ok(ExitReason::Completed) };
    // Listing the images may take long, and rank 0 waits meanwhile.
    let preparing = job.communicator().long_work();
    let mut config = RunConfig::from_document(briefing.config.parse().context("the configuration of rank 0")?)?;
    let images = RunImages::open(&mut config, runtime.progress)?;
    let fingerprint = images.training.fingerprint();
    if fingerprint.as_ref().map(stored).transpose()? != briefing.images {
        let path = &config.data.path;
        return Err(usage_error(format!("data.path: expected the images of rank 0 at {path}, found others")));
    }
    let classes = RunClasses::resolve(&mut config, images.training.labels(), false)?;
    let labels = classes.as_ref().map(RunClasses::labels);
    let model = new_model(&config.model, None, &config.train, labels, runtime.device)?;
    let (train, diffusion) = (config.train.clone(), config.diffusion.build()?);
    let trainer = Trainer::new(train, briefing.total_steps, diffusion, model, runtime.device.clone())?;
    let mut trainer = trainer.with_communicator(job.communicator().clone())?;
    drop(preparing);
    trainer.restore_from_rank_0()?;

    stop.stop_gracefully();
    let mut loader = loader(&config, &images, &trainer)?;
    let mut batches = std::iter::from_fn(|| next_batch(&mut loader, &|| false, classes.is_some()));
    let preview = preview(&config, classes.as_ref());
    if briefing.draws_missing_preview {
        preview.sample(&trainer, &|| stop.received().is_some())?;
    }
    let describe = |step| describe_model(&config, classes.as_ref(), step);
    let mut observer = SignalObserver(stop.clone());
    ddpm_trainer::train(&mut trainer, &mut batches, None, &preview, None, &describe, &mut observer)?;
    job.communicator().gather((loader.undecodable() as u64).to_le_bytes().to_vec())?;
    Ok(ExitReason::Completed)
}

/// Stops the training after a signal.
struct SignalObserver(StopSignal);

impl Observer for SignalObserver {
    fn event(&mut self, _: Event<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.0.received().is_some()
    }
}

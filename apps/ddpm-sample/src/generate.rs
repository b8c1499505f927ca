//! Samples images and writes them.

use candle_core::Device;
use ddpm_cli::{Job, Progress, StopSignal, describe_device, pluralize};
use tracing::info;

use crate::args::Args;
use crate::images::ImageWriter;
use crate::plan::Plan;
use crate::sampler_description::describe_sampler;
use crate::{out_of_memory, output_check, sampling};

/// Samples the images and writes them, until a signal arrives. Of the ranks of `job`, rank 0 writes.
pub(crate) fn generate(
    args: &Args,
    device: &Device,
    stop: &StopSignal,
    threads: usize,
    progress: &Progress,
    job: &Job,
) -> anyhow::Result<()> {
    let mut plan = Plan::new(args, device, progress)?;
    if job.is_rank_0() {
        output_check::prepare_outputs(args, &plan)?;
    }
    log_plan(&plan, device, threads);
    job.description().inspect(|ranks| info!("{ranks}"));
    stop.stop_gracefully();
    if !plan.invert_ends(device, progress, stop)? {
        info!("stopped before an image was written");
        return Ok(());
    }
    let mut images = ImageWriter::new(args, &plan, stop);
    let mut write = |from, batch: &_| images.write(from, batch);
    let sampled = sampling::sample_all(&plan, device, progress, stop, job, &mut write);
    match sampled.map_err(|error| out_of_memory::advise(error, device, &plan))? {
        _ if !job.is_rank_0() => {}
        Some(moments) => images.finish(&moments)?,
        None => images.log_stopped(),
    }
    Ok(())
}

fn log_plan(plan: &Plan, device: &Device, threads: usize) {
    info!("model: {}, step {}", plan.model_path.display(), plan.step);
    let images = match &plan.classes {
        Some(classes) => {
            let classes = pluralize(classes.names().len(), "class");
            format!("{} of {classes}", pluralize(plan.images(), "image"))
        }
        None => pluralize(plan.images(), "image"),
    };
    let batch = match plan.batch_size {
        size if size < plan.images() => format!(" in batches of {size}"),
        _ => String::new(),
    };
    let steps = match plan.edit {
        Some(_) => format!(" ({} for an edit)", pluralize(plan.steps(), "step")),
        None => String::new(),
    };
    let (sampler, device) = (describe_sampler(&plan.sampler), describe_device(device, threads));
    info!("sampling {images}{batch} with {sampler}{steps}; seed {}, on {device}", plan.seed);
}

//! Reading the configuration of a scheduler, `scheduler_config.json`.

use ddpm_diffusion::SamplerConfig;
use ddpm_schedule::{Prediction, ScheduleConfig};
use serde_json::Value;

use crate::error::Result;
use crate::json_document::JsonDocument;
use crate::layout::INDEX_NAME;
use crate::option_names::prediction_type;
use crate::sampler_reader::read_sampler;
use crate::schedule_reader::read_schedule;
use crate::scheduler_class::SchedulerClass;

/// The configuration of a scheduler in the types of this workspace.
pub(crate) struct Scheduler {
    pub(crate) schedule: ScheduleConfig,
    pub(crate) prediction: Prediction,
    pub(crate) sampler: SamplerConfig,
}

/// Converts the configuration of a scheduler. `index_class` is the class that the index of the pipeline names.
///
/// A field that the class does not have is ignored, as diffusers does: `from_config` leaves the fields of another class
/// in the file.
///
/// # Errors
/// [`DiffusersError::Field`](crate::DiffusersError::Field) naming the first field whose value is not supported.
pub(crate) fn read_scheduler(document: &JsonDocument, index_class: Option<&str>) -> Result<Scheduler> {
    let classes: Vec<_> = SchedulerClass::ALL.iter().map(|&class| (class.name(), class)).collect();
    let class = document.choice("_class_name", index_class.unwrap_or("DDPMScheduler"), &classes)?;
    if let (Some(expected), Some(found)) = (index_class, document.get("_class_name").and_then(Value::as_str))
        && expected != found
    {
        tracing::warn!("{}: {found} is used, although {INDEX_NAME} names {expected}", document.path().display());
    }
    let schedule = read_schedule(document, class)?;
    let prediction = read_prediction(document)?;
    let sampler = read_sampler(document, class, schedule.timesteps)?;
    Ok(Scheduler { schedule, prediction, sampler })
}

fn read_prediction(document: &JsonDocument) -> Result<Prediction> {
    let predictions: Vec<_> = Prediction::ALL.iter().map(|&p| (prediction_type(p), p)).collect();
    // Older versions of diffusers have the flag `predict_epsilon` instead of `prediction_type`.
    let predict_epsilon = document.flag("predict_epsilon", true)?;
    let default = if predict_epsilon { Prediction::Epsilon } else { Prediction::X0 };
    let prediction = document.choice("prediction_type", prediction_type(default), &predictions)?;
    if !predict_epsilon && prediction != Prediction::X0 {
        return Err(document.unexpected("predict_epsilon", "true, or prediction_type sample"));
    }
    Ok(prediction)
}

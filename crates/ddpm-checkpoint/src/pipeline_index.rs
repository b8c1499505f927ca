//! A pipeline's `model_index.json`: which parts it has.

use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::fields::Fields;
use crate::pipeline_reader::{SCHEDULER_NAME, UNET_NAME};

/// What the index says that matters here.
pub(crate) struct PipelineIndex {
    /// The scheduler's class, where there is a scheduler.
    pub(crate) scheduler: Option<String>,
}

impl PipelineIndex {
    /// Reads the index of a pipeline that is a `UNet2DModel` and a scheduler. Parts that are null are not there; what is no pair of a
    /// library and a class is an option of the pipeline.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`](crate::CheckpointError::WrongField) naming a part that is not read: without a decoder, say,
    /// what a network of latents samples is no image. Those of reading a document.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let document = Fields::read(path)?;
        let (mut unet, mut scheduler) = (false, None);
        for (name, value) in document.fields.iter().filter(|(name, _)| !name.starts_with('_')) {
            let Some([_, Value::String(class)]) = value.as_array().map(Vec::as_slice) else { continue };
            match name.as_str() {
                UNET_NAME if class == "UNet2DModel" => unet = true,
                UNET_NAME => return document.wrong(UNET_NAME, "a UNet2DModel"),
                SCHEDULER_NAME => scheduler = Some(class.clone()),
                _ => {
                    let problem = format!(
                        "expected null, found {class}; of a pipeline, {UNET_NAME} and {SCHEDULER_NAME} are read"
                    );
                    return document.refuse(name.clone(), problem);
                }
            }
        }
        if !unet {
            return document.wrong(UNET_NAME, "a UNet2DModel");
        }
        Ok(Self { scheduler })
    }
}

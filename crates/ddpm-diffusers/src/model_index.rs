//! The index of a pipeline, `model_index.json`.

use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::json_document::JsonDocument;
use crate::layout::{SCHEDULER_NAME, UNET_NAME};

/// The components of a pipeline that consists of a `UNet2DModel` and, optionally, a scheduler.
pub(crate) struct ModelIndex {
    /// The class of the scheduler, if the pipeline has one.
    pub(crate) scheduler_class: Option<String>,
}

impl ModelIndex {
    /// Reads the index.
    ///
    /// A component is a pair of a library and a class. A component whose pair holds null is absent, and any other value
    /// is an option of the pipeline; both are ignored.
    ///
    /// # Errors
    /// [`DiffusersError::Field`](crate::DiffusersError::Field) naming a component that is not supported (with a VAE,
    /// for example, what the network samples is not an image), and the errors of [`JsonDocument::read`].
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let document = JsonDocument::read(path)?;
        let (mut has_unet, mut scheduler_class) = (false, None);
        for (name, value) in document.own_fields() {
            let Some([_, Value::String(class)]) = value.as_array().map(Vec::as_slice) else { continue };
            match name.as_str() {
                UNET_NAME if class == "UNet2DModel" => has_unet = true,
                UNET_NAME => return Err(document.unexpected(UNET_NAME, "a UNet2DModel")),
                SCHEDULER_NAME => scheduler_class = Some(class.clone()),
                _ => {
                    let problem = format!(
                        "expected null, found {class}; of a pipeline, {UNET_NAME} and {SCHEDULER_NAME} are read"
                    );
                    return Err(document.field_error(name.clone(), problem));
                }
            }
        }
        if !has_unet {
            return Err(document.unexpected(UNET_NAME, "a UNet2DModel"));
        }
        Ok(Self { scheduler_class })
    }
}

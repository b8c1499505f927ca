//! Reads and writes pipelines of the Python library [diffusers](https://github.com/huggingface/diffusers).
//!
//! The crate converts the files of a pipeline to the types of this workspace and back: `unet/config.json` to
//! [`UNet2dConfig`](ddpm_unet::UNet2dConfig), `scheduler/scheduler_config.json` to
//! [`ScheduleConfig`](ddpm_schedule::ScheduleConfig), [`Prediction`](ddpm_schedule::Prediction) and
//! [`SamplerConfig`](ddpm_diffusion::SamplerConfig), and the weights to [`Tensors`](ddpm_checkpoint::Tensors). It
//! refuses what this workspace does not support, naming the file and the field. It executes nothing that it reads, and
//! does not reach the network: `ddpm-hub` downloads.
//!
//! Reading order:
//! - [`find_model`] resolves a path to a model of any format (`model_path`);
//! - `class_names` reads and writes the names of classes, for which diffusers has no place;
//! - `layout` names the files of a pipeline, and `json_document` reads the JSON among them (`python_json`);
//! - [`read_pipeline`] (`pipeline_reader`) reads the index (`model_index`), the network (`unet_reader`), the scheduler
//!   (`scheduler_reader`, `schedule_reader`, `sampler_reader`) and the weights (`weights_reader`, `pickle`,
//!   `attention_names`);
//! - [`write_pipeline`] (`pipeline_writer`) writes the network (`unet_writer`), the scheduler (`scheduler_writer`) and
//!   the model card (`model_card`);
//! - `option_names` and `scheduler_class` hold the names that reader and writer share.

mod error;

mod layout;
mod python_json;

mod json_document;

mod option_names;
mod scheduler_class;
mod version;

mod sampler_reader;
mod schedule_reader;
mod scheduler_reader;
mod scheduler_writer;

mod unet_reader;
mod unet_writer;

mod attention_names;
mod pickle;
mod weights_reader;

mod model_card;
mod model_index;
mod pipeline_reader;
mod pipeline_writer;

mod class_names;
mod model_path;

pub use error::DiffusersError;
pub use model_path::{find_model, find_model_of_size};
pub use pipeline_reader::{is_pipeline, read_pipeline};
pub use pipeline_writer::write_pipeline;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

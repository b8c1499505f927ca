//! Everything that a sampling needs, checked before it starts.

use std::path::PathBuf;

use anyhow::Context;
use candle_core::{Device, Tensor};
use ddpm_checkpoint::SavedModel;
use ddpm_cli::{Progress, StopSignal, usage_error};
use ddpm_data::{Conversion, Preparation};
use ddpm_diffusion::{GaussianDiffusion, GuidedDenoiser, Method, Repaint, SamplerConfig};
use ddpm_rng::{ImageNoise, Purpose};
use ddpm_schedule::Spacing;
use ddpm_unet::{Network, NetworkConfig};
use tracing::info;

use crate::args::Args;
use crate::between::{DEFAULT_STEPS, interpolated_latents, read_ends};
use crate::class_choice::{ChosenClasses, ModelClasses};
use crate::edit::{Edit, EditKind};
use crate::guide::{Guide, LoadedGuide};
use crate::latents::read_latents;
use crate::model::LoadedModel;
use crate::output_directory::default_directory;
use crate::provenance::Provenance;
use crate::sampler_choice::SamplerChoice;
use crate::sampler_options::sampler;

/// A sampling that can start.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) model_path: PathBuf,
    /// Where the images come from.
    pub(crate) provenance: Provenance,
    /// The directory of the samples.
    pub(crate) out: PathBuf,
    /// Number of optimizer steps that the model was trained for.
    pub(crate) step: u64,
    pub(crate) network: Network,
    /// The classes of the images; `None` for a model without classes.
    pub(crate) classes: Option<ChosenClasses>,
    /// The model of `--guide`.
    pub(crate) guide: Option<Guide>,
    pub(crate) diffusion: GaussianDiffusion,
    pub(crate) sampler: SamplerConfig,
    pub(crate) seed: u64,
    /// Index of the first image.
    pub(crate) first: u64,
    pub(crate) batch_size: usize,
    /// Number of timesteps between two images of the denoising strip.
    pub(crate) record_every: usize,
    /// x_T of every image, [image, channel, height, width], on the CPU. `None` if each is drawn from the image's
    /// stream.
    latents: Option<Tensor>,
    /// How given images are edited.
    pub(crate) edit: Option<Edit>,
    /// The two given images of an interpolation, until they have been inverted.
    ends: Option<Tensor>,
    /// Whether the images interpolate from the first image to the next one. All noise is interpolated, not only x_T:
    /// ancestral sampling forgets x_T long before its end.
    pub(crate) interpolates: bool,
    number: usize,
    preparation: Preparation,
    /// [channel, height, width].
    pub(crate) image_shape: [usize; 3],
}

/// Number of images unless the command line specifies another.
const DEFAULT_NUMBER: usize = 16;
/// Largest number of images of one command.
const MAX_NUMBER: usize = 1_000_000;
/// Largest number of values in a feature map of a batch: 512 MiB. The process is killed without a message if the
/// system has no memory for an allocation.
const MAX_VALUES: usize = 1 << 27;

impl Plan {
    /// Loads the model, and checks and completes the options of `args`.
    pub(crate) fn new(args: &Args, device: &Device, progress: &Progress) -> anyhow::Result<Self> {
        let mut model = LoadedModel::load(args.model.as_deref(), args.checkpoint, args.image_size, progress)?;
        if let Some(choice) = args.ema {
            model = model.with_weights(choice)?;
        }
        let sampler = match args.between {
            Some(_) => inverted_sampler(args, &model)?,
            None => sampler(args, &model)?,
        };
        let edit = Edit::new(args, &model, &sampler)?;
        let ends = args.between.as_deref().map(|paths| read_ends(paths, &model)).transpose()?;
        let image_shape = model.image_shape();
        let latents = args.latents.as_deref().map(|path| read_latents(path, image_shape)).transpose()?;
        let classes = chosen_classes(args, &model, &sampler)?;
        let number = number(args, latents.as_ref(), edit.as_ref(), classes.as_ref())?;
        let latents = latents.map(|latents| latents.narrow(0, 0, number)).transpose()?;
        let guide = args.guide.as_deref().map(|path| LoadedGuide::load(path, &model, args.image_size, progress));
        let guide = guide.transpose()?;
        let guide_provenance = guide.as_ref().map(LoadedGuide::provenance).transpose()?;
        let is_doubled = sampler.guidance().is_used() && guide.is_none();
        let batch_size = batch_size(args, number, &model.network, is_doubled)?;
        check_first(args.first, number)?;
        check_format(args, image_shape[0])?;
        check_channels(args, &model.saved)?;
        let step = model.saved.step();
        let preparation = model.preparation()?;
        let provenance = Provenance::new(args, &model.saved, &sampler, classes.as_ref(), guide_provenance)?;
        Ok(Self {
            out: args.out.clone().unwrap_or_else(|| default_directory(&provenance, args.overwrite)),
            provenance,
            step,
            network: model.build_network(device, args.precision)?,
            classes,
            guide: guide.map(|guide| guide.build(device, args.precision)).transpose()?,
            model_path: model.saved.path,
            diffusion: model.diffusion,
            sampler,
            seed: args.seed,
            first: args.first,
            batch_size,
            record_every: args.strip_every as usize,
            latents,
            edit,
            ends,
            interpolates: args.interpolate.is_some(),
            number,
            preparation,
            image_shape,
        })
    }

    /// Inverts the given images of an interpolation. Returns false if a signal stopped it.
    pub(crate) fn invert_ends(
        &mut self,
        device: &Device,
        progress: &Progress,
        stop: &StopSignal,
    ) -> anyhow::Result<bool> {
        let Some(ends) = self.ends.take() else { return Ok(true) };
        let (ends, denoiser) = (ends.to_device(device)?, self.denoiser(0, 2)?);
        let (diffusion, sampler) = (&self.diffusion, &self.sampler);
        let latents = interpolated_latents(&denoiser, diffusion, sampler, &ends, self.number, progress, stop)?;
        self.latents = latents;
        Ok(self.latents.is_some())
    }

    /// How images get the format of the model.
    pub(crate) fn conversion(&self) -> anyhow::Result<Conversion> {
        let [channels, height, width] = self.image_shape;
        Ok(self.preparation.conversion(channels, [height, width]))
    }

    /// Number of sampling steps of an image.
    pub(crate) fn steps(&self) -> usize {
        self.edit.as_ref().map_or(self.sampler.steps, |edit| edit.steps(self.sampler.steps))
    }

    /// Number of timesteps between x at the beginning of the sampling and x_0.
    pub(crate) fn timesteps_left(&self) -> anyhow::Result<usize> {
        let Some(Edit { kind: EditKind::Noise { steps_left, .. }, .. }) = &self.edit else {
            return Ok(self.diffusion.schedule().len());
        };
        let respaced = self.sampler.respaced(&self.diffusion)?;
        Ok(steps_left.checked_sub(1).map_or(0, |step| respaced.schedule().timestep(step) + 1))
    }

    /// The inpainting of the images `from..from + images`; `None` if no images are inpainted.
    pub(crate) fn repaint(&self, from: usize, images: usize, device: &Device) -> anyhow::Result<Option<Repaint>> {
        let Some(edit) = &self.edit else { return Ok(None) };
        let Some(repaint) = edit.repaint(self.first as usize + from, images)? else { return Ok(None) };
        let (x_0, known) = (repaint.x_0.to_device(device)?, repaint.known.to_device(device)?);
        Ok(Some(Repaint { x_0, known, ..repaint }))
    }

    /// The noise of the known pixels of the images `from..from + images` when they are inpainted.
    pub(crate) fn inpainting_noise(&self, from: usize, images: usize) -> ImageNoise {
        ImageNoise::new(self.seed, Purpose::InpaintingNoise, self.first + from as u64, images)
    }

    /// Whether the samples are written as images. Samples of 2 channels, or of more than 4, are only written as
    /// tensors.
    pub(crate) fn writes_images(&self) -> bool {
        is_image(self.image_shape[0])
    }

    /// The network as a denoiser of the images `from..from + images`, with their classes and guidance.
    pub(crate) fn denoiser(&self, from: usize, images: usize) -> anyhow::Result<GuidedDenoiser<'_>> {
        let mut denoiser = GuidedDenoiser::new(&self.network, &self.diffusion, self.sampler.guidance())?;
        if let Some(classes) = &self.classes {
            denoiser = denoiser.with_classes(&self.labels(classes, from, images));
            if let Some(label) = classes.without_class {
                denoiser = denoiser.without_class(label);
            }
        }
        if let Some(guide) = &self.guide {
            denoiser = denoiser.with_guide(&guide.network, guide.takes_labels);
        }
        Ok(denoiser)
    }

    /// The class of each of the images `from..from + images`. An interpolation is of one class.
    fn labels(&self, classes: &ChosenClasses, from: usize, images: usize) -> Vec<u32> {
        let index = |image: usize| if self.interpolates { self.first } else { self.first + (from + image) as u64 };
        (0..images).map(|image| classes.label(index(image))).collect()
    }

    /// Number of images.
    pub(crate) fn images(&self) -> usize {
        self.number
    }

    /// The noise streams of the images `from..from + images`, positioned after the draw of x_T, and x on `device` at
    /// the noise level where the sampling begins: x_T, or noisy images that are edited.
    pub(crate) fn begin(&self, from: usize, images: usize, device: &Device) -> anyhow::Result<(ImageNoise, Tensor)> {
        let mut noise = if self.interpolates {
            ImageNoise::interpolated(self.seed, Purpose::SamplingNoise, self.first, images)
        } else {
            ImageNoise::new(self.seed, Purpose::SamplingNoise, self.first + from as u64, images)
        };
        // Drawn even if x_T is given, so that the noise of the steps does not depend on it.
        let drawn = noise.draw(&self.image_shape, device)?;
        let start = match (&self.latents, &self.edit) {
            (Some(latents), _) => latents.narrow(0, from, images)?.to_device(device)?,
            (None, Some(Edit { kind: EditKind::Noise { steps_left, .. }, .. })) => {
                let inputs = self.inputs(from, images)?.to_device(device)?;
                self.sampler.noisy_start(&self.diffusion, &inputs, *steps_left, &drawn)?
            }
            (None, _) => drawn,
        };
        Ok((noise, start))
    }

    /// The images from which the images `from..from + images` are made.
    fn inputs(&self, from: usize, images: usize) -> anyhow::Result<Tensor> {
        let edit = self.edit.as_ref().context("no images are edited")?;
        edit.inputs(self.first as usize + from, images)
    }
}

/// The classes that are sampled; `None` for a model without classes.
fn chosen_classes(args: &Args, model: &LoadedModel, sampler: &SamplerConfig) -> anyhow::Result<Option<ChosenClasses>> {
    let file = model.path().display();
    let classes = ModelClasses::of(model)?;
    // An image that is given has its own class, which need not be one of the model's.
    let of_given_images = args.classes.is_empty() && (args.edits_images() || args.between.is_some());
    let no_class = classes.as_ref().and_then(ModelClasses::none).filter(|_| of_given_images);
    if let (Some(no_class), false) = (no_class, args.guidance.is_some()) {
        return Ok(Some(no_class));
    }
    if of_given_images && classes.is_some() {
        return Err(usage_error("--class: expected the class of the given images, found none"));
    }
    let classes = classes.map(|classes| classes.choose(&args.classes)).transpose()?;
    if classes.is_none() && !args.classes.is_empty() {
        return Err(usage_error(format!("--class: expected a class-conditional model, found {file} without classes")));
    }
    let without_class = classes.as_ref().and_then(|classes| classes.without_class);
    if sampler.guidance().is_used() && args.guide.is_none() && without_class.is_none() {
        return Err(usage_error(format!(
            "--guidance: expected a model that also predicts without a class, found {file}; --guide MODEL guides it \
             away from another model"
        )));
    }
    Ok(classes)
}

/// The sampler that `--between` inverts.
fn inverted_sampler(args: &Args, model: &LoadedModel) -> anyhow::Result<SamplerConfig> {
    let is_other = args.sampler.is_some_and(|choice| choice.method != Method::Ddim);
    if is_other || args.clip.is_some() || args.eta.is_some() {
        return Err(usage_error(
            "--between: expected no --sampler but ddim, no --clip and no --eta: only ddim without noise and clipping \
             can be inverted",
        ));
    }
    let steps = args.steps.unwrap_or(DEFAULT_STEPS.min(model.diffusion.schedule().len()));
    let ddim = Some(SamplerChoice { method: Method::Ddim, clipped: false });
    // The other spacings begin at the last timestep, where x of a cosine schedule holds nearly no signal and cannot be
    // inverted.
    let spacing = Some(args.spacing.unwrap_or(Spacing::Leading));
    let args = Args { sampler: ddim, steps: Some(steps), spacing, ..args.clone() };
    Ok(sampler(&args, model)?.for_inversion())
}

fn number(
    args: &Args,
    latents: Option<&Tensor>,
    edit: Option<&Edit>,
    classes: Option<&ChosenClasses>,
) -> anyhow::Result<usize> {
    let given = latents.map(|latents| latents.dim(0)).transpose()?;
    let interpolated = args.interpolate.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let number = interpolated.or(args.number).or(given);
    let number = number.or(edit.map(Edit::default_number));
    let number = number.unwrap_or_else(|| classes.map_or(DEFAULT_NUMBER, ChosenClasses::default_number));
    if !(1..=given.unwrap_or(MAX_NUMBER)).contains(&number) {
        let most = given.map_or(MAX_NUMBER.to_string(), |given| format!("{given}, the number of latents"));
        return Err(usage_error(format!("-n: expected 1 to {most}, found {number}")));
    }
    Ok(number)
}

/// The number of images that are computed together: at most `--batch-size`, and as many as memory can be expected to
/// hold. `is_doubled` is whether each image is evaluated with and without its class.
fn batch_size(args: &Args, number: usize, network: &NetworkConfig, is_doubled: bool) -> anyhow::Result<usize> {
    if args.batch_size == 0 {
        return Err(usage_error("--batch-size: expected a number from 1, found 0"));
    }
    let interpolates = args.interpolate.is_some();
    // Interpolated images are one batch: their noise is mixed from the same two streams.
    let wanted = if interpolates { number } else { args.batch_size.min(number) };
    let values = network.largest_map() * if is_doubled { 2 } else { 1 };
    let batch_size = wanted.min((MAX_VALUES / values).max(1));
    if batch_size < wanted && interpolates {
        return Err(usage_error(format!(
            "--interpolate: expected at most {batch_size} with this model, found {wanted}"
        )));
    }
    if batch_size < wanted {
        info!("{batch_size} images are computed together: a larger batch of this size could exhaust the memory");
    }
    Ok(batch_size)
}

/// Whether tensors of that many channels are images.
fn is_image(channels: usize) -> bool {
    [1, 3, 4].contains(&channels)
}

/// Checks that the results can be written: images, or else tensors.
fn check_channels(args: &Args, model: &SavedModel) -> anyhow::Result<()> {
    let (channels, file) = (model.description.channels, model.network_path.display());
    let field = if model.network_path == model.path { "channels" } else { "in_channels" };
    anyhow::ensure!(
        is_image(channels) || args.save_tensors.is_some(),
        "{file}: field `{field}`: expected 1, 3 or 4, the channels of an image, found {channels}; --save-tensors \
         writes such samples to a file"
    );
    Ok(())
}

/// Checks that the format can hold images of that many channels.
fn check_format(args: &Args, channels: usize) -> anyhow::Result<()> {
    if is_image(channels) && !args.format.supports(channels) {
        let format = args.format;
        return Err(usage_error(format!(
            "--format: {format} has no alpha channel, found a model of {channels} channels"
        )));
    }
    Ok(())
}

/// Checks that the index of the last image is a number of 64 bits.
fn check_first(first: u64, number: usize) -> anyhow::Result<()> {
    let last = u64::MAX - number as u64;
    if first > last {
        return Err(usage_error(format!("--first: expected at most {last}, found {first}")));
    }
    Ok(())
}

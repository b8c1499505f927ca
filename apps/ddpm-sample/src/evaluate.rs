//! `ddpm-sample evaluate`: samples images, compares them with others, and writes the results with their protocol.

use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::{Device, Tensor};
use ddpm_checkpoint::sha256_of_files;
use ddpm_cli::{ExitReason, Job, Progress, StopSignal, describe_device, grouped, pluralize, usage_error};
use ddpm_data::{Conversion, Preparation, PreparedImages, open};
use ddpm_metrics::{FeatureStatistics, read_statistics, write_statistics};
use serde_json::Value;
use tracing::{info, warn};

use crate::args::Args;
use crate::bits_per_dim::bits_per_dim;
use crate::evaluate_args::{EvaluateArgs, Metric};
use crate::evaluation::{Evaluation, FILE_NAME, FeatureProtocol, ImageSet, Protocol, Results, Validation};
use crate::evaluation_images::{EvaluationImages, NamedImages, data_config, run_file};
use crate::feature_choice::FeatureExtractor;
use crate::feature_metrics::{MetricParameters, frechet, kid, precision_recall, score};
use crate::generate::generate;
use crate::image_features::{ImageFeatures, image_features};
use crate::memorization::{Rows, memorization, pixel_memorization};
use crate::output_directory::{DESCRIPTION, IMAGES, finished_images};
use crate::plan::Plan;

/// Number of samples unless `-n` says otherwise, or the number of training images if there are fewer.
const DEFAULT_SAMPLES: usize = 10_000;
/// Largest number of images of another set that are compared with.
const MAX_REFERENCES: usize = 50_000;
/// The figure of the closest pairs.
const PAIRS: &str = "closest-training-images.png";
/// The same by features.
const FEATURE_PAIRS: &str = "closest-training-features.png";

/// The images that are evaluated, and what is known about them.
struct Subject {
    samples: PreparedImages,
    /// The directory of the results.
    out: PathBuf,
    description: Value,
    conversion: Conversion,
    seed: u64,
}

/// Evaluates what `args` names.
pub(crate) fn evaluate(args: &EvaluateArgs, threads: usize, progress: &Progress) -> anyhow::Result<ExitReason> {
    if let Some([first, second]) = args.compare.as_deref() {
        let (ours, theirs) = (Evaluation::read(first)?, Evaluation::read(second)?);
        ddpm_cli::print(&ours.compare(&theirs, [first, second])?)?;
        return Ok(ExitReason::Completed);
    }
    refuse_edits(&args.sampling)?;
    let stop = StopSignal::install()?;
    let stopped = || Ok(stop.received().map_or(ExitReason::Completed, ExitReason::Signal));
    let device = args.sampling.device.open()?;
    info!("evaluating on {}", describe_device(&device, threads));

    let extractor = match needs_features(args) {
        true => FeatureExtractor::find(args.features.as_deref(), args.preprocessing, &device)?,
        false => None,
    };
    check_feature_metrics(args, extractor.is_some())?;
    if args.sampling.number == Some(0) {
        return Err(usage_error("-n: expected at least 1, found 0"));
    }
    let reference = args.reference.as_deref().map(|path| read_reference(path, extractor.as_ref())).transpose()?;
    let mut results = Results::default();
    let (subject, images, bound_images) = match &args.samples {
        Some(folder) => {
            let images = EvaluationImages::open(None, args.data.as_deref())?;
            (folder_of_samples(args, folder)?, images, None)
        }
        None => {
            // A whole batch, which is the batch of the predictions for bits per dimension too.
            let number = Some(args.sampling.batch_size.clamp(1, DEFAULT_SAMPLES));
            let plan = Plan::new(&Args { number, ..args.sampling.clone() }, &device, progress)?;
            let images = EvaluationImages::open(Some(&plan.model_path), args.data.as_deref())?;
            check_metrics(args, &images)?;
            stop.stop_gracefully();
            let mut bound_images = None;
            if let Some(metrics) = run_file(&plan.model_path, "metrics.jsonl") {
                results.validation = Validation::of_run(&metrics, plan.step)?;
            }
            if let Some(test) = images.test.as_ref().filter(|_| args.wants(Metric::BitsPerDim)) {
                let test = test.prepared(&plan.conversion()?, args.test_images as usize)?;
                bound_images = Some(test.indices.len());
                let Some(bound) = bits_per_dim(&plan, &test, &device, progress, &stop)? else { return stopped() };
                results.bits_per_dim = Some(bound);
            }
            let Some(subject) = sampled(args, &plan, &images, &device, threads, progress, &stop)? else {
                return stopped();
            };
            (subject, images, bound_images)
        }
    };

    let [training, test] = [&images.training, &images.test].map(|set| prepared(set.as_ref(), &subject));
    let (training, test) = (training?, test?);
    if let Some(training) = training.as_ref().filter(|_| args.wants(Metric::Memorization)) {
        let figure = subject.out.join(PAIRS);
        let result = pixel_memorization(&subject.samples, training, test.as_ref(), &figure)?;
        info!("the samples that are closest to training images: {}", figure.display());
        results.memorization = Some(result);
    }
    let features = match extractor {
        Some(extractor) => {
            let sets = Sets {
                training: images.training.as_ref().zip(training.as_ref()),
                test: images.test.as_ref().zip(test.as_ref()),
                compares_training: args.data.is_none() && training.is_some(),
            };
            let run = FeatureRun { args, extractor: &extractor, reference, device: &device, progress, stop: &stop };
            match run.compare(&subject, sets, &mut results)? {
                Some(protocol) => Some(protocol),
                None => return stopped(),
            }
        }
        None => None,
    };
    let set = |named: &Option<NamedImages>, images: &Option<PreparedImages>| {
        let (named, images) = (named.as_ref()?, images.as_ref()?);
        Some(ImageSet {
            name: named.name.clone(),
            images: images.indices.len(),
            shape: images.images.dims()[1..].to_vec(),
        })
    };
    let evaluation = Evaluation {
        format_version: 1,
        software: format!("ddpm-sample {}", env!("CARGO_PKG_VERSION")),
        protocol: Protocol {
            samples: subject.samples.indices.len(),
            seed: subject.seed,
            training: set(&images.training, &training),
            test: set(&images.test, &test),
            bound_images,
            features,
        },
        subject: subject.description,
        results,
    };
    let path = subject.out.join(FILE_NAME);
    if let Some(kept) = keep_earlier(&path)? {
        info!("an earlier evaluation is kept as {}", kept.display());
    }
    evaluation.save(&path)?;
    ddpm_cli::print(&evaluation.table())?;
    info!("results and their protocol: {}", path.display());
    Ok(ExitReason::Completed)
}

/// Renames an earlier evaluation, whose results the new one may not have. Returns its new path.
fn keep_earlier(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    let numbered = |number: u32| path.with_file_name(format!("evaluation-{number}.json"));
    let free = (1..).map(numbered).find(|name| !name.exists()).unwrap_or_else(|| numbered(0));
    std::fs::rename(path, &free).with_context(|| path.display().to_string())?;
    Ok(Some(free))
}

/// Refuses options that change what is sampled into something else than samples of the model.
fn refuse_edits(args: &Args) -> anyhow::Result<()> {
    let given = [
        ("--from", args.from.is_some()),
        ("--variations-of", args.variations_of.is_some()),
        ("--inpaint", args.inpaint.is_some()),
        ("--interpolate", args.interpolate.is_some()),
        ("--latents", args.latents.is_some()),
        ("--grid-only", args.grid_only),
        ("--first", args.first != 0),
        ("--scale", args.scale != 1),
        ("--save-tensors", args.save_tensors.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(usage_error(format!("{option} has no meaning for an evaluation"))),
        None => Ok(()),
    }
}

/// Checks, before anything is sampled, that the metrics that were asked for can be computed.
fn check_metrics(args: &EvaluateArgs, images: &EvaluationImages) -> anyhow::Result<()> {
    if args.names(Metric::BitsPerDim) && images.test.is_none() {
        return Err(usage_error(
            "--metrics bits-per-dim: expected images that the model was not trained on: its run held none out, and \
             --data names none",
        ));
    }
    if args.names(Metric::Memorization) && images.training.is_none() {
        return Err(usage_error(
            "--metrics memorization: expected the images that the model was trained on, which only a run knows",
        ));
    }
    if images.training.is_none() && images.test.is_none() && args.reference.is_none() {
        return Err(usage_error("expected images to compare with: --data PATH names them"));
    }
    Ok(())
}

/// The metrics of features, with their names on the command line.
const FEATURE_METRICS: [(Metric, &str); 4] = [
    (Metric::Fd, "fd"),
    (Metric::Kid, "kid"),
    (Metric::InceptionScore, "inception-score"),
    (Metric::PrecisionRecall, "precision-recall"),
];

/// Whether features are computed: for their metrics, and for memorization if a network is named.
fn needs_features(args: &EvaluateArgs) -> bool {
    args.features.is_some() || FEATURE_METRICS.iter().any(|(metric, _)| args.wants(*metric))
}

/// Checks, before anything is sampled, that there are features for the metrics that were asked for.
fn check_feature_metrics(args: &EvaluateArgs, has_features: bool) -> anyhow::Result<()> {
    match FEATURE_METRICS.into_iter().find(|(metric, _)| args.names(*metric)) {
        Some((_, name)) if !has_features => {
            Err(usage_error(format!("--metrics {name}: expected a feature network: --features FILE names its weights")))
        }
        _ => {
            for (option, is_given) in
                [("--save-reference", args.save_reference.is_some()), ("--samples", args.samples.is_some())]
            {
                if is_given && !has_features {
                    return Err(usage_error(format!(
                        "{option}: expected a feature network and a metric of features: --features FILE names its \
                         weights"
                    )));
                }
            }
            let of_images = [(Metric::Kid, "kid"), (Metric::PrecisionRecall, "precision-recall")];
            if let Some((_, name)) =
                of_images.into_iter().find(|(metric, _)| args.reference.is_some() && args.names(*metric))
            {
                return Err(usage_error(format!(
                    "--metrics {name}: expected images to compare with, found statistics only (--reference)"
                )));
            }
            if !has_features && needs_features(args) {
                info!("without a feature network, FID and similar metrics are left out: see --features");
            }
            Ok(())
        }
    }
}

/// Reads the statistics of `--reference`, before anything is sampled.
fn read_reference(path: &Path, extractor: Option<&FeatureExtractor>) -> anyhow::Result<(FeatureStatistics, String)> {
    let statistics = read_statistics(path).map_err(|error| usage_error(format!("--reference: {error}")))?;
    let Some(extractor) = extractor else {
        return Err(usage_error("--reference: expected a feature network: --features FILE names its weights"));
    };
    let (expected, found) = (extractor.network.feature_width(), statistics.width());
    if expected != found {
        let (path, network) = (path.display(), extractor.network.name());
        return Err(usage_error(format!(
            "--reference {path}: expected statistics of {expected} features, as {network} has, found {found}"
        )));
    }
    Ok((statistics, sha256_of_files(&[path])?))
}

/// The images that features are compared with.
#[derive(Clone, Copy)]
struct Sets<'a> {
    training: Option<(&'a NamedImages, &'a PreparedImages)>,
    test: Option<(&'a NamedImages, &'a PreparedImages)>,
    /// Whether samples are compared with the training images, not with the test images.
    compares_training: bool,
}

/// The features of a set of images.
struct SetFeatures<'a> {
    name: &'a str,
    images: &'a Tensor,
    features: ImageFeatures,
}

impl SetFeatures<'_> {
    fn rows(&self) -> Rows<'_> {
        Rows { images: self.images, values: &self.features.features }
    }
}

/// The comparison of the features of samples with others.
struct FeatureRun<'a> {
    args: &'a EvaluateArgs,
    extractor: &'a FeatureExtractor,
    /// The statistics of `--reference`, and the SHA-256 of their file.
    reference: Option<(FeatureStatistics, String)>,
    device: &'a Device,
    progress: &'a Progress,
    stop: &'a StopSignal,
}

impl FeatureRun<'_> {
    /// The features of a set, Some(None) without a set; None if a signal stopped it.
    fn set_features<'a>(
        &self,
        set: Option<(&'a NamedImages, &'a PreparedImages)>,
    ) -> anyhow::Result<Option<Option<SetFeatures<'a>>>> {
        let Some((named, images)) = set else { return Ok(Some(None)) };
        let features = self.features(images)?;
        Ok(features.map(|features| Some(SetFeatures { name: &named.name, images: &images.images, features })))
    }

    fn features(&self, images: &PreparedImages) -> anyhow::Result<Option<ImageFeatures>> {
        image_features(self.extractor.network.as_ref(), &images.images, self.device, self.progress, self.stop)
    }

    /// Adds the metrics that were asked for to `results`, and returns their protocol. None if a signal stopped it.
    fn compare(
        &self,
        subject: &Subject,
        sets: Sets<'_>,
        results: &mut Results,
    ) -> anyhow::Result<Option<FeatureProtocol>> {
        let Self { args, extractor, .. } = self;
        let Some(samples) = self.features(&subject.samples)? else { return Ok(None) };
        let looks_for_copies = args.wants(Metric::Memorization) && sets.training.is_some();
        let needs_images = self.reference.is_none();
        let [training, test] = [
            sets.training.filter(|_| looks_for_copies || (needs_images && sets.compares_training)),
            sets.test.filter(|_| looks_for_copies || (needs_images && !sets.compares_training)),
        ];
        let [training, test] = [training, test].map(|set| self.set_features(set));
        let (Some(training), Some(test)) = (training?, test?) else { return Ok(None) };
        if let (Some(training), true) = (&training, looks_for_copies) {
            let figure = subject.out.join(FEATURE_PAIRS);
            let name = extractor.network.name();
            let samples = Rows { images: &subject.samples.images, values: &samples.features };
            let held_out = test.as_ref().map(SetFeatures::rows);
            let result = memorization(name, samples, training.rows(), held_out, &figure)?;
            info!("the samples whose features are closest to those of training images: {}", figure.display());
            results.feature_memorization = Some(result);
        }
        let compared = if sets.compares_training { &training } else { &test };
        let references = compared.as_ref().map(|set| &set.features).filter(|_| needs_images);
        let rows = samples.features.rows();
        let parameters = MetricParameters::new(
            rows,
            references.map_or(rows, |references| references.features.rows()),
            args.resamples as usize,
            subject.seed,
        );
        let (statistics, reference) = match (&self.reference, compared) {
            (Some((statistics, sha256)), _) => (statistics.clone(), sha256.clone()),
            (None, Some(set)) => (FeatureStatistics::of(&set.features.features)?, set.name.to_owned()),
            (None, None) => return Err(usage_error("expected images to compare with: --data PATH names them")),
        };
        if let Some(path) = &args.save_reference {
            write_statistics(path, &statistics)?;
            info!("statistics of the features of {reference}: {}", path.display());
        }
        if args.wants(Metric::Fd) {
            results.frechet = Some(frechet(extractor.distance_name(), &samples, &statistics, &parameters)?);
        }
        if args.wants(Metric::InceptionScore) {
            results.inception_score = score(&samples, &parameters)?;
        }
        if let Some(references) = references {
            if args.wants(Metric::Kid) {
                results.kid = Some(kid(&samples, references, &parameters)?);
            }
            if args.wants(Metric::PrecisionRecall) {
                results.precision_recall = Some(precision_recall(&samples, references, &parameters)?);
            }
        }
        Ok(Some(FeatureProtocol { record: extractor.record.clone(), reference, parameters }))
    }
}

/// Samples the images that are missing of those that `ddpm-sample -n N` writes, and reads all of them. None if a signal
/// stopped it.
fn sampled(
    args: &EvaluateArgs,
    plan: &Plan,
    images: &EvaluationImages,
    device: &Device,
    threads: usize,
    progress: &Progress,
    stop: &StopSignal,
) -> anyhow::Result<Option<Subject>> {
    let references = images.training.as_ref().or(images.test.as_ref()).map_or(usize::MAX, |set| set.source.len());
    let number = args.sampling.number.unwrap_or(DEFAULT_SAMPLES.min(references));
    let finished = finished_images(&plan.out, &plan.provenance).min(number);
    // A batch that was interrupted is sampled again as a whole, so that its images have the same bits.
    let first = if finished == number { number } else { finished - finished % args.sampling.batch_size.max(1) };
    if first < number {
        let rest = Args {
            number: Some(number - first),
            first: first as u64,
            out: Some(plan.out.clone()),
            ..args.sampling.clone()
        };
        if first > 0 {
            info!("{} of {} are there already", grouped(first), pluralize(number, "image"));
        }
        generate(&rest, device, stop, threads, progress, &Job::default())?;
        if stop.received().is_some() {
            return Ok(None);
        }
    }
    let folder = plan.out.join(IMAGES);
    let samples = read_samples(&folder, &plan.conversion()?, number)?;
    let text = std::fs::read_to_string(plan.out.join(DESCRIPTION)).context("the description of the samples")?;
    let description = serde_json::from_str(&text).context("the description of the samples")?;
    let (out, conversion, seed) = (plan.out.clone(), plan.conversion()?, plan.seed);
    Ok(Some(Subject { samples, out, description, conversion, seed }))
}

/// The images of `--samples`.
fn folder_of_samples(args: &EvaluateArgs, folder: &Path) -> anyhow::Result<Subject> {
    for (metric, name) in [(Metric::BitsPerDim, "bits-per-dim"), (Metric::Memorization, "memorization")] {
        if args.names(metric) {
            let problem = "expected a model of a run, which --samples does not name";
            return Err(usage_error(format!("--metrics {name}: {problem}")));
        }
    }
    let path = folder.to_str().ok_or_else(|| usage_error(format!("--samples {}: not UTF-8", folder.display())))?;
    if !folder.is_dir() {
        return Err(usage_error(format!("--samples {path}: expected a folder of images")));
    }
    // A directory that the program has written holds pictures of several samples too.
    let images = folder.join(IMAGES);
    let (folder, path) = match (folder.join(DESCRIPTION).is_file() && images.is_dir(), images.to_str()) {
        (true, Some(path)) => (images.as_path(), path),
        _ => (folder, path),
    };
    let source = open(&data_config(path)?).map_err(|error| usage_error(format!("--samples: {error}")))?;
    let first = source.decode(0).with_context(|| format!("--samples {path}"))?;
    let preparation = Preparation::of(&data_config(path)?);
    let conversion = preparation.conversion(first.channels, [first.height, first.width]);
    let number = args.sampling.number.unwrap_or(source.len());
    let samples = read_samples(folder, &conversion, number)?;
    let out = args.sampling.out.clone().unwrap_or_else(|| folder.to_owned());
    std::fs::create_dir_all(&out).with_context(|| format!("--out {}", out.display()))?;
    Ok(Subject { samples, out, description: Value::String(path.to_owned()), conversion, seed: args.sampling.seed })
}

/// Reads the first `number` images of a folder.
fn read_samples(folder: &Path, conversion: &Conversion, number: usize) -> anyhow::Result<PreparedImages> {
    let path = folder.to_str().context("a path in UTF-8")?;
    let source = open(&data_config(path)?).with_context(|| format!("the samples in {path}"))?;
    if source.len() < number {
        warn!("{path} holds {} images, fewer than the {} of -n", grouped(source.len()), grouped(number));
    }
    let samples = NamedImages { name: path.to_owned(), source };
    let indices = 0..number.min(samples.source.len());
    Ok(ddpm_data::prepared_images(samples.source.as_ref(), conversion, u64::MAX, indices)?)
}

fn prepared(set: Option<&NamedImages>, subject: &Subject) -> anyhow::Result<Option<PreparedImages>> {
    set.map(|set| set.prepared(&subject.conversion, MAX_REFERENCES)).transpose()
}

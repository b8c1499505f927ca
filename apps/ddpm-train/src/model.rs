//! The model that the trainer trains: a network over its parameters, and the same network over their EMA.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use candle_core::{Device, Result, Tensor, Var};
use ddpm_cli::usage_error;
use ddpm_diffusers::find_model_of_size;
use ddpm_ops::{Recorded, TrainingCache};
use ddpm_rng::Stream;
use ddpm_trainer::{ClassLabels, TrainConfig, TrainableDenoiser, TrainableModel};
use ddpm_unet::{ImageSize, Network, NetworkConfig};

/// The model whose weights a new run starts from: `--init`.
#[derive(Debug)]
pub(crate) struct Init {
    /// The path that was given.
    pub(crate) path: PathBuf,
    pub(crate) model: ddpm_checkpoint::SavedModel,
}

impl Init {
    /// Loads the model at `path`. `size` is the size of its images if it states none.
    ///
    /// # Errors
    /// When there is no model.
    pub(crate) fn find(path: PathBuf, size: Option<ImageSize>) -> anyhow::Result<Self> {
        if !path.exists() {
            return Err(usage_error(format!("--init {}: expected a model, found nothing there", path.display())));
        }
        let model = find_model_of_size(&path, size.map(|ImageSize { height, width }| [height, width]))
            .with_context(|| format!("--init {}", path.display()))?;
        Ok(Self { path, model })
    }

    /// Checks that the model has the architecture of `config`: the kind of network, and the name and shape of every
    /// parameter.
    pub(crate) fn check(&self, config: &NetworkConfig) -> anyhow::Result<()> {
        let own = self.model.network::<NetworkConfig>()?;
        if own.kind() != config.kind() {
            let (expected, found) = (config.kind(), own.kind());
            return Err(usage_error(format!(
                "--init: expected a network of model.kind {expected}, as the configuration has, found {found} in {}",
                self.path.display()
            )));
        }
        let shapes = config.parameters()?.into_iter().map(|(name, spec)| (name, spec.shape)).collect();
        self.model.check_names(&shapes).map_err(|error| usage_error(format!("--init: {error}")))
    }
}

/// A network of the architecture `config` on `device`, with the weights of `init`, or else with weights drawn from the
/// seed. The EMA starts from the same weights. `classes` are the class labels that it takes.
pub(crate) fn new_model(
    config: &NetworkConfig,
    init: Option<&Init>,
    train: &TrainConfig,
    classes: Option<ClassLabels>,
    device: &Device,
) -> anyhow::Result<TrainableModel> {
    let initial = match init {
        Some(init) => {
            init.check(config)?;
            init.model.tensors.clone()
        }
        None => config.initial_weights(train.seed).context("the network cannot be initialized")?,
    };
    let variables = || -> anyhow::Result<BTreeMap<String, Var>> {
        let var =
            |(name, tensor): (&String, &Tensor)| Ok((name.clone(), Var::from_tensor(&tensor.to_device(device)?)?));
        initial.iter().map(var).collect()
    };
    let (parameters, ema_parameters) = (variables()?, variables()?);
    let weights = parameters.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let training_cache = TrainingCache::default();
    let trained = Network::from_tensors(config, &weights)?
        .with_precision(train.precision)
        .with_recompute(train.recompute)
        .with_training_cache(training_cache.clone());
    // Previews need no gradients. Over detached tensors, which share their memory with the variables, candle records
    // nothing.
    let without_gradients = |variables: &BTreeMap<String, Var>| -> anyhow::Result<Network> {
        Ok(Network::from_tensors(config, &detached(variables))?.with_precision(train.precision))
    };
    let (averaged, trained_weights) = (without_gradients(&ema_parameters)?, without_gradients(&parameters)?);
    Ok(TrainableModel {
        denoiser: Box::new(TrainedNetwork(trained)),
        parameters,
        ema_denoiser: Box::new(averaged),
        trained_denoiser: Some(Box::new(trained_weights)),
        ema_parameters,
        training_cache,
        classes,
    })
}

/// A network whose parameters are trained.
struct TrainedNetwork(Network);

impl TrainableDenoiser for TrainedNetwork {
    fn predict_train(&self, x_t: &Tensor, t: &Tensor, dropout: &mut Stream) -> Result<Recorded> {
        Ok(self.0.forward_train(x_t, t, None, dropout)?)
    }

    fn predict_train_for_classes(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        labels: &Tensor,
        dropout: &mut Stream,
    ) -> Result<Recorded> {
        Ok(self.0.forward_train(x_t, t, Some(labels), dropout)?)
    }
}

fn detached(vars: &BTreeMap<String, Var>) -> BTreeMap<String, Tensor> {
    vars.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
}

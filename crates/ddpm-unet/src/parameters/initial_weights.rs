//! A `VarBuilder` backend that draws initial values from named random streams.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use ddpm_rng::{Purpose, Stream};

use super::parameter_spec::ParameterSpec;

/// Reproducible initial values of a list of parameters: a function of the list and a seed.
///
/// Each parameter has a random stream of its own, (seed, [`Purpose::InitialWeights`], position of its name in
/// alphabetical order). Values are drawn in f32 on the CPU, regardless of the device. candle's own initialization
/// cannot be seeded on the CPU.
///
/// # Examples
/// ```
/// use ddpm_unet::layers::Linear;
/// use ddpm_unet::{InitialWeights, list_parameters};
///
/// let weights = InitialWeights::new(list_parameters(|vb| Linear::new(8, 4, vb))?, 42);
/// // As tensors by name, or as the source of a network:
/// assert_eq!(weights.tensors()?["weight"].dims(), [4, 8]);
/// let linear = Linear::new(8, 4, weights.var_builder())?;
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct InitialWeights {
    parameters: BTreeMap<String, ParameterSpec>,
    seed: u64,
}

impl InitialWeights {
    /// The initial values of `parameters`, which [`list_parameters`](super::list_parameters) returns, for a seed.
    pub fn new(parameters: BTreeMap<String, ParameterSpec>, seed: u64) -> Self {
        Self { parameters, seed }
    }

    /// Every parameter, f32 on the CPU, by name.
    ///
    /// # Errors
    /// When candle cannot make a tensor.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let drawn = |(position, (name, spec)): (usize, (&String, &ParameterSpec))| {
            Ok((name.clone(), draw(spec, self.seed, position as u64)?))
        };
        self.parameters.iter().enumerate().map(drawn).collect()
    }

    /// A `VarBuilder` that draws the requested parameters, in f32 on the CPU.
    ///
    /// It gives constants, which cannot be trained; for a network that trains, make variables of [`Self::tensors`].
    pub fn var_builder(self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self), DType::F32, Device::Cpu)
    }
}

impl SimpleBackend for InitialWeights {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            bail!("{name}: expected shape {shape:?}, found {:?} in the list of parameters", tensor.shape());
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let found = self.parameters.iter().enumerate().find(|(_, (known, _))| known.as_str() == name);
        let Some((position, (_, spec))) = found else { bail!("{name}: not in the list of parameters") };
        draw(spec, self.seed, position as u64)?.to_device(device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.parameters.contains_key(name)
    }
}

/// Draws one parameter in f32 on the CPU.
fn draw(spec: &ParameterSpec, seed: u64, position: u64) -> Result<Tensor> {
    let mut stream = Stream::new(seed, Purpose::InitialWeights, position);
    let count = spec.elem_count();
    let mut uniform = |low: f64, high: f64| -> Vec<f32> {
        // For the symmetric interval that layers request, the center is 0 and the half width is the bound, both
        // exactly.
        let (center, half_width) = ((low + high) / 2.0, (high - low) / 2.0);
        (0..count).map(|_| ((2.0 * stream.uniform() - 1.0) * half_width + center) as f32).collect()
    };
    let values = match spec.init {
        Init::Const(value) => vec![value as f32; count],
        Init::Uniform { lo, up } => uniform(lo, up),
        Init::Randn { mean, stdev } => normal(&mut stream, count, mean, stdev),
        Init::Kaiming { dist, fan, non_linearity } => {
            let stdev = kaiming_stdev(spec, fan, non_linearity);
            let bound = 3f64.sqrt() * stdev;
            match dist {
                NormalOrUniform::Uniform => uniform(-bound, bound),
                NormalOrUniform::Normal => normal(&mut stream, count, 0.0, stdev),
            }
        }
    };
    Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)
}

fn normal(stream: &mut Stream, count: usize, mean: f64, stdev: f64) -> Vec<f32> {
    let mut values = vec![0.0; count];
    stream.fill_normal(&mut values);
    values.into_iter().map(|value| (mean + stdev * f64::from(value)) as f32).collect()
}

/// gain / √fan (He et al. 2015), the standard deviation that candle's `Init::var` uses.
fn kaiming_stdev(spec: &ParameterSpec, fan: FanInOut, non_linearity: NonLinearity) -> f64 {
    let fan = fan.for_shape(&Shape::from(spec.shape.as_slice()));
    non_linearity.gain() / (fan as f64).sqrt()
}

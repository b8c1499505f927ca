//! The data that all blocks of one forward pass share.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, bail};
use ddpm_ops::{DropoutSource, Tape, Value};
use ddpm_rng::Stream;

/// The tape, the embedded timesteps and the dropout of one forward pass, which every block receives besides its
/// features.
///
/// [`crate::DenoisingNetwork`] makes one for each forward pass. To use blocks on their own, make one inside
/// [`ddpm_ops::fused`] or [`ddpm_ops::recorded`].
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarBuilder;
/// use ddpm_unet::Context;
/// use ddpm_unet::unet2d::{PreNormResBlock, PreNormResBlockConfig};
///
/// let device = Device::Cpu;
/// let config = PreNormResBlockConfig { norm_groups: 4, ..PreNormResBlockConfig::new(8, 16, 32) };
/// let block = PreNormResBlock::new(&config, VarBuilder::zeros(DType::F32, &device))?;
///
/// let x = Tensor::ones((2, 8, 6, 6), DType::F32, &device)?;
/// let time = Tensor::ones((2, 32), DType::F32, &device)?;
/// let y = ddpm_ops::fused(&[&x, &time], |tape, values| {
///     block.forward(&values[0], &Context::new(tape, values[1].clone()))
/// })?;
/// assert_eq!(y.dims(), [2, 16, 6, 6]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Context<'a> {
    tape: &'a Tape,
    time: Value,
    recompute: bool,
    /// The dropout of the pass; None outside training.
    dropout: Option<Dropout<'a>>,
}

#[derive(Debug)]
struct Dropout<'a> {
    rate: f64,
    stream: RefCell<&'a mut Stream>,
}

impl<'a> Context<'a> {
    /// A context without dropout, as for inference.
    ///
    /// `time` is the embedding of the timesteps, [batch, time_channels], after its last activation: every residual
    /// block starts with that activation, so it is computed once.
    pub fn new(tape: &'a Tape, time: Value) -> Self {
        Self { tape, time, recompute: false, dropout: None }
    }

    /// The context with dropout at `rate`, in [0, 1). Blocks draw their masks from `stream`, in the order in which
    /// they run.
    pub fn with_dropout(self, rate: f64, stream: &'a mut Stream) -> Self {
        Self { dropout: Some(Dropout { rate, stream: RefCell::new(stream) }), ..self }
    }

    /// The context with the activations of its blocks recomputed in the backward pass rather than saved (gradient
    /// checkpointing).
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// The tape that operations are recorded on.
    pub fn tape(&self) -> &'a Tape {
        self.tape
    }

    /// The embedding of the timesteps, [batch, time_channels], after its last activation.
    pub fn time(&self) -> &Value {
        &self.time
    }

    /// Dropout: sets each element to zero with the dropout rate and multiplies the others by 1 / (1 − rate); the
    /// identity outside training.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn dropout(&self, x: Value) -> Result<Value> {
        let Some(Dropout { rate, stream }) = &self.dropout else { return Ok(x) };
        if *rate == 0.0 {
            return Ok(x);
        }
        self.tape.dropout(&x, *rate, &mut StreamSource(&mut stream.borrow_mut()))
    }

    /// Runs `block` on `inputs`. With recomputation, only the inputs are saved, and the backward pass runs `block`
    /// again, with the same dropout masks.
    ///
    /// `block` has to use the context that it is given, and must be a function of it, its inputs and constants.
    ///
    /// # Errors
    /// The error of `block`.
    pub fn run_block(
        &self,
        inputs: &[&Value],
        block: impl Fn(&Context<'_>, &[Value]) -> Result<Value> + Send + 'static,
    ) -> Result<Value> {
        if !self.recompute {
            return block(self, &inputs.iter().map(|input| (*input).clone()).collect::<Vec<_>>());
        }
        let before = self.dropout.as_ref().map(|dropout| (dropout.rate, dropout.stream.borrow().clone()));
        let after = Arc::new(Mutex::new(None));
        let stream_after = after.clone();
        let mut all = inputs.to_vec();
        all.push(&self.time);
        let out = self.tape.recompute(&all, move |tape, values| {
            let Some((time, inputs)) = values.split_last() else { bail!("a recomputed block has no inputs") };
            let mut dropout = before.clone();
            let mut context = Context::new(tape, time.clone());
            if let Some((rate, stream)) = &mut dropout {
                context = context.with_dropout(*rate, stream);
            }
            let out = block(&context, inputs)?;
            drop(context);
            *stream_after.lock().unwrap_or_else(PoisonError::into_inner) = dropout.map(|(_, stream)| stream);
            Ok(out)
        })?;
        // The stream continues from where the block left its copy.
        let after = after.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(dropout), Some(after)) = (&self.dropout, after) {
            **dropout.stream.borrow_mut() = after;
        }
        Ok(out)
    }
}

/// A random stream as the source of dropout masks.
struct StreamSource<'a>(&'a mut Stream);

impl DropoutSource for StreamSource<'_> {
    fn drops(&mut self, rate: f64) -> bool {
        self.0.bernoulli(rate)
    }

    fn seed(&mut self) -> u64 {
        self.0.seed()
    }
}

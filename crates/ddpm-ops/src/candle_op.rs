//! A whole forward pass as one operation of candle.
//!
//! candle's backward pass visits a tensor only if the result depends on it, and a custom operation has at most three
//! inputs. All inputs and parameters are therefore chained through operations on a tensor of one zero ([`Link`]), and
//! the last operation of the chain ([`Pass`]) returns the result. In the backward pass, `Pass` computes all gradients
//! at once, and each `Link` passes one to its source.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Storage, Tensor, bail};

use crate::tape::pass::{BackwardPass, PassGradients};

/// An input that needs a gradient, and its node in the record.
pub(crate) type TrackedInput = (Tensor, usize);

/// The gradients, from the moment that `Pass` has computed them.
type Gradients = Arc<Mutex<Option<Box<dyn PassGradients>>>>;

/// `output` as a tensor that candle differentiates with respect to `inputs` and the parameters of `backward`.
pub(crate) fn differentiable(
    mut output: Tensor,
    backward: Box<dyn BackwardPass>,
    inputs: &[TrackedInput],
) -> Result<Tensor> {
    // `Pass` returns the storage as a whole, which has to start with the result.
    if output.layout().start_offset() > 0 {
        output = output.force_contiguous()?;
    }
    let inputs = inputs.iter().map(|(tensor, node)| (tensor.clone(), Some(*node)));
    let parameters = backward.parameters().iter().map(|parameter| (parameter.clone(), None));
    let sources: Vec<_> = inputs.chain(parameters).collect();
    let gradients = Gradients::default();
    let mut chain = Tensor::zeros(1, output.dtype(), output.device())?;
    for (tensor, input) in sources {
        chain = chain.apply_op2(&tensor, Link { input, gradients: gradients.clone() })?;
    }
    chain.apply_op1(Pass { output, backward: Mutex::new(Some(backward)), gradients })
}

/// Connects a source of the pass to the chain, and passes its gradient to it.
struct Link {
    /// The node of an input; `None` for a parameter.
    input: Option<usize>,
    gradients: Gradients,
}

impl CustomOp2 for Link {
    fn name(&self) -> &'static str {
        "link"
    }

    fn cpu_fwd(&self, chain: &CpuStorage, l: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((chain.try_clone(l)?, l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        chain: &candle_core::CudaStorage,
        l: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        Ok((chain.try_clone(l)?, l.shape().clone()))
    }

    fn bwd(&self, chain: &Tensor, source: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut gradients = lock(&self.gradients);
        let gradient = match (gradients.as_mut(), self.input) {
            (None, _) => None,
            (Some(gradients), Some(node)) => gradients.take_input(node, source)?,
            (Some(gradients), None) => {
                gradients.take_parameter(source).map(|gradient| gradient.into_tensor(source)).transpose()?
            }
        };
        Ok((Some(chain.zeros_like()?), gradient))
    }
}

/// The forward pass that has been run.
struct Pass {
    output: Tensor,
    backward: Mutex<Option<Box<dyn BackwardPass>>>,
    gradients: Gradients,
}

impl CustomOp1 for Pass {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("the result of the forward pass is on another device than its inputs"),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &candle_core::CudaStorage, _: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("the result of the forward pass is on another device than its inputs"),
        }
    }

    fn bwd(&self, chain: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(backward) = lock(&self.backward).take() else {
            bail!("a fused forward pass can be differentiated only once: its record has been used")
        };
        *lock(&self.gradients) = Some(backward.run(gradient, None)?);
        Ok(Some(chain.zeros_like()?))
    }
}

/// The contents of the mutexes are replaced as a whole, so they are valid even after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The record of a forward pass.

use std::collections::HashSet;
use std::ops::Range;

use candle_core::{Result, Tensor, TensorId};

use crate::tape::gradients::{Accumulate, Gradients};

/// The backward step of an operation: given the gradient of its output, it adds the gradients of its inputs and
/// parameters.
pub(crate) type Backward<G> = Box<dyn FnOnce(G, &mut Gradients<G>) -> Result<()> + Send>;

/// A function that takes the gradient of a parameter as soon as it is complete.
pub(crate) type OnComplete<'a, G> = &'a mut dyn FnMut(&Tensor, G) -> Result<()>;

/// An operation of a forward pass.
struct Operation<G> {
    /// The node of its output.
    output: usize,
    /// The parameters that it is the first to use, as a range of [`Record::parameters`]. The backward pass runs it
    /// after all other operations that use them, so it completes their gradients.
    first_uses: Range<usize>,
    backward: Backward<G>,
}

/// The operations of a forward pass in their order, with gradients of type `G`.
pub(crate) struct Record<G> {
    nodes: usize,
    operations: Vec<Operation<G>>,
    /// The parameters that the operations used and that need a gradient, once each, in the order of their first use.
    parameters: Vec<Tensor>,
    known: HashSet<TensorId>,
    /// False if only the parameters are noted, and no operation.
    recording: bool,
}

impl<G> std::fmt::Debug for Record<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("operations", &self.operations.len()).finish_non_exhaustive()
    }
}

impl<G: Accumulate> Record<G> {
    /// An empty record. With `recording` false it will note which parameters are used, but keep no operation and no
    /// saved tensor.
    pub(crate) fn new(recording: bool) -> Self {
        Self { nodes: 0, operations: Vec::new(), parameters: Vec::new(), known: HashSet::new(), recording }
    }

    /// The index of a new gradient.
    pub(crate) fn new_node(&mut self) -> usize {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Records an operation if any of its inputs or parameters needs a gradient, and returns the node of its output.
    /// `backward` is only called, and its tensors are only saved, in that case.
    pub(crate) fn push(
        &mut self,
        inputs: &[Option<usize>],
        parameters: &[&Tensor],
        backward: impl FnOnce() -> Backward<G>,
    ) -> Option<usize> {
        let tracked: Vec<_> = parameters.iter().filter(|p| p.track_op()).collect();
        if tracked.is_empty() && inputs.iter().all(Option::is_none) {
            return None;
        }
        let known = self.parameters.len();
        for parameter in tracked {
            if self.known.insert(parameter.id()) {
                self.parameters.push((*parameter).clone());
            }
        }
        if !self.recording {
            return None;
        }
        let output = self.new_node();
        let first_uses = known..self.parameters.len();
        self.operations.push(Operation { output, first_uses, backward: backward() });
        Some(output)
    }

    /// The parameters that were used and that need a gradient.
    pub(crate) fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The gradients of all leaves and parameters, given the gradient of the value at the node `output`.
    ///
    /// The tensors that an operation saved are freed as soon as its backward step has run. With `on_complete`, the
    /// gradient of a parameter leaves the pass when the last operation that adds to it has run.
    pub(crate) fn backward(
        self,
        output: usize,
        gradient: G,
        mut on_complete: Option<OnComplete<'_, G>>,
    ) -> Result<Gradients<G>> {
        let mut gradients = Gradients::new(self.nodes);
        gradients.add(Some(output), gradient);
        for Operation { output, first_uses, backward } in self.operations.into_iter().rev() {
            if let Some(gradient) = gradients.take(output) {
                backward(gradient, &mut gradients)?;
                gradients.check()?;
            }
            let Some(on_complete) = &mut on_complete else { continue };
            for parameter in &self.parameters[first_uses] {
                if let Some(gradient) = gradients.take_parameter(parameter) {
                    on_complete(parameter, gradient)?;
                }
            }
        }
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    /// Gradients of scalar functions: the record does not need a backend.
    impl Accumulate for f64 {
        fn add(&mut self, more: Self) -> Result<()> {
            *self += more;
            Ok(())
        }
    }

    /// Records x ↦ factor · x, where `parameter` is the factor.
    fn scale(record: &mut Record<f64>, x: Option<usize>, factor: f64, parameter: &Tensor) -> Option<usize> {
        record.push(&[x], &[parameter], || {
            let parameter = parameter.clone();
            Box::new(move |grad: f64, gradients: &mut Gradients<f64>| {
                gradients.add(x, factor * grad);
                // With x = 1.
                gradients.add_parameter(&parameter, grad);
                Ok(())
            })
        })
    }

    #[test]
    fn gradients_of_all_readers_are_summed() {
        let constant = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let parameter = Var::from_tensor(&constant).unwrap();
        let mut record = Record::new(true);
        let x = record.new_node();
        // 3 x + 4 x: both operations read x, and the second one uses the parameter.
        let three = scale(&mut record, Some(x), 3.0, &constant);
        let four = scale(&mut record, Some(x), 4.0, &parameter);
        let sum = record.push(&[three, four], &[], || {
            Box::new(move |grad: f64, gradients: &mut Gradients<f64>| {
                gradients.add(three, grad);
                gradients.add(four, grad);
                Ok(())
            })
        });
        assert_eq!(record.parameters().len(), 1);
        let mut gradients = record.backward(sum.unwrap(), 2.0, None).unwrap();
        assert_eq!(gradients.take(x), Some(14.0));
        assert_eq!(gradients.take_parameter(&parameter), Some(2.0));
        assert_eq!(gradients.take_parameter(&constant), None);
    }

    #[test]
    fn a_gradient_is_complete_when_the_first_operation_that_used_it_has_run_backward() {
        let variable = || Var::from_tensor(&Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap()).unwrap();
        let (shared, last) = (variable(), variable());
        let mut record = Record::new(true);
        // shared · last · shared · x, with the factors 2, 5 and 3.
        let x = record.new_node();
        let first = scale(&mut record, Some(x), 3.0, &shared);
        let second = scale(&mut record, first, 5.0, &last);
        let third = scale(&mut record, second, 2.0, &shared);
        let mut complete = Vec::new();
        let mut on_complete = |parameter: &Tensor, gradient: f64| {
            complete.push((parameter.id(), gradient));
            Ok(())
        };
        let mut gradients = record.backward(third.unwrap(), 1.0, Some(&mut on_complete)).unwrap();
        // `scale` reports the gradient of its output: 1 + 10 for the shared parameter, 2 for the other one.
        assert_eq!(complete, [(last.id(), 2.0), (shared.id(), 11.0)]);
        assert_eq!(gradients.take_parameter(&shared), None);
        assert_eq!(gradients.take(x), Some(30.0));
    }

    #[test]
    fn nothing_is_recorded_unless_a_gradient_is_needed() {
        let constant = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let parameter = Var::from_tensor(&constant).unwrap();
        let mut record = Record::new(true);
        assert_eq!(scale(&mut record, None, 3.0, &constant), None);
        assert!(scale(&mut record, None, 3.0, &parameter).is_some());
        // A record of the first of two runs only notes the parameters.
        let mut first_run = Record::new(false);
        assert_eq!(scale(&mut first_run, Some(0), 3.0, &parameter), None);
        assert_eq!(first_run.parameters().len(), 1);
    }
}

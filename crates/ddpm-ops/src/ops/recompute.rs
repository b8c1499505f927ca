//! Activation checkpointing: parts of a forward pass that are run again for their gradient instead of saving their
//! tensors.

use candle_core::{Result, bail};

use crate::ops::tape::Tape;
use crate::tape::recompute::Recomputed;
use crate::tape::value::Value;

impl Tape {
    /// Runs `forward` on `inputs` and saves nothing but the inputs. The backward pass calls `forward` again to obtain
    /// the tensors that its gradient needs (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
    ///
    /// `forward` has to compute the same both times: what it draws from a random stream, it has to draw again.
    ///
    /// # Errors
    /// Those of `forward`.
    pub fn recompute(
        &self,
        inputs: &[&Value],
        forward: impl Fn(&Self, &[Value]) -> Result<Value> + Send + 'static,
    ) -> Result<Value> {
        let saved: Vec<Value> = inputs.iter().map(|input| input.with_node(None)).collect();
        let nodes: Vec<Option<usize>> = inputs.iter().map(|input| input.node()).collect();
        let first = Self::new(self.backend.for_part(false));
        let output = forward(&first, &saved)?;
        let parameters = first.backend.parameters();
        let parameters: Vec<_> = parameters.iter().collect();
        let second = Self::new(self.backend.for_part(true));
        let outer = nodes.clone();
        let again = move || run_again(second, &saved, &outer, forward);
        self.backend.recompute(output, &nodes, &parameters, Box::new(again))
    }
}

/// Runs a part of the pass on a tape of its own. `nodes` are the nodes of its inputs in the record of the whole pass.
fn run_again(
    tape: Tape,
    saved: &[Value],
    nodes: &[Option<usize>],
    forward: impl Fn(&Tape, &[Value]) -> Result<Value>,
) -> Result<Recomputed> {
    let own: Vec<Option<usize>> = nodes.iter().map(|node| node.map(|_| tape.backend.new_node())).collect();
    let inputs: Vec<Value> = saved.iter().zip(&own).map(|(value, node)| value.with_node(*node)).collect();
    let output = forward(&tape, &inputs)?;
    let Some(output) = output.node() else { bail!("recompute: the second run gave a result without a gradient") };
    let inputs = own.into_iter().zip(nodes).filter_map(|(own, outer)| Some((own?, (*outer)?))).collect();
    Ok(Recomputed { record: tape.backend.into_record(), output, inputs })
}

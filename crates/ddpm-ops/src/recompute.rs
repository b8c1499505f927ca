//! Parts of a forward pass that are computed again for their gradient rather than kept (Chen et al. 2016, "Training Deep Nets with
//! Sublinear Memory Cost").

use candle_core::{Result, bail};

use crate::tape::{Array, Gradients, Kind, Record, Sum, Tape, Value};

impl Tape {
    /// `forward` of `inputs`, of which nothing is kept but the inputs: where a gradient is wanted, it is called again. Both times
    /// it has to do the same.
    ///
    /// # Errors
    /// Whatever `forward` says.
    pub fn recompute(
        &self,
        inputs: &[&Value],
        forward: impl Fn(&Self, &[Value]) -> Result<Value> + Send + 'static,
    ) -> Result<Value> {
        let kept: Vec<Value> = inputs.iter().map(|input| input.at(None)).collect();
        let tape = self.alike(true);
        let out = forward(&tape, &kept)?;
        let again = Again { tape: self.alike(false), kept, nodes: inputs.iter().map(|input| input.node()).collect() };
        let nodes = again.nodes.clone();
        match out.0 {
            Kind::Fused(Array { values, dims, .. }) => {
                let used = tape.finish().parameters;
                Ok(self.push(values, &dims, &nodes, &used.iter().collect::<Vec<_>>(), || {
                    Box::new(move |grad, gradients| {
                        let (tape, node, leaves) = again.run(forward)?;
                        merge(tape.finish(), node, grad, leaves, gradients)
                    })
                }))
            }
            Kind::Device(array) => {
                let used = tape.device.finish().parameters;
                Ok(self.push_device(array.tensor, &nodes, &used.iter().collect::<Vec<_>>(), || {
                    Box::new(move |grad, gradients| {
                        let (tape, node, leaves) = again.run(forward)?;
                        merge(tape.device.finish(), node, grad, leaves, gradients)
                    })
                }))
            }
        }
    }
}

/// What the second time is done with.
struct Again {
    tape: Tape,
    kept: Vec<Value>,
    /// Where the gradients of the inputs go.
    nodes: Vec<Option<usize>>,
}

/// The places of an input's gradient: on the tape of the second time, and on the one that all of it is a part of.
type Leaf = (usize, Option<usize>);

impl Again {
    /// The tape after the second time, the place of the result's gradient on it, and the inputs that want one.
    fn run(self, forward: impl Fn(&Tape, &[Value]) -> Result<Value>) -> Result<(Tape, usize, Vec<Leaf>)> {
        let Self { tape, kept, nodes } = self;
        let place = |(value, node): (&Value, &Option<usize>)| node.map(|_| tape.place_like(value));
        let places: Vec<Option<usize>> = kept.iter().zip(&nodes).map(place).collect();
        let inputs: Vec<Value> = kept.iter().zip(&places).map(|(value, place)| value.at(*place)).collect();
        let out = forward(&tape, &inputs)?;
        let Some(node) = out.node() else { bail!("what was computed again has no gradient") };
        let leaves = places.into_iter().zip(nodes).filter_map(|(place, node)| Some((place?, node))).collect();
        Ok((tape, node, leaves))
    }
}

fn merge<G: Sum>(
    record: Record<G>,
    node: usize,
    grad: G,
    leaves: Vec<Leaf>,
    gradients: &mut Gradients<G>,
) -> Result<()> {
    let mut own = record.backward(node, grad)?;
    for (place, node) in leaves {
        if let Some(gradient) = own.take(place) {
            gradients.add(node, gradient);
        }
    }
    gradients.take_in_parameters(own);
    Ok(())
}

impl Value {
    /// The same values with their gradient in another place.
    fn at(&self, node: Option<usize>) -> Self {
        let mut value = self.clone();
        match &mut value.0 {
            Kind::Fused(array) => array.node = node,
            Kind::Device(array) => array.node = node,
        }
        value
    }
}

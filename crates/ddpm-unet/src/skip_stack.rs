//! The skip connections of a UNet.

use candle_core::{Result, bail};
use ddpm_ops::Value;

/// The feature maps that the down blocks pass to the up blocks: the last one pushed is the first one popped.
#[derive(Debug, Default)]
pub struct SkipStack {
    features: Vec<Value>,
}

impl SkipStack {
    /// An empty stack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a feature map for the up blocks. The values are shared, not copied.
    pub fn push(&mut self, features: &Value) {
        self.features.push(features.clone());
    }

    /// The feature map that was pushed last.
    ///
    /// # Errors
    /// When the stack is empty, that is, when up and down blocks do not match.
    pub fn pop(&mut self) -> Result<Value> {
        match self.features.pop() {
            Some(features) => Ok(features),
            None => bail!("the stack of skip connections is empty: up and down blocks do not match"),
        }
    }
}

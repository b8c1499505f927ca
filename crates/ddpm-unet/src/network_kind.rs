//! The names of the networks.

use crate::enum_names::enum_names;

/// The networks that a configuration can choose, by the names of its field `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkKind {
    /// `noise-net`: [`crate::NoiseNet`].
    NoiseNet,
    /// `unet2d`: [`crate::UNet2d`].
    UNet2d,
}

enum_names!(NetworkKind, "model.kind", { NoiseNet => "noise-net", UNet2d => "unet2d" });

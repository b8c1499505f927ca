//! The two ways in which convolutional networks are computed.

use candle_core::Device;

/// How a network is computed.
#[derive(Debug, Clone)]
pub(crate) enum Execution {
    /// One image at a time on each thread of the CPU, with the kernels of this crate.
    Blocked,
    /// Batches [image, channel, height, width] on a device, with the operations of candle.
    Planes(Device),
}

impl Execution {
    /// The faster way on this device.
    pub(crate) fn on(device: &Device) -> Self {
        if device.is_cpu() { Self::Blocked } else { Self::Planes(device.clone()) }
    }

    pub(crate) fn device(&self) -> &Device {
        match self {
            Self::Blocked => &Device::Cpu,
            Self::Planes(device) => device,
        }
    }
}

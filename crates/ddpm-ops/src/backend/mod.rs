//! What a backend is given: descriptions of operations that name neither the CPU nor a device.

pub(crate) mod rearrange;

//! What a device is called.

use candle_core::{Device, DeviceLocation};

use crate::gpu;

/// As `--device` takes it: `cpu`, `cuda:0`.
pub fn device_label(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// With the name that its maker gave it: `cpu`, `cuda:0 (NVIDIA H100 80GB HBM3)`.
pub fn device_name(device: &Device) -> String {
    let label = device_label(device);
    gpu::model(device).map_or(label.clone(), |model| format!("{label} ({model})"))
}

/// How much of a GPU's memory is held, by this process and others, in MiB: what was needed at once since the process
/// began, as memory that was freed is kept for the next use. None of the CPU.
pub fn gpu_memory_mib(device: &Device) -> Option<f64> {
    gpu::memory_held(device)
}

/// For people: the device that computes, the CPU with its threads.
pub fn device_in_words(device: &Device, threads: usize) -> String {
    if device.is_cpu() { format!("the CPU, {threads} threads") } else { device_name(device) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_has_its_names() {
        assert_eq!(device_name(&Device::Cpu), "cpu");
        assert_eq!(device_in_words(&Device::Cpu, 2), "the CPU, 2 threads");
    }
}

//! Names and descriptions of an opened device.

use candle_core::{Device, DeviceLocation};

use crate::gpu;

/// The device in the notation of `--device`: `cpu`, `cuda:0`.
pub fn device_label(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// The label of the device and the model name of a GPU: `cpu`, `cuda:0 (NVIDIA H100 80GB HBM3)`.
pub fn device_name(device: &Device) -> String {
    let label = device_label(device);
    gpu::model(device).map_or(label.clone(), |model| format!("{label} ({model})"))
}

/// The device for log messages: a GPU by its name, the CPU with the number of threads.
pub fn describe_device(device: &Device, threads: usize) -> String {
    match threads {
        _ if !device.is_cpu() => device_name(device),
        1 => "the CPU, 1 thread".to_owned(),
        _ => format!("the CPU, {threads} threads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_described_with_its_threads() {
        assert_eq!(device_name(&Device::Cpu), "cpu");
        assert_eq!(describe_device(&Device::Cpu, 1), "the CPU, 1 thread");
        assert_eq!(describe_device(&Device::Cpu, 2), "the CPU, 2 threads");
    }
}

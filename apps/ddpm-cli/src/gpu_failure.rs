//! Explains in one line why a GPU cannot be used.

use std::fmt;

/// Why a GPU cannot be used: what was expected and what was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GpuFailure {
    /// There is no such GPU.
    Absent(String),
    /// The GPU exists, but cannot compute.
    Unusable(String),
}

impl fmt::Display for GpuFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Absent(line) | Self::Unusable(line)) = self;
        f.write_str(line)
    }
}

impl GpuFailure {
    /// The failure of an index that is too large for `count` GPUs, where `count` is at least 1.
    pub(crate) fn index_out_of_range(count: usize) -> Self {
        Self::Absent(match count {
            1 => "expected cuda:0, as there is 1 GPU".into(),
            _ => format!("expected cuda:0 to cuda:{}, as there are {count} GPUs", count - 1),
        })
    }

    /// The failure that a message of CUDA reports. The message contains the name of an error code.
    pub(crate) fn from_message(message: &str) -> Self {
        if let Some((code, line)) = ABSENT.iter().find(|(code, _)| message.contains(code)) {
            return Self::Absent(format!("{line} ({code})"));
        }
        Self::Unusable(match UNUSABLE.iter().find(|(code, _)| message.contains(code)) {
            Some((code, line)) => format!("{line} ({code})"),
            // A backtrace may follow on further lines.
            None => format!("expected a working GPU, found {}", message.lines().next().unwrap_or("no answer")),
        })
    }
}

/// Error codes that mean that there is no such GPU.
const ABSENT: [(&str, &str); 2] = [
    ("CUDA_ERROR_NO_DEVICE", "expected an NVIDIA GPU, found none that CUDA can use"),
    ("CUDA_ERROR_INVALID_DEVICE", "expected the index of a GPU, found no GPU with this index"),
];

const OLD_DRIVER: &str = "expected a driver that supports the CUDA version of this program, found an older one: \
                          update the driver";
const OLD_GPU: &str = "expected a GPU of the compute capability that this program was built for, found an older one: \
                       build the program with CUDA_COMPUTE_CAP set for this GPU";
const NO_START: &str = "expected the CUDA libraries to initialize, found that they fail: the driver may be older than \
                        they are, or the memory of the GPU may be full";

/// Error codes that mean that the GPU cannot compute.
const UNUSABLE: [(&str, &str); 13] = [
    ("CUDA_ERROR_INSUFFICIENT_DRIVER", OLD_DRIVER),
    ("CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER", OLD_DRIVER),
    ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION", OLD_DRIVER),
    ("CUDA_ERROR_NO_BINARY_FOR_GPU", OLD_GPU),
    ("CUDA_ERROR_INVALID_PTX", OLD_GPU),
    ("CUBLAS_STATUS_NOT_INITIALIZED", NO_START),
    ("CURAND_STATUS_INITIALIZATION_FAILED", NO_START),
    (
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "expected a libcuda.so.1 of the same version as the kernel's driver, found another: restart the machine \
         after the driver was updated",
    ),
    (
        "CUDA_ERROR_STUB_LIBRARY",
        "expected the driver's libcuda.so.1, found a stub library, which is only meant for linking: remove its folder \
         from LD_LIBRARY_PATH",
    ),
    ("CUDA_ERROR_OUT_OF_MEMORY", "expected free memory on the GPU, found none: other programs use it"),
    ("CUDA_ERROR_DEVICE_UNAVAILABLE", "expected a free GPU, found one that another program uses exclusively"),
    ("CUDA_ERROR_SYSTEM_NOT_READY", "expected the NVIDIA services of the machine to run, found that they do not yet"),
    ("CUDA_ERROR_NOT_PERMITTED", "expected permission to use the GPU, found it denied"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_becomes_a_line() {
        let message = r#"DriverError(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected")"#;
        let line = "expected an NVIDIA GPU, found none that CUDA can use (CUDA_ERROR_NO_DEVICE)";
        assert_eq!(GpuFailure::from_message(message), GpuFailure::Absent(line.into()));
        let message =
            r#"DriverError(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "system has unsupported display driver / cuda driver")"#;
        let GpuFailure::Unusable(line) = GpuFailure::from_message(message) else { panic!("there is a GPU") };
        assert!(line.ends_with("updated (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)"), "{line}");
    }

    #[test]
    fn every_code_has_its_own_line() {
        for (code, line) in ABSENT.iter().chain(&UNUSABLE) {
            assert!(line.starts_with("expected ") && line.contains(", found "), "{line}");
            assert!(!line.contains(['\n', '.']) || line.contains("libcuda.so.1"), "{line}");
            // No code contains another one.
            assert_eq!(
                GpuFailure::from_message(&format!("DriverError({code})")).to_string(),
                format!("{line} ({code})")
            );
        }
    }

    #[test]
    fn an_unknown_message_is_quoted_without_its_backtrace() {
        let line = GpuFailure::from_message("CublasError(CUBLAS_STATUS_ARCH_MISMATCH)\n   0: main\n").to_string();
        assert_eq!(line, "expected a working GPU, found CublasError(CUBLAS_STATUS_ARCH_MISMATCH)");
        assert!(GpuFailure::from_message("").to_string().ends_with("found no answer"));
    }

    #[test]
    fn an_index_out_of_range_lists_the_gpus() {
        assert_eq!(GpuFailure::index_out_of_range(1).to_string(), "expected cuda:0, as there is 1 GPU");
        assert_eq!(GpuFailure::index_out_of_range(8).to_string(), "expected cuda:0 to cuda:7, as there are 8 GPUs");
    }
}

//! Why a GPU cannot be used, in one line.

use std::fmt;

/// Why a GPU cannot be used: what was expected, and what was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GpuFailure {
    /// There is no such GPU.
    Absent(String),
    /// There is one, and something keeps it from computing.
    Unusable(String),
}

impl fmt::Display for GpuFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Absent(line) | Self::Unusable(line)) = self;
        f.write_str(line)
    }
}

impl GpuFailure {
    /// Of a number that is too high for the GPUs that there are, one or more.
    pub(crate) fn beyond(there: usize) -> Self {
        Self::Absent(match there {
            1 => "expected cuda:0, as there is 1 GPU".into(),
            _ => format!("expected cuda:0 to cuda:{}, as there are {there} GPUs", there - 1),
        })
    }

    /// Of what CUDA said, in which the name of an error code stands somewhere.
    pub(crate) fn of(said: &str) -> Self {
        if let Some((code, line)) = ABSENT.iter().find(|(code, _)| said.contains(code)) {
            return Self::Absent(format!("{line} ({code})"));
        }
        Self::Unusable(match UNUSABLE.iter().find(|(code, _)| said.contains(code)) {
            Some((code, line)) => format!("{line} ({code})"),
            // A backtrace may follow.
            None => format!("expected a GPU that computes, found {}", said.lines().next().unwrap_or("no answer")),
        })
    }
}

const ABSENT: [(&str, &str); 2] = [
    ("CUDA_ERROR_NO_DEVICE", "expected an NVIDIA GPU, found none that CUDA can see"),
    ("CUDA_ERROR_INVALID_DEVICE", "expected the number of a GPU, found none of that number"),
];

const OLD_DRIVER: &str = "expected a driver as new as the CUDA of this program, found an older one: update the driver";
const OLD_GPU: &str = "expected a GPU as new as this program was built for, found an older one: build it with the \
                       CUDA_COMPUTE_CAP of this GPU";
const NO_START: &str = "expected CUDA's libraries to start, found that they do not: the driver may be older than they \
                        are, or the memory of the GPU full";

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
        "expected a libcuda.so.1 of the version of the driver in the kernel, found another: restart the machine where \
         the driver was updated",
    ),
    (
        "CUDA_ERROR_STUB_LIBRARY",
        "expected the driver's libcuda.so.1, found a stub that is for linking only: take its folder out of \
         LD_LIBRARY_PATH",
    ),
    ("CUDA_ERROR_OUT_OF_MEMORY", "expected free memory on the GPU, found none: other programs hold it"),
    ("CUDA_ERROR_DEVICE_UNAVAILABLE", "expected a GPU that is free, found it held by another program"),
    ("CUDA_ERROR_SYSTEM_NOT_READY", "expected the machine's NVIDIA services to be up, found that they are not yet"),
    ("CUDA_ERROR_NOT_PERMITTED", "expected the right to use the GPU, found it denied"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_becomes_a_line() {
        let said = r#"DriverError(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected")"#;
        let line = "expected an NVIDIA GPU, found none that CUDA can see (CUDA_ERROR_NO_DEVICE)";
        assert_eq!(GpuFailure::of(said), GpuFailure::Absent(line.into()));
        let said =
            r#"DriverError(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "system has unsupported display driver / cuda driver")"#;
        let GpuFailure::Unusable(line) = GpuFailure::of(said) else { panic!("there is a GPU") };
        assert!(line.ends_with("updated (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)"), "{line}");
    }

    #[test]
    fn every_code_has_its_own_line() {
        for (code, line) in ABSENT.iter().chain(&UNUSABLE) {
            assert!(line.starts_with("expected ") && line.contains(", found "), "{line}");
            assert!(!line.contains(['\n', '.']) || line.contains("libcuda.so.1"), "{line}");
            // No code may be taken for another that it contains.
            assert_eq!(GpuFailure::of(&format!("DriverError({code})")).to_string(), format!("{line} ({code})"));
        }
    }

    #[test]
    fn what_is_not_known_is_quoted_without_its_backtrace() {
        let line = GpuFailure::of("CublasError(CUBLAS_STATUS_ARCH_MISMATCH)\n   0: main\n").to_string();
        assert_eq!(line, "expected a GPU that computes, found CublasError(CUBLAS_STATUS_ARCH_MISMATCH)");
        assert!(GpuFailure::of("").to_string().ends_with("found no answer"));
    }

    #[test]
    fn a_number_too_high_learns_how_many_there_are() {
        assert_eq!(GpuFailure::beyond(1).to_string(), "expected cuda:0, as there is 1 GPU");
        assert_eq!(GpuFailure::beyond(8).to_string(), "expected cuda:0 to cuda:7, as there are 8 GPUs");
    }
}

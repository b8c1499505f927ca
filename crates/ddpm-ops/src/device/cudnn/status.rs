//! The status codes of cuDNN.

use std::fmt::{self, Display, Formatter};

use candle_core::{Error, Result};

/// A `cudnnStatus_t` that cuDNN returned. It is an integer, because another version of cuDNN may return a code that
/// this one does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Status(pub(super) u32);

impl Status {
    /// Whether the call succeeded.
    pub(super) fn is_success(self) -> bool {
        self.0 == 0
    }

    /// Whether cuDNN has no implementation of what was requested: `CUDNN_STATUS_NOT_SUPPORTED` of version 8, and the
    /// codes of version 9 whose names start with it.
    pub(super) fn is_not_supported(self) -> bool {
        matches!(self.0, 9 | 3000..=3999)
    }

    /// Whether memory was missing: `CUDNN_STATUS_ALLOC_FAILED` of version 8, and the two codes that replace it in
    /// version 9.
    pub(super) fn is_out_of_memory(self) -> bool {
        matches!(self.0, 2 | 4003 | 4004)
    }

    /// The name in `cudnn.h`, for the codes that a convolution may return.
    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "SUCCESS",
            1 | 1001 => "NOT_INITIALIZED",
            2 => "ALLOC_FAILED",
            3 | 2000 => "BAD_PARAM",
            4 | 4000 => "INTERNAL_ERROR",
            5 => "INVALID_VALUE",
            6 => "ARCH_MISMATCH",
            7 => "MAPPING_ERROR",
            8 | 5000 => "EXECUTION_FAILED",
            9 | 3000 => "NOT_SUPPORTED",
            10 | 1005 => "LICENSE_ERROR",
            11 => "RUNTIME_PREREQUISITE_MISSING",
            14 | 1002 => "SUBLIBRARY_VERSION_MISMATCH",
            1004 => "DEPRECATED",
            1008 => "SUBLIBRARY_LOADING_FAILED",
            2003 => "BAD_PARAM_MISALIGNED_POINTER",
            2006 => "BAD_PARAM_SIZE_INSUFFICIENT",
            2007 => "BAD_PARAM_STREAM_MISMATCH",
            2008 => "BAD_PARAM_SHAPE_MISMATCH",
            3002 => "NOT_SUPPORTED_SHAPE",
            3003 => "NOT_SUPPORTED_DATA_TYPE",
            3004 => "NOT_SUPPORTED_LAYOUT",
            3005 => "NOT_SUPPORTED_INCOMPATIBLE_CUDA_DRIVER",
            3006 => "NOT_SUPPORTED_INCOMPATIBLE_CUDART",
            3007 => "NOT_SUPPORTED_ARCH_MISMATCH",
            3008 => "NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING",
            3009 => "NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE",
            3010 => "NOT_SUPPORTED_SHARED_MEMORY_INSUFFICIENT",
            3011 => "NOT_SUPPORTED_PADDING",
            4003 => "INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
            4004 => "INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            5001 => "EXECUTION_FAILED_CUDA_DRIVER",
            5002 => "EXECUTION_FAILED_CUBLAS",
            5003 => "EXECUTION_FAILED_CUDART",
            _ => return None,
        })
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "CUDNN_STATUS_{name} ({})", self.0),
            None => write!(f, "status {}", self.0),
        }
    }
}

/// Succeeds if the status does; otherwise the error says `what` failed.
pub(super) fn check(status: Status, what: impl FnOnce() -> String) -> Result<()> {
    if status.is_success() {
        return Ok(());
    }
    // The name of the driver's own error, by which programs recognize that memory was missing.
    let prefix = if status.is_out_of_memory() { "CUDA_ERROR_OUT_OF_MEMORY: " } else { "" };
    Err(Error::msg(format!("{prefix}cuDNN: {}: {status}", what())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_of_missing_support_mean_that_there_is_no_algorithm() {
        let not_supported: Vec<u32> = (0..6000).filter(|code| Status(*code).is_not_supported()).collect();
        let expected: Vec<u32> = [9].into_iter().chain(3000..=3999).collect();
        assert_eq!(not_supported, expected);
    }

    #[test]
    fn missing_memory_is_recognized_in_both_versions() {
        let out_of_memory: Vec<u32> = (0..6000).filter(|code| Status(*code).is_out_of_memory()).collect();
        assert_eq!(out_of_memory, [2, 4003, 4004]);
    }

    #[test]
    fn an_error_names_what_failed_and_marks_missing_memory() {
        let error = |code| check(Status(code), || "a convolution".into()).expect_err("an error").to_string();
        // candle may append a backtrace.
        assert!(error(2008).starts_with("cuDNN: a convolution: CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH (2008)"));
        assert!(error(4004).starts_with("CUDA_ERROR_OUT_OF_MEMORY: cuDNN: a convolution"));
        assert!(check(Status(0), || unreachable!()).is_ok());
    }

    #[test]
    fn a_code_of_another_version_is_printed_as_a_number() {
        assert_eq!(Status(3007).to_string(), "CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH (3007)");
        assert_eq!(Status(77_777).to_string(), "status 77777");
    }
}

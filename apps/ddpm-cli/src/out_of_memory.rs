//! Recognizes errors of a GPU whose memory is full.

/// The names that CUDA and its libraries give to this error. Errors are recognized by name, because some crates only
/// keep the message.
const NAMES: [&str; 5] = [
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CURAND_STATUS_ALLOCATION_FAILED",
];

/// Whether the error says that the memory of a GPU is full. A smaller batch may then fit.
pub fn is_out_of_memory(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let message = cause.to_string();
        NAMES.iter().any(|name| message.contains(name))
    })
}

#[cfg(test)]
mod tests {
    use super::is_out_of_memory;

    #[test]
    fn it_is_found_among_the_causes() {
        let full = || anyhow::anyhow!(r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#);
        assert!(is_out_of_memory(&full()));
        assert!(is_out_of_memory(&full().context("step 3").context("the training")));
        assert!(is_out_of_memory(&anyhow::anyhow!("convolution: CudnnError(CUDNN_STATUS_ALLOC_FAILED)")));
    }

    #[test]
    fn other_failures_are_not() {
        for other in ["DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)", "the disk is out of memory", ""] {
            assert!(!is_out_of_memory(&anyhow::anyhow!(other)), "{other}");
        }
    }
}

//! The memory that a process has taken from a GPU.

/// The largest amounts of memory that this process has taken from a GPU so far, in bytes, as the driver counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// Memory of tensors and workspaces: PyTorch's `max_memory_allocated`.
    pub allocated: u64,
    /// The same with freed memory that is kept for later tensors: PyTorch's `max_memory_reserved`. The context, the
    /// kernels and the libraries take more.
    pub reserved: u64,
}

//! The choice among the algorithms that cuDNN has timed.

use std::ffi::c_int;

use crate::device::cudnn::status::Status;

/// A result of `cudnnFindConvolution…AlgorithmEx`: `cudnnConvolutionFwdAlgoPerf_t`, whose layout is that of the other
/// two passes. Its enums are integers, because another version of cuDNN may write values that this one does not list.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub(super) struct TimedAlgorithm {
    /// The number of the algorithm, which depends on the pass.
    pub(super) algorithm: u32,
    pub(super) status: Status,
    /// Time in ms.
    pub(super) time: f32,
    /// Size of the workspace in bytes.
    pub(super) memory: usize,
    /// 1 if the algorithm is deterministic.
    determinism: u32,
    math: u32,
    reserved: [c_int; 3],
}

impl TimedAlgorithm {
    /// What cuDNN overwrites.
    pub(super) const EMPTY: Self = Self {
        algorithm: 0,
        // No code of cuDNN, so that an element that was not written is not usable.
        status: Status(u32::MAX),
        time: 0.0,
        memory: 0,
        determinism: 0,
        math: u32::MAX,
        reserved: [0; 3],
    };

    /// Whether the algorithm returns the same bits each time.
    pub(super) fn is_deterministic(&self) -> bool {
        self.determinism == 1
    }

    /// The number formats that the algorithm multiplies in; `None` for a value that this version does not know.
    pub(super) fn math(&self) -> Option<MathType> {
        [MathType::Default, MathType::TensorOp, MathType::Fma].into_iter().find(|math| *math as u32 == self.math)
    }
}

/// `cudnnMathType_t`, without the one that converts f32 to f16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MathType {
    /// The type of the data, or TF32 for f32.
    Default = 0,
    /// Tensor cores in the type of the data.
    TensorOp = 1,
    /// Fused multiply-add in the type of the data.
    Fma = 3,
}

impl MathType {
    /// The name in `cudnn.h`, without its prefix.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT_MATH",
            Self::TensorOp => "TENSOR_OP_MATH",
            Self::Fma => "FMA_MATH",
        }
    }
}

/// The precision of a convolution's products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Products {
    /// Exact products of f32.
    F32,
    /// Products of f32 that are rounded to TF32.
    Tf32,
    /// Exact products of bf16.
    Bf16,
}

impl Products {
    /// The math type that the algorithms are timed with.
    pub(super) fn requested_math(self) -> MathType {
        match self {
            Self::F32 => MathType::Fma,
            Self::Tf32 => MathType::Default,
            Self::Bf16 => MathType::TensorOp,
        }
    }

    /// Whether an algorithm of this math type has the precision. cuDNN also times algorithms of other math types than
    /// the requested one.
    fn permits(self, math: MathType) -> bool {
        match self {
            Self::F32 => math == MathType::Fma,
            Self::Tf32 | Self::Bf16 => true,
        }
    }
}

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Choice {
    /// The fastest usable algorithm, and its math type.
    Algorithm(TimedAlgorithm, MathType),
    /// No algorithm supports this convolution. The status is that of the first that was refused; `None` if all of them
    /// ran, but none with the precision and within the memory.
    NotSupported(Option<Status>),
    /// An algorithm failed that might succeed another time, and no other one is usable.
    Failed(Status),
}

/// Chooses from the results of a search, which are sorted by time: the fastest deterministic algorithm of a permitted
/// math type whose workspace has at most `room` bytes, or else the fastest other one of these.
pub(super) fn choose(timed: &[TimedAlgorithm], products: Products, room: usize) -> Choice {
    let usable = timed.iter().filter_map(|timed| {
        let math = timed.math().filter(|math| products.permits(*math))?;
        (timed.status.is_success() && timed.memory <= room).then_some((*timed, math))
    });
    let best = usable.clone().find(|(timed, _)| timed.is_deterministic()).or_else(|| usable.clone().next());
    if let Some((algorithm, math)) = best {
        return Choice::Algorithm(algorithm, math);
    }
    let refused = || timed.iter().map(|timed| timed.status).filter(|status| !status.is_success());
    match refused().find(|status| !status.is_not_supported()) {
        Some(status) => Choice::Failed(status),
        None => Choice::NotSupported(refused().next()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: TimedAlgorithm = TimedAlgorithm {
        algorithm: 1,
        status: Status(0),
        time: 1.0,
        memory: 100,
        determinism: 1,
        math: MathType::Fma as u32,
        reserved: [0; 3],
    };

    fn chosen(timed: &[TimedAlgorithm], products: Products) -> Option<u32> {
        match choose(timed, products, 1000) {
            Choice::Algorithm(timed, _) => Some(timed.algorithm),
            Choice::NotSupported(_) | Choice::Failed(_) => None,
        }
    }

    #[test]
    fn the_layout_is_that_of_cudnn() {
        assert_eq!(std::mem::size_of::<TimedAlgorithm>(), 48);
        assert_eq!(std::mem::offset_of!(TimedAlgorithm, memory), 16);
        assert_eq!(std::mem::offset_of!(TimedAlgorithm, math), 28);
    }

    #[test]
    fn the_first_deterministic_algorithm_is_chosen_or_else_the_first() {
        let random = TimedAlgorithm { determinism: 0, algorithm: 2, ..FAST };
        assert_eq!(chosen(&[random, FAST], Products::Bf16), Some(1));
        assert_eq!(chosen(&[random, TimedAlgorithm { algorithm: 3, ..random }], Products::Bf16), Some(2));
    }

    #[test]
    fn the_requested_math_type_has_the_precision() {
        for (products, name) in
            [(Products::F32, "FMA_MATH"), (Products::Tf32, "DEFAULT_MATH"), (Products::Bf16, "TENSOR_OP_MATH")]
        {
            assert!(products.permits(products.requested_math()));
            assert_eq!(products.requested_math().name(), name);
        }
    }

    #[test]
    fn only_permitted_math_types_are_chosen() {
        let tf32 = TimedAlgorithm { math: MathType::Default as u32, algorithm: 2, ..FAST };
        let to_f16 = TimedAlgorithm { math: 2, algorithm: 3, ..FAST };
        let of_another_version = TimedAlgorithm { math: 42, algorithm: 4, ..FAST };
        assert_eq!(chosen(&[to_f16, of_another_version, tf32, FAST], Products::F32), Some(1));
        assert_eq!(chosen(&[to_f16, of_another_version, tf32, FAST], Products::Tf32), Some(2));
        assert_eq!(chosen(&[to_f16, of_another_version], Products::Bf16), None);
    }

    #[test]
    fn an_algorithm_that_needs_too_much_memory_is_not_chosen() {
        let large = TimedAlgorithm { memory: 1001, algorithm: 2, ..FAST };
        assert_eq!(chosen(&[large, FAST], Products::F32), Some(1));
        assert_eq!(choose(&[large], Products::F32, 1000), Choice::NotSupported(None));
    }

    #[test]
    fn a_failure_is_no_missing_support() {
        let not_supported = TimedAlgorithm { status: Status(3000), ..FAST };
        let no_memory = TimedAlgorithm { status: Status(4004), ..FAST };
        assert_eq!(choose(&[not_supported], Products::F32, 1000), Choice::NotSupported(Some(Status(3000))));
        assert_eq!(choose(&[not_supported, no_memory], Products::F32, 1000), Choice::Failed(Status(4004)));
        assert_eq!(chosen(&[not_supported, no_memory, FAST], Products::F32), Some(1));
        assert_eq!(choose(&[], Products::F32, 1000), Choice::NotSupported(None));
        assert_eq!(choose(&[TimedAlgorithm::EMPTY], Products::F32, 1000), Choice::Failed(Status(u32::MAX)));
    }
}

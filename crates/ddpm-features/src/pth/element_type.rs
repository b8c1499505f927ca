//! The element types of storages.

use candle_core::{DType, Device, Tensor};

use crate::pth::problem::Problem;

/// The type of the elements of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementType {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl ElementType {
    /// The type that a class of PyTorch's storages holds, such as `FloatStorage`.
    pub(crate) fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    /// The size of an element.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Converts little-endian elements to f32: exactly from f16, bf16 and short integers, else to the nearest value.
    pub(crate) fn to_f32(self, bytes: &[u8]) -> Result<Vec<f32>, Problem> {
        Ok(match self {
            Self::F64 => elements(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => elements(bytes, f32::from_le_bytes),
            Self::F16 => half(bytes, DType::F16)?,
            Self::Bf16 => half(bytes, DType::BF16)?,
            Self::I64 => elements(bytes, |b| i64::from_le_bytes(b) as f32),
            Self::I32 => elements(bytes, |b| i32::from_le_bytes(b) as f32),
            Self::I16 => elements(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Self::I8 => elements(bytes, |b: [u8; 1]| f32::from(i8::from_le_bytes(b))),
            Self::U8 => elements(bytes, |[b]: [u8; 1]| f32::from(b)),
            Self::Bool => elements(bytes, |[b]: [u8; 1]| f32::from(u8::from(b != 0))),
        })
    }
}

/// Converts consecutive elements of `N` bytes.
fn elements<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|element| convert(*element)).collect()
}

/// Converts elements of 16 bits.
fn half(bytes: &[u8], dtype: DType) -> Result<Vec<f32>, Problem> {
    let convert = || -> candle_core::Result<Vec<f32>> {
        Tensor::from_raw_buffer(bytes, dtype, &[bytes.len() / 2], &Device::Cpu)?.to_dtype(DType::F32)?.to_vec1()
    };
    convert().map_err(|error| Problem::Damaged(format!("elements of 16 bits: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_converted() {
        let value = |kind: ElementType, bytes: &[u8]| {
            assert_eq!(kind.bytes(), bytes.len());
            kind.to_f32(bytes).expect("whole elements")[0]
        };
        assert_eq!(value(ElementType::F64, &(-1.5_f64).to_le_bytes()), -1.5);
        assert_eq!(value(ElementType::F32, &0.25_f32.to_le_bytes()), 0.25);
        // 1.5 is 0x3e00 in binary16 and 0x3fc0 in bfloat16.
        assert_eq!(value(ElementType::F16, &[0x00, 0x3e]), 1.5);
        assert_eq!(value(ElementType::Bf16, &[0xc0, 0x3f]), 1.5);
        assert_eq!(value(ElementType::I64, &(-7_i64).to_le_bytes()), -7.0);
        assert_eq!(value(ElementType::I32, &7_i32.to_le_bytes()), 7.0);
        assert_eq!(value(ElementType::I16, &(-3_i16).to_le_bytes()), -3.0);
        assert_eq!(value(ElementType::I8, &[255]), -1.0);
        assert_eq!(value(ElementType::U8, &[255]), 255.0);
        assert_eq!(value(ElementType::Bool, &[2]), 1.0);
    }
}

//! The two 16-bit floating-point formats, widened exactly to f32.

/// IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits. Every value has an exact f32.
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // Subnormal: fraction × 2⁻²⁴, which f32 holds as a normal number.
        0 => f32::from_bits(sign | (fraction as f32 * 2.0_f32.powi(-24)).to_bits()),
        0x1f => f32::from_bits(sign | 0xff << 23 | fraction << 13),
        // The exponent's bias is 15 here and 127 there.
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// bfloat16: the upper half of an f32.
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    /// All 65,536 values against candle's own conversion, bit for bit (NaNs as NaNs: their payload is free).
    fn check(dtype: DType, widen: fn(u16) -> f32) {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, &[bits.len()], &Device::Cpu).expect("right size");
        let expected = tensor.to_dtype(DType::F32).and_then(|t| t.to_vec1::<f32>()).expect("a vector");
        for (bits, expected) in bits.into_iter().zip(expected) {
            let found = widen(bits);
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{bits:#06x}");
        }
    }

    #[test]
    fn every_value_widens_exactly() {
        check(DType::F16, f16_to_f32);
        check(DType::BF16, bf16_to_f32);
    }
}

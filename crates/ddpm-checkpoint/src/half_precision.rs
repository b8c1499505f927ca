//! Exact conversion of the two 16-bit floating-point formats to f32.

/// Converts IEEE 754 binary16 (1 sign, 5 exponent and 10 fraction bits). Every value is exact in f32.
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // A subnormal number is fraction × 2⁻²⁴, which is a normal number in f32.
        0 => f32::from_bits(sign | (fraction as f32 * 2.0_f32.powi(-24)).to_bits()),
        0x1f => f32::from_bits(sign | 0xff << 23 | fraction << 13),
        // The bias of the exponent is 15 in binary16 and 127 in f32.
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// Converts bfloat16, which is the upper half of an f32.
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    /// Compares all 65,536 values with the conversion of candle, bit for bit except for the payload of NaN.
    fn check(dtype: DType, convert: fn(u16) -> f32) {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, &[bits.len()], &Device::Cpu).expect("right size");
        let expected = tensor.to_dtype(DType::F32).and_then(|t| t.to_vec1::<f32>()).expect("a vector");
        for (bits, expected) in bits.into_iter().zip(expected) {
            let found = convert(bits);
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{bits:#06x}");
        }
    }

    #[test]
    fn every_value_is_converted_exactly() {
        check(DType::F16, f16_to_f32);
        check(DType::BF16, bf16_to_f32);
    }
}

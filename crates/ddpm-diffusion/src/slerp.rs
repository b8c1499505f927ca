//! Interpolation between latents.

use candle_core::{DType, Tensor};

use crate::DiffusionError;
use crate::error::check_shape;

/// The point at `share` of the great circle from `a` to `b` (Shoemake 1985): sin((1 − s) ω) / sin ω a + sin(s ω) / sin ω b
/// with ω the angle between them.
///
/// Between two draws of N(0, I) it stays where such draws are, at a distance of about √d from zero; the straight line
/// passes closer by.
///
/// # Shapes
/// `a` and `b` of one shape; so is the result.
///
/// # Errors
/// When the shapes differ.
pub fn slerp(a: &Tensor, b: &Tensor, share: f64) -> Result<Tensor, DiffusionError> {
    check_shape("b", b.dims(), a.dims())?;
    let dot =
        |x: &Tensor, y: &Tensor| x.to_dtype(DType::F64)?.mul(&y.to_dtype(DType::F64)?)?.sum_all()?.to_scalar::<f64>();
    let cosine = dot(a, b)? / (dot(a, a)? * dot(b, b)?).sqrt();
    let omega = cosine.clamp(-1.0, 1.0).acos();
    // Parallel vectors, or none: the circle is a line.
    let (of_a, of_b) = if !omega.is_finite() || omega.sin() < 1e-6 {
        (1.0 - share, share)
    } else {
        (((1.0 - share) * omega).sin() / omega.sin(), (share * omega).sin() / omega.sin())
    };
    Ok(((a * of_a)? + (b * of_b)?)?)
}

//! Which fixed variance the reverse process has.

/// The variance σ_t² of p(x_{t−1} | x_t), Ho et al. 2020, section 3.2. Both are fixed, not learned.
///
/// With serde: `"fixed-large"` and `"fixed-small"`; underscores are read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum VarianceKind {
    /// σ_t² = β_t, right when x_0 ~ N(0, I): the entropy of the reverse step at its upper bound.
    #[cfg_attr(feature = "serde", serde(alias = "fixed_large"))]
    FixedLarge,
    /// σ_t² = β̃_t = (1 − ᾱ_{t−1})/(1 − ᾱ_t)·β_t, right when x_0 is one point: its lower bound.
    #[cfg_attr(feature = "serde", serde(alias = "fixed_small"))]
    FixedSmall,
}

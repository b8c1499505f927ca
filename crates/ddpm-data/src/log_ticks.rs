//! Labels of a logarithmic axis.

/// The values to label on a logarithmic axis with this range: round values, with the coarsest spacing that gives at
/// least three.
pub(crate) fn log_ticks(range: &std::ops::Range<f64>) -> Vec<f64> {
    let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let rounded = |mantissas: &[&str]| -> Vec<f64> {
        let all = decades.clone().flat_map(|decade| mantissas.iter().map(move |m| format!("{m}e{decade}")));
        // Parsing the text gives the number that is printed as 0.05; multiplying 5 by 0.01 may not.
        all.filter_map(|text| text.parse().ok()).filter(|value| range.contains(value)).collect()
    };
    let coarse = [rounded(&["1"]), rounded(&["1", "2", "5"])].into_iter().find(|ticks| ticks.len() >= 3);
    coarse.unwrap_or_else(|| rounded(&["1", "1.2", "1.4", "1.6", "1.8", "2", "2.5", "3", "4", "5", "6", "7", "8", "9"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_round_and_few() {
        assert_eq!(log_ticks(&(0.07..1.1)), [0.1, 0.2, 0.5, 1.0]);
        assert_eq!(log_ticks(&(0.008..20.0)), [0.01, 0.1, 1.0, 10.0]);
        assert_eq!(log_ticks(&(0.85..1.3)), [0.9, 1.0, 1.2]);
        assert_eq!(log_ticks(&(0.07..1.1)).iter().map(f64::to_string).collect::<Vec<_>>(), ["0.1", "0.2", "0.5", "1"]);
    }
}

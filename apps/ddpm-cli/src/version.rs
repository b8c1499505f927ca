//! The text of `--version`.

/// The version of a program, the commit, the features that it was built with, and the kernels that it uses. Each
/// feature has a name and whether it is on.
pub(crate) fn long_version(version: &str, features: &[(&str, bool)]) -> String {
    let names = |on: bool| {
        let names: Vec<&str> = features.iter().filter(|(_, is_on)| *is_on == on).map(|(name, _)| *name).collect();
        if names.is_empty() { "none".to_string() } else { names.join(", ") }
    };
    format!(
        "{version}\ncommit: {}\nfeatures: {} (left out: {})\nCPU kernels: {}",
        env!("DDPM_COMMIT"),
        names(true),
        names(false),
        ddpm_ops::cpu_kernels()
    )
}

#[cfg(test)]
mod tests {
    use super::long_version;

    #[test]
    fn features_are_listed() {
        let text = long_version("1.2.3", &[("hub", true), ("cuda", false)]);
        assert!(text.starts_with("1.2.3\ncommit: "), "{text}");
        assert!(text.contains("\nfeatures: hub (left out: cuda)\nCPU kernels: "), "{text}");
    }
}

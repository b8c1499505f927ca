//! The name of a checkpoint directory, which contains its step.

/// The name for a step: `step-000500`. It has more digits from one million on.
pub(crate) fn step_name(step: u64) -> String {
    format!("step-{step:06}")
}

/// The step of a name that [`step_name`] returns. `None` for every other name.
pub(crate) fn parse_step(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (step_name(step) == name).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_steps_correspond_one_to_one() {
        for step in [0, 1, 500, 999_999, 1_000_000, u64::MAX] {
            assert_eq!(parse_step(&step_name(step)), Some(step));
        }
        let other_names =
            ["step-5", "step-0000500", "step-", "step-+00005", "step-00050x", "step-000500.bak", "Step-000500"];
        for name in other_names {
            assert_eq!(parse_step(name), None, "{name}");
        }
        assert_eq!(parse_step("step-99999999999999999999999"), None);
    }
}

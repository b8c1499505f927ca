//! What a rank does, passed from the test to the ranks in an environment variable.

use std::fmt;
use std::time::Duration;

/// The variable that holds a scenario.
pub(crate) const VARIABLE: &str = "DDPM_TEST_SCENARIO";

/// The time that ranks wait for each other.
pub(crate) const RANK_TIMEOUT: Duration = Duration::from_secs(3);

/// The exit code of a rank that has lost another one.
pub(crate) const LOST: i32 = 7;

/// What one rank, the victim, does in the midst of a job, and how many vectors are summed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) action: String,
    pub(crate) victim: usize,
}

impl Scenario {
    pub(crate) fn new(action: &str, victim: usize) -> Self {
        Self { action: action.into(), victim }
    }

    /// The scenario of this process, if it is a rank.
    pub(crate) fn of_this_process() -> Option<Self> {
        let variable = std::env::var(VARIABLE).ok()?;
        let (action, victim) = variable.split_once(':').expect("ACTION:VICTIM");
        Some(Self::new(action, victim.parse().expect("a rank")))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.action, self.victim)
    }
}

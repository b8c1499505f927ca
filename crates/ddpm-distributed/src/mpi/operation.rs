//! What a message belongs to.

use std::fmt;

/// The step of a collective method that a message belongs to. Its number is the tag of the message, so that ranks that
/// are out of step notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    SignOfLife = 1,
    Meeting,
    SumParts,
    SumResults,
    BroadcastLength,
    BroadcastBytes,
    GatherLength,
    GatherBytes,
    Barrier,
    End,
}

impl Operation {
    const ALL: [Self; 10] = [
        Self::SignOfLife,
        Self::Meeting,
        Self::SumParts,
        Self::SumResults,
        Self::BroadcastLength,
        Self::BroadcastBytes,
        Self::GatherLength,
        Self::GatherBytes,
        Self::Barrier,
        Self::End,
    ];

    pub(super) fn tag(self) -> i32 {
        self as i32
    }

    pub(super) fn of_tag(tag: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.tag() == tag)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SignOfLife => "a sign of life",
            Self::Meeting => "the name of its host",
            Self::SumParts => "its part of a bucket",
            Self::SumResults => "its sum of a part of a bucket",
            Self::BroadcastLength | Self::BroadcastBytes => "a broadcast",
            Self::GatherLength | Self::GatherBytes => "a gather",
            Self::Barrier => "a barrier",
            Self::End => "the end of the job",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_unique_and_name_their_operation() {
        for operation in Operation::ALL {
            assert_eq!(Operation::of_tag(operation.tag()), Some(operation));
        }
        assert_eq!(Operation::of_tag(0), None);
    }
}

//! What ranks compute and exchange together.

use crate::job::run;
use crate::scenario::Scenario;

pub(crate) fn sums_and_messages_arrive() {
    for ranks in 2..=4 {
        for action in ["collectives", "pieces"] {
            run(ranks, Scenario::new(action, 0)).assert_success();
        }
    }
    // One process is alone; the same calls work.
    run(1, Scenario::new("collectives", 0)).assert_success();
}

pub(crate) fn sums_have_the_bits_of_one_rank() {
    for ranks in [2, 4] {
        run(ranks, Scenario::new("groups", 0)).assert_success();
    }
}

pub(crate) fn ranks_out_of_step_are_named() {
    let ended = run(3, Scenario::new("other-operation", 1));
    ended.assert_failure(None);
    ended.assert_line(&["rank 1 on ", "is out of step", "expected its part of a bucket", "found a barrier"]);
    let ended = run(2, Scenario::new("other-length", 1));
    ended.assert_failure(None);
    ended.assert_line(&["rank 1 on ", "expected its part of a bucket (50 elements)", "found 51 elements"]);
}

//! How a job ends when a rank does not do its part.

use crate::job::{Library, run, run_under};
use crate::scenario::{LOST, RANK_TIMEOUT, Scenario};

const RANKS: usize = 3;

pub(crate) fn the_mpirun_of_another_library_is_refused() {
    let other = Library::own().other();
    if other.mpirun().is_none() {
        println!("the {other:?} of this test is not installed");
        return;
    }
    let ended = run_under(other, 2, Scenario::new("collectives", 0));
    ended.assert_failure(Some(2));
    ended.assert_line(&["mpirun", "started 2 processes", "sees 1", "two MPI installations are mixed"]);
}

pub(crate) fn long_work_is_waited_for() {
    let ended = run(RANKS, Scenario::new("long-work", 0));
    ended.assert_success();
    assert!(ended.duration > 2 * RANK_TIMEOUT, "{ended:#?}");
}

/// The ranks other than the victim name it, and the job ends with their exit code.
fn check_named(action: &str, victim: usize) {
    let ended = run(RANKS, Scenario::new(action, victim));
    ended.assert_failure(Some(LOST));
    ended.assert_line(&["no answer for 3 s from", &format!("rank {victim} on "), "waited for"]);
}

pub(crate) fn a_slow_rank_is_named() {
    check_named("slow", 0);
}

pub(crate) fn a_stopped_rank_is_named() {
    (0..RANKS).for_each(|victim| check_named("stop", victim));
}

pub(crate) fn a_rank_stopped_in_long_work_is_named() {
    check_named("stop-in-long-work", 0);
}

/// Whoever the victim is, the job fails with `code`, and a line with `words` names the victim.
fn check_ends(action: &str, code: Option<i32>, words: &[&str]) {
    for victim in 0..RANKS {
        let ended = run(RANKS, Scenario::new(action, victim));
        ended.assert_failure(code);
        if !words.is_empty() {
            let rank = format!("rank {victim} ");
            ended.assert_line(&[&[rank.as_str()], words].concat());
        }
        println!("  {action} of rank {victim}: exit code {:?} after {:.1} s", ended.code, ended.duration.as_secs_f64());
    }
}

pub(crate) fn a_killed_rank_ends_the_job() {
    // MPICH's mpirun does not say which rank it was.
    let words: &[&str] = if Library::own() == Library::OpenMpi { &["noticed that process", "(Killed)"] } else { &[] };
    check_ends("kill", None, words);
}

pub(crate) fn a_panic_ends_the_job() {
    check_ends("panic", Some(101), &["panics"]);
}

pub(crate) fn a_panic_without_hook_ends_the_job() {
    check_ends("panic-without-hook", Some(1), &["drops its communicator before the job has ended"]);
}

pub(crate) fn an_exit_with_0_ends_the_job() {
    check_ends("exit-0", Some(1), &[" on ", "exits before the job has ended"]);
}

pub(crate) fn an_exit_with_3_ends_the_job() {
    check_ends("exit-3", Some(1), &[" on ", "exits before the job has ended"]);
}

pub(crate) fn a_dropped_communicator_ends_the_job() {
    check_ends("drop", Some(1), &[" on ", "drops its communicator before the job has ended"]);
}

pub(crate) fn an_abort_interrupts_a_wait() {
    for victim in 0..RANKS {
        let ended = run(RANKS, Scenario::new("abort", victim));
        ended.assert_failure(Some(9));
        assert!(ended.duration < RANK_TIMEOUT, "the job has waited for the deadline: {ended:#?}");
    }
}

pub(crate) fn a_rank_that_never_connects_is_noticed() {
    for victim in 0..2 {
        let ended = run(2, Scenario::new("never-connect", victim));
        ended.assert_failure(Some(2));
        ended.assert_line(&["MPI_Init has not returned for 3 s", "not all ranks have called it"]);
    }
}

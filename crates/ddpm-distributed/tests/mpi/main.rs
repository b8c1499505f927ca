//! Jobs of several processes under `mpirun`: sums and messages, and how jobs end when a rank does not.
//!
//! This program is both the test and the rank: started with a scenario in an environment variable, it is one rank of a
//! job. It uses the `mpirun` of the MPI library that it is built with. `cargo test --test mpi -- NAME` runs the tests
//! whose names contain NAME.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stdout, reason = "this is a program")]

mod collectives;
mod endings;
mod job;
mod rank;
mod scenario;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("the_mpirun_of_another_library_is_refused", endings::the_mpirun_of_another_library_is_refused),
    ("sums_and_messages_arrive", collectives::sums_and_messages_arrive),
    ("sums_have_the_bits_of_one_rank", collectives::sums_have_the_bits_of_one_rank),
    ("ranks_out_of_step_are_named", collectives::ranks_out_of_step_are_named),
    ("long_work_is_waited_for", endings::long_work_is_waited_for),
    ("a_slow_rank_is_named", endings::a_slow_rank_is_named),
    ("a_stopped_rank_is_named", endings::a_stopped_rank_is_named),
    ("a_rank_stopped_in_long_work_is_named", endings::a_rank_stopped_in_long_work_is_named),
    ("a_killed_rank_ends_the_job", endings::a_killed_rank_ends_the_job),
    ("a_panic_ends_the_job", endings::a_panic_ends_the_job),
    ("a_panic_without_hook_ends_the_job", endings::a_panic_without_hook_ends_the_job),
    ("an_exit_with_0_ends_the_job", endings::an_exit_with_0_ends_the_job),
    ("an_exit_with_3_ends_the_job", endings::an_exit_with_3_ends_the_job),
    ("a_dropped_communicator_ends_the_job", endings::a_dropped_communicator_ends_the_job),
    ("an_abort_interrupts_a_wait", endings::an_abort_interrupts_a_wait),
    ("a_rank_that_never_connects_is_noticed", endings::a_rank_that_never_connects_is_noticed),
];

fn main() -> ExitCode {
    if let Some(scenario) = scenario::Scenario::of_this_process() {
        return rank::run(&scenario);
    }
    let filters: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let selected = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let mut failed: Vec<&str> = Vec::new();
    for (name, test) in TESTS.iter().filter(|(name, _)| selected(name)) {
        let start = Instant::now();
        let passed = catch_unwind(test).is_ok();
        let result = if passed { "ok" } else { "FAILED" };
        println!("test {name} ... {result} ({:.1} s)", start.elapsed().as_secs_f64());
        failed.extend((!passed).then_some(*name));
    }
    println!("mpi: {} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

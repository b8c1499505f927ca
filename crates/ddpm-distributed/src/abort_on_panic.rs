//! A panic of one rank ends the whole job.

use std::sync::Arc;

use crate::communicator::Communicator;

/// Makes every later panic, of any thread, end all processes of the job with `exit_code` once its message is printed.
///
/// Without it, the other ranks wait for a thread that has ended, until their deadline. A panic that would have been
/// caught ends the job as well: a panic is a bug.
pub fn abort_on_panic(communicator: Arc<dyn Communicator>, exit_code: i32) {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        communicator.abort(exit_code);
    }));
}

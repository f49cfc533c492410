//! The program in the image `legwork/testbed:dev`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some(legwork_testbed::CHILD_ARGUMENT), Some(milliseconds)) => legwork_testbed::child(&milliseconds),
        _ => legwork_testbed::run(),
    }
}

//! `causeway-dataplane --config FILE`: the data-plane daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    match causeway_dataplane::daemon::run(std::env::args().skip(1), env!("CARGO_PKG_VERSION")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("causeway-dataplane: {error}");
            ExitCode::FAILURE
        }
    }
}

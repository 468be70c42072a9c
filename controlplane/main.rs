//! `causeway-controlplane --config FILE [--udp ADDRESS]`: the control-plane daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    match causeway_controlplane::daemon::run(std::env::args().skip(1), env!("CARGO_PKG_VERSION")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("causeway-controlplane: {error}");
            ExitCode::FAILURE
        }
    }
}

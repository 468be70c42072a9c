//! `causeway`, the operator's command. All of it is in the library; here only the build's version comes in.

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway_cli::main(causeway_cli::Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("CAUSEWAY_COMMIT").unwrap_or("unknown"),
    })
}

//! The last step before a daemon: ask the kernel to end this process with its supervisor, then become the daemon. Enters: the
//! supervisor's process id and the daemon's command line. Leaves: the daemon, in the same process.
//!
//! A step of its own because between fork and exec a safe program can do nothing. The kernel forgets the request if the daemon's
//! program file has set-user-id or file capabilities; give the supervisor's service ambient capabilities instead.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::args::Launch;
use crate::exit::{Exit, Failure};

/// Becomes the daemon; comes back only if that fails.
pub(crate) fn launch(launch: &Launch) -> Result<Exit, Failure> {
    // SIGKILL and not SIGTERM: a daemon that hangs must not outlive its supervisor either.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
    // The supervisor may have died before the request; then it would never come true.
    if getppid().map(Pid::as_raw_pid) != Some(launch.parent) {
        return Err(Failure::NotStarted("the supervisor is gone".into()));
    }
    let Some((program, arguments)) = launch.command.split_first() else {
        return Err(Failure::Input("no program to launch".into()));
    };
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::NotStarted(format!("cannot run {}: {error}", program.display())))
}

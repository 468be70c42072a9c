//! How the command ends: exit codes and the failures behind them. Every failure says what happened and the next step.

use causeway_shared::config::Mistakes;

/// Exit codes; also printed by `causeway help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The thing asked for is not as it should be: mistakes in the configuration, no such session, health is degraded.
    No = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The control plane cannot be reached.
    Unreachable = 3,
    /// A daemon did not start.
    NotStarted = 4,
    /// A daemon did not stop cleanly: it failed at the stop, or had to be killed.
    Unclean = 5,
    /// The command itself failed, for example its output could not be written.
    Failed = 6,
}

/// The table of exit codes for the help text.
pub(crate) const HELP: &str = "Exit codes: 0 done; 1 no (mistakes in the configuration, no such session, degraded); \
2 wrong usage; 3 the control plane cannot be reached; 4 a daemon did not start; 5 a daemon did not stop cleanly; \
6 the command itself failed.";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration cannot be used.
    #[error("the configuration cannot be used\n{0}")]
    Config(Mistakes),
    /// The API cannot be reached.
    #[error("{what}; {next}")]
    Unreachable {
        /// What was tried.
        what: String,
        /// What to do.
        next: String,
    },
    /// The API answered with a problem.
    #[error("{0}")]
    Refused(String),
    /// The API answered something that this version does not understand.
    #[error("{0}; are command and daemons of one version?")]
    Answer(String),
    /// A daemon did not start.
    #[error("{0}")]
    NotStarted(String),
    /// Input from the operator is missing or wrong.
    #[error("{0}")]
    Input(String),
    /// Standard output cannot be written, or the system refused something basic.
    #[error("{0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Config(_) | Failure::Refused(_) => Exit::No,
            Failure::Unreachable { .. } => Exit::Unreachable,
            Failure::NotStarted(_) => Exit::NotStarted,
            Failure::Input(_) => Exit::Usage,
            Failure::Answer(_) | Failure::Output(_) => Exit::Failed,
        }
    }
}

//! The operator's command. Enters: arguments, the configuration file, the management API. Leaves: the two daemons under
//! supervision, tables for people, JSON for programs, and an exit code (see [`exit::Exit`]).

mod args;
mod client;
mod config_command;
mod debug;
pub mod exit;
mod ios;
mod launch;
mod profile;
mod run;
mod show;
mod token;
mod user;
mod vpn_client;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Arguments, Command, ConfigCommand, ProfileCommand, UserCommand};
use exit::{Exit, Failure};

/// What was built, stamped by the root package's build script.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Semantic version.
    pub version: &'static str,
    /// Git commit, `-dirty` behind it if the tree had changes; `unknown` outside git.
    pub commit: &'static str,
}

impl Build {
    /// One line, as `causeway version` prints it.
    pub fn line(self) -> String {
        format!("causeway {} ({})", self.version, self.commit)
    }
}

/// Runs the command with the process's arguments.
pub fn main(build: Build) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let outcome = execute(std::env::args_os(), build, &mut out);
    let exit = match outcome.and_then(|exit| out.flush().map(|()| exit).map_err(Failure::from)) {
        Ok(exit) => exit,
        // The reader (`head`, a pager) has seen enough.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(failure) => {
            eprintln!("causeway: {failure}");
            failure.exit()
        }
    };
    ExitCode::from(exit as u8)
}

/// Reads what operators are sent by others, as the fuzz target `import` and the test of its seeds want it: an IOS configuration
/// (first octet even) or a client profile. Whether it was understood.
#[doc(hidden)]
pub fn reads_foreign_text(octets: &[u8]) -> bool {
    let Some((choice, octets)) = octets.split_first() else { return false };
    let Ok(text) = std::str::from_utf8(octets) else { return false };
    if choice % 2 == 0 { ios::import(text, None).ok } else { profile::understands(text) }
}

fn execute(args: impl Iterator<Item = OsString>, build: Build, out: &mut dyn Write) -> Result<Exit, Failure> {
    let matches = Arguments::command().version(build.version).try_get_matches_from(args);
    let arguments = match matches.and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            error.print()?;
            return Ok(exit);
        }
    };
    match arguments.command {
        Command::Run(run) => run::run(&run, build),
        Command::Config(ConfigCommand::Check { file, json }) => config_command::check(&file, json, out),
        Command::Config(ConfigCommand::ImportIos { file, profile, json, output }) => {
            ios::command(&file, profile.as_deref(), json, output.as_deref(), out)
        }
        Command::Config(ConfigCommand::Example) => {
            out.write_all(causeway_shared::config::example().as_bytes())?;
            Ok(Exit::Ok)
        }
        Command::Config(ConfigCommand::Manual) => {
            out.write_all(causeway_shared::config::manual().as_bytes())?;
            Ok(Exit::Ok)
        }
        Command::Show(show) => show::show(&show, out),
        Command::Clear(clear) => show::clear(&clear, out),
        Command::Debug(debug) => debug::debug(&debug, out),
        Command::Rekey(rekey) => show::rekey(&rekey, out),
        Command::Redirect(redirect) => show::redirect(&redirect, out),
        Command::Profile(ProfileCommand::Anyconnect { config, name, output, check, json }) => match check {
            Some(file) => profile::check(&file, config.as_deref(), json, out),
            None => {
                let config = config.unwrap_or_else(|| causeway_shared::config::DEFAULT_PATH.into());
                profile::generate(&config, name.as_deref(), output.as_deref(), out)
            }
        },
        Command::User(UserCommand::Hash { argon2 }) => user::hash(argon2, out),
        Command::Token(token) => token::token(&token, out),
        Command::Client(client) => vpn_client::client(&client, out),
        Command::Version => {
            writeln!(out, "{}", build.line())?;
            Ok(Exit::Ok)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "causeway", out);
            Ok(Exit::Ok)
        }
        Command::Launch(launch) => launch::launch(&launch),
    }
}

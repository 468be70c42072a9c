//! The configuration file (TOML): text in, a validated [`Config`] out, or a list of mistakes that name file, line, key and remedy.
//!
//! The way of a file: `reader` (sections) → `value` (typed keys, as `keys` declares them) → `validate` (what fits together).

mod keys;
mod mistake;
mod model;
mod phc;
mod proposal;
mod reader;
mod render;
mod schema;
mod sealed;
mod suggest;
#[cfg(test)]
mod tests;
mod validate;
mod value;

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

pub use keys::{MAX_PORTS, sections};
pub use mistake::{MAX_FINDINGS, Mistake, Mistakes};
pub use model::*;
pub use render::{example, manual};
pub use schema::{KeyDoc, Presence, SectionDoc};
pub use sealed::{SEALED_MARK, SHOWN_SECRET};
pub use validate::{API_SOCKET, DATAPLANE_SOCKET};

use mistake::Notes;

/// Where the operator's command and the daemons look for the file.
pub const DEFAULT_PATH: &str = "/etc/causeway/causeway.toml";

/// Largest configuration file in octets.
pub const MAX_FILE: u64 = 64 << 20;

/// A check of one text, with the reason if it is wrong.
pub type TextCheck<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// Opens a sealed value: of which key (`user.password_hash`), and the value. The reason if it cannot be opened.
pub type Opener<'a> = &'a dyn Fn(&str, &str) -> Result<Zeroizing<String>, String>;

/// Checks that need what this crate must not know, and whether to look at other files.
#[derive(Clone, Copy)]
pub struct Checks<'a> {
    /// Parses one IKE proposal; without it a grammar of the known names is used.
    pub ike_proposal: Option<TextCheck<'a>>,
    /// Parses a log filter.
    pub log_filter: Option<TextCheck<'a>>,
    /// Whether files that the configuration names are opened. Without it keys of `secret_file` are left empty.
    pub files: bool,
    /// Opens sealed secrets; without it, stand-ins of the right form hold, with which nobody logs in.
    pub open: Option<Opener<'a>>,
}

impl Default for Checks<'_> {
    fn default() -> Self {
        Checks { ike_proposal: None, log_filter: None, files: true, open: None }
    }
}

/// What a check of a file found.
#[derive(Debug)]
pub struct Checked {
    /// The configuration, or every mistake in it.
    pub config: Result<Config, Mistakes>,
    /// What the operator should know although the configuration can be used.
    pub warnings: Vec<Mistake>,
}

impl Config {
    /// Reads and validates the file, and the files that it names.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, Mistakes> {
        check(path.as_ref(), &Checks::default()).config
    }

    /// Reads and validates the file alone: for a process that may not read the private key (the data plane). Pre-shared keys
    /// from a `secret_file` are empty.
    pub fn load_without_files(path: impl AsRef<Path>) -> Result<Config, Mistakes> {
        check(path.as_ref(), &Checks { files: false, ..Checks::default() }).config
    }
}

/// Reads and validates the file at `path`.
pub fn check(path: &Path, checks: &Checks<'_>) -> Checked {
    let unreadable = |what: String, remedy: &str| Checked {
        config: Err(Mistakes(vec![Mistake {
            file: path.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            what,
            remedy: remedy.to_owned(),
        }])),
        warnings: Vec::new(),
    };
    // The text may hold pre-shared keys and password hashes.
    let mut text = Zeroizing::new(String::new());
    match std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text)) {
        Ok(read) if read as u64 > MAX_FILE => {
            unreadable(format!("is larger than {MAX_FILE} octets"), "name the right file")
        }
        Ok(_) => check_text(&text, path, checks),
        Err(error) => unreadable(
            format!("cannot be read: {error}"),
            match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "write one with `causeway config example`, or correct the path"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "run as a user that may read it (root, or the group `causeway`)"
                }
                std::io::ErrorKind::InvalidData => "save it as UTF-8 text",
                _ => "name a file that can be read",
            },
        ),
    }
}

/// Whether `proposal` is spelt as an IKE proposal; if not, what is wrong and the remedy.
pub fn check_ike_proposal(proposal: &str) -> Result<(), (String, String)> {
    proposal::check(proposal)
}

/// Validates a configuration text; `path` is for messages and as start of relative paths.
pub fn check_text(text: &str, path: &Path, checks: &Checks<'_>) -> Checked {
    let mut notes = Notes::new(path, text);
    let config = reader::read(text, checks, &mut notes)
        .and_then(|document| validate::validate(document, checks, &mut notes));
    notes.sort();
    let config = match config {
        Some(config) if notes.mistakes.is_empty() => Ok(config),
        _ => Err(Mistakes(notes.mistakes)),
    };
    Checked { config, warnings: notes.warnings }
}

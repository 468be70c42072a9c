//! `causeway config import-ios`: an IOS-XE configuration in, the same as a Causeway configuration out, with an explanation of
//! every line: what it became, why it has no equivalent, or that it was not understood. Nothing is dropped silently.

mod addresses;
mod convert;
mod draft;
mod explain;
mod grammar;
mod parse;
mod password;
#[cfg(test)]
mod tests;
mod words;

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use causeway_shared::config::{self, Checks, Mistakes};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use draft::Blank;
use explain::{Explained, Notes, Outcome};

/// Largest configuration that is read, octets.
const MAX_FILE: u64 = 16 << 20;

/// What an import gives.
#[derive(Debug, Serialize)]
pub(crate) struct Import {
    /// Whether there is a configuration that can be used once its blanks are filled in.
    pub ok: bool,
    /// The configuration (TOML); empty if something was refused.
    pub toml: String,
    /// What became of each line.
    pub lines: Vec<Explained>,
    /// What the operator must fill in or look at.
    pub blanks: Vec<Blank>,
    /// Why there is no configuration, as far as no single line is at fault.
    pub problems: Vec<String>,
}

/// Imports a configuration text; `profile` is the IKEv2 profile to import.
pub(crate) fn import(text: &str, profile: Option<&str>) -> Import {
    let mut notes = Notes::default();
    let ios = parse::parse(text, &mut notes);
    let mut problems = Vec::new();
    if text.lines().count() > parse::MAX_LINES {
        problems.push(format!("the file has more than {} lines", parse::MAX_LINES));
    }
    let draft = match convert::convert(&ios, profile, &mut notes) {
        Ok(draft) => draft,
        Err(problem) => {
            problems.push(problem);
            draft::Draft::default()
        }
    };
    let lines = notes.finish();
    let refused = lines.iter().any(|line| line.outcome == Outcome::Refused);
    if !refused && problems.is_empty() {
        let checks = Checks { files: false, ..Checks::default() };
        if let Err(Mistakes(found)) =
            config::check_text(&draft.filled(), Path::new("causeway.toml"), &checks).config
        {
            problems.extend(found.iter().map(|m| format!("{}: {}; {}", m.key, m.what, m.remedy)));
        }
    }
    let ok = !refused && problems.is_empty();
    let (toml, blanks) = if ok { (draft.toml, draft.blanks) } else { Default::default() };
    Import { ok, toml, lines, blanks, problems }
}

/// The command.
pub(crate) fn command(
    file: &Path,
    profile: Option<&str>,
    json: bool,
    output: Option<&Path>,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let text = read(file)?;
    let import = import(&text, profile);
    if let (Some(path), true) = (output, import.ok) {
        write_new(path, &import.toml)?;
    }
    if json {
        serde_json::to_writer_pretty(&mut *out, &import).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else if let Some(path) = output {
        explain_import(&import, "", out)?;
        if import.ok {
            writeln!(out, "\nwritten: {}; check it with `causeway config check`", path.display())?;
        }
    } else {
        // One text that is a configuration and tells how it came about.
        out.write_all(import.toml.as_bytes())?;
        if import.ok {
            writeln!(out)?;
        }
        explain_import(&import, if import.ok { "# " } else { "" }, out)?;
    }
    Ok(if import.ok { Exit::Ok } else { Exit::No })
}

fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |why: String| Failure::Input(format!("{}: {why}", file.display()));
    let mut octets = Zeroizing::new(Vec::new());
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_FILE.saturating_add(1)).read_to_end(&mut octets))
        .map_err(|error| failed(format!("cannot be read: {error}")))?;
    if octets.len() as u64 > MAX_FILE {
        return Err(failed(format!("is larger than {MAX_FILE} octets")));
    }
    match std::str::from_utf8(&octets) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(failed("is no UTF-8 text".into())),
    }
}

/// Writes a file that nobody else can read: there are hashes of passwords in it.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let next = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "; remove it, or name another",
            _ => "",
        };
        Failure::Input(format!("{} cannot be written: {error}{next}", path.display()))
    };
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn explain_import(import: &Import, mark: &str, out: &mut dyn Write) -> std::io::Result<()> {
    let counted = |outcome| import.lines.iter().filter(|line| line.outcome == outcome).count();
    for line in &import.lines {
        let keys = if line.keys.is_empty() { String::new() } else { format!(" {}", line.keys.join(", ")) };
        writeln!(out, "{mark}line {}: {}", line.line, line.text)?;
        writeln!(out, "{mark}    {}{keys}: {}", line.outcome.words(), line.why)?;
    }
    for blank in &import.blanks {
        let word = if blank.prefilled { "look at" } else { "fill in" };
        writeln!(out, "{mark}{word} {}: {}", blank.key, blank.what)?;
    }
    for problem in &import.problems {
        writeln!(out, "{mark}problem: {problem}")?;
    }
    write!(out, "{mark}{} lines", import.lines.len())?;
    let outcomes =
        [Outcome::Became, Outcome::Holds, Outcome::NoEquivalent, Outcome::NotUnderstood, Outcome::Refused];
    for outcome in outcomes.into_iter().filter(|outcome| counted(*outcome) > 0) {
        write!(out, ", {} {}", counted(outcome), outcome.words())?;
    }
    writeln!(out)
}

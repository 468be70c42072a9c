//! `causeway profile anyconnect`: the gateway's configuration in, a profile for Cisco's client out; or a profile in, and what in
//! it keeps clients from coming back out.

mod check;
#[cfg(test)]
mod tests;
mod write;
mod xml;

use std::io::{Read, Write};
use std::path::Path;

use causeway_shared::config::Config;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use check::{Finding, Severity};

/// Largest profile that is read, octets.
const MAX_FILE: u64 = 1 << 20;
/// What no profile can say.
const POLICY: &str = "every client needs <BypassDownloader>true</BypassDownloader> in AnyConnectLocalPolicy.xml: the gateway \
has no web server to download from";

/// The answer for programs.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    ok: bool,
    findings: &'a [Finding],
    also: &'static str,
}

/// Writes the profile of a configuration.
pub(crate) fn generate(
    config: &Path,
    name: Option<&str>,
    output: Option<&Path>,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let config = Config::load_without_files(config).map_err(Failure::Config)?;
    let text = write::profile(&config, name).map_err(Failure::Refused)?;
    match output {
        None => out.write_all(text.as_bytes())?,
        Some(path) => {
            let written = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
            written.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
                let next = match error.kind() {
                    std::io::ErrorKind::AlreadyExists => "; remove it, or name another",
                    _ => "",
                };
                Failure::Input(format!("{} cannot be written: {error}{next}", path.display()))
            })?;
            writeln!(out, "written: {}; {POLICY}", path.display())?;
        }
    }
    Ok(Exit::Ok)
}

/// Says what in a profile keeps clients from coming back; with a configuration, also where the two disagree.
pub(crate) fn check(
    file: &Path,
    config: Option<&Path>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let config = config.map(Config::load_without_files).transpose().map_err(Failure::Config)?;
    let findings = findings(&read(file)?, config.as_ref());
    let ok = sound(&findings);
    if json {
        let report = Report { file, ok, findings: &findings, also: POLICY };
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        for finding in &findings {
            let word = if finding.severity == Severity::Error { "error" } else { "warning" };
            let line = if finding.line > 0 { format!(":{}", finding.line) } else { String::new() };
            writeln!(out, "{word}: {}{line}\n  {}\n  -> {}", file.display(), finding.what, finding.remedy)?;
        }
        let verdict = if ok { "clients can come back" } else { "clients cannot come back" };
        writeln!(out, "{}: {verdict}; {POLICY}", file.display())?;
    }
    Ok(if ok { Exit::Ok } else { Exit::No })
}

fn findings(text: &str, config: Option<&Config>) -> Vec<Finding> {
    match xml::parse(text) {
        Ok(root) => check::check(&root, config),
        Err(error) => vec![Finding {
            line: error.line,
            severity: Severity::Error,
            what: error.what.to_owned(),
            remedy: "correct the file, or make a new one with `causeway profile anyconnect`".into(),
        }],
    }
}

/// Whether a profile has no error.
pub(crate) fn understands(text: &str) -> bool {
    sound(&findings(text, None))
}

fn sound(findings: &[Finding]) -> bool {
    !findings.iter().any(|finding| finding.severity == Severity::Error)
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::Input(format!("{}: {why}", file.display()));
    let mut text = String::new();
    let read = std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_FILE.saturating_add(1)).read_to_string(&mut text))
        .map_err(|error| failed(format!("cannot be read: {error}")))?;
    if read as u64 > MAX_FILE {
        return Err(failed(format!("is larger than {MAX_FILE} octets")));
    }
    Ok(text)
}

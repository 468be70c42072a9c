//! `causeway config check`: a file in, a table (or JSON) of its mistakes and warnings out.

use std::io::Write;
use std::path::Path;

use causeway_shared::config::{self, Checked, Checks, Mistake, Mistakes};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure};

/// The answer for programs.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    ok: bool,
    mistakes: &'a [Mistake],
    warnings: &'a [Mistake],
}

/// Checks the file and prints what is wrong.
pub(crate) fn check(file: &Path, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Checked { config, warnings } = load(file);
    let mistakes = config.as_ref().err().map_or(&[][..], |Mistakes(list)| list);
    if json {
        let report = Report { file, ok: config.is_ok(), mistakes, warnings: &warnings };
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        table(mistakes, &warnings, out)?;
        match (mistakes.len(), warnings.len()) {
            (0, 0) => writeln!(out, "{}: good", file.display())?,
            (0, w) => writeln!(out, "{}: good, {}", file.display(), count(w, "warning"))?,
            (m, 0) => writeln!(out, "{}: {}", file.display(), count(m, "mistake"))?,
            (m, w) => writeln!(out, "{}: {}, {}", file.display(), count(m, "mistake"), count(w, "warning"))?,
        }
    }
    Ok(if config.is_ok() { Exit::Ok } else { Exit::No })
}

/// Checks a file with everything that this program knows.
pub(crate) fn load(file: &Path) -> Checked {
    let filter = |text: &str| EnvFilter::try_new(text).map(|_| ()).map_err(|e| e.to_string());
    config::check(file, &Checks { log_filter: Some(&filter), ..Checks::default() })
}

fn table(mistakes: &[Mistake], warnings: &[Mistake], out: &mut dyn Write) -> std::io::Result<()> {
    for (word, list) in [("error", mistakes), ("warning", warnings)] {
        for mistake in list {
            let place = match mistake.line {
                0 => mistake.file.display().to_string(),
                line => format!("{}:{line}:{}", mistake.file.display(), mistake.column),
            };
            writeln!(out, "{word}: {place}")?;
            let key = if mistake.key.is_empty() { String::new() } else { format!("{}: ", mistake.key) };
            writeln!(out, "  {key}{}", mistake.what)?;
            if !mistake.remedy.is_empty() {
                writeln!(out, "  -> {}", mistake.remedy)?;
            }
        }
    }
    Ok(())
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

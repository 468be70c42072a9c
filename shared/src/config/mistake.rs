//! What is wrong with a configuration: file, line, column, key, what, remedy. Enters: findings with byte offsets into the
//! text. Leaves: [`Mistakes`], all of them at once and in the order of the file.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Most findings that are kept; a file with more has one cause, and the first ones show it.
pub const MAX_FINDINGS: usize = 200;

/// One finding: where it is, what is wrong and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Mistake {
    /// The configuration file.
    pub file: PathBuf,
    /// Line, counted from 1; 0 when the file could not be read.
    pub line: usize,
    /// Column in characters, counted from 1; 0 when the file could not be read.
    pub column: usize,
    /// Key path as in `port[2].mtu`, entries counted from 1; empty when no key is at fault.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Every mistake of one file, in the order of its lines; never empty. The operator is at fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Collects findings about one text while it is read and checked.
pub(super) struct Notes<'a> {
    file: &'a Path,
    text: &'a str,
    pub mistakes: Vec<Mistake>,
    pub warnings: Vec<Mistake>,
}

impl<'a> Notes<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Notes<'a> {
        Notes { file, text, mistakes: Vec::new(), warnings: Vec::new() }
    }

    /// The file whose text this is about.
    pub fn file(&self) -> &'a Path {
        self.file
    }

    /// The configuration cannot be used.
    pub fn mistake(&mut self, at: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        let mistake = self.finding(at, what.into(), remedy.into());
        push_bounded(&mut self.mistakes, mistake);
    }

    /// The configuration can be used, but the operator should know.
    pub fn warning(&mut self, at: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        let warning = self.finding(at, what.into(), remedy.into());
        push_bounded(&mut self.warnings, warning);
    }

    /// Findings in the order of the file.
    pub fn sort(&mut self) {
        self.mistakes.sort_by_key(|m| (m.line, m.column));
        self.warnings.sort_by_key(|m| (m.line, m.column));
    }

    fn finding(&self, at: &Place, what: String, remedy: String) -> Mistake {
        let (line, column) = line_and_column(self.text, at.span.start);
        Mistake { file: self.file.to_owned(), line, column, key: at.key.clone(), what, remedy }
    }
}

/// Where something stands: bytes of the text, and the key path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    pub span: Range<usize>,
    pub key: String,
}

impl Place {
    /// The same spot, but about the key `name` below this one.
    pub fn below(&self, name: &str, span: Range<usize>) -> Place {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Place { span, key }
    }
}

fn push_bounded(list: &mut Vec<Mistake>, mistake: Mistake) {
    if list.len() < MAX_FINDINGS {
        list.push(mistake);
    }
}

/// Line and column (in characters), both counted from 1.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let before = text.get(..end).unwrap_or_default();
    let line = before.bytes().filter(|b| *b == b'\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let text = "a = 1\nü = 2\n";
        for (offset, expected) in [(0, (1, 1)), (4, (1, 5)), (6, (2, 1)), (8, (2, 2)), (99, (3, 1))] {
            assert_eq!(line_and_column(text, offset), expected, "offset {offset}");
        }
    }

    #[test]
    fn findings_are_bounded_and_sorted() {
        let mut notes = Notes::new(Path::new("x.toml"), "a\nb\n");
        notes.mistake(&Place { span: 2..3, key: "b".into() }, "late", "");
        for _ in 0..MAX_FINDINGS {
            notes.mistake(&Place { span: 0..1, key: "a".into() }, "early", "fix it");
        }
        notes.sort();
        assert_eq!(notes.mistakes.len(), MAX_FINDINGS);
        assert_eq!(notes.mistakes[0].to_string(), "x.toml:1:1: a: early; fix it");
        assert_eq!(notes.mistakes[MAX_FINDINGS - 1].to_string(), "x.toml:2:1: b: late");
    }
}

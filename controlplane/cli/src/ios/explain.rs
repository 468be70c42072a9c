//! What became of each line. Enters: findings by line number. Leaves: a list that has every line of the file that says
//! something, in the file's order, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;

/// What became of one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Explained {
    /// Counted from 1.
    pub line: usize,
    /// The line without its secrets.
    pub text: String,
    /// In one word.
    pub outcome: Outcome,
    /// Keys of the new configuration that it became.
    pub keys: Vec<String>,
    /// Why, or how.
    pub why: String,
}

/// What became of a line, in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// Keys of the new configuration.
    Became,
    /// Nothing needs to be written: it is so anyway.
    Holds,
    /// There is nothing like it.
    NoEquivalent,
    /// Nobody told this program what it means.
    NotUnderstood,
    /// The import stops because of it.
    Refused,
}

impl Outcome {
    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Outcome::Became => "became",
            Outcome::Holds => "holds anyway",
            Outcome::NoEquivalent => "no equivalent",
            Outcome::NotUnderstood => "not understood",
            Outcome::Refused => "refused",
        }
    }
}

/// Explanations while they are gathered.
#[derive(Debug, Default)]
pub(super) struct Notes {
    lines: BTreeMap<usize, Explained>,
}

impl Notes {
    /// Says what became of a line, in place of what was said before; a refusal stays.
    pub fn set(&mut self, line: usize, text: Option<&str>, outcome: Outcome, why: impl Into<String>) {
        let entry = self.lines.entry(line).or_insert_with(|| Explained {
            line,
            text: String::new(),
            outcome,
            keys: Vec::new(),
            why: String::new(),
        });
        if let Some(text) = text {
            entry.text = text.to_owned();
        }
        if entry.outcome != Outcome::Refused || outcome == Outcome::Refused {
            entry.outcome = outcome;
            entry.why = why.into();
        }
    }

    /// The line became these keys.
    pub fn became(&mut self, line: usize, keys: &[&str], why: impl Into<String>) {
        self.set(line, None, Outcome::Became, why);
        if let Some(entry) = self.lines.get_mut(&line) {
            for key in keys {
                if !entry.keys.iter().any(|known| known == key) {
                    entry.keys.push((*key).to_owned());
                }
            }
        }
    }

    pub fn holds(&mut self, line: usize, why: impl Into<String>) {
        self.set(line, None, Outcome::Holds, why);
    }

    pub fn lacks(&mut self, line: usize, why: impl Into<String>) {
        self.set(line, None, Outcome::NoEquivalent, why);
    }

    pub fn refuse(&mut self, line: usize, why: impl Into<String>) {
        self.set(line, None, Outcome::Refused, why);
    }

    /// Every line, in order.
    pub fn finish(self) -> Vec<Explained> {
        self.lines.into_values().collect()
    }
}

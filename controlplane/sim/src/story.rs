//! What happened, line by line, for whoever has to understand a seed.
//!
//! Enters: virtual time and words. Leaves: the lines, and a digest that two runs of one seed share.

use std::fmt::Write as _;

/// The record of one run.
#[derive(Default)]
pub struct Story {
    lines: Vec<String>,
    echo: bool,
}

impl Story {
    /// An empty record. With `echo` every line is also printed at once.
    pub fn new(echo: bool) -> Story {
        Story { lines: vec![], echo }
    }

    /// Adds a line.
    pub fn tell(&mut self, now_ms: u64, what: std::fmt::Arguments<'_>) {
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _ = write!(line, "[{:>4}.{:03}] {what}", now_ms / 1000, now_ms % 1000);
        if self.echo {
            println!("{line}");
        }
        self.lines.push(line);
    }

    /// All lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

//! The new configuration while it is written. Enters: sections, keys and blanks. Leaves: TOML text in which each blank is a
//! comment that becomes active when its `#` is removed, and the list of blanks.

use std::fmt::Write;

use serde::Serialize;

/// Stands behind a blank's line.
const MARK: &str = " # fill in";

/// Something that the IOS configuration does not say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Blank {
    /// Key of the new configuration.
    pub key: String,
    /// What belongs there.
    pub what: String,
    /// Whether a value stands there already that must be looked at.
    pub prefilled: bool,
}

/// TOML text and its blanks.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub toml: String,
    pub blanks: Vec<Blank>,
    section: String,
}

impl Draft {
    /// Opens a section, as in `[auth]` or `[[pool]]`.
    pub fn section(&mut self, header: &str) {
        if !self.toml.is_empty() {
            self.toml.push('\n');
        }
        let _ = writeln!(self.toml, "{header}");
        self.section = header.trim_matches(['[', ']']).to_owned();
    }

    /// A key with a value that is TOML already.
    pub fn raw(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.toml, "{key} = {value}");
    }

    /// A key with a text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.raw(key, quoted(value));
    }

    /// A key with a list of texts, one a line if there are several.
    pub fn list(&mut self, key: &str, values: &[String]) {
        match values {
            [] => self.raw(key, "[]"),
            [one] => self.raw(key, format!("[{}]", quoted(one))),
            several => {
                let lines: String = several.iter().map(|value| format!("    {},\n", quoted(value))).collect();
                self.raw(key, format!("[\n{lines}]"));
            }
        }
    }

    /// A key that the operator must fill in; `example` is TOML.
    pub fn blank(&mut self, key: &str, example: &str, what: &str) {
        let _ = writeln!(self.toml, "#{key} = {example}{MARK}");
        self.tell(key, what, false);
    }

    /// A key whose value was chosen here and must be looked at.
    pub fn prefilled(&mut self, key: &str, value: &str, what: &str) {
        self.text(key, value);
        self.tell(key, what, true);
    }

    fn tell(&mut self, key: &str, what: &str, prefilled: bool) {
        self.blanks.push(Blank { key: format!("{}.{key}", self.section), what: what.to_owned(), prefilled });
    }

    /// The text with each blank's example in its place: to look for mistakes that filling in would not end.
    pub fn filled(&self) -> String {
        let fill = |line: &str| match line.strip_prefix('#').and_then(|line| line.strip_suffix(MARK)) {
            Some(active) => format!("{active}\n"),
            None => format!("{line}\n"),
        };
        self.toml.lines().map(fill).collect()
    }
}

/// A TOML basic string; JSON's escapes are a subset of TOML's, and DEL is the one character that JSON lets stand.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_comments_until_they_are_filled() {
        let mut draft = Draft::default();
        draft.section("[[port]]");
        draft.text("name", "a\"b\n\u{7f}");
        draft.blank("device", "\"net_tap0\"", "the device");
        draft.list("x", &["1".into(), "2".into()]);
        let expected = "[[port]]\nname = \"a\\\"b\\n\\u007f\"\n#device = \"net_tap0\" # fill in\nx = [\n    \"1\",\n    \"2\",\n]\n";
        assert_eq!(draft.toml, expected);
        assert!(draft.filled().contains("\ndevice = \"net_tap0\"\n"));
        assert_eq!(draft.blanks[0].key, "port.device");
    }
}

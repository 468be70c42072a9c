//! The declarations as text: the example file and the reference in the manual. Enters: [`sections`]. Leaves: TOML and Markdown.

use std::fmt::Write;

use super::keys::sections;
use super::schema::{KeyDoc, Presence, SectionDoc};
use crate::api::Effect;

/// A commented configuration with every key: required ones with an example, the others as comments with their default.
/// Lines `#key = …` and `#[section]` (no space after `#`) become active when the `#` is removed.
pub fn example() -> String {
    let mut out = String::from(
        "# Causeway's configuration (TOML). Check it with `causeway config check FILE`.\n\
         # A line that starts with `#` and no space is a default or an example: remove the `#` to change it.\n",
    );
    for section in sections() {
        let entries = section.keys.iter().map(|k| k.examples.len()).max().unwrap_or(0).max(1);
        for entry in 0..if section.repeated.is_some() { entries } else { 1 } {
            out.push('\n');
            if entry == 0 {
                comment(&mut out, section.doc);
            }
            let mark = if section.commented { "#" } else { "" };
            let _ = writeln!(out, "{mark}{}", section.header());
            for key in section.keys {
                example_key(&mut out, &section, key, entry);
            }
        }
    }
    out
}

fn example_key(out: &mut String, section: &SectionDoc, key: &KeyDoc, entry: usize) {
    if entry == 0 {
        comment(out, key.doc);
        let _ = writeln!(out, "# {}.", facts(key, "").join("; "));
    }
    let (active, value) = match (key.examples.get(entry), key.presence, key.sketch) {
        (Some(example), _, _) => (true, *example),
        (None, Presence::Default(value), _) | (None, _, Some(value)) => (false, value),
        // Later entries of a section show only what makes them different.
        (None, _, None) => return,
    };
    for line in format!("{} = {value}", key.name).lines() {
        // Without the indentation: a space after `#` marks a comment.
        let _ = if active && !section.commented {
            writeln!(out, "{line}")
        } else {
            writeln!(out, "#{}", line.trim())
        };
    }
}

fn comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(out, "# {line}");
    }
}

/// The reference of every section and key, in Markdown: `docs/configuration.md`.
pub fn manual() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         One TOML file, by default `/etc/causeway/causeway.toml`. `causeway config example` prints a commented one,\n\
         `causeway config check FILE` names every mistake with file, line, key and remedy. This page is made from the same\n\
         declarations as the parser (`shared/src/config/keys.rs`); `causeway config manual` prints it and a test compares it.\n",
    );
    for section in sections() {
        let _ = write!(out, "\n## `{}`\n\n{}\n", section.header(), section.doc.join("\n"));
        if let Some(most) = section.repeated {
            let _ = writeln!(out, "May stand up to {most} times.");
        }
        out.push('\n');
        for key in section.keys {
            let _ = writeln!(out, "- **`{}`**: {}", key.name, facts(key, "`").join("; "));
            let secret =
                if key.secret.is_some() { "Secret: never shown, sealed where it is kept. " } else { "" };
            let _ = writeln!(out, "  *{secret}A change {}.*", change(section.effect_of(key)));
            for line in key.doc {
                let _ = writeln!(out, "  {line}");
            }
            if let Some(example) = key.examples.first() {
                let _ = writeln!(out, "  Example: `{} = {example}`", key.name);
            }
        }
    }
    out
}

fn change(effect: Effect) -> &'static str {
    match effect {
        Effect::Live | Effect::NewSessions => effect.words(),
        Effect::ControlPlaneRestart => "wants a restart of the control plane",
        Effect::DataPlaneRestart => "wants a restart of the data plane",
    }
}

/// Type, unit, range and default in words; `quote` stands around values.
fn facts(key: &KeyDoc, quote: &str) -> Vec<String> {
    let mut facts = vec![(key.type_name)()];
    if !key.unit.is_empty() {
        facts.push(key.unit.to_owned());
    }
    match key.range {
        Some((low, i64::MAX)) => facts.push(format!("{low} or more")),
        Some((low, high)) => facts.push(format!("{low} to {high}")),
        None => {}
    }
    if let Some(most) = key.most {
        facts.push(format!("at most {most}"));
    }
    facts.push(match key.presence {
        Presence::Required => "required".to_owned(),
        Presence::Default(value) => format!("default {quote}{}{quote}", one_line(value)),
        Presence::Optional(otherwise) => format!("optional, {otherwise}"),
    });
    facts
}

/// A TOML value without its line breaks.
fn one_line(value: &str) -> String {
    let joined: String = value.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    joined.replace("[ ", "[").replace(", ]", "]")
}

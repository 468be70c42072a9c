//! Secrets that are sealed in the file: `secret = "sealed:v1:…"`. Enters: the document as it was parsed. Leaves: the same with each
//! sealed value opened, or with a stand-in where nobody can open it (the data plane, `causeway config check`).

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Checks;
use super::keys::sections;
use super::mistake::{Notes, Place};
use super::schema::{KeyDoc, SectionDoc};

/// How a sealed value begins.
pub const SEALED_MARK: &str = "sealed:v1:";
/// What is shown in place of a secret; written back, it leaves the secret as it is.
pub const SHOWN_SECRET: &str = "***";

/// Opens every sealed value, in place.
pub(super) fn open_all(root: &mut DeTable<'_>, checks: &Checks<'_>, notes: &mut Notes<'_>) {
    for section in sections().filter(|section| section.keys.iter().any(|key| key.secret.is_some())) {
        let Some(value) = find(root, section.path) else { continue };
        match value.get_mut() {
            DeValue::Array(entries) => {
                for (entry, number) in entries.iter_mut().zip(1usize..) {
                    open_entry(entry, &section, &format!("{}[{number}]", section.path), checks, notes);
                }
            }
            _ => open_entry(value, &section, section.path, checks, notes),
        }
    }
}

fn open_entry(
    entry: &mut Spanned<DeValue<'_>>,
    section: &SectionDoc,
    path: &str,
    checks: &Checks<'_>,
    notes: &mut Notes<'_>,
) {
    let DeValue::Table(table) = entry.get_mut() else { return };
    for key in section.keys {
        let Some(stand_in) = key.secret else { continue };
        let Some(value) = table.get_mut(key.name) else { continue };
        let span = value.span();
        let DeValue::String(text) = value.get_mut() else { continue };
        let opened = match (text.starts_with(SEALED_MARK), checks.open) {
            (false, _) if text == SHOWN_SECRET => Err(NOT_KEPT.to_owned()),
            (false, _) => continue,
            (true, None) => Ok(stand_in.to_owned()),
            (true, Some(open)) => open(&key_of(section, key), text).map(|opened| opened.as_str().to_owned()),
        };
        let place = Place { span, key: format!("{path}.{}", key.name) };
        match opened {
            Ok(opened) => *text = Cow::Owned(opened),
            Err(what) => {
                notes.mistake(&place, what, "write the secret itself; it is sealed when it is applied");
                // One mistake is told, not another one about its form.
                *text = Cow::Owned(stand_in.to_owned());
            }
        }
    }
}

const NOT_KEPT: &str = "stands for a secret that is kept, and there is none";

/// A key without numbers, to which its sealed value is bound.
fn key_of(section: &SectionDoc, key: &KeyDoc) -> String {
    format!("{}.{}", section.path, key.name)
}

fn find<'d, 'i>(root: &'d mut DeTable<'i>, path: &str) -> Option<&'d mut Spanned<DeValue<'i>>> {
    match path.split_once('.') {
        None => root.get_mut(path),
        Some((first, rest)) => match root.get_mut(first)?.get_mut() {
            DeValue::Table(table) => find(table, rest),
            _ => None,
        },
    }
}

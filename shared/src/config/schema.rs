//! How a key is declared: once, with documentation, type, unit, range, default and example. The `section!` macro makes of one
//! declaration the raw struct, its reader and its entry in [`SectionDoc`]; example file and manual are printed from the latter.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Notes, Place};
use super::suggest::nearest;
use super::value::{Fault, FromToml};
use crate::api::Effect;

/// Stands in for a sealed text.
pub(super) const SEALED: &str = "sealed";
/// Stands in for a sealed NT hash.
pub(super) const SEALED_NT_HASH: &str = "00000000000000000000000000000000";
/// Stands in for a sealed argon2 hash.
pub(super) const SEALED_PASSWORD_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA";

/// One key as the operator sees it.
#[derive(Clone, Copy)]
pub struct KeyDoc {
    /// Name within its section.
    pub name: &'static str,
    /// Type in words, from the Rust type that is read.
    pub type_name: fn() -> String,
    /// Documentation, one entry a line.
    pub doc: &'static [&'static str],
    /// Whether it may be left out, and what then holds.
    pub presence: Presence,
    /// Unit of a number; empty if it has none.
    pub unit: &'static str,
    /// Allowed values of a number (or of each number in a list).
    pub range: Option<(i64, i64)>,
    /// Most elements of a list.
    pub most: Option<usize>,
    /// TOML values for the example file, one for each entry of a repeated section.
    pub examples: &'static [&'static str],
    /// TOML value that the example file shows as a comment: for an optional key that most files do not need.
    pub sketch: Option<&'static str>,
    /// What has to happen before a change counts; without it, what the section says.
    pub effect: Option<Effect>,
    /// Whether it is a secret: never shown, sealed at rest. The text stands in for a sealed value that cannot be opened.
    pub secret: Option<&'static str>,
}

/// Whether a key may be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It must be there.
    Required,
    /// This TOML value holds without it.
    Default(&'static str),
    /// Without it something holds that is not a value of the key: this, in words.
    Optional(&'static str),
}

impl KeyDoc {
    pub(super) const fn new(
        name: &'static str,
        type_name: fn() -> String,
        doc: &'static [&'static str],
    ) -> KeyDoc {
        KeyDoc {
            name,
            type_name,
            doc,
            presence: Presence::Required,
            unit: "",
            range: None,
            most: None,
            examples: &[],
            sketch: None,
            effect: None,
            secret: None,
        }
    }

    pub(super) const fn effect(mut self, effect: Effect) -> KeyDoc {
        self.effect = Some(effect);
        self
    }

    pub(super) const fn secret(mut self, stand_in: &'static str) -> KeyDoc {
        self.secret = Some(stand_in);
        self
    }

    pub(super) const fn required(self) -> KeyDoc {
        self
    }

    pub(super) const fn default(mut self, toml: &'static str) -> KeyDoc {
        self.presence = Presence::Default(toml);
        self
    }

    pub(super) const fn optional(mut self, otherwise: &'static str) -> KeyDoc {
        self.presence = Presence::Optional(otherwise);
        self
    }

    pub(super) const fn unit(mut self, unit: &'static str) -> KeyDoc {
        self.unit = unit;
        self
    }

    pub(super) const fn range(mut self, low: i64, high: i64) -> KeyDoc {
        self.range = Some((low, high));
        self
    }

    pub(super) const fn most(mut self, elements: usize) -> KeyDoc {
        self.most = Some(elements);
        self
    }

    pub(super) const fn examples(mut self, toml: &'static [&'static str]) -> KeyDoc {
        self.examples = toml;
        self
    }

    pub(super) const fn sketch(mut self, toml: &'static str) -> KeyDoc {
        self.sketch = Some(toml);
        self
    }
}

/// One `[section]` or `[[section]]` as the operator sees it.
#[derive(Clone, Copy)]
pub struct SectionDoc {
    /// Path, e.g. `auth.psk`.
    pub path: &'static str,
    /// Documentation, one entry a line.
    pub doc: &'static [&'static str],
    /// Its keys, in the order of the manual.
    pub keys: &'static [KeyDoc],
    /// `[[section]]`: may stand many times; this many at most.
    pub repeated: Option<usize>,
    /// Whether the example file shows it as a comment only (it would open a door if it were copied unread).
    pub commented: bool,
    /// What has to happen before a change of its keys counts.
    pub effect: Effect,
    /// The key that tells the entries of a repeated section apart.
    pub identity: Option<&'static str>,
}

impl SectionDoc {
    pub(super) const fn new(
        path: &'static str,
        doc: &'static [&'static str],
        keys: &'static [KeyDoc],
    ) -> SectionDoc {
        // Who forgets to say what a change does has said the worst.
        let effect = Effect::DataPlaneRestart;
        SectionDoc { path, doc, keys, repeated: None, commented: false, effect, identity: None }
    }

    pub(super) const fn effect(mut self, effect: Effect) -> SectionDoc {
        self.effect = effect;
        self
    }

    pub(super) const fn identity(mut self, key: &'static str) -> SectionDoc {
        self.identity = Some(key);
        self
    }

    /// What has to happen before a change of `key` counts.
    pub fn effect_of(&self, key: &KeyDoc) -> Effect {
        key.effect.unwrap_or(self.effect)
    }

    pub(super) const fn table(self) -> SectionDoc {
        self
    }

    pub(super) const fn repeated(mut self, at_most: usize) -> SectionDoc {
        self.repeated = Some(at_most);
        self
    }

    pub(super) const fn commented(mut self) -> SectionDoc {
        self.commented = true;
        self
    }

    /// The header line that opens the section.
    pub fn header(&self) -> String {
        if self.repeated.is_some() { format!("[[{}]]", self.path) } else { format!("[{}]", self.path) }
    }
}

/// A section that can be read; made by `section!`.
pub(super) trait Section: Sized {
    /// What the operator is told about it.
    const DOC: SectionDoc;
    /// Reads every key; what is wrong goes to `notes`, and the key is then `None`.
    fn read(table: &DeTable<'_>, place: Place, notes: &mut Notes<'_>) -> Self;
}

/// A value with the place it came from (the section's header if the default holds).
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Declares one section: see `keys.rs`.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])+
        $raw:ident = $path:literal $(.$section_attr:ident($($section_arg:expr),*))+ {
            $(
                $(#[doc = $key_doc:literal])+
                $key:ident: $ty:ty = $($attr:ident($($arg:expr),* $(,)?)).+;
            )+
        }
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Clone, Debug)]
        pub(in crate::config) struct $raw {
            /// Where the section stands; not every section's checks ask for it.
            #[allow(dead_code)]
            pub place: $crate::config::mistake::Place,
            $(
                $(#[doc = $key_doc])+
                pub $key: Option<$crate::config::schema::At<$ty>>,
            )+
        }

        impl $crate::config::schema::Section for $raw {
            const DOC: $crate::config::schema::SectionDoc = $crate::config::schema::SectionDoc::new(
                $path,
                &[$($section_doc.trim_ascii()),+],
                &[$(
                    $crate::config::schema::KeyDoc::new(
                        stringify!($key),
                        <$ty as $crate::config::value::FromToml>::type_name,
                        &[$($key_doc.trim_ascii()),+],
                    )$(.$attr($($arg),*))+,
                )+],
            )$(.$section_attr($($section_arg),*))+;

            fn read(
                table: &toml::de::DeTable<'_>,
                place: $crate::config::mistake::Place,
                notes: &mut $crate::config::mistake::Notes<'_>,
            ) -> Self {
                $crate::config::schema::refuse_unknown_keys(&Self::DOC, table, &place, notes);
                let read = $raw {
                    $($key: $crate::config::schema::read_key(&Self::DOC, stringify!($key), table, &place, notes),)+
                    place,
                };
                read
            }
        }
    };
}
pub(super) use section;

/// Reads one declared key of a section, or its default.
pub(super) fn read_key<T: FromToml>(
    section: &SectionDoc,
    name: &str,
    table: &DeTable<'_>,
    place: &Place,
    notes: &mut Notes<'_>,
) -> Option<At<T>> {
    let key = section.keys.iter().find(|k| k.name == name)?;
    match table.get(name) {
        Some(value) => {
            let place = place.below(name, value.span());
            let value = read_value(key, value, &place, notes)?;
            Some(At { value, place })
        }
        None => {
            let place = place.below(name, place.span.clone());
            let value = match key.presence {
                Presence::Default(text) => read_default(key, text, &place, notes)?,
                Presence::Optional(_) => T::absent()?,
                Presence::Required => {
                    let example = key.examples.first().copied().unwrap_or("…");
                    notes.mistake(
                        &place,
                        "is missing",
                        format!("add it under {}, as in `{name} = {example}`", section.header()),
                    );
                    return None;
                }
            };
            Some(At { value, place })
        }
    }
}

fn read_value<T: FromToml>(
    key: &KeyDoc,
    value: &Spanned<DeValue<'_>>,
    place: &Place,
    notes: &mut Notes<'_>,
) -> Option<T> {
    let mut faults: Vec<Fault> = Vec::new();
    let read = T::from_toml(value, key, &mut faults);
    for Fault { span, what, remedy } in faults {
        notes.mistake(&Place { span, key: place.key.clone() }, what, remedy);
    }
    read
}

fn read_default<T: FromToml>(key: &KeyDoc, text: &str, place: &Place, notes: &mut Notes<'_>) -> Option<T> {
    let parsed = DeValue::parse(text).ok()?;
    let parsed = Spanned::new(place.span.clone(), parsed.into_inner());
    read_value(key, &parsed, place, notes)
}

/// Keys that nobody declared are mistakes: a misspelt key must not be ignored.
pub(super) fn refuse_unknown_keys(
    section: &SectionDoc,
    table: &DeTable<'_>,
    place: &Place,
    notes: &mut Notes<'_>,
) {
    let children: Vec<&str> = super::keys::sections()
        .filter_map(|s| s.path.strip_prefix(section.path)?.strip_prefix('.'))
        .collect();
    let known = || section.keys.iter().map(|k| k.name).chain(children.iter().copied());
    for (name, _) in table.iter() {
        let word: &str = name.get_ref();
        if known().any(|k| k == word) {
            continue;
        }
        refuse_key(word, name.span(), known(), &section.header(), place, notes);
    }
}

/// Says that `word` is no key of `header`, and which one may have been meant.
pub(super) fn refuse_key<'a>(
    word: &str,
    span: Range<usize>,
    known: impl Iterator<Item = &'a str> + Clone,
    header: &str,
    place: &Place,
    notes: &mut Notes<'_>,
) {
    let remedy = match (word, nearest(word, known.clone())) {
        ("password", _) => {
            "passwords are kept as hashes: `causeway user hash` prints the line `password_nt_hash = …`"
                .to_owned()
        }
        (_, Some(meant)) => format!("did you mean `{meant}`?"),
        (_, None) => format!("{header} has: {}", known.collect::<Vec<_>>().join(", ")),
    };
    notes.mistake(&place.below(word, span), "unknown key", remedy);
}

//! The document as a whole: TOML text in, raw sections with their places out. Syntax errors, unknown sections and sections of
//! the wrong shape are found here; what a key may hold is in `value.rs`, what fits together in `validate.rs`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{
    RawAaa, RawAnyconnect, RawAuth, RawCisco, RawDataplane, RawDynamic, RawEap, RawEsp, RawGateway, RawGroup,
    RawIke, RawLockout, RawLog, RawManagement, RawManagementClient, RawPool, RawPort, RawPpk, RawPsk,
    RawRadius, RawRadiusServer, RawReconnect, RawRoute, RawStore, RawUser, sections,
};
use super::mistake::{Notes, Place};
use super::schema::{Section, refuse_key};
use super::{Checks, sealed};

/// Every section as it was written; keys that could not be read are `None`.
pub(super) struct Document {
    pub gateway: RawGateway,
    pub dataplane: RawDataplane,
    pub ports: Vec<RawPort>,
    pub routes: Vec<RawRoute>,
    pub ike: RawIke,
    pub esp: RawEsp,
    pub auth: RawAuth,
    pub psks: Vec<RawPsk>,
    pub ppks: Vec<RawPpk>,
    pub eap: RawEap,
    pub anyconnect: RawAnyconnect,
    pub reconnect: RawReconnect,
    pub cisco: RawCisco,
    pub pools: Vec<RawPool>,
    pub groups: Vec<RawGroup>,
    pub users: Vec<RawUser>,
    pub aaa: RawAaa,
    pub lockout: RawLockout,
    pub radius: RawRadius,
    pub radius_servers: Vec<RawRadiusServer>,
    pub dynamic: RawDynamic,
    pub store: RawStore,
    pub management: RawManagement,
    pub management_clients: Vec<RawManagementClient>,
    pub log: RawLog,
}

/// Reads the text. `None` if it is not TOML: then nothing but the syntax errors is worth telling.
pub(super) fn read(text: &str, checks: &Checks<'_>, notes: &mut Notes<'_>) -> Option<Document> {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        syntax_errors(text, errors, notes);
        return None;
    }
    sealed::open_all(root.get_mut(), checks, notes);
    let root = root.get_ref();
    refuse_unknown_sections(root, notes);
    Some(Document {
        gateway: one(root, notes),
        dataplane: one(root, notes),
        ports: many(root, notes),
        routes: many(root, notes),
        ike: one(root, notes),
        esp: one(root, notes),
        auth: one(root, notes),
        psks: many(root, notes),
        ppks: many(root, notes),
        eap: one(root, notes),
        anyconnect: one(root, notes),
        reconnect: one(root, notes),
        cisco: one(root, notes),
        pools: many(root, notes),
        groups: many(root, notes),
        users: many(root, notes),
        aaa: one(root, notes),
        lockout: one(root, notes),
        radius: one(root, notes),
        radius_servers: many(root, notes),
        dynamic: one(root, notes),
        store: one(root, notes),
        management: one(root, notes),
        management_clients: many(root, notes),
        log: one(root, notes),
    })
}

/// Tells the first error of each run of bad lines: an unclosed bracket makes every line after it look wrong.
fn syntax_errors(text: &str, mut errors: Vec<toml::de::Error>, notes: &mut Notes<'_>) {
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    errors.sort_by_key(start);
    let mut run_end = None;
    for error in errors {
        let lines_since = run_end.map(|end| text.get(end..start(&error)).unwrap_or("").matches('\n').count());
        run_end = Some(start(&error));
        if lines_since.is_some_and(|lines| lines <= 1) {
            continue;
        }
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        let place = Place { span: error.span().unwrap_or(0..0), key: String::new() };
        notes.mistake(&place, what, "correct the TOML syntax at this place");
    }
}

fn refuse_unknown_sections(root: &DeTable<'_>, notes: &mut Notes<'_>) {
    let known: Vec<&str> = sections().map(|s| s.path).filter(|path| !path.contains('.')).collect();
    for (name, _) in root.iter().filter(|(name, _)| !known.contains(&name.get_ref().as_ref())) {
        refuse_key(name.get_ref(), name.span(), known.iter().copied(), "the file", &Place::default(), notes);
    }
}

/// Reads a section that stands once; if it is absent, its defaults hold and its required keys are missing.
fn one<S: Section>(root: &DeTable<'_>, notes: &mut Notes<'_>) -> S {
    let empty = DeTable::new();
    let place = |span| Place { span, key: S::DOC.path.to_owned() };
    match find(root, S::DOC.path) {
        None => S::read(&empty, place(0..0), notes),
        Some(value) => match value.get_ref() {
            DeValue::Table(table) => S::read(table, place(value.span()), notes),
            _ => {
                notes.mistake(
                    &place(value.span()),
                    "must be one section",
                    format!("write {} once, and its keys below it", S::DOC.header()),
                );
                S::read(&empty, place(value.span()), &mut Notes::new(notes.file(), ""))
            }
        },
    }
}

/// Reads a section that may stand many times.
fn many<S: Section>(root: &DeTable<'_>, notes: &mut Notes<'_>) -> Vec<S> {
    let Some(value) = find(root, S::DOC.path) else { return Vec::new() };
    let entries: &[Spanned<DeValue<'_>>] = match value.get_ref() {
        DeValue::Array(entries) => entries,
        _ => std::slice::from_ref(value),
    };
    let most = S::DOC.repeated.unwrap_or(1);
    if entries.len() > most {
        let place = Place { span: value.span(), key: S::DOC.path.to_owned() };
        notes.mistake(
            &place,
            format!("stands {} times", entries.len()),
            format!("{most} are possible, remove some"),
        );
    }
    let mut read = Vec::new();
    for (entry, number) in entries.iter().take(most).zip(1usize..) {
        let place = Place { span: entry.span(), key: format!("{}[{number}]", S::DOC.path) };
        match (entry.get_ref(), value.get_ref()) {
            (DeValue::Table(table), DeValue::Array(_)) => read.push(S::read(table, place, notes)),
            _ => notes.mistake(
                &place,
                "must be a list of sections",
                format!("write {} with double brackets, once for each entry", S::DOC.header()),
            ),
        }
    }
    read
}

fn find<'d, 'i>(root: &'d DeTable<'i>, path: &str) -> Option<&'d Spanned<DeValue<'i>>> {
    match path.split_once('.') {
        None => root.get(path),
        Some((first, rest)) => find(root.get(first)?.get_ref().as_table()?, rest),
    }
}

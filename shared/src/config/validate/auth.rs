//! Authentication: that each method has what it needs, that files can be read and are what they should be, and that secrets are
//! not open to everybody.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::super::Checks;
use super::super::keys::{RawAuth, RawPpk, RawPsk, RawUser};
use super::super::mistake::{Notes, Place};
use super::super::model::{
    Auth, AuthMethod, CertificateLogin, Ppk, Psk, Revocation, RevocationCheck, Secret,
};
use super::super::reader::Document;
use super::super::schema::At;
use super::{no_duplicates, unique};

/// Largest file of revocation lists that is read.
const MAX_CRL_FILE: u64 = 64 << 20;
/// Largest PEM file that is read.
const MAX_PEM_FILE: u64 = 1 << 20;
/// Largest pre-shared key file.
const MAX_PSK_FILE: u64 = 4096;
/// How a list in PEM begins.
const CRL_BEGIN: &[u8] = b"-----BEGIN X509 CRL-----";
/// How one in DER begins.
const DER_SEQUENCE: u8 = 0x30;
/// A pre-shared key with fewer octets is guessed too easily (an attacker tries keys without asking us).
pub(super) const SHORT_PSK: usize = 16;
/// A post-quantum pre-shared key with fewer octets has not the 256 bits that RFC 8784 §6 wants.
const SHORT_PPK: usize = 32;
/// The permission bit that lets everybody read.
const WORLD_READABLE: u32 = 0o004;

/// The keys of the configuration and of the files that it names.
pub(super) struct Keys {
    psks: Vec<Psk>,
    ppks: Vec<Ppk>,
}

/// Checks all of `[auth]`, `[[auth.psk]]`, `[[auth.ppk]]` and `[[user]]`; gives the keys, `None` if one could not be had.
pub(super) fn check(document: &Document, checks: &Checks<'_>, notes: &mut Notes<'_>) -> Option<Keys> {
    let Document { auth, psks, ppks, users, .. } = document;
    check_methods(document, notes);
    unique(users.iter().filter_map(|u| u.name.as_ref()), |_| "this user name".into(), notes);
    unique(psks.iter().filter_map(|p| p.identity.as_ref()), |_| "this identity".into(), notes);
    unique(ppks.iter().filter_map(|p| p.id.as_ref()), |_| "this PPK id".into(), notes);
    if let Some(required) = auth.ppk_required.as_ref().filter(|required| required.value && ppks.is_empty()) {
        notes.mistake(&required.place, "is true, but there is no key", "add an [[auth.ppk]]");
    }
    check_eap_only(auth, notes);
    if checks.files {
        check_pem_files(auth, notes);
        check_crl_files(auth, notes);
        warn_if_world_readable_secrets(document, notes);
    }
    let psks: Vec<Option<Psk>> = psks.iter().map(|psk| read_psk(psk, checks, notes)).collect();
    let ppks: Vec<Option<Ppk>> = ppks.iter().map(|ppk| read_ppk(ppk, checks, notes)).collect();
    Some(Keys {
        psks: psks.into_iter().collect::<Option<_>>()?,
        ppks: ppks.into_iter().collect::<Option<_>>()?,
    })
}

pub(super) fn auth(raw: RawAuth, Keys { psks, ppks }: Keys, config_file: &Path) -> Option<Auth> {
    let file = |at: Option<At<Option<PathBuf>>>| at?.value.map(|path| beside(config_file, &path));
    Some(Auth {
        methods: raw.methods?.value,
        certificate_file: file(raw.certificate_file),
        private_key_file: file(raw.private_key_file),
        client_ca_file: file(raw.client_ca_file),
        revocation: Revocation {
            check: raw.revocation?.value,
            crl_files: raw.crl_files?.value.iter().map(|path| beside(config_file, path)).collect(),
            fetch: raw.revocation_fetch?.value,
            wait_ms: raw.revocation_wait_ms?.value,
        },
        psks,
        eap_only: raw.eap_only?.value,
        ppk_required: raw.ppk_required?.value,
        ppks,
    })
}

/// EAP alone needs a method that proves the gateway.
fn check_eap_only(auth: &RawAuth, notes: &mut Notes<'_>) {
    use AuthMethod::{EapPeap, EapRadius, EapTls, EapTtls};
    let (Some(eap_only), Some(methods)) = (&auth.eap_only, &auth.methods) else { return };
    let proves = |method: &AuthMethod| matches!(method, EapTls | EapTtls | EapPeap | EapRadius);
    if eap_only.value && !methods.value.iter().any(proves) {
        notes.warning(
            &eap_only.place,
            "is true, but none of auth.methods proves the gateway to a client",
            "add a method that does, or remove it; clients that ask for EAP alone are refused now",
        );
    }
}

fn check_methods(document: &Document, notes: &mut Notes<'_>) {
    let Document { auth, psks, users, anyconnect, .. } = document;
    let Some(methods) = &auth.methods else { return };
    no_duplicates(&methods.value, &methods.place, |method| format!("{method:?}"), notes);
    let has = |method| methods.value.contains(&method);
    if methods.value.is_empty() {
        notes.mistake(
            &methods.place,
            "is empty",
            "name at least one of: eap-mschapv2, eap-tls, eap-ttls, eap-peap, eap-gtc, eap-md5, eap-radius, anyconnect-eap, \
             certificate, psk",
        );
    }
    if methods.value.iter().any(|method| *method != AuthMethod::Psk) {
        let why = "is missing, and the gateway must prove itself by certificate for the methods there are";
        for (key, example) in
            [(&auth.certificate_file, "gateway.pem"), (&auth.private_key_file, "gateway.key")]
        {
            needed(key, why, example, notes);
        }
    }
    for (method, why) in [
        (AuthMethod::Certificate, "is missing, and method `certificate` needs it"),
        (AuthMethod::EapTls, "is missing, and method `eap-tls` needs it"),
    ] {
        if has(method) {
            needed(&auth.client_ca_file, why, "clients-ca.pem", notes);
        }
    }
    if has(AuthMethod::Psk) && psks.is_empty() {
        notes.mistake(&methods.place, "names `psk`, but there is no key", "add an [[auth.psk]]");
    }
    if !has(AuthMethod::Psk)
        && let Some(psk) = psks.first()
    {
        notes.warning(&psk.place, "is not used", "add \"psk\" to auth.methods, or remove the key");
    }
    let login = anyconnect.certificate.as_ref().map(|login| login.value);
    if has(AuthMethod::AnyconnectEap) && login.is_some_and(|login| login != CertificateLogin::None) {
        let why = "is missing, and `anyconnect.certificate` needs it";
        needed(&auth.client_ca_file, why, "clients-ca.pem", notes);
    }
    check_users(methods, users, login, notes);
}

/// That somebody can log in, and that each user can.
fn check_users(
    methods: &At<Vec<AuthMethod>>,
    users: &[RawUser],
    login: Option<CertificateLogin>,
    notes: &mut Notes<'_>,
) {
    let has = |method| methods.value.contains(&method);
    let by_password = login != Some(CertificateLogin::Instead);
    for (method, word, asked) in [
        (AuthMethod::EapMschapv2, "eap-mschapv2", true),
        (AuthMethod::EapTtls, "eap-ttls", true),
        (AuthMethod::EapPeap, "eap-peap", true),
        (AuthMethod::EapGtc, "eap-gtc", true),
        (AuthMethod::EapMd5, "eap-md5", true),
        (AuthMethod::AnyconnectEap, "anyconnect-eap", by_password),
    ] {
        if has(method) && asked && users.is_empty() {
            notes.warning(
                &methods.place,
                format!("names `{word}`, but there is no [[user]], so nobody can log in with it"),
                "add a [[user]]; `causeway user hash` prints the password line",
            );
        }
    }
    let for_users = |method: &AuthMethod| method.is_local_eap() || *method == AuthMethod::AnyconnectEap;
    if !methods.value.iter().any(for_users)
        && let Some(user) = users.first()
    {
        notes.warning(
            &user.place,
            "is not used",
            "add \"eap-mschapv2\" or \"anyconnect-eap\" to auth.methods, or remove the user",
        );
    }
    for user in users {
        let (Some(nt_hash), Some(hash), Some(password)) =
            (&user.password_nt_hash, &user.password_hash, &user.password_clear)
        else {
            continue;
        };
        if password.value.is_some() {
            continue;
        }
        if nt_hash.value.is_none() && hash.value.is_none() {
            notes.mistake(
                &nt_hash.place,
                "is missing",
                "add it under [[user]]; `causeway user hash` prints the line",
            );
        } else if nt_hash.value.is_none() && has(AuthMethod::EapMschapv2) {
            notes.warning(
                &hash.place,
                "is of no use to `eap-mschapv2`: this user cannot log in with it",
                "add `password_nt_hash` if the user shall",
            );
        }
    }
}

fn needed(key: &Option<At<Option<PathBuf>>>, why: &str, example: &str, notes: &mut Notes<'_>) {
    if let Some(At { value: None, place }) = key {
        let name = place.key.rsplit('.').next().unwrap_or_default();
        notes.mistake(
            place,
            why,
            format!("add it under [auth], as in `{name} = \"/etc/causeway/{example}\"`"),
        );
    }
}

fn check_pem_files(auth: &RawAuth, notes: &mut Notes<'_>) {
    for (key, label) in [
        (&auth.certificate_file, "CERTIFICATE"),
        (&auth.private_key_file, "PRIVATE KEY"),
        (&auth.client_ca_file, "CERTIFICATE"),
    ] {
        let Some(At { value: Some(path), place }) = key else { continue };
        check_pem_file(path, label, place, notes);
    }
}

/// Whether the file holds a PEM block of this kind that can be used.
pub(super) fn check_pem_file(path: &Path, label: &str, place: &Place, notes: &mut Notes<'_>) {
    let path = beside(notes.file(), path);
    let Some((text, metadata)) = read_file(&path, MAX_PEM_FILE, place, notes) else { return };
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    let labels = || text.lines().filter_map(|l| l.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    if labels().any(|l| l == "ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        notes.mistake(
            place,
            format!("the key in {} is encrypted", path.display()),
            "decrypt it with `openssl pkey -in OLD -out NEW`, and make NEW readable to the control plane only",
        );
    } else if !labels().any(|l| l.ends_with(label)) {
        let found = labels().next().map_or("no PEM block".to_owned(), |l| format!("`{l}`"));
        notes.mistake(
            place,
            format!("{} holds {found}", path.display()),
            format!("name a PEM file with `-----BEGIN {label}-----`"),
        );
    }
    if label == "PRIVATE KEY" {
        warn_if_world_readable(&path, &metadata, place, notes);
    }
}

fn check_crl_files(auth: &RawAuth, notes: &mut Notes<'_>) {
    let (Some(files), Some(check)) = (&auth.crl_files, &auth.revocation) else { return };
    if check.value == RevocationCheck::Off && !files.value.is_empty() {
        notes.warning(
            &files.place,
            "is not used, because auth.revocation is \"off\"",
            "remove it, or set `revocation = \"soft\"`",
        );
    }
    for path in &files.value {
        let path = beside(notes.file(), path);
        let Some((data, _)) = read_file(&path, MAX_CRL_FILE, &files.place, notes) else { continue };
        let pem = data.windows(CRL_BEGIN.len()).any(|octets| octets == CRL_BEGIN);
        if !pem && data.first() != Some(&DER_SEQUENCE) {
            notes.mistake(
                &files.place,
                format!("{} holds no revocation list", path.display()),
                "name a file with `-----BEGIN X509 CRL-----`, or one in DER",
            );
        }
    }
}

fn read_psk(raw: &RawPsk, checks: &Checks<'_>, notes: &mut Notes<'_>) -> Option<Psk> {
    let keys = SecretKeys {
        secret: raw.secret.as_ref()?,
        file: raw.secret_file.as_ref()?,
        place: &raw.place,
        what: "key",
        short: SHORT_PSK,
    };
    let secret = match shared_secret(&read_secret(&keys, checks, notes)?.0) {
        Ok(secret) => secret,
        Err(remedy) => {
            let SecretKeys { secret, file, .. } = keys;
            let place = if secret.value.is_some() { &secret.place } else { &file.place };
            notes.mistake(place, "the key begins with 0x but is not hexadecimal", remedy);
            return None;
        }
    };
    Some(Psk { identity: raw.identity.as_ref()?.value.clone(), secret })
}

fn read_ppk(raw: &RawPpk, checks: &Checks<'_>, notes: &mut Notes<'_>) -> Option<Ppk> {
    let keys = SecretKeys {
        secret: raw.secret.as_ref()?,
        file: raw.secret_file.as_ref()?,
        place: &raw.place,
        what: "key",
        short: SHORT_PPK,
    };
    let secret = read_secret(&keys, checks, notes)?;
    Some(Ppk { id: raw.id.as_ref()?.value.clone(), identity: raw.identity.as_ref()?.value.clone(), secret })
}

/// The two ways to write a secret, of which one is used.
pub(super) struct SecretKeys<'a> {
    pub secret: &'a At<Option<Secret>>,
    pub file: &'a At<Option<PathBuf>>,
    /// The section.
    pub place: &'a Place,
    /// What it is called.
    pub what: &'a str,
    /// With fewer octets it is too short.
    pub short: usize,
}

pub(super) fn read_secret(
    keys: &SecretKeys<'_>,
    checks: &Checks<'_>,
    notes: &mut Notes<'_>,
) -> Option<Secret> {
    let SecretKeys { secret, file, place: section, what, short } = *keys;
    let (key, place) = match (&secret.value, &file.value) {
        (Some(key), None) => (key.clone(), &secret.place),
        (None, Some(_)) if !checks.files => (Secret(Vec::new()), &file.place),
        (None, Some(path)) => (read_psk_file(&beside(notes.file(), path), &file.place, notes)?, &file.place),
        (Some(_), Some(_)) => {
            notes.mistake(&file.place, "stands beside `secret`", "keep one of them");
            return None;
        }
        (None, None) => {
            notes.mistake(
                section,
                format!("has no {what}"),
                "add `secret_file = \"…\"` (or `secret = \"…\"`)",
            );
            return None;
        }
    };
    if key.0.len() < short && (checks.files || secret.value.is_some()) {
        notes.warning(
            place,
            format!("the {what} has fewer than {short} characters and can be guessed"),
            format!("make one with `openssl rand -base64 {}`", short.div_ceil(4) * 6),
        );
    }
    Some(key)
}

/// A key as text or, behind `0x`, in hexadecimal, as RFC 7296 §2.15 wants both. On an error: what to do.
fn shared_secret(text: &[u8]) -> Result<Secret, &'static str> {
    let Some(digits) = text.strip_prefix(b"0x") else { return Ok(Secret(text.to_vec())) };
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err("write two hexadecimal digits for each octet, or a text that does not begin with 0x");
    }
    let octet = |[high, low]: &[u8; 2]| Some(nibble(high)? << 4 | nibble(low)?);
    let key: Option<Vec<u8>> = pairs.iter().map(octet).collect();
    key.map(Secret).ok_or("write only 0 to 9 and a to f behind 0x, or a text that does not begin with 0x")
}

fn read_psk_file(path: &Path, place: &Place, notes: &mut Notes<'_>) -> Option<Secret> {
    let (text, metadata) = read_file(path, MAX_PSK_FILE, place, notes)?;
    warn_if_world_readable(path, &metadata, place, notes);
    let key = text.strip_suffix(b"\n").unwrap_or(&text);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if key.is_empty() {
        notes.mistake(place, format!("{} is empty", path.display()), "write the key into it");
        return None;
    }
    Some(Secret(key.to_vec()))
}

fn warn_if_world_readable_secrets(document: &Document, notes: &mut Notes<'_>) {
    let written = |secret: &Option<At<Option<Secret>>>| {
        secret.as_ref().filter(|secret| secret.value.is_some()).map(|secret| secret.place.clone())
    };
    let psk = document.psks.iter().find_map(|psk| written(&psk.secret));
    let psk = psk.or_else(|| document.ppks.iter().find_map(|ppk| written(&ppk.secret)));
    let psk = psk.or_else(|| document.radius_servers.iter().find_map(|server| written(&server.secret)));
    let user = document.users.iter().find_map(|u| {
        let nt_hash = u.password_nt_hash.as_ref().filter(|h| h.value.is_some()).map(|h| &h.place);
        let hash = u.password_hash.as_ref().filter(|h| h.value.is_some()).map(|h| &h.place);
        let clear = u.password_clear.as_ref().filter(|p| p.value.is_some()).map(|p| &p.place);
        nt_hash.or(hash).or(clear).cloned()
    });
    if let (Some(place), Ok(metadata)) = (psk.or(user), std::fs::metadata(notes.file())) {
        let file = notes.file();
        warn_if_world_readable(file, &metadata, &place, notes);
    }
}

fn warn_if_world_readable(path: &Path, metadata: &Metadata, place: &Place, notes: &mut Notes<'_>) {
    if metadata.permissions().mode() & WORLD_READABLE != 0 {
        notes.warning(
            place,
            format!("{} holds a secret and everybody on this machine can read it", path.display()),
            format!("run `chmod o-rwx {}`", path.display()),
        );
    }
}

fn read_file(
    path: &Path,
    most: u64,
    place: &Place,
    notes: &mut Notes<'_>,
) -> Option<(Zeroizing<Vec<u8>>, Metadata)> {
    let read = || -> std::io::Result<(Zeroizing<Vec<u8>>, Metadata)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is not a file"));
        }
        let mut content = Zeroizing::new(Vec::new());
        file.take(most.saturating_add(1)).read_to_end(&mut content)?;
        Ok((content, metadata))
    };
    match read() {
        Ok((content, metadata)) if content.len() as u64 <= most => Some((content, metadata)),
        Ok(_) => {
            notes.mistake(
                place,
                format!("{} is larger than {most} octets", path.display()),
                "name the right file",
            );
            None
        }
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound => "create the file, or correct the path",
                std::io::ErrorKind::PermissionDenied => "let the user that runs Causeway read it",
                _ => "name a file that can be read",
            };
            notes.mistake(place, format!("cannot read {}: {error}", path.display()), remedy);
            None
        }
    }
}

/// Relative paths start at the configuration file's directory, wherever the daemon was started.
pub(super) fn beside(config_file: &Path, path: &Path) -> PathBuf {
    config_file.parent().unwrap_or(Path::new("")).join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_text_or_hexadecimal() {
        let long = "a".repeat(300);
        for (text, key) in [
            ("correct horse", Some(b"correct horse".to_vec())),
            (long.as_str(), Some(long.clone().into_bytes())),
            ("0x00ff7F", Some(vec![0, 255, 127])),
            ("x0x00", Some(b"x0x00".to_vec())),
            ("0x", None),
            ("0x123", None),
            ("0x12g4", None),
        ] {
            assert_eq!(shared_secret(text.as_bytes()).ok().map(|secret| secret.0.clone()), key, "{text}");
        }
    }
}

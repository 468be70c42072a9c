//! TOML values into typed values. Enters: one value of the document and its key's declaration. Leaves: a typed value, or faults
//! with their places (each wrong element of a list is its own fault).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::model::{
    AttributeProfile, AuthMethod, CertificateLogin, CertificateUser, CryptoEngine, GroupAttribute, Hugepages,
    InnerMethod, NtHash, OnClientDelete, OnSessionLimit, OnSuspend, OnTokenReplay, PasswordHash, PeapBinding,
    PollMode, PortRole, Redirect, RevocationCheck, Secret, ServerCertHash, StoreBackend, TicketForm,
    TlsVersion, TokenPolicy, TrafficSelectors, TtlsInner,
};
use super::phc;
use super::schema::KeyDoc;
use super::suggest::nearest;
use crate::api::Role;
use crate::sa::{EspSuite, IpPrefix, Ipv4Prefix, Ipv6Prefix};

/// Octets of an NT hash.
const NT_HASH_LEN: usize = 16;

/// Longest banner in octets.
const MAX_PARAGRAPH: usize = 2048;

/// What is wrong with a value.
pub(super) struct Fault {
    pub span: Range<usize>,
    pub what: String,
    pub remedy: String,
}

/// A type that a key can have.
pub(super) trait FromToml: Sized {
    /// The type in words, for the manual.
    fn type_name() -> String;

    /// Reads the value; `None` after at least one fault was added.
    fn from_toml(value: &Spanned<DeValue<'_>>, key: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self>;

    /// What stands for an optional key that is not there; `None` if the type has no such value.
    fn absent() -> Option<Self> {
        None
    }
}

/// A port's own address with the prefix length of its subnet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InterfaceAddress {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
}

/// A port's own IPv6 address with the prefix length of its link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InterfaceAddress6 {
    pub address: Ipv6Addr,
    pub prefix_len: u8,
}

/// A text for people that may have several lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Paragraph(pub String);

impl<T: FromToml> FromToml for Option<T> {
    fn type_name() -> String {
        T::type_name()
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, key: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        T::from_toml(value, key, faults).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: FromToml> FromToml for Vec<T> {
    fn type_name() -> String {
        format!("list of: {}", T::type_name())
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, key: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        let DeValue::Array(elements) = value.get_ref() else {
            return fault(faults, value, wrong_type("a list", value), "write the values in [ ]");
        };
        if let Some(most) = key.most.filter(|most| elements.len() > *most) {
            let what = format!("has {} entries, at most {most} are possible", elements.len());
            return fault(faults, value, what, "remove some");
        }
        let read: Vec<Option<T>> = elements.iter().map(|e| T::from_toml(e, key, faults)).collect();
        read.into_iter().collect()
    }
}

impl FromToml for bool {
    fn type_name() -> String {
        "true or false".into()
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            _ => fault(
                faults,
                value,
                wrong_type("true or false", value),
                "write true or false, without quotes",
            ),
        }
    }
}

macro_rules! integers {
    ($($ty:ty),+) => { $(
        impl FromToml for $ty {
            fn type_name() -> String {
                "integer".into()
            }

            fn from_toml(value: &Spanned<DeValue<'_>>, key: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
                let number = integer(value, key, faults)?;
                match <$ty>::try_from(number) {
                    Ok(number) => Some(number),
                    Err(_) => {
                        let what = format!("{number} is out of range");
                        fault(faults, value, what, format!("write a number from 0 to {}", <$ty>::MAX))
                    }
                }
            }
        }
    )+ };
}
integers!(u8, u16, u32, u64, usize);

fn integer(value: &Spanned<DeValue<'_>>, key: &KeyDoc, faults: &mut Vec<Fault>) -> Option<i64> {
    let DeValue::Integer(integer) = value.get_ref() else {
        let remedy =
            if value.get_ref().is_str() { "write the number without quotes" } else { "write a whole number" };
        return fault(faults, value, wrong_type("a whole number", value), remedy);
    };
    let (low, high) = key.range.unwrap_or((0, i64::MAX));
    let unit = if key.unit.is_empty() { String::new() } else { format!(" ({})", key.unit) };
    match i64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if (low..=high).contains(&number) => Some(number),
        _ => fault(
            faults,
            value,
            format!("{integer} is out of range"),
            format!("write a number from {low} to {high}{unit}"),
        ),
    }
}

impl FromToml for String {
    fn type_name() -> String {
        "text".into()
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        let text = text("a text", value, faults)?;
        if text.is_empty() {
            return fault(faults, value, "is empty", "write a text that is not empty");
        }
        if text.chars().any(char::is_control) {
            return fault(
                faults,
                value,
                "holds a control character",
                "remove it (a line end or a tabulator?)",
            );
        }
        Some(text.to_owned())
    }
}

impl FromToml for Paragraph {
    fn type_name() -> String {
        "text, also of several lines".into()
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        let text = text("a text", value, faults)?;
        let odd = |c: char| c.is_control() && c != '\n';
        if text.trim().is_empty() {
            return fault(faults, value, "is empty", "write a text, or remove the key");
        }
        if text.contains(odd) {
            let remedy = "remove it; only line ends may be there";
            return fault(faults, value, "holds a control character", remedy);
        }
        if text.len() > MAX_PARAGRAPH {
            return fault(
                faults,
                value,
                format!("is longer than {MAX_PARAGRAPH} octets"),
                "write a shorter text",
            );
        }
        Some(Paragraph(text.to_owned()))
    }
}

impl FromToml for PathBuf {
    fn type_name() -> String {
        "path".into()
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, key: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        String::from_toml(value, key, faults).map(PathBuf::from)
    }
}

/// Addresses, by family: what a value is called, and how it is written.
macro_rules! addresses {
    ($($ty:ty: $name:literal, $remedy:literal;)+) => {$(
        impl FromToml for $ty {
            fn type_name() -> String {
                $name.into()
            }

            fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
                let text = text(concat!("an ", $name), value, faults)?;
                match text.parse() {
                    Ok(address) => Some(address),
                    Err(_) => fault(faults, value, format!(concat!("`{}` is not an ", $name), text), $remedy),
                }
            }
        }
    )+};
}

addresses! {
    Ipv4Addr: "IPv4 address", "write four numbers, as in \"192.0.2.1\"";
    Ipv6Addr: "IPv6 address", "write it as in \"2001:db8::1\"";
    IpAddr: "IP address", "write it as in \"192.0.2.1\" or \"2001:db8::1\"";
}

/// Prefixes, by family.
macro_rules! prefixes {
    ($($ty:ty: $name:literal, $remedy:literal, $address:expr;)+) => {$(
        impl FromToml for $ty {
            fn type_name() -> String {
                $name.into()
            }

            fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
                let text = text(concat!("an ", $name), value, faults)?;
                let Ok(prefix) = text.parse::<$ty>() else {
                    return fault(faults, value, format!(concat!("`{}` is not an ", $name), text), $remedy);
                };
                let written = text.split_once('/').and_then(|(address, _)| address.parse::<IpAddr>().ok());
                if written != Some($address(prefix)) {
                    return fault(
                        faults,
                        value,
                        format!("`{text}` has bits set behind its prefix length"),
                        format!("write \"{prefix}\", or correct the length"),
                    );
                }
                Some(prefix)
            }
        }
    )+};
}

prefixes! {
    Ipv4Prefix: "IPv4 prefix", "write an address and a length, as in \"10.0.0.0/24\"",
        |prefix: Ipv4Prefix| IpAddr::from(prefix.address);
    Ipv6Prefix: "IPv6 prefix", "write an address and a length, as in \"2001:db8::/64\"",
        |prefix: Ipv6Prefix| IpAddr::from(prefix.address);
    IpPrefix: "IP prefix", "write an address and a length, as in \"10.0.0.0/24\" or \"2001:db8::/32\"",
        IpPrefix::address;
}

impl FromToml for InterfaceAddress {
    fn type_name() -> String {
        "IPv4 address with prefix length".into()
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        let text = text("an address with a prefix length", value, faults)?;
        let parsed = text.split_once('/').and_then(|(address, length)| {
            Some(InterfaceAddress { address: address.parse().ok()?, prefix_len: length.parse().ok()? })
        });
        match parsed.filter(|a| a.prefix_len <= 32) {
            Some(address) => Some(address),
            None => fault(
                faults,
                value,
                format!("`{text}` is not an address with a prefix length"),
                "write our own address and the subnet's length, as in \"192.0.2.1/24\"",
            ),
        }
    }
}

impl FromToml for InterfaceAddress6 {
    fn type_name() -> String {
        "IPv6 address with prefix length".into()
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        let text = text("an IPv6 address with a prefix length", value, faults)?;
        let parsed = text.split_once('/').and_then(|(address, length)| {
            Some(InterfaceAddress6 { address: address.parse().ok()?, prefix_len: length.parse().ok()? })
        });
        match parsed.filter(|a| a.prefix_len <= 128) {
            Some(address) => Some(address),
            None => fault(
                faults,
                value,
                format!("`{text}` is not an IPv6 address with a prefix length"),
                "write our own address and the link's prefix length, as in \"2001:db8::1/64\"",
            ),
        }
    }
}

impl FromToml for NtHash {
    fn type_name() -> String {
        "32 hexadecimal digits".into()
    }

    // The text is never repeated in the message: it may be a password that was written here by mistake.
    fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        let text = text("32 hexadecimal digits", value, faults)?;
        let mut hash = [0u8; NT_HASH_LEN];
        let good = text.is_ascii() && text.len() == 2 * NT_HASH_LEN;
        let read =
            hash.iter_mut().zip(text.as_bytes().chunks(2)).all(|(octet, digits)| match std::str::from_utf8(
                digits,
            )
            .ok()
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
            {
                Some(digits) => u8::from_str_radix(digits, 16).map(|b| *octet = b).is_ok(),
                None => false,
            });
        if good && read {
            Some(NtHash(hash))
        } else {
            fault(faults, value, "is not an NT hash", "run `causeway user hash` and copy the line it prints")
        }
    }
}

impl FromToml for PasswordHash {
    fn type_name() -> String {
        "PHC string".into()
    }

    // As with the NT hash, the text is never repeated.
    fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        let text = text("a PHC string", value, faults)?;
        match phc::check(text) {
            Ok(()) => Some(PasswordHash(text.to_owned())),
            Err(why) => fault(
                faults,
                value,
                format!("is no argon2 hash: {why}"),
                "write it as in \"$argon2id$v=19$m=19456,t=2,p=1$salt$hash\"",
            ),
        }
    }
}

impl FromToml for Secret {
    fn type_name() -> String {
        "secret text".into()
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
        let text = text("a text", value, faults)?;
        if text.is_empty() {
            return fault(faults, value, "is empty", "write the pre-shared key, 16 characters or more");
        }
        Some(Secret(text.as_bytes().to_vec()))
    }
}

/// Types with few values: each has a word.
macro_rules! choices {
    ($($ty:ty: $kind:literal = $values:expr;)+) => { $(
        impl FromToml for $ty {
            fn type_name() -> String {
                let words: Vec<String> = $values.iter().map(|(word, _)| format!("`{word}`")).collect();
                words.join(", ")
            }

            fn from_toml(value: &Spanned<DeValue<'_>>, _: &KeyDoc, faults: &mut Vec<Fault>) -> Option<Self> {
                let text = text(concat!("a ", $kind), value, faults)?;
                let values = $values;
                if let Some((_, choice)) = values.iter().find(|(word, _)| *word == text) {
                    return Some(*choice);
                }
                let words: Vec<&str> = values.iter().map(|(word, _)| *word).collect();
                let remedy = match nearest(text, words.iter().copied()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("choose from: {}", words.join(", ")),
                };
                fault(faults, value, format!(concat!("unknown ", $kind, " `{}`"), text), remedy)
            }
        }
    )+ };
}
choices! {
    CryptoEngine: "engine" = [
        ("auto", CryptoEngine::Auto),
        ("wide", CryptoEngine::Wide),
        ("aws-lc", CryptoEngine::AwsLc),
        ("portable", CryptoEngine::Portable),
    ];
    Hugepages: "choice" = [("auto", Hugepages::Auto), ("always", Hugepages::Always), ("never", Hugepages::Never)];
    PollMode: "choice" = [("full", PollMode::Full), ("adaptive", PollMode::Adaptive)];
    Role: "role" = [("viewer", Role::Viewer), ("operator", Role::Operator), ("admin", Role::Admin)];
    PortRole: "role" = [("outside", PortRole::Outside), ("inside", PortRole::Inside)];
    AuthMethod: "method" = [
        ("eap-mschapv2", AuthMethod::EapMschapv2),
        ("certificate", AuthMethod::Certificate),
        ("psk", AuthMethod::Psk),
        ("anyconnect-eap", AuthMethod::AnyconnectEap),
        ("eap-radius", AuthMethod::EapRadius),
        ("eap-tls", AuthMethod::EapTls),
        ("eap-ttls", AuthMethod::EapTtls),
        ("eap-peap", AuthMethod::EapPeap),
        ("eap-gtc", AuthMethod::EapGtc),
        ("eap-md5", AuthMethod::EapMd5),
    ];
    TlsVersion: "version" = [("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];
    TtlsInner: "method" = [("pap", TtlsInner::Pap), ("mschapv2", TtlsInner::Mschapv2), ("eap", TtlsInner::Eap)];
    InnerMethod: "method" = [
        ("eap-mschapv2", InnerMethod::Mschapv2),
        ("eap-gtc", InnerMethod::Gtc),
        ("eap-md5", InnerMethod::Md5),
    ];
    PeapBinding: "choice" = [
        ("off", PeapBinding::Off),
        ("optional", PeapBinding::Optional),
        ("required", PeapBinding::Required),
    ];
    CertificateUser: "choice" = [
        ("alternative-name", CertificateUser::AlternativeName),
        ("common-name", CertificateUser::CommonName),
        ("either", CertificateUser::Either),
    ];
    CertificateLogin: "choice" = [
        ("none", CertificateLogin::None),
        ("required", CertificateLogin::Required),
        ("instead", CertificateLogin::Instead),
    ];
    TokenPolicy: "policy" = [("rotate", TokenPolicy::Rotate), ("stable", TokenPolicy::Stable)];
    OnClientDelete: "choice" = [("remove", OnClientDelete::Remove), ("keep", OnClientDelete::Keep)];
    OnTokenReplay: "choice" = [("kill", OnTokenReplay::Kill), ("refuse", OnTokenReplay::Refuse)];
    AttributeProfile: "profile" = [("lab", AttributeProfile::Lab), ("capture", AttributeProfile::Capture)];
    ServerCertHash: "hash" = [("cert-sha1", ServerCertHash::CertSha1), ("spki-sha1", ServerCertHash::SpkiSha1)];
    OnSessionLimit: "choice" = [("refuse", OnSessionLimit::Refuse), ("replace", OnSessionLimit::Replace)];
    OnSuspend: "choice" = [("interim", OnSuspend::Interim), ("stop", OnSuspend::Stop)];
    GroupAttribute: "choice" = [
        ("none", GroupAttribute::None),
        ("class", GroupAttribute::Class),
        ("filter-id", GroupAttribute::FilterId),
    ];
    TrafficSelectors: "choice" = [("subnets", TrafficSelectors::Subnets), ("any", TrafficSelectors::Any)];
    TicketForm: "choice" = [
        ("off", TicketForm::Off),
        ("value", TicketForm::Value),
        ("reference", TicketForm::Reference),
    ];
    RevocationCheck: "choice" = [
        ("off", RevocationCheck::Off),
        ("soft", RevocationCheck::Soft),
        ("hard", RevocationCheck::Hard),
    ];
    Redirect: "choice" = [
        ("full", Redirect::Full),
        ("all", Redirect::All),
        ("authenticated", Redirect::Authenticated),
    ];
    StoreBackend: "backend" = [("sqlite", StoreBackend::Sqlite), ("memory", StoreBackend::Memory)];
    EspSuite: "suite" = EspSuite::ALL.map(|suite| (suite.name(), suite));
}

fn text<'v>(expected: &str, value: &'v Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<&'v str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text),
        _ => fault(faults, value, wrong_type(expected, value), "write it in quotes"),
    }
}

fn wrong_type(expected: &str, value: &Spanned<DeValue<'_>>) -> String {
    let found = match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("must be {expected}, found {found}")
}

fn fault<T>(
    faults: &mut Vec<Fault>,
    value: &Spanned<DeValue<'_>>,
    what: impl Into<String>,
    remedy: impl Into<String>,
) -> Option<T> {
    faults.push(Fault { span: value.span(), what: what.into(), remedy: remedy.into() });
    None
}

//! Identities (RFC 7296 §3.5): ID types and octets in, typed values out, and text for policy, logs and the API.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::prelude::FromDer as _;

use crate::wire::WireError;

const ID_IPV4_ADDR: u8 = 1;
const ID_FQDN: u8 = 2;
const ID_RFC822_ADDR: u8 = 3;
const ID_IPV6_ADDR: u8 = 5;
const ID_DER_ASN1_DN: u8 = 9;
const ID_KEY_ID: u8 = 11;

/// Longest identity accepted, octets.
pub const MAX_IDENTITY: usize = 2048;

/// Who a peer says it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_FQDN: printable text without blanks.
    Fqdn(String),
    /// ID_RFC822_ADDR: printable text without blanks.
    Rfc822(String),
    /// ID_DER_ASN1_DN: a DER-encoded distinguished name, not checked.
    Dn(Vec<u8>),
    /// ID_KEY_ID: opaque octets.
    KeyId(Vec<u8>),
    /// Another type, or a name with octets that no name has (NUL, blanks, not UTF-8). Matches no policy by name.
    Other {
        /// ID type.
        id_type: u8,
        /// Its octets.
        data: Vec<u8>,
    },
}

impl Identity {
    /// Reads identification data of an ID type.
    ///
    /// # Errors
    /// [`WireError::BadLength`] for an address of wrong length or more than [`MAX_IDENTITY`] octets.
    pub fn parse(id_type: u8, data: &[u8]) -> Result<Identity, WireError> {
        let bad = WireError::BadLength { what: "identification data" };
        if data.len() > MAX_IDENTITY {
            return Err(bad);
        }
        let other = || Identity::Other { id_type, data: data.to_vec() };
        Ok(match id_type {
            ID_IPV4_ADDR => Identity::Ipv4(<[u8; 4]>::try_from(data).map_err(|_| bad)?.into()),
            ID_IPV6_ADDR => Identity::Ipv6(<[u8; 16]>::try_from(data).map_err(|_| bad)?.into()),
            ID_FQDN => name(data).map_or_else(other, Identity::Fqdn),
            ID_RFC822_ADDR => name(data).map_or_else(other, Identity::Rfc822),
            ID_DER_ASN1_DN => Identity::Dn(data.to_vec()),
            ID_KEY_ID => Identity::KeyId(data.to_vec()),
            _ => other(),
        })
    }

    /// The identity that a configured text means: an address, `user@domain`, or else a domain name.
    pub fn from_text(text: &str) -> Identity {
        if let Ok(address) = text.parse() {
            Identity::Ipv4(address)
        } else if let Ok(address) = text.parse() {
            Identity::Ipv6(address)
        } else if text.contains('@') {
            Identity::Rfc822(text.to_owned())
        } else {
            Identity::Fqdn(text.to_owned())
        }
    }

    /// Its ID type.
    pub fn id_type(&self) -> u8 {
        match self {
            Identity::Ipv4(_) => ID_IPV4_ADDR,
            Identity::Ipv6(_) => ID_IPV6_ADDR,
            Identity::Fqdn(_) => ID_FQDN,
            Identity::Rfc822(_) => ID_RFC822_ADDR,
            Identity::Dn(_) => ID_DER_ASN1_DN,
            Identity::KeyId(_) => ID_KEY_ID,
            Identity::Other { id_type, .. } => *id_type,
        }
    }

    /// Appends its identification data.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Identity::Ipv4(address) => out.extend_from_slice(&address.octets()),
            Identity::Ipv6(address) => out.extend_from_slice(&address.octets()),
            Identity::Fqdn(name) | Identity::Rfc822(name) => out.extend_from_slice(name.as_bytes()),
            Identity::Dn(data) | Identity::KeyId(data) | Identity::Other { data, .. } => {
                out.extend_from_slice(data);
            }
        }
    }

    /// Whether both name the same: names without regard to ASCII case (RFC 4343), everything else octet by octet.
    pub fn matches(&self, other: &Identity) -> bool {
        match (self, other) {
            (Identity::Fqdn(a), Identity::Fqdn(b)) | (Identity::Rfc822(a), Identity::Rfc822(b)) => {
                a.eq_ignore_ascii_case(b)
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Ipv4(address) => write!(f, "{address}"),
            Identity::Ipv6(address) => write!(f, "{address}"),
            Identity::Fqdn(name) | Identity::Rfc822(name) => f.write_str(name),
            Identity::Dn(der) => match x509_parser::x509::X509Name::from_der(der) {
                Ok(([], name)) => fmt_printable(f, &name.to_string()),
                _ => fmt_hex(f, "dn:", der),
            },
            Identity::KeyId(data) => match name(data) {
                Some(text) => f.write_str(&text),
                None => fmt_hex(f, "keyid:", data),
            },
            Identity::Other { id_type, data } => fmt_hex(f, &format!("id{id_type}:"), data),
        }
    }
}

/// Text that is safe to compare and to print: UTF-8, not empty, no control characters, no blanks.
fn name(data: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(data).ok()?;
    let fine = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    fine.then(|| text.to_owned())
}

fn fmt_printable(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| if c.is_control() { f.write_str("?") } else { write!(f, "{c}") })
}

fn fmt_hex(f: &mut fmt::Formatter<'_>, prefix: &str, data: &[u8]) -> fmt::Result {
    f.write_str(prefix)?;
    data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_octets() {
        let table = [
            (1, &[192, 0, 2, 1][..], "192.0.2.1"),
            (2, b"vpn.example.test", "vpn.example.test"),
            (3, b"carol@example.test", "carol@example.test"),
            (5, &[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "2001:db8::1"),
            (9, &[0x30, 0x0c, 0x31, 0x0a, 0x30, 8, 6, 3, 0x55, 4, 3, 0x0c, 1, b'x'], "CN=x"),
            (9, &[0x30, 0x05], "dn:3005"),
            (11, b"group1", "group1"),
            (11, &[0, 0xff], "keyid:00ff"),
            (201, b"$", "id201:24"),
            (2, b"", "id2:"),
            (2, b"vpn\0.evil", "id2:76706e002e6576696c"),
            (3, &[0xff, 0xfe], "id3:fffe"),
        ];
        for (id_type, octets, text) in table {
            let identity = Identity::parse(id_type, octets).unwrap();
            assert_eq!(identity.to_string(), text);
            assert_eq!(identity.id_type(), id_type);
            let mut again = Vec::new();
            identity.emit(&mut again);
            assert_eq!(again, octets);
        }
        for (id_type, octets) in
            [(1, &[1, 2, 3][..]), (1, &[1, 2, 3, 4, 5]), (5, &[1, 2, 3, 4]), (11, &[0; 2049])]
        {
            assert!(Identity::parse(id_type, octets).is_err());
        }
    }

    #[test]
    fn configured_text() {
        assert_eq!(Identity::from_text("192.0.2.1"), Identity::Ipv4([192, 0, 2, 1].into()));
        assert!(matches!(Identity::from_text("2001:db8::1"), Identity::Ipv6(_)));
        assert_eq!(Identity::from_text("a@b"), Identity::Rfc822("a@b".to_owned()));
        assert_eq!(Identity::from_text("a.b"), Identity::Fqdn("a.b".to_owned()));
    }

    #[test]
    fn names_match_without_regard_to_case_and_kinds_do_not_mix() {
        let fqdn = |name: &str| Identity::Fqdn(name.to_owned());
        assert!(fqdn("VPN.example.test").matches(&fqdn("vpn.EXAMPLE.test")));
        assert!(!fqdn("vpn.example.test").matches(&fqdn("vpn.example.tes")));
        assert!(!fqdn("a@b").matches(&Identity::Rfc822("a@b".to_owned())));
        assert!(!Identity::KeyId(b"A".to_vec()).matches(&Identity::KeyId(b"a".to_vec())));
    }
}

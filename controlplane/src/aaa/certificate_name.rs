//! Whom a client certificate names.
//!
//! Enters: DER of a certificate that was verified, what of it counts. Leaves: names, the likeliest user names first: mail
//! addresses, user principal names (which Windows looks for), DNS names, then the subject's common name.

use causeway_shared::config::CertificateUser;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// Most names of one certificate that are looked at.
const MAX_NAMES: usize = 64;
/// OID of the user principal name, an OtherName.
const USER_PRINCIPAL_NAME: &str = "1.3.6.1.4.1.311.20.2.3";
/// DER tags around a UTF8String inside of an OtherName.
const EXPLICIT_0: u8 = 0xa0;
const UTF8_STRING: u8 = 0x0c;

/// The names that count. None if the certificate cannot be read.
pub(super) fn names(der: &[u8], which: CertificateUser) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let mut names = Vec::new();
    if which != CertificateUser::CommonName {
        names = alternative_names(&certificate);
    }
    if which != CertificateUser::AlternativeName {
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.take(MAX_NAMES).map(str::to_owned));
    }
    names.retain(|name| !name.is_empty());
    names
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let all: Vec<(u8, String)> =
        extension.value.general_names.iter().take(MAX_NAMES).filter_map(name).collect();
    let of = |rank| all.iter().filter(move |(of, _)| *of == rank).map(|(_, name)| name.clone());
    (0..3).flat_map(of).collect()
}

/// A name with its rank.
fn name(name: &GeneralName<'_>) -> Option<(u8, String)> {
    match name {
        GeneralName::RFC822Name(mail) => Some((0, (*mail).to_owned())),
        GeneralName::OtherName(oid, value) if oid.to_id_string() == USER_PRINCIPAL_NAME => {
            Some((1, utf8_string(value)?.to_owned()))
        }
        GeneralName::DNSName(name) => Some((2, (*name).to_owned())),
        _ => None,
    }
}

/// The text of `[0] EXPLICIT UTF8String` with short lengths, which every user name has.
fn utf8_string(der: &[u8]) -> Option<&str> {
    let inner = match der.split_first_chunk::<2>()? {
        (&[EXPLICIT_0, length], inner) if usize::from(length) == inner.len() => inner,
        _ => der,
    };
    match inner.split_first_chunk::<2>()? {
        (&[UTF8_STRING, length], text) if length < 0x80 && usize::from(length) == text.len() => {
            std::str::from_utf8(text).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, OtherNameValue, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names = names;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Ann of the Lab");
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_stand_in_the_order_in_which_they_are_likely() {
        let upn = SanType::OtherName((
            vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3],
            OtherNameValue::Utf8String("ann@corp.test".into()),
        ));
        let der = certificate(vec![
            SanType::DnsName("laptop.test".try_into().unwrap()),
            upn,
            SanType::Rfc822Name("ann@test".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
        ]);
        let alternative = ["ann@test", "ann@corp.test", "laptop.test"];
        assert_eq!(names(&der, CertificateUser::AlternativeName), alternative);
        assert_eq!(names(&der, CertificateUser::CommonName), ["Ann of the Lab"]);
        assert_eq!(names(&der, CertificateUser::Either), [&alternative[..], &["Ann of the Lab"]].concat());
        let bare = certificate(vec![]);
        assert!(names(&bare, CertificateUser::AlternativeName).is_empty());
        assert_eq!(names(&bare, CertificateUser::Either), ["Ann of the Lab"]);
        assert!(names(b"no certificate", CertificateUser::Either).is_empty());
    }
}

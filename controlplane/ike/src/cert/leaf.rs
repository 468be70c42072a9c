//! What IKE needs to know of an end-entity certificate: its key, its names, whether it may sign for IKE (RFC 4945 §5.1).

use std::net::IpAddr;

use aws_lc_rs::digest;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::{CertError, PublicKey};
use crate::ident::Identity;
use crate::wire::CA_HASH_LEN;

/// Most alternative names that are read.
const MAX_NAMES: usize = 256;

/// An end-entity certificate, read but not verified.
pub(super) struct Leaf {
    pub(super) key: PublicKey,
    /// DER of the subject.
    pub(super) subject: Vec<u8>,
    /// Subject alternative names.
    pub(super) names: Vec<Identity>,
    /// Whether its key usage, if there is one, allows signatures.
    pub(super) may_sign: bool,
}

impl Leaf {
    pub(super) fn parse(der: &[u8]) -> Result<Leaf, CertError> {
        let certificate = parse(der)?;
        let key = PublicKey::from_spki(certificate.public_key()).ok_or(CertError::UnsupportedKey)?;
        let malformed = |_| CertError::Malformed;
        let usage = certificate.key_usage().map_err(malformed)?;
        let may_sign = usage.is_none_or(|u| u.value.digital_signature() || u.value.non_repudiation());
        let alternative = certificate.subject_alternative_name().map_err(malformed)?;
        let names = alternative
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .take(MAX_NAMES)
            .filter_map(identity)
            .collect();
        Ok(Leaf { key, subject: certificate.subject().as_raw().to_vec(), names, may_sign })
    }

    /// Whether the certificate names this identity: a DN must be its subject octet by octet, everything else must be
    /// among its alternative names.
    pub(super) fn names(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Dn(der) => !der.is_empty() && *der == self.subject,
            Identity::Other { .. } | Identity::KeyId(_) => false,
            _ => self.names.iter().any(|name| name.matches(identity)),
        }
    }
}

/// SHA-1 of the SubjectPublicKeyInfo: how CERTREQ names an authority (RFC 7296 §3.7).
pub(super) fn ca_hash(der: &[u8]) -> Result<[u8; CA_HASH_LEN], CertError> {
    let certificate = parse(der)?;
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate.public_key().raw);
    hash.as_ref().try_into().map_err(|_| CertError::Malformed)
}

/// Whether the key usage, if there is one, lets it sign certificates: RFC 5280 §6.1.4 n, which rustls-webpki leaves out.
pub(super) fn may_certify(der: &[u8]) -> Result<bool, CertError> {
    let certificate = parse(der)?;
    let usage = certificate.key_usage().map_err(|_| CertError::Malformed)?;
    Ok(usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertError::Malformed),
    }
}

fn identity(name: &GeneralName<'_>) -> Option<Identity> {
    match name {
        GeneralName::DNSName(name) => Some(Identity::Fqdn((*name).to_owned())),
        GeneralName::RFC822Name(name) => Some(Identity::Rfc822((*name).to_owned())),
        GeneralName::IPAddress(octets) => {
            let address = match octets.len() {
                4 => <[u8; 4]>::try_from(*octets).ok().map(IpAddr::from),
                _ => <[u8; 16]>::try_from(*octets).ok().map(IpAddr::from),
            };
            address.map(|address| match address {
                IpAddr::V4(address) => Identity::Ipv4(address),
                IpAddr::V6(address) => Identity::Ipv6(address),
            })
        }
        _ => None,
    }
}

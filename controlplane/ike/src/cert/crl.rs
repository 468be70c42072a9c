//! Certificate revocation lists (RFC 5280 §5), whole ones of the certificates' own issuer: no delta lists, no indirect lists, none
//! of some reasons only.
//!
//! Enters: DER or PEM. Leaves: [`RevocationList`], which says of a certificate whether it stands on it, once its signature is
//! verified with the issuer's key.

use std::collections::HashSet;
use std::sync::Arc;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::extensions::{
    DistributionPointName, GeneralName, IssuingDistributionPoint, ParsedExtension,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::revocation::Issued;
use super::signed::Signed;

/// What an issuer has revoked, if the signature is its own. Clones share what they hold.
#[derive(Clone)]
pub struct RevocationList(Arc<Contents>);

struct Contents {
    der: Vec<u8>,
    issuer_name: Vec<u8>,
    /// Unix time, in seconds.
    this_update: u64,
    next_update: u64,
    revoked: HashSet<Box<[u8]>>,
    scope: Scope,
}

/// A list whose signature is an issuer's. Made by [`RevocationList::verify`] only.
pub struct VerifiedList {
    list: RevocationList,
    spki: Vec<u8>,
}

/// Of which certificates it speaks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Scope {
    users_only: bool,
    authorities_only: bool,
    /// It speaks only of certificates that name one of these places.
    places: Option<Vec<String>>,
}

/// Why a list cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListError {
    /// Not a list.
    #[error("it is not a certificate revocation list in PEM or DER")]
    Malformed,
    /// RFC 5280 §5.1.2.5 wants one.
    #[error("it has no next update, so nobody knows when it is too old")]
    NoNextUpdate,
    /// Delta, indirect, of some reasons, or with a critical extension that is not known.
    #[error("it is not a complete list of its issuer's own certificates")]
    Partial,
    /// Whoever signed it is not the issuer.
    #[error("its signature is not the issuer's, or the issuer may not sign lists")]
    BadSignature,
}

impl RevocationList {
    /// Reads all lists of a PEM file, or the one of a DER file.
    ///
    /// # Errors
    /// When there is none or one is unusable.
    pub fn all_from(file: &[u8]) -> Result<Vec<RevocationList>, ListError> {
        if file.first() == Some(&0x30) {
            return Ok(vec![RevocationList::from_der(file)?]);
        }
        let lists = CertificateRevocationListDer::pem_slice_iter(file)
            .map(|der| RevocationList::from_der(&der.map_err(|_| ListError::Malformed)?))
            .collect::<Result<Vec<_>, _>>()?;
        if lists.is_empty() { Err(ListError::Malformed) } else { Ok(lists) }
    }

    /// Reads one list.
    ///
    /// # Errors
    /// When it is unusable.
    pub fn from_der(der: &[u8]) -> Result<RevocationList, ListError> {
        let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
            return Err(ListError::Malformed);
        };
        let seconds = |time: i64| u64::try_from(time).map_err(|_| ListError::Malformed);
        let next_update = list.next_update().ok_or(ListError::NoNextUpdate)?;
        Ok(RevocationList(Arc::new(Contents {
            der: der.to_vec(),
            issuer_name: list.issuer().as_raw().to_vec(),
            this_update: seconds(list.last_update().timestamp())?,
            next_update: seconds(next_update.timestamp())?,
            scope: scope(&list)?,
            revoked: list.iter_revoked_certificates().map(|one| one.raw_serial().into()).collect(),
        })))
    }

    /// When its successor is due; Unix time, in seconds.
    pub fn next_update(&self) -> u64 {
        self.0.next_update
    }

    /// DER of the issuer's name.
    pub fn issuer_name(&self) -> &[u8] {
        &self.0.issuer_name
    }

    /// Verifies that the issuer of `issued` made it.
    ///
    /// # Errors
    /// [`ListError::BadSignature`].
    pub fn verify(self, issued: &Issued) -> Result<VerifiedList, ListError> {
        let good = issued.issuer_signs_lists
            && self.0.issuer_name == issued.issuer_name
            && Signed::parse(&self.0.der).is_some_and(|signed| signed.is_by(&issued.issuer_spki));
        match good {
            true => Ok(VerifiedList { spki: issued.issuer_spki.clone(), list: self }),
            false => Err(ListError::BadSignature),
        }
    }
}

impl VerifiedList {
    /// Whether it speaks of this certificate.
    pub fn covers(&self, issued: &Issued) -> bool {
        let Scope { users_only, authorities_only, places } = &self.list.0.scope;
        let named = |places: &Vec<String>| issued.list_places.iter().any(|place| places.contains(place));
        self.list.0.issuer_name == issued.issuer_name
            && self.spki == issued.issuer_spki
            && (!*users_only || !issued.is_authority)
            && (!*authorities_only || issued.is_authority)
            && places.as_ref().is_none_or(named)
    }

    /// Whether the certificate stands on it, if it [covers](VerifiedList::covers) it.
    pub fn revokes(&self, issued: &Issued) -> bool {
        self.list.0.revoked.contains(issued.serial.as_slice())
    }

    /// When it was made; Unix time, in seconds.
    pub fn this_update(&self) -> u64 {
        self.list.0.this_update
    }

    /// When its successor was due; Unix time, in seconds.
    pub fn next_update(&self) -> u64 {
        self.list.0.next_update
    }
}

fn scope(list: &CertificateRevocationList<'_>) -> Result<Scope, ListError> {
    let mut scope = Scope::default();
    for extension in list.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::IssuingDistributionPoint(point) => scope = scope_of(point)?,
            ParsedExtension::AuthorityKeyIdentifier(_) | ParsedExtension::CRLNumber(_) => {}
            // The indicator of delta lists is critical (RFC 5280 §5.2.4).
            _ if extension.critical => return Err(ListError::Partial),
            _ => {}
        }
    }
    // An entry that is critical may belong to another issuer (RFC 5280 §5.3.3).
    let critical = |extension: &x509_parser::extensions::X509Extension<'_>| {
        extension.critical && !matches!(extension.parsed_extension(), ParsedExtension::ReasonCode(_))
    };
    if list.iter_revoked_certificates().any(|entry| entry.extensions().iter().any(critical)) {
        return Err(ListError::Partial);
    }
    Ok(scope)
}

fn scope_of(point: &IssuingDistributionPoint<'_>) -> Result<Scope, ListError> {
    if point.indirect_crl || point.only_contains_attribute_certs || point.only_some_reasons.is_some() {
        return Err(ListError::Partial);
    }
    let places = match &point.distribution_point {
        None => None,
        Some(DistributionPointName::FullName(names)) => {
            let places = names.iter().filter_map(|name| match name {
                GeneralName::URI(place) => Some((*place).to_owned()),
                _ => None,
            });
            Some(places.collect())
        }
        Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => return Err(ListError::Partial),
    };
    Ok(Scope {
        users_only: point.only_contains_user_certs,
        authorities_only: point.only_contains_ca_certs,
        places,
    })
}

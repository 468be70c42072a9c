//! Whether a certificate of a valid path has been revoked since: the question, the answers there can be, what the operator makes
//! of them (RFC 5280 §6.3, RFC 6960).
//!
//! Enters: every certificate of a path with its issuer, stapled OCSP answers. Leaves: nothing, or why the path does not count.
//! Lists and answers come from a [`StatusSource`]: this crate fetches nothing.

use std::sync::Arc;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::CertError;

/// Most places that one certificate may name for lists, and for OCSP.
pub const MAX_PLACES: usize = 4;
/// Longest address of such a place, in octets.
const MAX_PLACE_OCTETS: usize = 1024;

/// What becomes of a path whose status cannot be learnt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RevocationPolicy {
    /// It counts.
    #[default]
    Soft,
    /// It does not.
    Hard,
}

/// A certificate and who issued it; the signature between them is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issued {
    /// DER of the serial number, without header.
    pub serial: Vec<u8>,
    /// Whether it is an authority's.
    pub is_authority: bool,
    /// DER of the issuer's name.
    pub issuer_name: Vec<u8>,
    /// DER of the issuer's SubjectPublicKeyInfo.
    pub issuer_spki: Vec<u8>,
    /// DER of the issuer's certificate.
    pub issuer_der: Vec<u8>,
    /// Whether the issuer's key usage, if there is one, lets it sign lists.
    pub issuer_signs_lists: bool,
    /// Where its distribution points say that lists are (RFC 5280 §4.2.1.13), `http` only.
    pub list_places: Vec<String>,
    /// Where its authority's OCSP responders are (RFC 5280 §4.2.2.1), `http` only.
    pub ocsp_places: Vec<String>,
}

/// What is known of a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Status {
    /// Its authority says, and says so now, that it is not revoked.
    Good,
    /// It is.
    Revoked,
    /// Nobody has said; why, for the operator.
    Unknown(UnknownStatus),
}

/// Why nothing is known of a certificate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnknownStatus {
    /// Nowhere to learn it.
    #[error("it names no place of lists or OCSP, and there is no list of its issuer")]
    NoSource,
    /// Too old.
    #[error("the revocation list of its issuer has expired")]
    ListExpired,
    /// Could not be had.
    #[error("{place}: {reason}")]
    NotFetched {
        /// The address.
        place: String,
        /// What went wrong.
        reason: String,
    },
}

/// Who knows lists and OCSP answers. May take time: paths are verified on threads that may wait.
pub trait StatusSource: Send + Sync {
    /// What is known of `issued`. `stapled` are OCSP answers that came with it, not verified.
    fn status(&self, issued: &Issued, stapled: &[&[u8]], now_unix_secs: u64) -> Status;
}

/// Policy and source.
#[derive(Clone)]
pub(super) struct Revocation {
    pub(super) policy: RevocationPolicy,
    pub(super) source: Arc<dyn StatusSource>,
}

impl Revocation {
    /// Judges a path: certificates from the leaf up to the trusted authority's own.
    pub(super) fn judge(
        &self,
        path: &[&[u8]],
        stapled: &[&[u8]],
        now_unix_secs: u64,
    ) -> Result<(), CertError> {
        for pair in path.windows(2) {
            let &[certificate, issuer] = pair else { continue };
            let issued = Issued::of(certificate, issuer)?;
            match (self.source.status(&issued, stapled, now_unix_secs), self.policy) {
                (Status::Good, _) | (Status::Unknown(_), RevocationPolicy::Soft) => {}
                (Status::Revoked, _) => return Err(CertError::Revoked),
                (Status::Unknown(why), RevocationPolicy::Hard) => return Err(CertError::StatusUnknown(why)),
            }
        }
        Ok(())
    }
}

impl Issued {
    /// Reads both; who calls it has verified that the one issued the other.
    ///
    /// # Errors
    /// [`CertError::Malformed`].
    pub fn of(certificate_der: &[u8], issuer_der: &[u8]) -> Result<Issued, CertError> {
        let (_, certificate) =
            X509Certificate::from_der(certificate_der).map_err(|_| CertError::Malformed)?;
        let (_, issuer) = X509Certificate::from_der(issuer_der).map_err(|_| CertError::Malformed)?;
        let malformed = |_| CertError::Malformed;
        let usage = issuer.key_usage().map_err(malformed)?;
        let constraints = certificate.basic_constraints().map_err(malformed)?;
        let (mut list_places, mut ocsp_places) = (Vec::new(), Vec::new());
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::CRLDistributionPoints(points) => {
                    // Lists of some reasons or of another issuer are not read (RFC 5280 §5.2.5).
                    let whole = points.iter().filter(|p| p.reasons.is_none() && p.crl_issuer.is_none());
                    let names = whole.filter_map(|point| match &point.distribution_point {
                        Some(DistributionPointName::FullName(names)) => Some(names),
                        _ => None,
                    });
                    list_places.extend(names.flatten().filter_map(http));
                }
                ParsedExtension::AuthorityInfoAccess(access) => {
                    let ocsp = access.iter().filter(|one| one.access_method.to_id_string() == OCSP);
                    ocsp_places.extend(ocsp.filter_map(|one| http(&one.access_location)));
                }
                _ => {}
            }
        }
        list_places.truncate(MAX_PLACES);
        ocsp_places.truncate(MAX_PLACES);
        Ok(Issued {
            serial: certificate.raw_serial().to_vec(),
            is_authority: constraints.is_some_and(|constraints| constraints.value.ca),
            issuer_name: issuer.subject().as_raw().to_vec(),
            issuer_spki: issuer.public_key().raw.to_vec(),
            issuer_der: issuer_der.to_vec(),
            issuer_signs_lists: usage.is_none_or(|usage| usage.value.crl_sign()),
            list_places,
            ocsp_places,
        })
    }
}

/// id-ad-ocsp.
const OCSP: &str = "1.3.6.1.5.5.7.48.1";

/// Lists and answers are signed, and fetching them over TLS would need them (RFC 5280 §8): `http` is what authorities use.
fn http(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(place) if place.starts_with("http://") && place.len() <= MAX_PLACE_OCTETS => {
            Some((*place).to_owned())
        }
        _ => None,
    }
}

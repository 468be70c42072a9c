//! A certificate inside AnyConnect-EAP: chain, signature, and whom it names.
//!
//! Enters: the method's question, the authorities, the negotiated PRF. Leaves: the names that a good certificate holds.
//! The signature must use the PRF's hash, as Cisco's clients do (with SHA-1 it is refused unless nothing else was
//! negotiated, which this gateway never does).

use causeway_eap::anyconnect::CertificateQuestion;
use causeway_ike::cert::CertUse;
use causeway_ike::job::Keyring;
use causeway_ike::suite::Prf;
use causeway_ike::wire::{Auth, AuthMethod, Cert};

/// DER of `sha*WithRSAEncryption` (RFC 8017 §A.2) without its last arc and parameters.
const RSA: [u8; 12] = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// DER of `ecdsa-with-SHA*` (RFC 5758 §3.2) without its last arc.
const ECDSA: [u8; 11] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];

/// The alternative names of the certificate, if it is good and its key has signed.
///
/// # Errors
/// What is wrong, for the operator.
pub(super) fn names(
    keyring: &Keyring,
    question: CertificateQuestion,
    prf: Prf,
    now_unix_secs: u64,
) -> Result<Vec<String>, String> {
    let authorities = keyring.client_authorities.as_ref().ok_or("auth.client_ca_file is not set")?;
    let certs: Vec<Cert> = question.chain.iter().map(|der| Cert::x509(der)).collect();
    let verified =
        authorities.verify(&certs, CertUse::Client, now_unix_secs).map_err(|error| error.to_string())?;
    let signed = identifiers(prf).into_iter().any(|identifier| {
        let auth = digital_signature(&identifier, &question.signature);
        verified.verify_auth(&auth, &question.signed_octets).is_ok()
    });
    if !signed {
        return Err(format!("the signature was not made with the certificate's key and the hash of {prf:?}"));
    }
    Ok(verified.alternative_names().iter().map(ToString::to_string).collect())
}

/// The signature algorithms with the PRF's hash, for either kind of key.
fn identifiers(prf: Prf) -> [Vec<u8>; 2] {
    let (rsa, ecdsa) = match prf {
        Prf::HmacSha2_256 => (0x0b, 0x02),
        Prf::HmacSha2_384 => (0x0c, 0x03),
        Prf::HmacSha2_512 => (0x0d, 0x04),
    };
    [[&RSA[..], &[rsa, 0x05, 0x00]].concat(), [&ECDSA[..], &[ecdsa]].concat()]
}

/// As RFC 7427 §3 writes it, which says the hash.
fn digital_signature(identifier: &[u8], signature: &[u8]) -> Auth {
    let length = u8::try_from(identifier.len()).unwrap_or(u8::MAX);
    let data = [&[length], identifier, signature].concat();
    Auth { method: AuthMethod::DigitalSignature, data }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    use causeway_ike::cert::TrustStore;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::clock;

    #[test]
    fn a_good_certificate_names_its_user_if_the_signature_follows_the_prf() {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(vec!["ann.test".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.serialize_der()).unwrap();
        let signature = signer.sign(&SystemRandom::new(), b"signed octets").unwrap().as_ref().to_vec();
        let trusting = Keyring {
            credential: None,
            client_authorities: Some(TrustStore::from_pem(pem.as_bytes()).unwrap()),
        };
        let judge = |keyring: &Keyring, octets: &[u8], prf| {
            let (chain, signature) = (vec![leaf.der().to_vec()], signature.clone());
            let question = CertificateQuestion { chain, signature, signed_octets: octets.to_vec() };
            names(keyring, question, prf, clock::unix_secs())
        };
        let good = judge(&trusting, b"signed octets", Prf::HmacSha2_256);
        assert_eq!(good, Ok(vec!["ann.test".to_owned()]));
        assert!(judge(&trusting, b"other octets", Prf::HmacSha2_256).is_err());
        assert!(
            judge(&trusting, b"signed octets", Prf::HmacSha2_512).is_err(),
            "SHA-256 is not the PRF's hash"
        );
        assert!(judge(&Keyring::default(), b"signed octets", Prf::HmacSha2_256).is_err());
    }
}

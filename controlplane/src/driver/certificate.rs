//! Certificates at the driver: new ones of our own, and a client's inside AnyConnect-EAP: chain, signature, and whom it names.
//!
//! Enters: the method's question, the authorities, the negotiated PRF. Leaves: the names that a good certificate holds.
//! An RSA signature must use the PRF's hash, as Cisco's clients do (with SHA-1 it is refused: no PRF of ours is SHA-1).

use causeway_eap::anyconnect::CertificateQuestion;
use causeway_ike::cert::TrustStore;
use causeway_ike::job::Keyring;
use causeway_ike::suite::Prf;

use super::core::Core;
use crate::counters::bump;
use crate::keys::Keys;
use crate::link::Link;

impl<L: Link> Core<L> {
    /// Works with new certificates and keys from now on, or notes why not. Sessions hold nothing of the old ones, and a signature
    /// under way goes out with the chain of the key that makes it.
    pub(super) fn new_keys(&mut self, read: Result<Keys, String>) {
        match read {
            Ok(Keys { keyring, server_cert_hash, eap, registrar: _ }) => {
                bump(&mut self.counts.certificates_read);
                let request = keyring.client_authorities.as_ref().map(TrustStore::cert_req);
                self.endpoint.ask_for_certificates_of(request);
                self.services.anyconnect.set_server_cert_hash(server_cert_hash);
                self.services.local_eap.renew(eap);
                self.jobs.renew(keyring);
                self.keys_problem = None;
            }
            Err(error) => {
                self.keys_problem =
                    Some(format!("{error}. The old certificates stay in use: correct the files."));
            }
        }
    }
}

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
    let CertificateQuestion { chain, signature, signed_octets } = question;
    let holder = authorities
        .authenticate_holder(&chain, &signature, &signed_octets, prf, now_unix_secs)
        .map_err(|error| error.to_string())?;
    Ok(holder.alternative_names().iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use causeway_ike::cert::{Credential, RsaHash, TrustStore};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

    use super::*;
    use crate::clock;

    /// An authority, and whom it has certified with keys of both kinds.
    struct World {
        trusting: Keyring,
        rsa: Credential,
        ecdsa: Credential,
    }

    fn world() -> World {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let holder = |key: KeyPair| {
            let params = CertificateParams::new(vec!["ann.test".to_owned()]).unwrap();
            let leaf = params.signed_by(&key, &issuer).unwrap();
            Credential::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
        };
        let client_authorities = Some(TrustStore::from_pem(pem.as_bytes()).unwrap());
        World {
            trusting: Keyring { credential: None, client_authorities },
            rsa: holder(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()),
            ecdsa: holder(KeyPair::generate().unwrap()),
        }
    }

    fn question(holder: &Credential, hash: RsaHash) -> CertificateQuestion {
        let signature = holder.sign_with(b"signed octets", None, hash).unwrap().data;
        let chain = holder.cert_payloads().map(|cert| cert.data).collect();
        CertificateQuestion { chain, signature, signed_octets: b"signed octets".to_vec() }
    }

    #[test]
    fn a_good_certificate_names_its_user_if_the_signature_follows_the_prf() {
        let world = world();
        let judge = |question, prf| names(&world.trusting, question, prf, clock::unix_secs());
        let ann = Ok(vec!["ann.test".to_owned()]);
        for (hash, prf, good) in [
            (RsaHash::Sha256, Prf::HmacSha2_256, true),
            (RsaHash::Sha512, Prf::HmacSha2_512, true),
            (RsaHash::Sha256, Prf::HmacSha2_512, false),
            (RsaHash::Sha1, Prf::HmacSha2_512, false),
            (RsaHash::Sha1, Prf::HmacSha2_256, false),
        ] {
            let judged = judge(question(&world.rsa, hash), prf);
            assert_eq!(judged.is_ok(), good, "{hash:?} under {prf:?}");
            assert!(!good || judged == ann);
        }
        // The curve says which hash.
        assert_eq!(judge(question(&world.ecdsa, RsaHash::Sha1), Prf::HmacSha2_512), ann);
    }

    #[test]
    fn other_octets_another_key_or_no_authority_prove_nothing() {
        let world = world();
        let good = || question(&world.ecdsa, RsaHash::Sha256);
        let other_octets = CertificateQuestion { signed_octets: b"other octets".to_vec(), ..good() };
        let other_key = CertificateQuestion { chain: question(&world.rsa, RsaHash::Sha256).chain, ..good() };
        for (keyring, question) in
            [(&world.trusting, other_octets), (&world.trusting, other_key), (&Keyring::default(), good())]
        {
            assert!(names(keyring, question, Prf::HmacSha2_256, clock::unix_secs()).is_err());
        }
    }
}

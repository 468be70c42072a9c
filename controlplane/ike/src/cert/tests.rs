//! Certificates and signatures: what OpenSSL made is verified, what we make is verified, every mistake has its error.
//!
//! `testdata/certs` holds OpenSSL's; chains with mistakes are made on the spot with rcgen.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::algorithm::{Hash, Scheme};
use super::leaf::Leaf;
use super::*;
use crate::crypto::testing::unhex;
use crate::ident::Identity;
use crate::suite::Prf;
use crate::wire::{Auth, AuthMethod, Cert, CertEncoding, SignatureHash};

const SIGNED: &[u8] = include_bytes!("../../testdata/certs/signed.bin");
/// 2030-01-01, when all of OpenSSL's and most of rcgen's certificates are valid.
pub(super) const NOW: u64 = 1_893_456_000;

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../testdata/certs/", $name)).as_slice()
    };
}

fn openssl_ca() -> TrustStore {
    TrustStore::from_pem(file!("ca.pem")).unwrap()
}

/// Name, certificate, keys in every form.
fn credentials() -> Vec<(&'static str, Credential)> {
    let table: [(&str, &[u8], &[u8]); 11] = [
        ("rsa2048", file!("rsa2048.pem"), file!("rsa2048.pkcs1.key")),
        ("rsa2048", file!("rsa2048.pem"), file!("rsa2048.pkcs8.key")),
        ("rsa3072", file!("rsa3072.pem"), file!("rsa3072.pkcs1.key")),
        ("rsa3072", file!("rsa3072.pem"), file!("rsa3072.pkcs8.key")),
        ("p256", file!("p256.pem"), file!("p256.sec1.key")),
        ("p256", file!("p256.pem"), file!("p256.pkcs8.key")),
        ("p384", file!("p384.pem"), file!("p384.sec1.key")),
        ("p384", file!("p384.pem"), file!("p384.pkcs8.key")),
        ("p521", file!("p521.pem"), file!("p521.sec1.key")),
        ("p521", file!("p521.pem"), file!("p521.pkcs8.key")),
        ("ed25519", file!("ed25519.pem"), file!("ed25519.pkcs8.key")),
    ];
    table.map(|(name, chain, key)| (name, Credential::from_pem(chain, key).unwrap())).into()
}

fn leaf(name: &str) -> VerifiedCertificate {
    let (_, credential) = credentials().into_iter().find(|(n, _)| *n == name).unwrap();
    let certs: Vec<Cert> = credential.cert_payloads().collect();
    openssl_ca().verify(&certs, CertUse::Client, NOW).unwrap()
}

fn digital_signature(scheme: Scheme, signature: &[u8]) -> Auth {
    let identifier = scheme.identifier();
    let data = [&[identifier.len() as u8][..], &identifier, signature].concat();
    Auth { method: AuthMethod::DigitalSignature, data }
}

fn hash(text: &str) -> Option<Hash> {
    match text {
        "sha256" => Some(Hash::Sha256),
        "sha384" => Some(Hash::Sha384),
        "sha512" => Some(Hash::Sha512),
        _ => None,
    }
}

/// The AUTH payloads that carry one of OpenSSL's signatures.
fn auths(key: &str, algorithm: &str, signature: &[u8]) -> Vec<Auth> {
    let plain = |method| Auth { method, data: signature.to_vec() };
    match algorithm.split_once('-').unwrap_or((algorithm, "")) {
        ("pkcs1", "sha1") => vec![plain(AuthMethod::RsaSignature)],
        ("pkcs1", name) => vec![
            plain(AuthMethod::RsaSignature),
            digital_signature(Scheme::RsaPkcs1(hash(name).unwrap()), signature),
        ],
        ("pss", name) => {
            hash(name).map(|h| digital_signature(Scheme::RsaPss(h), signature)).into_iter().collect()
        }
        ("ecdsa", name) => {
            let mut auths =
                Vec::from_iter(hash(name).map(|h| digital_signature(Scheme::Ecdsa(h), signature)));
            let old = match (key, name) {
                ("p256", "sha256") => Some((AuthMethod::EcdsaSha256P256, 32)),
                ("p384", "sha384") => Some((AuthMethod::EcdsaSha384P384, 48)),
                ("p521", "sha512") => Some((AuthMethod::EcdsaSha512P521, 66)),
                _ => None,
            };
            auths.extend(old.map(|(method, octets)| Auth { method, data: fixed(signature, octets) }));
            auths
        }
        ("ed25519", _) => vec![digital_signature(Scheme::Ed25519, signature)],
        other => panic!("{other:?}"),
    }
}

/// `r | s` of RFC 4754 from a DER signature.
fn fixed(der: &[u8], octets: usize) -> Vec<u8> {
    let mut rest = &der[if der[1] < 0x80 { 2 } else { 3 }..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let (head, tail) = rest.split_at(2 + usize::from(rest[1]));
        let number = head[2..].strip_prefix(&[0]).unwrap_or(&head[2..]);
        out.extend(std::iter::repeat_n(0, octets - number.len()));
        out.extend_from_slice(number);
        rest = tail;
    }
    out
}

#[test]
fn signatures_of_openssl_are_verified() {
    let mut verified = 0;
    for line in include_str!("../../testdata/certs/signatures.txt").lines() {
        let [key, algorithm, signature] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let certificate = leaf(key);
        for auth in auths(key, algorithm, &unhex(signature)) {
            assert_eq!(certificate.verify_auth(&auth, SIGNED), Ok(()), "{key} {algorithm} {}", auth.method);
            let wrong = Err(SignatureError::Wrong);
            assert_eq!(certificate.verify_auth(&auth, &SIGNED[1..]), wrong, "{key} {algorithm}");
            let mut damaged = auth.clone();
            *damaged.data.last_mut().unwrap() ^= 1;
            assert_eq!(certificate.verify_auth(&damaged, SIGNED), wrong, "{key} {algorithm}");
            let short = Auth { data: auth.data[..auth.data.len() - 1].to_vec(), ..auth };
            assert_eq!(certificate.verify_auth(&short, SIGNED), wrong, "{key} {algorithm}");
            verified += 1;
        }
    }
    // Two RSA keys with 4 + 3 + 3, three ECDSA keys with 3 + 1, Ed25519.
    assert_eq!(verified, 2 * 10 + 3 * 4 + 1);
}

#[test]
fn what_we_sign_is_verified_and_fits_what_the_peer_knows() {
    use SignatureHash::{Identity as Pure, Sha1, Sha2_256, Sha2_384, Sha2_512};
    type Row<'a> = (&'a str, Option<&'a [SignatureHash]>, Result<(AuthMethod, Option<Scheme>), SignError>);
    let table: [Row<'_>; 18] = [
        ("rsa2048", None, Ok((AuthMethod::RsaSignature, None))),
        ("rsa2048", Some(&[]), Ok((AuthMethod::RsaSignature, None))),
        ("rsa2048", Some(&[Sha1]), Ok((AuthMethod::RsaSignature, None))),
        (
            "rsa2048",
            Some(&[Sha2_256, Sha2_384]),
            Ok((AuthMethod::DigitalSignature, Some(Scheme::RsaPkcs1(Hash::Sha256)))),
        ),
        (
            "rsa2048",
            Some(&[Sha2_512]),
            Ok((AuthMethod::DigitalSignature, Some(Scheme::RsaPkcs1(Hash::Sha512)))),
        ),
        (
            "rsa3072",
            Some(&[Sha2_384, Sha2_256]),
            Ok((AuthMethod::DigitalSignature, Some(Scheme::RsaPkcs1(Hash::Sha256)))),
        ),
        ("p256", None, Ok((AuthMethod::EcdsaSha256P256, None))),
        ("p256", Some(&[Sha2_384]), Ok((AuthMethod::EcdsaSha256P256, None))),
        (
            "p256",
            Some(&[Sha2_512, Sha2_256]),
            Ok((AuthMethod::DigitalSignature, Some(Scheme::Ecdsa(Hash::Sha256)))),
        ),
        ("p384", None, Ok((AuthMethod::EcdsaSha384P384, None))),
        ("p384", Some(&[Sha2_256]), Ok((AuthMethod::EcdsaSha384P384, None))),
        ("p384", Some(&[Sha2_384]), Ok((AuthMethod::DigitalSignature, Some(Scheme::Ecdsa(Hash::Sha384))))),
        ("p521", None, Ok((AuthMethod::EcdsaSha512P521, None))),
        (
            "p521",
            Some(&SIGNATURE_HASHES),
            Ok((AuthMethod::DigitalSignature, Some(Scheme::Ecdsa(Hash::Sha512)))),
        ),
        ("ed25519", None, Err(SignError::NoCommonAlgorithm)),
        ("ed25519", Some(&[Sha2_256]), Err(SignError::NoCommonAlgorithm)),
        ("ed25519", Some(&[Pure]), Ok((AuthMethod::DigitalSignature, Some(Scheme::Ed25519)))),
        ("ed25519", Some(&SIGNATURE_HASHES), Ok((AuthMethod::DigitalSignature, Some(Scheme::Ed25519)))),
    ];
    for (name, credential) in credentials() {
        let rows: Vec<_> = table.iter().filter(|(n, ..)| *n == name).collect();
        assert!(!rows.is_empty());
        for (_, peer_hashes, expected) in rows {
            let auth = match (credential.sign(SIGNED, *peer_hashes), expected) {
                (Ok(auth), Ok((method, scheme))) => {
                    assert_eq!(auth.method, *method, "{name} {peer_hashes:?}");
                    if let Some(scheme) = scheme {
                        assert_eq!(
                            auth.data[1..].get(..scheme.identifier().len()),
                            Some(&scheme.identifier()[..])
                        );
                    }
                    auth
                }
                (outcome, expected) => {
                    assert_eq!(outcome.err().as_ref(), expected.as_ref().err());
                    continue;
                }
            };
            assert_eq!(leaf(name).verify_auth(&auth, SIGNED), Ok(()), "{name} {peer_hashes:?}");
        }
    }
}

#[test]
fn pss_on_demand() {
    for (name, credential) in credentials().into_iter().filter(|(name, _)| name.starts_with("rsa")) {
        let credential = credential.with_rsa_padding(RsaPadding::Pss);
        for hash in Hash::ALL {
            let auth = credential.sign(SIGNED, Some(&[hash.registered()])).unwrap();
            assert!(auth.data[1..].starts_with(&Scheme::RsaPss(hash).identifier()));
            assert!(is_rsa_pss(&auth));
            let hashes = [hash.registered()];
            let pkcs1 = RsaPadding::Pkcs1;
            let other = credential.sign_as(SIGNED, Some(&hashes), RsaHash::Sha1, Some(pkcs1)).unwrap();
            assert!(!is_rsa_pss(&other), "the answer's padding may be the client's");
            assert_eq!(leaf(name).verify_auth(&auth, SIGNED), Ok(()));
        }
    }
}

/// A signature of one kind is not taken with a key of another, whatever its label.
#[test]
fn methods_and_keys_must_fit() {
    let unsupported = Err(SignatureError::UnsupportedAlgorithm);
    let methods = [
        AuthMethod::SharedKey,
        AuthMethod::DssSignature,
        AuthMethod::Null,
        AuthMethod::GenericSecurePassword,
        AuthMethod::Unknown(201),
    ];
    for name in ["rsa2048", "p256", "p384", "p521", "ed25519"] {
        let certificate = leaf(name);
        for method in methods {
            assert_eq!(certificate.verify_auth(&Auth { method, data: vec![0; 64] }, SIGNED), unsupported);
        }
        let own = [
            ("rsa2048", AuthMethod::RsaSignature),
            ("p256", AuthMethod::EcdsaSha256P256),
            ("p384", AuthMethod::EcdsaSha384P384),
            ("p521", AuthMethod::EcdsaSha512P521),
        ];
        for (other, method) in own {
            let expected = if other == name { Err(SignatureError::Wrong) } else { unsupported };
            assert_eq!(certificate.verify_auth(&Auth { method, data: vec![1; 64] }, SIGNED), expected);
        }
        // Empty, a length beyond the end, an unknown identifier, SHA-1 in method 14.
        let sha1 = digital_signature(Scheme::RsaPkcs1Sha1, &[0; 256]).data;
        let wrong = Err(SignatureError::Wrong);
        for (data, expected) in [
            (vec![], wrong),
            (vec![9, 1, 2], wrong),
            (vec![0], unsupported),
            (vec![2, 0x30, 0x00, 7], unsupported),
            (sha1, unsupported),
        ] {
            let auth = Auth { method: AuthMethod::DigitalSignature, data };
            assert_eq!(certificate.verify_auth(&auth, SIGNED), expected, "{name}");
        }
    }
}

#[test]
fn names_of_a_certificate() {
    let certificate = leaf("p256");
    let subject = Leaf::parse(&credentials()[4].1.cert_payloads().next().unwrap().data).unwrap().subject;
    let named = [
        Identity::Fqdn("gw.example.test".to_owned()),
        Identity::Fqdn("GW.Example.Test".to_owned()),
        Identity::Rfc822("carol@example.test".to_owned()),
        Identity::Ipv4([192, 0, 2, 7].into()),
        Identity::Ipv6("2001:db8::7".parse().unwrap()),
        Identity::Dn(subject.clone()),
    ];
    for identity in named {
        assert!(certificate.names(&identity), "{identity}");
    }
    let foreign = [
        Identity::Fqdn("example.test".to_owned()),
        Identity::Fqdn("*.example.test".to_owned()),
        Identity::Fqdn("carol@example.test".to_owned()),
        Identity::Rfc822("dave@example.test".to_owned()),
        Identity::Rfc822("gw.example.test".to_owned()),
        Identity::Ipv4([192, 0, 2, 8].into()),
        Identity::Dn(subject[..subject.len() - 1].to_vec()),
        Identity::Dn(vec![]),
        Identity::KeyId(b"gw.example.test".to_vec()),
        Identity::Other { id_type: 2, data: b"gw.example.test\0.evil".to_vec() },
    ];
    for identity in foreign {
        assert!(!certificate.names(&identity), "{identity}");
    }
    assert_eq!(certificate.alternative_names().len(), 4);
    assert_eq!(Identity::Dn(subject).to_string(), "O=Example, CN=carol@example.test");
}

#[test]
fn credentials_with_mistakes() {
    let load = |chain, key| Credential::from_pem(chain, key).err();
    let p256 = file!("p256.pem");
    assert_eq!(load(b"", file!("p256.pkcs8.key")), Some(CredentialError::BadCertificateFile));
    assert_eq!(load(file!("p256.pkcs8.key"), p256), Some(CredentialError::BadCertificateFile));
    assert_eq!(load(p256, p256), Some(CredentialError::BadKeyFile));
    assert_eq!(load(p256, b"-----BEGIN PRIVATE KEY-----\n!\n"), Some(CredentialError::BadKeyFile));
    assert_eq!(load(p256, file!("ca.sec1.key")), Some(CredentialError::KeyMismatch));
    assert_eq!(load(p256, file!("p384.pkcs8.key")), Some(CredentialError::UnsupportedKey));
    assert_eq!(load(p256, file!("rsa2048.pkcs8.key")), Some(CredentialError::UnsupportedKey));
    assert_eq!(load(file!("rsa2048.pem"), file!("rsa3072.pkcs8.key")), Some(CredentialError::KeyMismatch));
    assert_eq!(load(file!("rsa1024.pem"), file!("rsa1024.pkcs8.key")), Some(CredentialError::UnsupportedKey));
    for pem in [&b""[..], b"nonsense", file!("p256.pkcs8.key")] {
        assert_eq!(TrustStore::from_pem(pem).err(), Some(CredentialError::NoAuthority));
    }
}

/// The hash was computed with OpenSSL: SHA-1 over the DER of the authority's public key.
#[test]
fn certificate_requests_name_authorities_by_their_keys() {
    let request = openssl_ca().cert_req();
    assert_eq!(request.encoding, CertEncoding::X509Signature);
    let expected = include_str!("../../testdata/certs/ca.hash");
    assert_eq!(crate::crypto::testing::hex(&request.data), expected.trim());
    assert_eq!(request.ca_hashes().count(), 1);
}

pub(super) struct Authority {
    pub(super) key: KeyPair,
    pub(super) params: CertificateParams,
    pub(super) pem: String,
    pub(super) der: Vec<u8>,
}

pub(super) fn authority(name: &str, key_usages: Vec<KeyUsagePurpose>) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = key_usages;
    let certificate = params.self_signed(&key).unwrap();
    Authority { pem: certificate.pem(), der: certificate.der().to_vec(), key, params }
}

/// An authority that `by` has certified.
pub(super) fn intermediate(
    by: &Authority,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> Authority {
    let Authority { key, mut params, .. } = plain(name);
    change(&mut params);
    let certificate = params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)).unwrap();
    Authority { pem: certificate.pem(), der: certificate.der().to_vec(), key, params }
}

/// One that may sign certificates.
fn plain(name: &str) -> Authority {
    authority(name, vec![KeyUsagePurpose::KeyCertSign])
}

impl Authority {
    pub(super) fn store(&self) -> TrustStore {
        TrustStore::from_pem(self.pem.as_bytes()).unwrap()
    }

    pub(super) fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (Cert, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "dave");
        params.subject_alt_names = vec![SanType::Rfc822Name("dave@example.test".try_into().unwrap())];
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2035, 1, 1);
        change(&mut params);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (Cert::x509(certificate.der()), key)
    }
}

#[test]
fn chains_with_mistakes() {
    let ca = plain("ca");
    let verify_as = |certs: &[Cert], cert_use| ca.store().verify(certs, cert_use, NOW).err();
    let verify = |certs: &[Cert]| verify_as(certs, CertUse::Client);
    let issue = |change: &dyn Fn(&mut CertificateParams)| ca.issue(change).0;

    assert_eq!(verify(&[issue(&|_| ())]), None);
    assert_eq!(verify(&[]), Some(CertError::NoCertificate));
    let crl = Cert { encoding: CertEncoding::Crl, data: vec![1] };
    assert_eq!(verify(std::slice::from_ref(&crl)), Some(CertError::NoCertificate));
    assert_eq!(verify(&[crl, issue(&|_| ())]), None);
    let good = issue(&|_| ());
    assert_eq!(verify(&vec![good.clone(); MAX_CHAIN]), None);
    assert_eq!(verify(&vec![good.clone(); MAX_CHAIN + 1]), Some(CertError::TooManyCertificates));

    let expired = issue(&|params| params.not_after = date_time_ymd(2029, 12, 31));
    assert_eq!(verify(&[expired]), Some(CertError::Expired));
    let future = issue(&|params| params.not_before = date_time_ymd(2030, 1, 2));
    assert_eq!(verify(&[future]), Some(CertError::NotYetValid));
    assert_eq!(verify(&[plain("other").issue(|_| ()).0]), Some(CertError::UnknownIssuer));
    // The same name, another key.
    assert_eq!(verify(&[plain("ca").issue(|_| ()).0]), Some(CertError::BadSignature));
    let mut damaged = good.clone();
    *damaged.data.last_mut().unwrap() ^= 1;
    assert!(verify(&[damaged]).is_some());
    for data in [vec![], vec![0x30], good.data[..100].to_vec(), [&good.data[..], &[0]].concat()] {
        assert_eq!(verify(&[Cert::x509(&data)]), Some(CertError::Malformed));
    }
    // The authority's own certificate is no end entity.
    assert_eq!(verify(&[Cert::x509(&ca.der)]), Some(CertError::WrongUsage));
    let no_signature = issue(&|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]);
    assert_eq!(verify(&[no_signature]), Some(CertError::WrongUsage));

    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, Other, ServerAuth};
    let with_eku = |purposes: Vec<ExtendedKeyUsagePurpose>| {
        issue(&|params| params.extended_key_usages.clone_from(&purposes))
    };
    let ike = Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]);
    let ike_intermediate = Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2]);
    let usages = [
        (vec![], None, None),
        (vec![ClientAuth], None, Some(CertError::WrongUsage)),
        (vec![ServerAuth], Some(CertError::WrongUsage), None),
        (vec![ServerAuth, ClientAuth], None, None),
        (vec![CodeSigning], Some(CertError::WrongUsage), Some(CertError::WrongUsage)),
        (vec![CodeSigning, Any], None, None),
        (vec![ike], None, None),
        (vec![ike_intermediate], None, None),
    ];
    for (purposes, as_client, as_server) in usages {
        let certs = [with_eku(purposes.clone())];
        assert_eq!(verify_as(&certs, CertUse::Client), as_client, "{purposes:?}");
        assert_eq!(verify_as(&certs, CertUse::Server), as_server, "{purposes:?}");
    }
}

#[test]
fn short_rsa_keys_are_not_used() {
    let der = CertificateDer::from_pem_slice(file!("rsa1024.pem")).unwrap();
    let outcome = openssl_ca().verify(&[Cert::x509(&der)], CertUse::Client, NOW);
    assert_eq!(outcome.err(), Some(CertError::UnsupportedKey));
}

#[test]
fn intermediates_come_from_the_peer() {
    let root = plain("root");
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "intermediate");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.signed_by(&key, &Issuer::from_params(&root.params, &root.key)).unwrap();
    let intermediate = Authority { pem: certificate.pem(), der: certificate.der().to_vec(), key, params };
    let (leaf, _) = intermediate.issue(|_| ());
    let chain = [leaf.clone(), Cert::x509(&intermediate.der)];
    assert!(root.store().verify(&chain, CertUse::Client, NOW).is_ok());
    assert_eq!(root.store().verify(&[leaf], CertUse::Client, NOW).err(), Some(CertError::UnknownIssuer));
    // An end entity cannot issue.
    let (false_issuer, false_key) = root.issue(|_| ());
    let mut false_params = CertificateParams::new(vec![]).unwrap();
    false_params.distinguished_name.push(DnType::CommonName, "dave");
    let forged = CertificateParams::new(vec![]).unwrap();
    let forged = forged
        .signed_by(&KeyPair::generate().unwrap(), &Issuer::from_params(&false_params, &false_key))
        .unwrap();
    let chain = [Cert::x509(forged.der()), false_issuer];
    assert!(root.store().verify(&chain, CertUse::Client, NOW).is_err());
}

#[test]
fn an_identity_is_proven_by_certificate_name_and_signature_together() {
    let ca = plain("ca");
    let (cert, key) = ca.issue(|_| ());
    let pem = pem_of(&cert.data);
    let credential = Credential::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let auth = credential.sign(SIGNED, Some(&SIGNATURE_HASHES)).unwrap();
    let dave = Identity::Rfc822("dave@example.test".to_owned());
    let carol = Identity::Rfc822("carol@example.test".to_owned());
    let certs = [cert];
    let prove = |identity: &Identity, octets: &[u8], now| {
        ca.store().authenticate(&certs, CertUse::Client, identity, &auth, octets, now)
    };
    let proven = prove(&dave, SIGNED, NOW).unwrap();
    assert_eq!((proven.identity(), proven.subject().to_string()), (&dave, "CN=dave".to_owned()));
    assert_eq!(prove(&carol, SIGNED, NOW), Err(AuthenticationError::IdentityMismatch));
    assert_eq!(prove(&dave, b"other", NOW), Err(AuthenticationError::Signature(SignatureError::Wrong)));
    assert_eq!(prove(&dave, SIGNED, 2 * NOW), Err(AuthenticationError::Certificate(CertError::Expired)));
    assert!(credential.names(&dave) && !credential.names(&carol));
}

/// PEM of a DER certificate.
fn pem_of(der: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for chunk in der.chunks(3) {
        let word =
            chunk.iter().chain(&[0; 2]).take(3).fold(0u32, |word, octet| word << 8 | u32::from(*octet));
        for place in 0..4 {
            let digit =
                if place <= chunk.len() { ALPHABET[(word >> (18 - 6 * place) & 63) as usize] } else { b'=' };
            text.push(char::from(digit));
        }
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

/// Method 1 with the PRF's hash is the same PKCS#1 signature that method 14 makes with that hash; RSA PKCS#1 v1.5 is
/// deterministic.
#[test]
fn method_1_takes_the_hash_that_it_is_told() {
    for (name, credential) in credentials().into_iter().filter(|(name, _)| name.starts_with("rsa")) {
        let mut seen = std::collections::BTreeSet::new();
        for (prf, hash) in [
            (Prf::HmacSha2_256, SignatureHash::Sha2_256),
            (Prf::HmacSha2_384, SignatureHash::Sha2_384),
            (Prf::HmacSha2_512, SignatureHash::Sha2_512),
        ] {
            let old = credential.sign_with(b"octets", None, RsaHash::of_prf(prf)).unwrap();
            let new = credential.sign_with(b"octets", Some(&[hash]), RsaHash::Sha1).unwrap();
            assert_eq!((old.method, new.method), (AuthMethod::RsaSignature, AuthMethod::DigitalSignature));
            assert!(new.data.ends_with(&old.data), "{name} {hash:?}");
            assert_eq!((key_name(&old), key_name(&new)), ("rsa", "rsa"));
            seen.insert(old.data);
        }
        seen.insert(credential.sign(b"octets", None).unwrap().data);
        assert_eq!(seen.len(), 4, "SHA-1 without being told");
    }
}

/// Certificate and bare signature of AnyConnect-EAP: RSA with the PRF's hash and no other, ECDSA by its curve.
#[test]
fn holders_of_certificates_prove_themselves_without_auth_payload() {
    let prfs = [Prf::HmacSha2_256, Prf::HmacSha2_384, Prf::HmacSha2_512];
    let mut proven = 0;
    for (name, credential) in credentials() {
        let chain: Vec<Vec<u8>> = credential.cert_payloads().map(|cert| cert.data).collect();
        for prf in prfs {
            let Ok(auth) = credential.sign_with(SIGNED, None, RsaHash::of_prf(prf)) else { continue };
            let verify = |chain: &[Vec<u8>], signature: &[u8], octets: &[u8], prf| {
                openssl_ca().authenticate_holder(chain, signature, octets, prf, NOW)
            };
            let holder = verify(&chain, &auth.data, SIGNED, prf).unwrap();
            assert!(matches!(holder.subject(), Identity::Dn(_)));
            assert!(holder.common_name().is_some() || holder.alternative_names().len() > 1, "{name}");
            let wrong = Err(AuthenticationError::Signature(SignatureError::Wrong));
            assert_eq!(verify(&chain, &auth.data, &SIGNED[1..], prf), wrong);
            assert_eq!(verify(&chain, &[], SIGNED, prf), wrong);
            assert!(matches!(verify(&[], &auth.data, SIGNED, prf), Err(AuthenticationError::Certificate(_))));
            for other in prfs.into_iter().filter(|other| *other != prf && name.starts_with("rsa")) {
                assert_eq!(verify(&chain, &auth.data, SIGNED, other), wrong, "{name}");
            }
            proven += 1;
        }
    }
    assert!(proven >= 15, "{proven}");
}

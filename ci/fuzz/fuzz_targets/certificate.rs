//! A certificate and an AUTH payload from a peer that no authority knows: never accepted, never a panic.
#![no_main]

use std::sync::LazyLock;

use causeway_ike::cert::{CertUse, TrustStore};
use causeway_ike::ident::Identity;
use causeway_ike::wire::{Auth, AuthMethod, Cert};
use libfuzzer_sys::fuzz_target;

static TRUST: LazyLock<TrustStore> = LazyLock::new(|| {
    TrustStore::from_pem(include_bytes!("../../../controlplane/ike/testdata/certs/ca.pem")).expect("test data")
});

fuzz_target!(|octets: &[u8]| {
    let Some((cut, octets)) = octets.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_be_bytes(*cut)).min(octets.len());
    let (certificate, signature) = octets.split_at(cut);
    let auth = Auth { method: AuthMethod::DigitalSignature, data: signature.to_vec() };
    let identity = Identity::Dn(certificate.to_vec());
    let certs = [Cert::x509(certificate)];
    let outcome = TRUST.authenticate(&certs, CertUse::Client, &identity, &auth, b"signed", 1_893_456_000);
    assert!(outcome.is_err());
});

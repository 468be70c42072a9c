//! A gateway and its users, with certificates of one authority, for the tests of this crate.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::peer::PeerTls;
use crate::server::TlsSettings;
use crate::tunnel::{Binding, TtlsInner};
use crate::{EapType, NtHash};

/// TLS versions that one side speaks.
pub(crate) type Versions = &'static [&'static SupportedProtocolVersion];
pub(crate) const TLS12: Versions = &[&rustls::version::TLS12];
pub(crate) const TLS13: Versions = &[&rustls::version::TLS13];

/// An authority with whom it has certified.
pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
    /// How many certificates stand between leaf and authority; makes flights long.
    chain: Vec<CertificateDer<'static>>,
}

impl Pki {
    /// `extra`: certificates of no use that lengthen the gateway's chain.
    pub(crate) fn new(extra: usize) -> Pki {
        let key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = ca.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let chain = vec![certificate.der().clone(); extra];
        Pki { issuer: Issuer::new(ca, key), roots: Arc::new(roots), chain }
    }

    fn leaf(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, name);
        params.distinguished_name = subject;
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let mut chain = vec![leaf.der().clone()];
        chain.extend(self.chain.iter().cloned());
        (chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    pub(crate) fn settings(&self, versions: Versions, binding: Binding) -> TlsSettings {
        let config = |verify: bool| {
            let provider = Arc::new(default_provider());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
            let builder = builder.with_protocol_versions(versions).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider);
            let builder = match verify {
                true => builder.with_client_cert_verifier(verifier.build().unwrap()),
                false => builder.with_no_client_auth(),
            };
            let (chain, key) = self.leaf("gw.example");
            let mut config = builder.with_single_cert(chain, key).unwrap();
            TlsSettings::harden(&mut config);
            Arc::new(config)
        };
        TlsSettings {
            with_certificate: Some(config(true)),
            without_certificate: config(false),
            ttls_inner: vec![TtlsInner::Pap, TtlsInner::Mschapv2, TtlsInner::Eap],
            inner_methods: vec![EapType::MSCHAPV2, EapType::GTC, EapType::MD5],
            peap_binding: binding,
        }
    }

    /// A user's TLS, with a certificate if it has a name.
    pub(crate) fn peer(&self, versions: Versions, name: Option<&str>) -> PeerTls {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(Arc::clone(&self.roots));
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (chain, key) = self.leaf(name);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        PeerTls { config: Arc::new(config), server_name: ServerName::try_from("gw.example").unwrap() }
    }
}

/// The users of the tests: `ann`, password `s3cret`, whose certificate names her.
pub(crate) struct Users;

impl crate::Credentials for Users {
    fn nt_hash(&self, user: &str) -> Option<NtHash> {
        (user == "ann").then(|| NtHash::of_password("s3cret"))
    }

    fn accepts_password(&self, user: &str, password: &str) -> bool {
        user == "ann" && password == "s3cret"
    }

    fn clear_password(&self, user: &str) -> Option<zeroize::Zeroizing<String>> {
        (user == "ann").then(|| "s3cret".to_owned().into())
    }

    fn certificate_user(&self, der: &[u8], _: &[u8]) -> Option<String> {
        der.windows(3).any(|octets| octets == b"ann").then(|| "ann".to_owned())
    }
}

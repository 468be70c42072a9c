//! Every TLS-based method against wpa_supplicant's peer (`eapol_test`, Debian's package `eapoltest`), which strongSwan's cannot
//! stand in for: PEAP with crypto binding, PAP and MS-CHAP-V2 inside of TTLS, TLS 1.3.
//!
//! `eapol_test` speaks RADIUS, so the test is as much of a RADIUS server as carries EAP (RFC 3579, RFC 2548). It checks that the
//! MSK which it is told is its own. Without the program nothing is tested, and the test says so.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use causeway_eap::{
    Authenticated, Binding, Credentials, EapServer, EapType, NtHash, ServerConfig, ServerRandom, Step,
    TlsSettings, TtlsInner,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, SupportedProtocolVersion};

const SECRET: &[u8] = b"testing123";
const ACCESS_ACCEPT: u8 = 2;
const ACCESS_REJECT: u8 = 3;
const ACCESS_CHALLENGE: u8 = 11;
const EAP_MESSAGE: u8 = 79;
const MESSAGE_AUTHENTICATOR: u8 = 80;
const VENDOR_SPECIFIC: u8 = 26;
const MPPE_SEND_KEY: u8 = 16;
const MPPE_RECV_KEY: u8 = 17;
/// How long `eapol_test` may take for one login.
const PATIENCE_SECS: u64 = 20;

struct Users;

impl Credentials for Users {
    fn nt_hash(&self, user: &str) -> Option<NtHash> {
        (user == "ann").then(|| NtHash::of_password("s3cret"))
    }

    fn accepts_password(&self, user: &str, password: &str) -> bool {
        user == "ann" && password == "s3cret"
    }

    fn clear_password(&self, user: &str) -> Option<zeroize::Zeroizing<String>> {
        (user == "ann").then(|| "s3cret".to_owned().into())
    }

    fn certificate_user(&self, _: &[u8], _: &[u8]) -> Option<String> {
        Some("ann".to_owned())
    }
}

/// OpenSSL takes a certificate for self-signed if its subject is called like its issuer.
fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Certificates in memory for us, in files for the client.
struct Pki {
    directory: PathBuf,
    roots: Arc<RootCertStore>,
    gateway: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Pki {
    fn new(test: &str) -> Pki {
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("eapol-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name = named("authority");
        let certificate = ca.self_signed(&ca_key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        std::fs::write(directory.join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let leaf = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
            leaf.distinguished_name = named(name);
            (leaf.signed_by(&key, &issuer).unwrap(), key)
        };
        let (client, key) = leaf("ann.example");
        std::fs::write(directory.join("client.pem"), client.pem()).unwrap();
        std::fs::write(directory.join("client.key"), key.serialize_pem()).unwrap();
        let (gateway, key) = leaf("gw.example");
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Pki { directory, roots: Arc::new(roots), gateway: (gateway.der().clone(), key) }
    }

    fn settings(&self, version: &'static SupportedProtocolVersion, binding: Binding) -> TlsSettings {
        let config = |verify: bool| {
            let provider = Arc::new(default_provider());
            let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
            let builder = builder.with_protocol_versions(&[version]).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider);
            let builder = match verify {
                true => builder.with_client_cert_verifier(verifier.build().unwrap()),
                false => builder.with_no_client_auth(),
            };
            let (certificate, key) = &self.gateway;
            let mut config = builder.with_single_cert(vec![certificate.clone()], key.clone_key()).unwrap();
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
}

/// One request of the client: identifier, authenticator, EAP packet.
struct AccessRequest {
    identifier: u8,
    authenticator: [u8; 16],
    eap: Vec<u8>,
}

impl AccessRequest {
    fn read(octets: &[u8]) -> AccessRequest {
        let mut eap = vec![];
        let mut rest = &octets[20..];
        while let [kind, length, ..] = *rest {
            let (attribute, after) = rest.split_at(usize::from(length));
            if kind == EAP_MESSAGE {
                eap.extend_from_slice(&attribute[2..]);
            }
            rest = after;
        }
        AccessRequest { identifier: octets[1], authenticator: octets[4..20].try_into().unwrap(), eap }
    }

    fn answer(&self, code: u8, eap: &[u8], msk: Option<&[u8]>) -> Vec<u8> {
        let mut attributes = vec![];
        let mut attribute = |kind: u8, value: &[u8]| {
            attributes.extend_from_slice(&[kind, value.len() as u8 + 2]);
            attributes.extend_from_slice(value);
        };
        eap.chunks(253).for_each(|chunk| attribute(EAP_MESSAGE, chunk));
        for (number, key) in
            msk.map(|msk| [(MPPE_RECV_KEY, &msk[..32]), (MPPE_SEND_KEY, &msk[32..64])]).into_iter().flatten()
        {
            let sealed = self.seal(number, key);
            let head = [0, 0, 1, 55, number, sealed.len() as u8 + 2];
            attribute(VENDOR_SPECIFIC, &[&head[..], &sealed].concat());
        }
        attribute(MESSAGE_AUTHENTICATOR, &[0; 16]);
        let length = (attributes.len() as u16 + 20).to_be_bytes();
        let mut packet =
            [&[code, self.identifier, length[0], length[1]], &self.authenticator[..], &attributes].concat();
        let mut mac = Hmac::<Md5>::new_from_slice(SECRET).unwrap();
        mac.update(&packet);
        let at = packet.len() - 16;
        packet[at..].copy_from_slice(&mac.finalize().into_bytes());
        let authenticator = Md5::new().chain_update(&packet).chain_update(SECRET).finalize();
        packet[4..20].copy_from_slice(&authenticator);
        packet
    }

    /// RFC 2548 §2.4.2.
    fn seal(&self, salt: u8, key: &[u8]) -> Vec<u8> {
        let mut plain = [&[key.len() as u8], key].concat();
        plain.resize(plain.len().next_multiple_of(16), 0);
        let salt = [0x80, salt];
        let mut out = salt.to_vec();
        let mut last = [&self.authenticator[..], &salt].concat();
        for block in plain.chunks(16) {
            let pad = Md5::new().chain_update(SECRET).chain_update(&last).finalize();
            last = block.iter().zip(pad).map(|(octet, pad)| octet ^ pad).collect();
            out.extend_from_slice(&last);
        }
        out
    }
}

/// Lets `eapol_test` log in with these lines of its network block; what our side says of the login, and whether the client agrees.
fn login(
    pki: &Pki,
    methods: &[EapType],
    tls: TlsSettings,
    network: &str,
) -> (Option<Authenticated>, bool, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let file = pki.directory.join(format!("{port}.conf"));
    let base = pki.directory.display();
    let text = format!(
        "network={{\nkey_mgmt=WPA-EAP\nidentity=\"ann\"\nca_cert=\"{base}/ca.pem\"\n{}\n}}\n",
        network.replace("@", &format!("{base}/"))
    );
    std::fs::write(&file, text).unwrap();
    let keyless = !network.contains("TLS") && !network.contains("PEAP");
    let mut client = Command::new("eapol_test");
    client.arg("-c").arg(&file).args(["-a", "127.0.0.1", "-p", &port.to_string(), "-s", "testing123", "-r0"]);
    client.args(["-t", &PATIENCE_SECS.to_string()]).args(keyless.then_some("-n"));
    let mut client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = client.stdout.take().unwrap();
    // Read beside, so that the client never waits for its output to be taken.
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut output, &mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    let config = ServerConfig { name: "gw.example".into(), methods: methods.to_vec(), tls: Some(tls) };
    let (config, mut server, mut proof) = (Arc::new(config), None::<EapServer>, None);
    let mut octets = [0; 4096];
    let status = loop {
        if let Some(status) = client.try_wait().unwrap() {
            break status;
        }
        let Ok((length, from)) = socket.recv_from(&mut octets) else { continue };
        let request = AccessRequest::read(&octets[..length]);
        if request.eap[4] == EapType::IDENTITY.0 && server.is_none() {
            // The client names itself unasked: whoever carries EAP has asked for us.
            let mut next = 0;
            let random = ServerRandom::draw(|octets| {
                next += 1;
                octets.fill(next);
            });
            let random = ServerRandom { identifier: request.eap[1], ..random };
            server = Some(EapServer::start(Arc::clone(&config), random).0);
        }
        let answer = match server.as_mut().unwrap().handle(&request.eap, &Users) {
            Step::Request(eap) => request.answer(ACCESS_CHALLENGE, &eap, None),
            Step::Success { authenticated, packet } => {
                let msk = authenticated.msk().map(|msk| msk.as_bytes().to_vec());
                proof = Some(authenticated);
                request.answer(ACCESS_ACCEPT, &packet, msk.as_deref())
            }
            Step::Failure { packet, .. } => request.answer(ACCESS_REJECT, &packet, None),
            // One sent again, of which the first was answered.
            Step::Discard(_) => continue,
        };
        send(&socket, &answer, from);
    };
    (proof, status.success(), reader.join().unwrap())
}

fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr) {
    assert_eq!(socket.send_to(packet, to).unwrap(), packet.len());
}

fn is_installed() -> bool {
    let found =
        Command::new("eapol_test").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("eapol_test is not installed (Debian: apt-get install eapoltest): nothing was tested");
    }
    found
}

const TLS12: (&SupportedProtocolVersion, &str) = (&rustls::version::TLS12, "tls_disable_tlsv1_3=1");
const TLS13: (&SupportedProtocolVersion, &str) = (&rustls::version::TLS13, "tls_disable_tlsv1_3=0");
const CERTIFICATE: &str = "client_cert=\"@client.pem\"\nprivate_key=\"@client.key\"";

#[test]
fn wpa_supplicant_logs_in_with_every_method() {
    if !is_installed() {
        return;
    }
    let pki = Pki::new("logins");
    for (version, phase1) in [TLS12, TLS13] {
        let mut logins =
            vec![(EapType::TLS, format!("eap=TLS\n{CERTIFICATE}\nphase1=\"{phase1}\""), Binding::Off, None)];
        for (inner, by) in [
            ("auth=PAP", "pap"),
            ("auth=MSCHAPV2", "mschapv2"),
            ("autheap=MSCHAPV2", "eap-mschapv2"),
            ("autheap=GTC", "eap-gtc"),
            ("autheap=MD5", "eap-md5"),
        ] {
            let network = format!("eap=TTLS\npassword=\"s3cret\"\nphase1=\"{phase1}\"\nphase2=\"{inner}\"");
            logins.push((EapType::TTLS, network, Binding::Off, Some(by)));
        }
        for (binding, theirs) in
            [(Binding::Off, 0), (Binding::Optional, 0), (Binding::Optional, 1), (Binding::Required, 2)]
        {
            for (inner, by) in [("MSCHAPV2", "eap-mschapv2"), ("GTC", "eap-gtc")] {
                let phase1 = format!("peapver=0 crypto_binding={theirs} {phase1}");
                let network =
                    format!("eap=PEAP\npassword=\"s3cret\"\nphase1=\"{phase1}\"\nphase2=\"auth={inner}\"");
                logins.push((EapType::PEAP, network, binding, Some(by)));
            }
        }
        for (method, network, binding, by) in logins {
            let (proof, agrees, log) = login(&pki, &[method], pki.settings(version, binding), &network);
            let proof = proof.unwrap_or_else(|| panic!("{network}\n{log}"));
            assert!(agrees, "{network}\n{log}");
            assert_eq!((proof.user(), proof.inner()), ("ann", by));
        }
    }
    std::fs::remove_dir_all(&pki.directory).unwrap();
}

#[test]
fn wpa_supplicant_is_refused_and_refuses() {
    if !is_installed() {
        return;
    }
    let pki = Pki::new("refusals");
    let every = [EapType::MSCHAPV2, EapType::TLS, EapType::PEAP, EapType::TTLS, EapType::GTC];
    for (version, phase1) in [TLS12, TLS13] {
        let settings = |binding| pki.settings(version, binding);
        let with = |methods: &[EapType], binding, network: &str| {
            let network = format!("{network}\nphase1=\"peapver=0 {phase1}\"");
            let (proof, agrees, log) = login(&pki, methods, settings(binding), &network);
            assert_eq!(proof.is_some(), agrees, "both sides say the same:\n{log}");
            proof
        };
        // Wrong passwords, a gateway whose name is another, and an answer without the binding that we demand.
        for refused in [
            "eap=TTLS\npassword=\"wrong\"\nphase2=\"auth=PAP\"",
            "eap=TTLS\npassword=\"wrong\"\nphase2=\"auth=MSCHAPV2\"",
            "eap=PEAP\npassword=\"wrong\"\nphase2=\"auth=MSCHAPV2\"",
            "eap=TTLS\npassword=\"s3cret\"\nphase2=\"auth=PAP\"\ndomain_match=\"other.example\"",
            "eap=TLS",
        ] {
            let method = match refused {
                _ if refused.starts_with("eap=TTLS") => EapType::TTLS,
                _ if refused.starts_with("eap=PEAP") => EapType::PEAP,
                _ => EapType::TLS,
            };
            assert!(with(&[method], Binding::Off, refused).is_none(), "{refused}");
        }
        // A Nak leads from our first to the one that it speaks.
        let nak = with(&every, Binding::Off, "eap=TTLS GTC\npassword=\"s3cret\"\nphase2=\"auth=PAP\"");
        assert_eq!(nak.unwrap().method(), EapType::TTLS);
    }
    std::fs::remove_dir_all(&pki.directory).unwrap();
}

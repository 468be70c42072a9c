//! AnyConnect-EAP against the daemon: every kind of login, and what a gateway hears that no honest client says.

use causeway_eap::anyconnect::framing::Tlvs;
use causeway_ike::cert::{Credential, RsaHash};
use causeway_ike::testing::Notable;
use causeway_shared::config::{CertificateLogin, Config};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use crate::client::{AnyConnect, Client};
use crate::gateway::{Gateway, PASSWORD, USER};

/// Who certifies users.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn certify(&self, user: &str, key: &KeyPair) -> Credential {
        let leaf =
            CertificateParams::new(vec![user.to_owned()]).unwrap().signed_by(key, &self.issuer).unwrap();
        Credential::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    /// A gateway that asks for certificates of this authority.
    fn gateway(&self, name: &str, certificate: CertificateLogin) -> Gateway {
        let file = std::env::temp_dir().join(format!("causeway-users-{}-{name}.pem", std::process::id()));
        std::fs::write(&file, &self.pem).unwrap();
        let gateway = Gateway::start_reconnect(name, "", |config: &mut Config| {
            config.auth.client_ca_file = Some(file.clone());
            config.anyconnect.certificate = certificate;
        });
        std::fs::remove_file(&file).unwrap();
        gateway
    }
}

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
}

fn with(certificate: Credential, hash: RsaHash, password: &str) -> AnyConnect {
    AnyConnect::new(USER, password).with_certificate(certificate, hash)
}

fn expect_refused(gateway: &Gateway, peer: AnyConnect, why: &str) {
    let failed = gateway.counter("ike_auth_failed");
    Client::anyconnect_as(gateway, peer, |_| {}).connect_until(&Notable::EapFailed);
    assert_eq!(gateway.counter("ike_auth_failed"), failed + 1, "{why}");
    gateway.until("nothing is left", |gateway| gateway.health().pools["staff"].used == 0);
}

/// The PRF of these clients is HMAC-SHA2-384.
#[test]
fn certificate_and_password_are_both_needed_and_the_signature_follows_the_prf() {
    let authority = Authority::new();
    let gateway = authority.gateway("certificate", CertificateLogin::Required);
    let key = rsa();
    let carol = || authority.certify(USER, &key);
    for (peer, why) in [
        (AnyConnect::new(USER, PASSWORD), "no certificate"),
        (with(carol(), RsaHash::Sha384, "guess"), "the certificate alone is not enough"),
        (with(carol(), RsaHash::Sha1, PASSWORD), "SHA-1 is not the PRF's hash"),
        (with(carol(), RsaHash::Sha512, PASSWORD), "nor is SHA-512"),
        (with(authority.certify("nobody", &key), RsaHash::Sha384, PASSWORD), "it names no user"),
        (with(Authority::new().certify(USER, &key), RsaHash::Sha384, PASSWORD), "another authority"),
    ] {
        expect_refused(&gateway, peer, why);
    }
    for credential in [carol(), authority.certify(USER, &KeyPair::generate().unwrap())] {
        let client =
            Client::anyconnect_as(&gateway, with(credential, RsaHash::Sha384, PASSWORD), |_| {}).connect();
        let session = gateway.sessions().sessions.remove(0);
        assert_eq!((session.user.as_str(), session.auth_method.as_str()), (USER, "anyconnect-eap"));
        // The certificate is not asked for again: the token stands for both.
        let told = client.told().unwrap();
        let mut back = Client::resuming(&gateway, &told).connect();
        assert_eq!(back.ike.address(), client.ike.address());
        let goodbye = back.ike.delete_ike().unwrap();
        back.send(goodbye);
        back.until_seen(&Notable::Down);
        gateway.until("the session is down", |gateway| gateway.sessions().total == 0);
    }
}

#[test]
fn a_certificate_can_be_enough() {
    let authority = Authority::new();
    let gateway = authority.gateway("certificate-instead", CertificateLogin::Instead);
    let peer = with(authority.certify(USER, &rsa()), RsaHash::Sha384, "never asked for");
    Client::anyconnect_as(&gateway, peer, |_| {}).connect();
    assert_eq!(gateway.sessions().sessions[0].user, USER);
}

#[test]
fn two_wrong_passwords_and_then_the_right_one() {
    let gateway = Gateway::start_reconnect("mistakes", "", |_| {});
    let peer = AnyConnect::new(USER, PASSWORD).after_mistakes(&["first guess", "second guess"]);
    Client::anyconnect_as(&gateway, peer, |_| {}).connect();
    assert_eq!(gateway.sessions().total, 1);
    let peer = AnyConnect::new(USER, PASSWORD).after_mistakes(&["1", "2", "3"]);
    Client::anyconnect_as(&gateway, peer, |_| {}).connect_until(&Notable::EapFailed);
    assert_eq!(gateway.sessions().total, 1);
}

#[test]
fn the_chosen_group_s_rules_are_the_session_s() {
    let gateway = Gateway::start_reconnect("groups", "", |config| {
        let mut guests = config.groups[0].clone();
        guests.name = "guests".to_owned();
        guests.policy.banner = Some("Hello, guest".to_owned());
        config.groups.push(guests);
        config.anyconnect.groups = vec!["staff".to_owned(), "guests".to_owned()];
        config.aaa.authorize_group = None;
    });
    for group in ["guests", "staff"] {
        let peer = AnyConnect::new(USER, PASSWORD).of_group(group);
        let mut client = Client::anyconnect_as(&gateway, peer, |_| {}).connect();
        let session = gateway.sessions().sessions.remove(0);
        assert_eq!(session.ike.group.as_deref(), Some(group));
        let goodbye = client.ike.delete_ike().unwrap();
        client.send(goodbye);
        client.until_seen(&Notable::Down);
        gateway.until("the session is down", |gateway| gateway.sessions().total == 0);
    }
}

/// A response with this TLV behind its own.
fn with_tlv(mut packet: Vec<u8>, kind: u16, value: &[u8]) -> Vec<u8> {
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
    packet.extend_from_slice(value);
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    packet[2..4].copy_from_slice(&length);
    packet
}

#[test]
fn tlvs_that_nobody_knows_are_skipped_in_every_response() {
    let gateway = Gateway::start_reconnect("tlvs", "", |_| {});
    let mangle = |_, packet| with_tlv(with_tlv(packet, 2, b"whatever"), 0x7777, &[0; 400]);
    let peer = AnyConnect::new(USER, PASSWORD).mangled(mangle);
    Client::anyconnect_as(&gateway, peer, |config| {
        config.attributes.extend([(28_704, vec![]), (28_729, vec![1, 2, 3]), (0x7ffe, vec![0; 200])]);
    })
    .connect();
    assert_eq!(gateway.sessions().total, 1);
}

fn document(identifier: u8, text: &[u8]) -> Vec<u8> {
    Tlvs::of_document(text).encode_response(identifier).unwrap()
}

/// The second response holds the form's answers.
#[test]
fn hostile_documents_end_their_own_login_and_nobody_elses() {
    let gateway = Gateway::start_reconnect("hostile", "", |_| {});
    let mut good = Client::anyconnect(&gateway, USER, PASSWORD).connect();
    type Mangle = fn(u32, Vec<u8>) -> Vec<u8>;
    let table: [(&str, Mangle); 6] = [
        ("entities that grow", |number, packet| match number {
            2 => document(
                packet[1],
                b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'hahahaha'><!ENTITY b '&a;&a;&a;&a;'>\
                  <!ENTITY c '&b;&b;&b;&b;'>]><config-auth type='auth-reply'><auth>&c;</auth></config-auth>",
            ),
            _ => packet,
        }),
        ("a DTD from elsewhere", |number, packet| match number {
            2 => document(
                packet[1],
                b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><config-auth type='auth-reply'/>",
            ),
            _ => packet,
        }),
        ("as long as EAP can say", |number, packet| match number {
            2 => {
                let text = "x".repeat(65_000);
                let text = format!("<config-auth type='auth-reply'><version>{text}</version></config-auth>");
                document(packet[1], text.as_bytes())
            }
            _ => packet,
        }),
        ("no UTF-8", |number, packet| match number {
            2 => document(packet[1], b"<config-auth type='auth-reply'><auth>\xc3\x28</auth></config-auth>"),
            _ => packet,
        }),
        ("deeper than any form", |number, packet| match number {
            2 => document(
                packet[1],
                format!("<config-auth type='auth-reply'>{}", "<a>".repeat(5000)).as_bytes(),
            ),
            _ => packet,
        }),
        ("a TLV that says it is longer", |number, mut packet| {
            if number == 2 {
                packet[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
            }
            packet
        }),
    ];
    for (why, mangle) in table {
        let failed = gateway.counter("ike_auth_failed");
        let peer = AnyConnect::new(USER, PASSWORD).mangled(mangle);
        // In fragments, as such a message is longer than a datagram may be.
        Client::anyconnect_as(&gateway, peer, |config| config.fragment = Some(1_200))
            .connect_until(&Notable::EapFailed);
        assert_eq!(gateway.counter("ike_auth_failed"), failed + 1, "{why}");
        assert_eq!((gateway.sessions().total, gateway.health().pools["staff"].used), (1, 1), "{why}");
    }
    let probe = good.ike.liveness().unwrap();
    good.send(probe);
    good.until_seen(&Notable::Answered);
}

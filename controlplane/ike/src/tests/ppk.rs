//! Post-quantum pre-shared keys (RFC 8784): every row of its Table 1, with every kind of authentication, and what follows.

use super::harness::*;
use crate::api::Secret;
use crate::counters::IkeCounter;
use crate::policy::{GatewayName, Redirected};
use crate::ppk::{Ppk, PpkPolicy, mix};
use crate::suite::Prf;
use crate::testing::*;
use crate::wire::{ExchangeType, NotifyType, Payload};

const ID: &[u8] = b"ppk-7";
const KEY: &[u8; 32] = b"thirty-two octets of a quantum k";

fn gateway(pki: &Pki, required: bool, identity: Option<&str>) -> Gateway {
    Gateway::new(pki, 1, |config| config.ppk = policy(required, identity))
}

fn policy(required: bool, identity: Option<&str>) -> PpkPolicy {
    let ppk = Ppk { identity: identity.map(str::to_owned), key: Secret::new(KEY.to_vec()) };
    PpkPolicy { required, keys: [(ID.to_vec(), ppk)].into() }
}

fn with(id: &[u8], mandatory: bool) -> Option<InitiatorPpk> {
    Some(InitiatorPpk { id: id.to_vec(), key: KEY.to_vec(), mandatory })
}

/// Logs in; whether it worked, and whether a PPK is in the keys. A refusal leaves nothing.
fn login(gateway: &mut Gateway, config: InitiatorConfig) -> Option<bool> {
    let mut client = Client::new(config, 2);
    let notable = client.login(gateway);
    if notable.contains(&Notable::Up) {
        assert_agreement(&client, gateway);
        return Some(gateway.facts().ppk);
    }
    assert_eq!(notable.last(), Some(&Notable::Refused(NotifyType::AuthenticationFailed)));
    assert_eq!(gateway.count(IkeCounter::PpkRefused), 1);
    gateway.assert_empty_after_farewell();
    None
}

/// Pre-shared key, certificate, EAP with a key and EAP without.
fn kinds(pki: &Pki) -> [InitiatorConfig; 4] {
    let certificate = || certificate_config(pki, pki.issue("client.example", 2040));
    [psk_config(), certificate(), eap_config(pki, PASSWORD), keyless_config(pki)]
}

fn keyless_config(pki: &Pki) -> InitiatorConfig {
    InitiatorConfig {
        auth: AuthWith::Eap(Box::new(Keyless(FakeEapPeer(PASSWORD)))),
        ..eap_config(pki, PASSWORD)
    }
}

struct Keyless(FakeEapPeer);

impl EapPeer for Keyless {
    fn respond(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.0.respond(request)
    }

    fn msk(&self) -> Option<Vec<u8>> {
        None
    }

    fn makes_key(&self) -> bool {
        false
    }
}

/// RFC 8784 Table 1; columns: the client's PPK, whether the gateway's is mandatory, what comes of it.
#[test]
fn every_row_of_the_table_with_every_authentication() {
    let pki = Pki::new();
    let rows = [
        ("no USE_PPK, optional: standard IKEv2", None, false, Some(false)),
        ("no USE_PPK, mandatory: abort", None, true, None),
        ("not ours, no NO_PPK_AUTH, optional: abort", with(b"other", true), false, None),
        ("not ours, no NO_PPK_AUTH, mandatory: abort", with(b"other", true), true, None),
        ("not ours, NO_PPK_AUTH, mandatory: abort", with(b"other", false), true, None),
        ("not ours, NO_PPK_AUTH, optional: standard IKEv2", with(b"other", false), false, Some(false)),
        ("ours, NO_PPK_AUTH, optional: used", with(ID, false), false, Some(true)),
        ("ours, no NO_PPK_AUTH, optional: used", with(ID, true), false, Some(true)),
        ("ours, NO_PPK_AUTH, mandatory: used", with(ID, false), true, Some(true)),
        ("ours, no NO_PPK_AUTH, mandatory: used", with(ID, true), true, Some(true)),
    ];
    for (row, ppk, required, expected) in rows {
        for (kind, config) in kinds(&pki).into_iter().enumerate() {
            let mut gateway = gateway(&pki, required, None);
            gateway.eap_makes_no_key = kind == 3;
            let declined = ppk.as_ref().is_some_and(|ppk| ppk.id != ID) && expected.is_some();
            let found = login(&mut gateway, InitiatorConfig { ppk: ppk.clone(), ..config });
            assert_eq!(found, expected, "{row}, authentication {kind}");
            assert_eq!(gateway.count(IkeCounter::PpkUsed), u64::from(expected == Some(true)), "{row}");
            assert_eq!(gateway.count(IkeCounter::PpkDeclined), u64::from(declined), "{row}");
        }
    }
}

/// "Not configured for use for the identity from the IDi payload" is the same as not known.
#[test]
fn a_ppk_is_its_owners_only() {
    let pki = Pki::new();
    for (identity, mandatory, expected) in [
        ("client.example", true, Some(true)),
        ("other.example", true, None),
        ("other.example", false, Some(false)),
    ] {
        let mut gateway = gateway(&pki, false, Some(identity));
        let config = InitiatorConfig { ppk: with(ID, mandatory), ..psk_config() };
        assert_eq!(login(&mut gateway, config), expected, "{identity} {mandatory}");
    }
}

/// Without PPKs the notify is ignored, as an unknown one.
#[test]
fn a_gateway_without_ppks_does_not_announce_them() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let config = InitiatorConfig { ppk: with(ID, false), ..psk_config() };
    assert_eq!(login(&mut gateway, config), Some(false));
    let mut client = Client::new(InitiatorConfig { ppk: with(ID, true), ..psk_config() }, 3);
    let first = client.initiator.start().unwrap();
    gateway.input(crate::api::Input::Datagram(client.datagram(&first[0])));
    let answer = gateway.outbox.pop_front().unwrap();
    assert_eq!(client.initiator.receive(&answer.bytes), Err(TestError::Gateway("no PPK")));
}

/// The right PPK_ID with another key proves nothing, whatever NO_PPK_AUTH says.
#[test]
fn another_key_under_the_same_id_is_refused() {
    let pki = Pki::new();
    for config in kinds(&pki) {
        let mut gateway = gateway(&pki, false, None);
        gateway.eap_makes_no_key = matches!(&config.auth, AuthWith::Eap(peer) if !peer.makes_key());
        let ppk = InitiatorPpk { id: ID.to_vec(), key: b"another key".to_vec(), mandatory: false };
        let mut client = Client::new(InitiatorConfig { ppk: Some(ppk), ..config }, 2);
        let notable = client.login(&mut gateway);
        assert_eq!(notable.last(), Some(&Notable::Refused(NotifyType::AuthenticationFailed)));
        assert_eq!(gateway.count(IkeCounter::AuthFailed), 1);
        gateway.assert_empty_after_farewell();
    }
}

/// Both sides have announced PPKs, but IKE_AUTH names none: MUST fail. And an identifier of another type is nobody's.
#[test]
fn ppk_identity_must_be_there_and_be_fixed() {
    let pki = Pki::new();
    let without: Arrange = |exchange, mut payloads| {
        if exchange == ExchangeType::IkeAuth {
            payloads.retain(|p| !matches!(p, Payload::Notify(n) if n.kind == NotifyType::PpkIdentity));
        }
        payloads
    };
    let opaque: Arrange = |_, mut payloads| {
        for payload in &mut payloads {
            if let Payload::Notify(notify) = payload
                && notify.kind == NotifyType::PpkIdentity
            {
                notify.data[0] = 1;
            }
        }
        payloads
    };
    let empty: Arrange = |_, mut payloads| {
        for payload in &mut payloads {
            if let Payload::Notify(notify) = payload
                && notify.kind == NotifyType::PpkIdentity
            {
                notify.data.clear();
            }
        }
        payloads
    };
    for (arrange, mandatory) in [(without, false), (without, true), (opaque, true), (empty, true)] {
        let mut gateway = gateway(&pki, false, None);
        let config = InitiatorConfig { ppk: with(ID, mandatory), arrange, ..psk_config() };
        assert_eq!(login(&mut gateway, config), None);
    }
    let mut gateway = gateway(&pki, false, None);
    let config = InitiatorConfig { ppk: with(ID, false), arrange: opaque, ..psk_config() };
    assert_eq!(login(&mut gateway, config), Some(false));
}

/// Rekeys work on, and mix no PPK in again: both sides agree on keys that follow from SK_d.
#[test]
fn rekeyed_sas_inherit_the_ppk() {
    let pki = Pki::new();
    let mut gateway = gateway(&pki, true, None);
    let mut client = Client::new(InitiatorConfig { ppk: with(ID, true), ..psk_config() }, 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let child = client.child().inbound_spi;
    client.act(&mut gateway, |client| client.create_child(Some(child), None));
    assert!(client.act(&mut gateway, Initiator::rekey_ike).contains(&Notable::IkeRekeyed));
    client.act(&mut gateway, |client| client.create_child(None, None));
    assert_agreement(&client, &gateway);
    assert_eq!(client.initiator.children().len(), 2);
}

/// A cookie asked for in between loses nothing.
#[test]
fn a_cookie_keeps_the_announcement() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |config| {
        config.ppk = policy(true, None);
        config.limits.cookie_threshold = 0;
    });
    let mut client = Client::new(InitiatorConfig { ppk: with(ID, true), ..psk_config() }, 2);
    let notable = client.login(&mut gateway);
    assert_eq!(notable.first(), Some(&Notable::CookieAsked));
    assert!(gateway.facts().ppk);
}

/// Whoever is sent on after authentication must be able to verify our AUTH, too.
#[test]
fn a_redirect_in_ike_auth_says_that_the_ppk_is_used() {
    let pki = Pki::new();
    for mandatory in [false, true] {
        let mut gateway = Gateway::new(&pki, 1, |config| {
            config.ppk = policy(true, None);
            config.extensions.redirect.to = Some(GatewayName::Fqdn("vpn2.example".to_owned()));
            config.extensions.redirect.whom = Redirected::Authenticated;
        });
        let config = InitiatorConfig { ppk: with(ID, mandatory), redirect: Some(None), ..psk_config() };
        let mut client = Client::new(config, 2);
        let happened = client.login(&mut gateway);
        assert!(matches!(happened.as_slice(), [Notable::Up, Notable::Redirected(..)]), "{happened:?}");
    }
}

/// A session with a PPK is one again in another process.
#[test]
fn a_snapshot_remembers_the_ppk() {
    let pki = Pki::new();
    let mut gateway = gateway(&pki, true, None);
    let mut client = Client::new(InitiatorConfig { ppk: with(ID, true), ..psk_config() }, 2);
    client.login(&mut gateway);
    let snapshot = gateway.snapshot().unwrap();
    gateway.restart();
    gateway.restore(snapshot.expose(), 0).unwrap();
    assert!(gateway.facts().ppk);
    client.act(&mut gateway, |client| client.create_child(None, None));
    assert_agreement(&client, &gateway);
}

/// prf(PPK, SK | 0x01), computed apart from this code: PPK is 00 to 1f, the three keys 48 times 10, 20 and 30.
#[test]
fn mixing_is_prf_plus_under_the_ppk() {
    use crate::crypto::{IkeKeys, Secret};
    let fill = |octet| Secret::new(vec![octet; 48]);
    let suite = crate::suite::IkeSuite {
        cipher: crate::suite::Cipher::AesGcm16_256,
        integ: None,
        prf: Prf::HmacSha2_384,
        group: crate::suite::Group::Ecp256,
        kems: crate::suite::Kems::NONE,
    };
    let mut keys = IkeKeys {
        suite,
        sk_d: fill(0x10),
        sk_ai: fill(1),
        sk_ar: fill(2),
        sk_ei: fill(3),
        sk_er: fill(4),
        sk_pi: fill(0x20),
        sk_pr: fill(0x30),
    };
    mix(&mut keys, &(0..32).collect::<Vec<u8>>()).unwrap();
    let hex = |key: &Secret| crate::crypto::testing::hex(key.as_bytes());
    assert_eq!(
        hex(&keys.sk_d),
        "a810aa3e95aa0550c84dffaa204e7220f015d83b81fc293d3cf7058f3844cce02069c2e20dd7481a8802d1bdf6377170"
    );
    assert_eq!(
        hex(&keys.sk_pi),
        "aa23b62c521376e01c157ac4d97b18a1ea2d21b80dd8803ae42f3678f07932d992a8f54fe6226ac132cc1ba81eb44dcd"
    );
    assert_eq!(
        hex(&keys.sk_pr),
        "de5fce41030ee9494b7278a4d2e16878a0fb49cc84bba3b98d56034e83b02140674c0e7e7c8f9f1fa8cc67c28209aea2"
    );
    for (key, octet) in [(&keys.sk_ai, 1), (&keys.sk_ar, 2), (&keys.sk_ei, 3), (&keys.sk_er, 4)] {
        assert!(key.matches(&[octet; 48]));
    }
}

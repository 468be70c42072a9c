//! A session as `show crypto …` wants it: the names of IOS for what was negotiated, and figures against their limits.
//!
//! Enters: a session's outline, what the endpoint knows of its IKE SA, what the configuration says. Leaves: the outline
//! with its details. What nobody knows stays empty; nothing is guessed.

use std::fmt::Write as _;

use causeway_ike::api::{ClientKind, Fragmentation, IkeFacts, Liveness, SessionFacts};
use causeway_ike::ident::Identity;
use causeway_ike::suite::{Cipher, IkeSuite, Integ, Kem, Prf};
use causeway_shared::api::{
    Capabilities, ChildSa, DeadPeerDetection, Fragmentation as Cut, IkeDetails, MessageIds, NatSide, Session,
    UdpEnd,
};
use causeway_shared::config::Config;
use causeway_shared::sa::EspSuite;

use crate::sessions::{Numbers, Record};

/// Crypto engine ids of IOS begin here.
const FIRST_CE_ID: u64 = 1000;
/// Requests that either side of an IKE SA may have open: we never announce or use more (RFC 7296 §2.3).
const WINDOW: u32 = 1;

/// What the configuration says about every session.
#[derive(Clone, Debug)]
pub struct ViewPolicy {
    /// `gateway.profile`
    pub profile: String,
    /// `ike.rekey_secs`, `None` for 0.
    pub ike_life_secs: Option<u64>,
    /// Seconds between unanswered liveness questions at first: `ike.retransmit_base_ms`.
    pub retransmit_secs: u64,
    /// `esp.rekey_secs`, `None` for 0.
    pub esp_life_secs: Option<u64>,
    /// `esp.rekey_bytes` in KiB, `None` for 0.
    pub esp_life_kib: Option<u64>,
}

impl ViewPolicy {
    /// From the configuration.
    pub fn new(config: &Config) -> ViewPolicy {
        let some = |value: u64| (value > 0).then_some(value);
        ViewPolicy {
            profile: config.gateway.profile.clone(),
            ike_life_secs: some(config.ike.rekey_secs),
            retransmit_secs: config.ike.retransmit_base_ms.div_ceil(1000),
            esp_life_secs: some(config.esp.rekey_secs),
            esp_life_kib: some(config.esp.rekey_bytes).map(|octets| octets / 1024),
        }
    }
}

/// Fills in the details. `ike` is missing when the session ended a moment ago.
pub(super) fn complete(
    session: &mut Session,
    record: &Record,
    ike: Option<&IkeFacts>,
    now_ms: u64,
    policy: &ViewPolicy,
) {
    let known = std::mem::take(&mut session.ike);
    session.ike = details(known, record.facts(), record.numbers(), policy);
    if let Some(ike) = ike {
        running(&mut session.ike, ike, now_ms, policy);
    }
    for child in &mut session.child_sas {
        esp(child, policy);
    }
}

/// What does not change while the session is up. `known` is what the record has filled in by itself.
fn details(known: IkeDetails, facts: &SessionFacts, numbers: Numbers, policy: &ViewPolicy) -> IkeDetails {
    let resumed = facts.resumed.is_some();
    // Who comes back with a token calls itself by the session's id.
    let by_token = resumed && !facts.by_ticket;
    let end = |address, port| Some(UdpEnd { address, port });
    let identity = if by_token { upper_hex(&facts.identity) } else { text(&facts.identity) };
    let by_eap = !by_token && facts.auth_method.contains("eap");
    let is_anyconnect = facts.client == ClientKind::AnyConnect && !by_token;
    IkeDetails {
        profile: known.profile.or_else(|| Some(policy.profile.clone())),
        interface: Some(format!("Virtual-Access{}", numbers.serial)),
        serial: Some(numbers.serial),
        tunnel_id: Some(numbers.tunnel_id),
        ce_id: Some(FIRST_CE_ID.saturating_add(numbers.serial)),
        phase1_id: Some(identity.clone()),
        local: end(facts.local, facts.local_port),
        remote: end(facts.peer, facts.peer_port),
        lifetime_secs: policy.ike_life_secs,
        auth_sign: Some(facts.local_auth.to_uppercase()),
        auth_verify: Some(verified_by(facts).to_owned()),
        local_id: Some(text(&facts.local_identity)),
        remote_id: Some(identity),
        remote_eap_id: by_eap.then(|| facts.user.clone()),
        peer_type: is_anyconnect.then(|| "AnyConnect".to_owned()),
        resumed,
        by_ticket: facts.by_ticket,
        ppk: facts.ppk,
        ..known
    }
}

/// What the endpoint knows of the IKE SA at this moment.
fn running(details: &mut IkeDetails, ike: &IkeFacts, now_ms: u64, policy: &ViewPolicy) {
    let IkeSuite { cipher, prf, group, kems, .. } = ike.suite;
    let (local, remote) = match ike.local_began {
        true => (ike.spis.initiator, ike.spis.responder),
        false => (ike.spis.responder, ike.spis.initiator),
    };
    let ends = |address, port| Some(UdpEnd { address, port });
    (details.local, details.remote) = (ends(ike.local, ike.local_port), ends(ike.peer, ike.peer_port));
    details.local_spi = Some(format!("{local:016X}"));
    details.remote_spi = Some(format!("{remote:016X}"));
    details.active_secs = Some(now_ms.saturating_sub(ike.established_at.as_millis()) / 1000);
    details.encr = Some(ike_cipher_name(cipher).to_owned());
    details.key_bits = u16::try_from(cipher.key_len()).ok().map(|octets| octets.saturating_mul(8));
    details.prf = Some(prf_name(prf).to_owned());
    details.hash = Some(ike.suite.integ.map_or("None", integ_name).to_owned());
    details.dh_group = Some(group.number());
    details.additional_kes = kems.iter().map(|kem| kem_name(kem).to_owned()).collect();
    details.messages = Some(messages(ike));
    details.dpd = match ike.liveness {
        Liveness::Off => None,
        Liveness::Periodic { interval_secs } => {
            Some(DeadPeerDetection { interval_secs, retry_secs: policy.retransmit_secs, on_demand: false })
        }
        Liveness::OnDemand { interval_secs, retry_secs, .. } => {
            Some(DeadPeerDetection { interval_secs, retry_secs, on_demand: true })
        }
    };
    details.fragmentation = match ike.fragmentation {
        Fragmentation::None => Cut::None,
        Fragmentation::Ietf => Cut::Ietf,
        Fragmentation::Cisco => Cut::Cisco,
    };
    details.nat = NatSide::new(ike.local_behind_nat, ike.peer_behind_nat);
    details.initiator = ike.local_began;
    let capabilities = Capabilities {
        config_mode: false,
        dead_peer_detection: details.dpd.is_some(),
        nat_traversal: ike.nat_detected,
        fragmentation: details.fragmentation != Cut::None,
        reconnected: details.resumed,
    };
    details.capabilities = capabilities.letters();
}

fn messages(ike: &IkeFacts) -> MessageIds {
    let queued = u32::try_from(ike.queued).unwrap_or(u32::MAX);
    MessageIds {
        local_request: ike.local_next_id,
        remote_request: ike.peer_next_id,
        local_next: ike.local_outstanding_id.unwrap_or(ike.local_next_id),
        remote_next: ike.peer_outstanding_id.unwrap_or(ike.peer_next_id),
        local_queued: ike.local_next_id.saturating_add(queued),
        remote_queued: ike.peer_next_id,
        local_window: WINDOW,
        remote_window: WINDOW,
    }
}

fn esp(child: &mut ChildSa, policy: &ViewPolicy) {
    let name = child.esp_suite.strip_suffix("-esn").unwrap_or(&child.esp_suite);
    let suite = EspSuite::ALL.into_iter().find(|suite| suite.name() == name);
    let left_kib = |octets: u64| policy.esp_life_kib.map(|all| all.saturating_sub(octets / 1024));
    let details = &mut child.esp;
    details.in_left_kib = left_kib(child.in_bytes);
    details.out_left_kib = left_kib(child.out_bytes);
    details.left_secs = policy.esp_life_secs.map(|all| all.saturating_sub(child.established_secs));
    if let Some(suite) = suite {
        let hash = name.split_once('-').map_or("None".to_owned(), |(_, hash)| hash.to_uppercase());
        details.encr = Some(esp_cipher_name(suite).to_owned());
        details.key_bits = u16::try_from(suite.cipher_key_len()).ok().map(|octets| octets.saturating_mul(8));
        details.hmac = Some(hash);
    }
}

/// IOS's word for how the client has proved itself.
fn verified_by(facts: &SessionFacts) -> &'static str {
    match facts.auth_method.as_str() {
        _ if facts.by_ticket => "Ticket",
        _ if facts.resumed.is_some() => "PSK",
        "psk" => "PSK",
        method if method.contains("anyconnect") => "AnyConnect-EAP",
        method if method.contains("eap") => "EAP",
        _ => match facts.peer_key {
            Some("rsa") => "RSA",
            Some("ecdsa") => "ECDSA",
            Some("ed25519") => "ED25519",
            _ => "Certificate",
        },
    }
}

/// An identity as IOS prints it: names as they are.
fn text(identity: &Identity) -> String {
    match identity {
        Identity::KeyId(data) | Identity::Other { data, .. } => match std::str::from_utf8(data) {
            Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => text.to_owned(),
            _ => identity.to_string(),
        },
        _ => identity.to_string(),
    }
}

/// A session id as IOS prints it.
fn upper_hex(identity: &Identity) -> String {
    let mut octets = Vec::new();
    identity.emit(&mut octets);
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02X}");
        text
    })
}

fn ike_cipher_name(cipher: Cipher) -> &'static str {
    match cipher {
        Cipher::AesCbc128 | Cipher::AesCbc192 | Cipher::AesCbc256 => "AES-CBC",
        Cipher::AesGcm16_128 | Cipher::AesGcm16_256 => "AES-GCM",
        Cipher::ChaCha20Poly1305 => "CHACHA20-POLY1305",
    }
}

fn esp_cipher_name(suite: EspSuite) -> &'static str {
    match suite {
        EspSuite::ChaCha20Poly1305 => "CHACHA20-POLY1305",
        suite if suite.is_aead() => "AES-GCM",
        _ => "AES-CBC",
    }
}

/// As IOS has it.
fn kem_name(kem: Kem) -> &'static str {
    match kem {
        Kem::MlKem768 => "ML-KEM-768",
        Kem::MlKem1024 => "ML-KEM-1024",
    }
}

fn prf_name(prf: Prf) -> &'static str {
    match prf {
        Prf::HmacSha2_256 => "SHA256",
        Prf::HmacSha2_384 => "SHA384",
        Prf::HmacSha2_512 => "SHA512",
    }
}

fn integ_name(integ: Integ) -> &'static str {
    match integ {
        Integ::HmacSha2_256_128 => "SHA256",
        Integ::HmacSha2_384_192 => "SHA384",
        Integ::HmacSha2_512_256 => "SHA512",
    }
}

#[cfg(test)]
mod tests {
    use causeway_ike::api::{IkeSpis, SessionId};
    use causeway_ike::suite::{Cipher, Group, Kem, Kems};
    use causeway_ike::time::Instant;
    use causeway_shared::api::EspDetails;

    use super::*;

    const SESSION_ID: &[u8] = b"rIUHKccDRiUtFTATwq";

    fn policy() -> ViewPolicy {
        ViewPolicy {
            profile: "AnyConnect-EAP".into(),
            ike_life_secs: Some(86_400),
            retransmit_secs: 2,
            esp_life_secs: Some(3600),
            esp_life_kib: Some(4_608_000),
        }
    }

    fn facts(identity: Identity) -> SessionFacts {
        SessionFacts {
            session: SessionId(7),
            user: "user1".into(),
            identity,
            auth_method: "anyconnect-eap".into(),
            peer_key: None,
            ike_suite: "aes256-sha512-ecp256".into(),
            spis: IkeSpis { initiator: 0xEBFE_2587_F20E_A7C2, responder: 0x67C3_394E_D1EA_ADE7 },
            nat_detected: true,
            local: [10, 106, 45, 225].into(),
            local_port: 4500,
            peer: [10, 106, 69, 69].into(),
            peer_port: 63_516,
            lease: None,
            client: ClientKind::AnyConnect,
            vendor_ids: Vec::new(),
            fragmentation: Fragmentation::None,
            local_identity: Identity::from_text("10.106.45.225"),
            local_auth: "rsa",
            resumed: None,
            by_ticket: false,
            ppk: false,
            started_at: Instant::from_millis(0),
            established_at: Instant::from_millis(1000),
        }
    }

    fn ike() -> IkeFacts {
        let facts = facts(Identity::from_text("x"));
        IkeFacts {
            session: facts.session,
            spis: facts.spis,
            local_began: false,
            suite: IkeSuite {
                cipher: Cipher::AesCbc256,
                integ: Some(Integ::HmacSha2_512_256),
                prf: Prf::HmacSha2_512,
                group: Group::Ecp256,
                kems: Kems::NONE,
            },
            local: facts.local,
            local_port: facts.local_port,
            peer: facts.peer,
            peer_port: facts.peer_port,
            nat_detected: true,
            peer_behind_nat: true,
            local_behind_nat: false,
            mobike: false,
            redirect: false,
            fragmentation: Fragmentation::None,
            local_next_id: 3,
            local_outstanding_id: Some(2),
            peer_next_id: 26,
            peer_outstanding_id: None,
            queued: 2,
            liveness: Liveness::OnDemand { interval_secs: 45, retry_secs: 2, tries: 5 },
            peer_probes: 20,
            last_heard: Instant::from_millis(0),
            established_at: Instant::from_millis(1000),
            rekey_at: None,
            expires_at: None,
            child_sas: 1,
        }
    }

    fn shown(facts: &SessionFacts, ike: &IkeFacts) -> IkeDetails {
        let numbers = Numbers { serial: 16, tunnel_id: 1 };
        let mut shown = details(IkeDetails::default(), facts, numbers, &policy());
        running(&mut shown, ike, 621_000, &policy());
        shown
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_login_by_anyconnect_is_shown_as_ios_shows_it() {
        for identity in [
            Identity::KeyId(b"*$AnyConnectClient$*".to_vec()),
            Identity::Other { id_type: 201, data: b"*$AnyConnectClient$*".to_vec() },
        ] {
            let expected = IkeDetails {
                profile: some("AnyConnect-EAP"),
                interface: some("Virtual-Access16"),
                serial: Some(16),
                tunnel_id: Some(1),
                ce_id: Some(1016),
                phase1_id: some("*$AnyConnectClient$*"),
                capabilities: "DN".into(),
                local: Some(UdpEnd { address: [10, 106, 45, 225].into(), port: 4500 }),
                remote: Some(UdpEnd { address: [10, 106, 69, 69].into(), port: 63_516 }),
                local_spi: some("67C3394ED1EAADE7"),
                remote_spi: some("EBFE2587F20EA7C2"),
                lifetime_secs: Some(86_400),
                active_secs: Some(620),
                encr: some("AES-CBC"),
                key_bits: Some(256),
                prf: some("SHA512"),
                hash: some("SHA512"),
                dh_group: Some(19),
                auth_sign: some("RSA"),
                auth_verify: some("AnyConnect-EAP"),
                local_id: some("10.106.45.225"),
                remote_id: some("*$AnyConnectClient$*"),
                remote_eap_id: some("user1"),
                messages: Some(MessageIds {
                    local_request: 3,
                    remote_request: 26,
                    local_next: 2,
                    remote_next: 26,
                    local_queued: 5,
                    remote_queued: 26,
                    local_window: 1,
                    remote_window: 1,
                }),
                dpd: Some(DeadPeerDetection { interval_secs: 45, retry_secs: 2, on_demand: true }),
                nat: NatSide::Outside,
                peer_type: some("AnyConnect"),
                ..IkeDetails::default()
            };
            assert_eq!(shown(&facts(identity), &ike()), expected);
        }
    }

    #[test]
    fn a_resumed_session_says_so_in_every_field_that_changes() {
        let mut facts = facts(Identity::KeyId(SESSION_ID.to_vec()));
        facts.resumed = Some(1);
        let shown = shown(&facts, &ike());
        let hex = some("724955484B63634452695574465441547771");
        assert_eq!((shown.phase1_id, shown.remote_id), (hex.clone(), hex));
        assert_eq!((shown.capabilities.as_str(), shown.auth_verify), ("DNR", some("PSK")));
        assert_eq!((shown.remote_eap_id, shown.peer_type), (None, None));
        assert_eq!(shown.auth_sign, some("RSA"), "the gateway still signs");
    }

    #[test]
    fn methods_suites_and_sides_have_their_words() {
        let mut facts = facts(Identity::KeyId(vec![0, 255]));
        for (method, key, word) in [
            ("psk", None, "PSK"),
            ("eap-mschapv2", None, "EAP"),
            ("anyconnect-eap", None, "AnyConnect-EAP"),
            ("certificate", Some("rsa"), "RSA"),
            ("certificate", Some("ecdsa"), "ECDSA"),
            ("certificate", Some("ed25519"), "ED25519"),
            ("certificate", None, "Certificate"),
        ] {
            (facts.auth_method, facts.peer_key) = (method.into(), key);
            assert_eq!(verified_by(&facts), word);
        }
        assert_eq!(text(&facts.identity), "keyid:00ff");
        let gcm = IkeFacts {
            suite: IkeSuite {
                cipher: Cipher::AesGcm16_128,
                integ: None,
                prf: Prf::HmacSha2_384,
                group: Group::Curve25519,
                kems: Kems::NONE.and(Kem::MlKem768).unwrap(),
            },
            local_began: true,
            liveness: Liveness::Off,
            nat_detected: false,
            peer_behind_nat: false,
            fragmentation: Fragmentation::Ietf,
            ..ike()
        };
        let shown = shown(&facts, &gcm);
        let suite = (shown.encr, shown.key_bits, shown.prf, shown.hash, shown.dh_group);
        assert_eq!(suite, (some("AES-GCM"), Some(128), some("SHA384"), some("None"), Some(31)));
        assert_eq!(shown.additional_kes, ["ML-KEM-768"]);
        assert_eq!(shown.local_spi, some("EBFE2587F20EA7C2"), "we began it");
        assert_eq!((shown.initiator, shown.dpd, shown.nat), (true, None, NatSide::None));
        assert_eq!(shown.capabilities, "F");
    }

    #[test]
    fn a_child_sa_counts_down_to_its_limits() {
        let mut child = ChildSa {
            inbound_spi: String::new(),
            outbound_spi: String::new(),
            esp_suite: "aes256-sha384".into(),
            encapsulation: "udp".into(),
            local_selectors: Vec::new(),
            peer_selectors: Vec::new(),
            in_packets: 15,
            in_bytes: 2048,
            out_packets: 15,
            out_bytes: 900,
            established_secs: 15,
            esp: EspDetails::default(),
        };
        esp(&mut child, &policy());
        let expected = EspDetails {
            encr: some("AES-CBC"),
            key_bits: Some(256),
            hmac: some("SHA384"),
            in_left_kib: Some(4_607_998),
            out_left_kib: Some(4_608_000),
            left_secs: Some(3585),
            ..EspDetails::default()
        };
        assert_eq!(child.esp, expected);
        child.esp_suite = "aes128gcm16-esn".into();
        esp(&mut child, &ViewPolicy { esp_life_kib: None, esp_life_secs: None, ..policy() });
        assert_eq!((child.esp.hmac.as_deref(), child.esp.key_bits), (Some("None"), Some(128)));
        assert_eq!((child.esp.in_left_kib, child.esp.left_secs), (None, None));
    }
}

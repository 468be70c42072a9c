//! Requests as other vendors' clients make them: their payloads, in their order, with what they offer and ask for.
//!
//! The lists are those seen from Windows 10 and 11, iOS and macOS, and Android 11's built-in client; every one logs in,
//! is answered in IPv4 and gets nothing that it has not asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::harness::*;
use crate::api::{ClientKind, Input, Operator};
use crate::ident::Identity;
use crate::policy::EndpointConfig;
use crate::suite::{Cipher, Group, IkeProposal, Integ, Prf};
use crate::testing::*;
use crate::wire::{
    AddressRange, CertReq, CfgAttribute, CfgAttributeType, CfgType, Configuration, ExchangeType,
    Identification, Incoming, Ke, Message, Notify, NotifyType, Payload, Sa, TrafficSelector, Transform,
    TransformType, TsRange,
};

const MODP_1024: u16 = 2;
const MODP_3072: u16 = 15;
const MODP_4096: u16 = 16;
const AES_CTR: u16 = 13;
const AUTH_AES_XCBC: u16 = 5;
const AUTH_AES_CMAC: u16 = 8;
/// Hashes of authorities in Windows' CERTREQ: one for each that the machine trusts.
const WINDOWS_AUTHORITIES: usize = 60;
/// MS NT5 ISAKMPOAKLEY v9, MS-Negotiation Discovery Capable, Vid-Initial-Contact, and one without a name.
const WINDOWS_VENDOR_IDS: [&str; 4] = [
    "1e2b516905991c7d7c96fcbfb587e46100000009",
    "fb1de3cdf341b7ea16b7e5be0855f120",
    "26244d38eddb61b3172a36e3d0cfb819",
    "01528bbbc00696121849ab9a1c5b2a5100000002",
];

fn windows(exchange: ExchangeType, payloads: Vec<Payload>) -> Vec<Payload> {
    match exchange {
        ExchangeType::IkeSaInit => {
            let order = ["SA", "KE", "No", "FRAG_SUP", "NATD_S", "NATD_D", "V", "V", "V", "V"];
            let mut ids = WINDOWS_VENDOR_IDS.iter();
            let mut list = arranged(&order, payloads);
            for payload in &mut list {
                if let Payload::Vendor(body) = payload {
                    *body = octets(ids.next().unwrap());
                }
            }
            list
        }
        // IDr is never sent; with EAP there is neither CERT nor AUTH.
        _ if payloads.iter().any(|payload| matches!(payload, Payload::Auth(_))) => {
            arranged(&["IDi", "CERT", "CERTREQ", "AUTH", "MOBIKE_SUP", "CP", "SA", "TSi", "TSr"], payloads)
        }
        _ => arranged(&["IDi", "CERTREQ", "MOBIKE_SUP", "CP", "SA", "TSi", "TSr"], payloads),
    }
    .into_iter()
    .map(|payload| match payload {
        Payload::CertReq(_) => {
            let hashes: Vec<[u8; 20]> = (0..WINDOWS_AUTHORITIES).map(|n| [n as u8; 20]).collect();
            Payload::CertReq(CertReq::x509(&hashes))
        }
        Payload::Cp(_) => ask(&[1, 3, 4, 23_456, 8, 10, 23_457]),
        Payload::TsI(_) => Payload::TsI(both_families()),
        Payload::TsR(_) => Payload::TsR(both_families()),
        other => other,
    })
    .collect()
}

/// What Windows offers before anybody has touched its registry: 1024 bits and nothing else.
fn windows_untouched(exchange: ExchangeType, payloads: Vec<Payload>) -> Vec<Payload> {
    let mut list = windows(exchange, payloads);
    for payload in &mut list {
        match payload {
            Payload::Sa(sa) if exchange == ExchangeType::IkeSaInit => {
                let groups = sa.proposals.iter_mut().flat_map(|proposal| &mut proposal.transforms);
                groups.filter(|one| one.kind == TransformType::Dh).for_each(|group| group.id = MODP_1024);
            }
            Payload::Ke(ke) => (ke.group, ke.data) = (MODP_1024, vec![0x5a; 128]),
            _ => {}
        }
    }
    list
}

fn apple(exchange: ExchangeType, payloads: Vec<Payload>) -> Vec<Payload> {
    let order: &[&str] = match exchange {
        ExchangeType::IkeSaInit => &["SA", "KE", "No", "REDIR_SUP", "NATD_S", "NATD_D", "FRAG_SUP"],
        _ if payloads.iter().any(|payload| matches!(payload, Payload::Auth(_))) => &[
            "IDi",
            "INIT_CONTACT",
            "MOBIKE_SUP",
            "IDr",
            "CERTREQ",
            "AUTH",
            "CERT",
            "CP",
            "ESP_TFC_PAD_N",
            "NON_FIRST_FRAG",
            "SA",
            "TSi",
            "TSr",
        ],
        _ => &[
            "IDi",
            "INIT_CONTACT",
            "MOBIKE_SUP",
            "IDr",
            "CERTREQ",
            "CP",
            "ESP_TFC_PAD_N",
            "NON_FIRST_FRAG",
            "SA",
            "TSi",
            "TSr",
        ],
    };
    let list = arranged(order, payloads).into_iter().map(|payload| match payload {
        Payload::Cp(_) => ask(&[1, 6, 3, 2, 8, 12, 10, 25]),
        Payload::TsI(_) => Payload::TsI(both_families()),
        Payload::TsR(_) => Payload::TsR(both_families()),
        other => other,
    });
    list.collect()
}

fn android(exchange: ExchangeType, payloads: Vec<Payload>) -> Vec<Payload> {
    let order: &[&str] = match exchange {
        ExchangeType::IkeSaInit => &["SA", "KE", "No", "NATD_S", "NATD_D", "FRAG_SUP", "HASH_ALG"],
        _ => &["IDi", "IDr", "CP", "MOBIKE_SUP", "SA", "TSi", "TSr"],
    };
    let list = arranged(order, payloads).into_iter().map(|payload| match payload {
        Payload::Sa(sa) if exchange == ExchangeType::IkeSaInit => Payload::Sa(with_android_s_extras(sa)),
        // Its first try is the group that it names first.
        Payload::Ke(ke) if ke.group == Group::Modp2048.number() => {
            Payload::Ke(Ke { group: MODP_4096, data: vec![0x5a; 512] })
        }
        Payload::Cp(_) => ask(&[1, 8, 3, 10]),
        Payload::TsI(_) => Payload::TsI(both_families()),
        Payload::TsR(_) => Payload::TsR(both_families()),
        other => other,
    });
    list.collect()
}

/// Counter mode first, the integrity algorithms that only Android still offers, and the groups 16 and 15.
fn with_android_s_extras(mut sa: Sa) -> Sa {
    for proposal in &mut sa.proposals {
        let groups = [MODP_4096, MODP_3072].map(|id| Transform::new(TransformType::Dh, id));
        proposal.transforms.extend(groups);
    }
    if let Some(first) = sa.proposals.first_mut() {
        let counter_mode = [256, 192, 128].map(|bits| Transform::encr(AES_CTR, bits));
        first.transforms.splice(0..0, counter_mode);
        let integrity = [AUTH_AES_XCBC, AUTH_AES_CMAC];
        first.transforms.extend(integrity.map(|id| Transform::new(TransformType::Integ, id)));
    }
    sa
}

#[test]
fn windows_logs_in_with_a_certificate_and_with_a_password() {
    let pki = Pki::new();
    for with_certificate in [true, false] {
        let config = match with_certificate {
            true => certificate_config(&pki, pki.issue("client.example", 2049)),
            false => eap_config(&pki, PASSWORD),
        };
        let config = replica(config, windows, "aes256-sha256-modp2048", "aes256-sha256");
        let mut gateway = gateway_for(&pki, "aes256-sha256-modp2048");
        let client = log_in(
            config,
            &mut gateway,
            &["SA", "KE", "No", "FRAG_SUP", "NATD_S", "NATD_D", "V", "V", "V", "V"],
        );
        // Neither servers nor WINS nor IPv6, and the subnets with the address: unasked, but what every client passes over.
        assert_eq!(answered(&client), [1, 3, 13]);
        let who = if with_certificate { "client.example" } else { "alice" };
        assert_eq!(gateway.facts().user, who);
    }
}

#[test]
fn windows_as_delivered_is_told_that_its_group_is_too_small() {
    let pki = Pki::new();
    let config =
        replica(eap_config(&pki, PASSWORD), windows_untouched, "aes256-sha256-modp2048", "aes256-sha256");
    let mut gateway = gateway_for(&pki, "aes256-sha256-modp2048");
    let notable = Client::new(config, 2).login(&mut gateway);
    assert_eq!(notable, [Notable::Refused(NotifyType::NoProposalChosen)]);
    gateway.assert_empty_after_farewell();
}

#[test]
fn apple_logs_in_with_a_certificate_and_with_a_password() {
    let pki = Pki::new();
    for with_certificate in [true, false] {
        let config = match with_certificate {
            true => certificate_config(&pki, pki.issue("client.example", 2049)),
            false => eap_config(&pki, PASSWORD),
        };
        // One combination and no other, no fresh key exchange in the Child SA, and always the name that was dialled.
        let config = InitiatorConfig {
            remote: Some(Identity::Fqdn("vpn.example".to_owned())),
            ..replica(config, apple, "aes256-sha256-modp2048", "aes256-sha256")
        };
        let mut gateway = gateway_for(&pki, "aes256-sha256-modp2048");
        gateway.attributes = vec![(25, b"staff.example".to_vec()), (28_672, b"not for Apple".to_vec())];
        let order = ["SA", "KE", "No", "REDIR_SUP", "NATD_S", "NATD_D", "FRAG_SUP"];
        let client = log_in(config, &mut gateway, &order);
        assert_eq!(answered(&client), [1, 2, 3, 13, 25]);
    }
}

#[test]
fn android_logs_in_with_a_password_and_the_common_half_of_its_offer_is_chosen() {
    let pki = Pki::new();
    for chosen in ["aes256-sha512-curve25519", "aes256gcm16-prfsha512-curve25519"] {
        let mut config = replica(eap_config(&pki, PASSWORD), android, chosen, "aes256gcm16");
        // Two proposals: ciphers with integrity, then AEADs. Group 14 stands for the first key exchange, in group 16.
        let (groups, prfs) =
            (vec![Group::Modp2048, Group::Curve25519], Prf::ALL.into_iter().rev().collect::<Vec<_>>());
        let combined = IkeProposal {
            ciphers: vec![Cipher::AesCbc256, Cipher::AesCbc192, Cipher::AesCbc128],
            integs: Integ::ALL.into_iter().rev().collect(),
            prfs: prfs.clone(),
            groups: groups.clone(),
            kems: vec![],
        };
        let ciphers = vec![Cipher::AesGcm16_256, Cipher::AesGcm16_128];
        config.ike = vec![combined, IkeProposal { ciphers, integs: vec![], prfs, groups, kems: vec![] }];
        config.remote = Some(Identity::Fqdn("vpn.example".to_owned()));
        let mut gateway = gateway_for(&pki, chosen);
        let order = ["SA", "KE", "No", "NATD_S", "NATD_D", "FRAG_SUP", "HASH_ALG"];
        let client = log_in(config, &mut gateway, &order);
        assert_eq!(answered(&client), [1, 3, 13]);
        let session = gateway.session();
        assert_eq!(gateway.endpoint.ike_facts(session).unwrap().suite.to_string(), chosen);
    }
}

/// MOBIKE is in the lists of both: it is agreed, and the session goes on behind another address.
#[test]
fn windows_and_apple_move() {
    let pki = Pki::new();
    let clients: [(Arrange, &str); 2] = [(windows, "aes256-sha256"), (apple, "aes256-sha256")];
    for (arrange, esp) in clients {
        let config = replica(eap_config(&pki, PASSWORD), arrange, "aes256-sha256-modp2048", esp);
        let mut gateway = gateway_for(&pki, "aes256-sha256-modp2048");
        moves(InitiatorConfig { mobike: true, ..config }, &mut gateway);
    }
}

fn moves(config: InitiatorConfig, gateway: &mut Gateway) {
    let mut client = Client::new(config, 2);
    assert!(client.login(gateway).contains(&Notable::Up));
    assert!(client.initiator.mobike());
    let away = IpAddr::from([203, 0, 113, 9]);
    client.address = away;
    let happened = client.act(gateway, |client| client.update_addresses((away, 4500), false));
    assert_eq!(happened, [Notable::Answered, Notable::RoutabilityAsked]);
    assert!(gateway.paths.values().all(|path| path.peer == away));
}

/// Their first rekeys of a Child SA have no KE (8 minutes after the login with iOS, an hour with Windows), also after a move.
#[test]
fn windows_and_apple_rekey_from_both_sides_without_pfs_after_a_move_too() {
    let pki = Pki::new();
    for arrange in [windows as Arrange, apple] {
        let ike = "aes256-sha256-modp2048";
        let config = replica(eap_config(&pki, PASSWORD), arrange, ike, "aes256-sha256");
        let mut gateway = gateway_for(&pki, ike);
        let mut client = Client::new(InitiatorConfig { mobike: true, ..config }, 2);
        assert!(client.login(&mut gateway).contains(&Notable::Up));
        for away in [None, Some(IpAddr::from([203, 0, 113, 9])), None] {
            if let Some(away) = away {
                client.address = away;
                client.act(&mut gateway, |client| client.update_addresses((away, 4500), false));
            }
            let (old, session) = (client.child().inbound_spi, gateway.session());
            client.act(&mut gateway, |client| client.create_child(Some(old), None));
            let by_client = client.child().inbound_spi;
            assert_ne!(by_client, old, "the client's own rekey");
            gateway.input(Input::Operator(Operator::RekeyChildren(session)));
            client.exchange(&mut gateway, Vec::new());
            assert_ne!(client.child().inbound_spi, by_client, "ours");
            assert_eq!(client.child().group, None);
            client.notable.clear();
            assert_eq!(client.act(&mut gateway, Initiator::rekey_ike), [Notable::IkeRekeyed]);
            gateway.input(Input::Operator(Operator::RekeyIke(session)));
            client.exchange(&mut gateway, Vec::new());
            assert_agreement(&client, &gateway);
            assert!(gateway.paths.values().all(|path| path.peer == client.address));
        }
    }
}

/// Secure Client: the identity of all its kind with type 201, a CFG_REQUEST in the clear with IKE_SA_INIT, and the long
/// list of attributes of its own.
fn secure_client(exchange: ExchangeType, payloads: Vec<Payload>) -> Vec<Payload> {
    let order: &[&str] = match exchange {
        ExchangeType::IkeSaInit => {
            &["SA", "KE", "No", "V", "V", "V", "NATD_S", "NATD_D", "V", "CP", "REDIR_SUP"]
        }
        _ => &["V", "IDi", "CERTREQ", "CP", "SA", "TSi", "TSr", "ESP_TFC_PAD_N"],
    };
    let own: Vec<u16> =
        (28_704..=28_710).chain([28_672, 28_684, 28_711, 28_674, 28_712, 28_675, 28_679, 28_683]).collect();
    let asked: Vec<u16> =
        [1, 2, 3, 4, 5, 7, 8, 13, 28_682].into_iter().chain(own).chain(28_717..=28_727).collect();
    let list = arranged(order, payloads).into_iter().map(|payload| match payload {
        Payload::Cp(_) if exchange == ExchangeType::IkeAuth => ask(&asked),
        other => other,
    });
    list.collect()
}

#[test]
fn secure_client_logs_in_in_its_own_order() {
    let pki = Pki::new();
    let ike = "aes256-sha512-ecp256";
    let (config, _) = super::anyconnect::anyconnect_config(&pki);
    let mut config = replica(config, secure_client, ike, "aes256-sha256");
    config.clear_cp = true;
    config.vendor_ids.push(crate::cisco::VendorId::Fragmentation);
    let mut gateway = gateway_for(&pki, ike);
    gateway.eap_makes_no_key = true;
    gateway.attributes = vec![(28_672, b"Welcome.".to_vec()), (40_000, b"nobody asked".to_vec())];
    let mut client = Client::new(config, 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    assert_agreement(&client, &gateway);
    assert_eq!(gateway.facts().client, ClientKind::AnyConnect);
    assert_eq!(answered(&client), [1, 2, 3, 13, 28_672]);
    assert!(!client.initiator.mobike(), "it knows no MOBIKE");
}

fn replica(config: InitiatorConfig, arrange: Arrange, ike: &str, esp: &str) -> InitiatorConfig {
    InitiatorConfig {
        ike: vec![ike.parse().unwrap()],
        esp: vec![esp.parse().unwrap()],
        fragment: Some(1_280),
        arrange,
        ..config
    }
}

fn gateway_for(pki: &Pki, ike: &str) -> Gateway {
    Gateway::new(pki, 1, |config: &mut EndpointConfig| {
        config.ike_proposals = vec![ike.parse().unwrap()];
        config.esp.suites.push("aes256-sha256".parse().unwrap());
        config.esp.groups = Group::ALL.to_vec();
    })
}

/// Logs in; the first request must have had these payloads, in this order.
fn log_in(config: InitiatorConfig, gateway: &mut Gateway, order: &[&str]) -> Client {
    let mut client = Client::new(config, 2);
    let first = client.initiator.start().unwrap();
    let Ok(Incoming::Clear(Message { payloads, .. })) = Incoming::parse(&first[0].bytes) else { panic!() };
    assert_eq!(payloads.iter().map(label).collect::<Vec<_>>(), order);
    client.exchange(gateway, first);
    // Android begins with a group that the gateway does not have.
    assert_eq!(client.notable.first() == Some(&Notable::GroupAsked(31)), order.contains(&"HASH_ALG"));
    assert!(client.notable.contains(&Notable::Up), "{:?}", client.notable);
    assert_agreement(&client, gateway);
    assert_eq!(gateway.facts().client, ClientKind::Standard);
    assert_eq!(client.initiator.gateway_vendor_ids(), [] as [Vec<u8>; 0]);
    let own = client.initiator.address().unwrap();
    assert_eq!(client.child().local, [TrafficSelector::Range(TsRange::ipv4(own, own))], "IPv4 alone");
    // Silent for a while, then alive: nothing of the replica has left the gateway waiting.
    gateway.input(Input::Timer);
    assert!(client.act(gateway, Initiator::liveness).contains(&Notable::Answered));
    client
}

/// Types of the attributes of the reply, each once.
fn answered(client: &Client) -> Vec<u16> {
    let reply = client.initiator.config_reply().unwrap();
    let kinds: std::collections::BTreeSet<u16> =
        reply.attributes.iter().map(|attribute| attribute.kind.number()).collect();
    kinds.into_iter().collect()
}

/// The payloads that these labels name: the initiator's own, or new ones; what is not named is left out.
fn arranged(order: &[&str], mut own: Vec<Payload>) -> Vec<Payload> {
    let pick = |wanted: &&str| {
        let at = own.iter().position(|payload| label(payload) == *wanted);
        match at {
            Some(at) => own.remove(at),
            None => made(wanted),
        }
    };
    order.iter().map(pick).collect()
}

fn made(label: &str) -> Payload {
    let notify = |kind| Payload::Notify(Notify::new(kind));
    match label {
        "V" => Payload::Vendor(vec![0]),
        "CERTREQ" => Payload::CertReq(CertReq::x509(&[[7; 20]])),
        "IDr" => Payload::IdR(Identification::new(Identity::Fqdn("vpn.example".to_owned()))),
        "FRAG_SUP" => notify(NotifyType::FragmentationSupported),
        "REDIR_SUP" => notify(NotifyType::RedirectSupported),
        "MOBIKE_SUP" => notify(NotifyType::MobikeSupported),
        "INIT_CONTACT" => notify(NotifyType::InitialContact),
        "ESP_TFC_PAD_N" => notify(NotifyType::EspTfcPaddingNotSupported),
        "NON_FIRST_FRAG" => notify(NotifyType::NonFirstFragmentsAlso),
        other => panic!("the initiator has no {other}"),
    }
}

fn label(payload: &Payload) -> &'static str {
    match payload {
        Payload::Sa(_) => "SA",
        Payload::Ke(_) => "KE",
        Payload::Nonce(_) => "No",
        Payload::Vendor(_) => "V",
        Payload::IdI(_) => "IDi",
        Payload::IdR(_) => "IDr",
        Payload::Cert(_) => "CERT",
        Payload::CertReq(_) => "CERTREQ",
        Payload::Auth(_) => "AUTH",
        Payload::Cp(_) => "CP",
        Payload::TsI(_) => "TSi",
        Payload::TsR(_) => "TSr",
        Payload::Notify(notify) => match notify.kind {
            NotifyType::NatDetectionSourceIp => "NATD_S",
            NotifyType::NatDetectionDestinationIp => "NATD_D",
            NotifyType::FragmentationSupported => "FRAG_SUP",
            NotifyType::SignatureHashAlgorithms => "HASH_ALG",
            NotifyType::RedirectSupported => "REDIR_SUP",
            NotifyType::MobikeSupported => "MOBIKE_SUP",
            NotifyType::InitialContact => "INIT_CONTACT",
            NotifyType::EspTfcPaddingNotSupported => "ESP_TFC_PAD_N",
            NotifyType::NonFirstFragmentsAlso => "NON_FIRST_FRAG",
            _ => "N",
        },
        _ => "?",
    }
}

fn ask(kinds: &[u16]) -> Payload {
    let kinds = kinds.iter().map(|kind| CfgAttributeType::from_number(*kind));
    Payload::Cp(Configuration {
        kind: CfgType::Request,
        attributes: kinds.map(CfgAttribute::empty).collect(),
    })
}

fn both_families() -> Vec<TrafficSelector> {
    let v6 = AddressRange::Ipv6(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from([0xff; 16]));
    let v4 = TsRange::ipv4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    vec![TrafficSelector::Range(v4), TrafficSelector::Range(TsRange { addresses: v6, ..v4 })]
}

fn octets(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

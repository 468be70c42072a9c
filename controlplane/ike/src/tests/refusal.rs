//! Every way to be refused: the right notify, the right counter, nothing left (RFC 7296 §2.21).

use super::harness::*;
use crate::api::{DownReason, Event};
use crate::counters::IkeCounter;
use crate::established::CHILDLESS_MS;
use crate::ident::Identity;
use crate::policy::EndpointConfig;
use crate::testing::*;
use crate::wire::{NotifyType, TrafficSelector, TsRange};

struct Case {
    name: &'static str,
    gateway: fn(&mut EndpointConfig),
    client: fn(&Pki) -> InitiatorConfig,
    refused: NotifyType,
    counter: IkeCounter,
}

const CASES: &[Case] = &[
    Case {
        name: "wrong PSK",
        gateway: |_| {},
        client: |_| InitiatorConfig { auth: AuthWith::Psk(b"wrong".to_vec()), ..psk_config() },
        refused: NotifyType::AuthenticationFailed,
        counter: IkeCounter::AuthFailed,
    },
    Case {
        name: "unknown identity",
        gateway: |_| {},
        client: |_| InitiatorConfig { identity: Identity::Fqdn("nobody".to_owned()), ..psk_config() },
        refused: NotifyType::AuthenticationFailed,
        counter: IkeCounter::AuthFailed,
    },
    Case {
        name: "wrong password",
        gateway: |_| {},
        client: |pki| eap_config(pki, b"wrong horse!!"),
        refused: NotifyType::AuthenticationFailed,
        counter: IkeCounter::AuthFailed,
    },
    Case {
        name: "expired certificate",
        gateway: |_| {},
        client: |pki| certificate_config(pki, pki.issue("client.example", 2025)),
        refused: NotifyType::AuthenticationFailed,
        counter: IkeCounter::CertificateRefused,
    },
    Case {
        name: "certificate of another authority",
        gateway: |_| {},
        client: |pki| certificate_config(pki, Pki::new().issue("client.example", 2040)),
        refused: NotifyType::AuthenticationFailed,
        counter: IkeCounter::CertificateRefused,
    },
    Case {
        name: "certificate of somebody else",
        gateway: |_| {},
        client: |pki| certificate_config(pki, pki.issue("mallory.example", 2040)),
        refused: NotifyType::AuthenticationFailed,
        counter: IkeCounter::AuthFailed,
    },
    Case {
        name: "PSK is switched off",
        gateway: |config| config.methods.psk = false,
        client: |_| psk_config(),
        refused: NotifyType::AuthenticationFailed,
        counter: IkeCounter::MethodRefused,
    },
    Case {
        name: "EAP is switched off",
        gateway: |config| config.methods.eap = false,
        client: |pki| eap_config(pki, PASSWORD),
        refused: NotifyType::AuthenticationFailed,
        counter: IkeCounter::MethodRefused,
    },
    Case {
        name: "certificates are switched off",
        gateway: |config| config.methods.certificate = false,
        client: |pki| certificate_config(pki, pki.issue("client.example", 2040)),
        refused: NotifyType::AuthenticationFailed,
        counter: IkeCounter::MethodRefused,
    },
    Case {
        name: "no common IKE proposal",
        gateway: |_| {},
        client: |_| InitiatorConfig { ike: vec!["aes128-sha512-ecp521".parse().unwrap()], ..psk_config() },
        refused: NotifyType::NoProposalChosen,
        counter: IkeCounter::IkeNoProposal,
    },
];

#[test]
fn handshakes_are_refused_with_the_right_notify_and_leave_nothing() {
    let pki = Pki::new();
    for Case { name, gateway, client, refused, counter } in CASES {
        let mut gateway = Gateway::new(&pki, 1, gateway);
        let mut client = Client::new(client(&pki), 2);
        let notable = client.login(&mut gateway);
        assert_eq!(notable.last(), Some(&Notable::Refused(*refused)), "{name}");
        assert!(!notable.contains(&Notable::Up), "{name}");
        assert_eq!(notable.contains(&Notable::EapFailed), *name == "wrong password", "{name}");
        assert_eq!(gateway.count(*counter), 1, "{name}");
        assert_eq!(gateway.endpoint.established(), 0, "{name}");
        gateway.assert_empty_after_farewell();
    }
}

/// The IKE SA comes up, its Child SA does not.
const CHILDLESS: &[Case] = &[
    Case {
        name: "no common ESP proposal",
        gateway: |_| {},
        client: |_| InitiatorConfig { esp: vec!["aes192-sha512".parse().unwrap()], ..psk_config() },
        refused: NotifyType::NoProposalChosen,
        counter: IkeCounter::ChildNoProposal,
    },
    Case {
        name: "no common selectors",
        gateway: |_| {},
        client: |_| {
            let any = vec![TrafficSelector::Range(TsRange::any_ipv4())];
            let far = TsRange::ipv4([172, 16, 0, 0].into(), [172, 16, 0, 9].into());
            InitiatorConfig { selectors: (any, vec![TrafficSelector::Range(far)]), ..psk_config() }
        },
        refused: NotifyType::TsUnacceptable,
        counter: IkeCounter::TsUnacceptable,
    },
    Case {
        name: "no address asked for",
        gateway: |_| {},
        client: |_| InitiatorConfig { ask_address: false, ..psk_config() },
        refused: NotifyType::FailedCpRequired,
        counter: IkeCounter::CpRequired,
    },
    Case {
        name: "no address left",
        gateway: |_| {},
        client: |_| psk_config(),
        refused: NotifyType::InternalAddressFailure,
        counter: IkeCounter::AddressFailure,
    },
    Case {
        name: "no SPI left",
        gateway: |_| {},
        client: |_| psk_config(),
        refused: NotifyType::TemporaryFailure,
        counter: IkeCounter::TemporaryFailure,
    },
];

#[test]
fn a_refused_child_sa_leaves_the_ike_sa_and_takes_no_lease() {
    let pki = Pki::new();
    for Case { name, gateway, client, refused, counter } in CHILDLESS {
        let mut gateway = Gateway::new(&pki, 1, gateway);
        match *name {
            "no address left" => gateway.pool.clear(),
            "no SPI left" => gateway.env.spi_capacity = 0,
            _ => {}
        }
        let mut client = Client::new(client(&pki), 2);
        let notable = client.login(&mut gateway);
        assert_eq!(notable, [Notable::Up, Notable::Refused(*refused)], "{name}");
        assert_eq!(gateway.count(*counter), 1, "{name}");
        assert!(gateway.leased.is_empty() && gateway.installed.is_empty(), "{name}");
        assert!(gateway.env.spis.is_empty(), "{name}");
        let session = gateway.session();
        let notify = refused.to_string();
        assert_eq!(gateway.events.last(), Some(&Event::ChildRefused { session, notify }), "{name}");
        assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered], "{name}");
        gateway.advance(CHILDLESS_MS);
        client.exchange(&mut gateway, Vec::new());
        assert_eq!(client.notable, [Notable::Down], "{name}: told, for it may not know that it is of no use");
        let reason = DownReason::NoChildSa;
        assert!(gateway.events.contains(&Event::SessionDown { session, reason }), "{name}");
        gateway.assert_empty();
    }
}

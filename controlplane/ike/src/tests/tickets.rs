//! Session resumption by tickets (RFC 5723): what clients are given, a login by it, and everything that must not be one.

use super::harness::*;
use crate::api::*;
use crate::counters::IkeCounter;
use crate::crypto::testing::{hex, unhex};
use crate::crypto::{ExchangeValues, IkeKeys, Secret, resumption_auth};
use crate::ident::Identity;
use crate::policy::EndpointConfig;
use crate::ppk::{Ppk, PpkPolicy};
use crate::suite::{IkeProposal, IkeSuite, Kems};
use crate::testing::*;
use crate::wire::{Cert, CertEncoding, ExchangeType, Identification, IkeSpi, Nonce, NotifyType, Payload};

fn ticket_gateway(pki: &Pki, change: impl FnOnce(&mut EndpointConfig)) -> Gateway {
    Gateway::new(pki, 1, |config| {
        config.extensions.tickets = true;
        change(config);
    })
}

fn asks(config: InitiatorConfig) -> InitiatorConfig {
    InitiatorConfig { ask_ticket: true, ..config }
}

/// A client that has logged in, and its ticket.
fn logged_in(gateway: &mut Gateway, config: InitiatorConfig) -> (Client, InitiatorTicket) {
    let mut client = Client::new(asks(config), 2);
    assert!(client.login(gateway).contains(&Notable::Up));
    let ticket = client.initiator.ticket().expect("a ticket").clone();
    assert_eq!(ticket.lifetime_secs, TICKET_SECS);
    (client, ticket)
}

/// The same client later, with nothing but its ticket.
fn returns(config: InitiatorConfig, ticket: &InitiatorTicket) -> InitiatorConfig {
    InitiatorConfig { auth: AuthWith::Ticket(Box::new(ticket.clone())), ..config }
}

fn refused(kind: NotifyType) -> Vec<Notable> {
    vec![Notable::Refused(kind)]
}

/// The key schedule computed apart from this code (RFC 5723 §5.1, RFC 7296 §2.13), with HMAC-SHA2-384 and AES-256-GCM.
#[test]
fn keys_and_auth_are_those_of_the_rfc() {
    let proposal: IkeProposal = "aes256gcm16-prfsha384-ecp384".parse().unwrap();
    let suite = IkeSuite {
        cipher: proposal.ciphers[0],
        integ: None,
        prf: proposal.prfs[0],
        group: proposal.groups[0],
        kems: Kems::NONE,
    };
    let (ni, nr) = (Nonce::new(vec![0x11; 32]).unwrap(), Nonce::new(vec![0x22; 32]).unwrap());
    let values = ExchangeValues {
        initiator_nonce: &ni,
        responder_nonce: &nr,
        initiator_spi: IkeSpi(0x0102_0304_0506_0708),
        responder_spi: IkeSpi(0x1112_1314_1516_1718),
    };
    let keys = IkeKeys::resumed(suite, &Secret::new((0..48).collect()), &values).unwrap();
    for (key, expected) in [
        (
            &keys.sk_d,
            "762f634d60f77ddd4fecf3fcc2929628477b8e2245e57d779152ed80211fa2b6b319a8900f15056a92c609b447267abe",
        ),
        (&keys.sk_ai, ""),
        (&keys.sk_ar, ""),
        (&keys.sk_ei, "09412a38120abaef2d1965d6d53f2373660542f6df175e458170fc13003ebbcbddde0d16"),
        (&keys.sk_er, "d3a040450cd3ddec396dfbd9ec2cf3cb335f51fab8c0dfb7addd6457880ed65475146f97"),
        (
            &keys.sk_pi,
            "f75ed4f39b17ea7865ec46d322d9b10b34146de7916d52741650a50f371719ae13619e0848983b54f1770a5b419a543a",
        ),
        (
            &keys.sk_pr,
            "eb93d4f4286646520ac70c7367d469c20800e546ca2ac6fe0c44eb76405e5e8588b397f67b0455e6994071f9ed1633f2",
        ),
    ] {
        assert_eq!(hex(key.as_bytes()), expected);
    }
    let octets: Vec<u8> = (0..=255).collect();
    let auth = resumption_auth(suite.prf, &keys.sk_pi, &octets);
    let expected = unhex(
        "c6b2aeb41c627f0f7ddcea47bee15e231d8511a6230c4f0dd84277ffa218e28f3217551a55726097c089ef0c3de66b80",
    );
    assert!(auth.matches(&expected));
}

#[test]
fn a_session_is_resumed_without_its_login_whatever_that_was() {
    let pki = Pki::new();
    let certificate = || certificate_config(&pki, pki.issue("client.example", 2040));
    let logins: [(&str, &str, &dyn Fn() -> InitiatorConfig); 3] = [
        ("psk", "client.example", &psk_config),
        ("eap-test", "alice", &|| eap_config(&pki, PASSWORD)),
        ("certificate", "client.example", &certificate),
    ];
    for (method, user, config) in logins {
        let mut gateway = ticket_gateway(&pki, |_| {});
        let (mut before, ticket) = logged_in(&mut gateway, config());
        let eap_steps = gateway.eap_starts.len();
        let old = gateway.session();
        let mut client = Client::new(asks(returns(config(), &ticket)), 3);
        assert!(client.login(&mut gateway).contains(&Notable::Up), "{method}");
        let facts = gateway.facts();
        assert_eq!((facts.auth_method.as_str(), facts.user.as_str()), (method, user));
        assert_eq!((facts.local_auth, facts.resumed, facts.by_ticket), ("ticket", Some(TICKET_TAG), true));
        assert_eq!(facts.peer_key, (method == "certificate").then_some("ecdsa"));
        assert_eq!(gateway.eap_starts.len(), eap_steps, "{method}: the login is not repeated");
        let resume = gateway.address_requests.last().unwrap().resume;
        assert_eq!(resume, Some(Resume { tag: TICKET_TAG, previous_key: false }));
        // One ticket for one use, and another for the next.
        let next = client.initiator.ticket().unwrap().clone();
        assert_ne!(next.sk_d, ticket.sk_d);
        assert_eq!(gateway.tickets.keys().collect::<Vec<_>>(), [&next.ticket]);
        assert_eq!((gateway.count(IkeCounter::TicketsMade), gateway.count(IkeCounter::TicketsUsed)), (2, 1));
        // The driver ends the one before without a word.
        gateway.input(Input::Operator(Operator::Drop(old)));
        assert!(gateway.outbox.is_empty());
        assert_agreement(&client, &gateway);
        let mut again = Client::new(returns(config(), &next), 4);
        assert!(again.login(&mut gateway).contains(&Notable::Up), "{method}: the second ticket");
        assert!(before.act(&mut gateway, Initiator::liveness).is_empty(), "the first IKE SA is gone");
    }
}

#[test]
fn a_ticket_that_is_no_more_is_refused_and_the_client_logs_in_anew() {
    let pki = Pki::new();
    let mut gateway = ticket_gateway(&pki, |_| {});
    let (_, ticket) = logged_in(&mut gateway, psk_config());
    gateway.tickets.clear();
    let held = gateway.endpoint.held();
    for forged in [ticket.ticket.clone(), Vec::new(), vec![0; 1024], vec![0; 1025]] {
        let forged = InitiatorTicket { ticket: forged, ..ticket.clone() };
        let mut client = Client::new(returns(psk_config(), &forged), 3);
        assert_eq!(client.login(&mut gateway), refused(NotifyType::TicketNack));
        assert_eq!(gateway.endpoint.held(), held, "nothing is kept");
    }
    assert_eq!(gateway.count(IkeCounter::TicketsRefused), 4);
    let mut client = Client::new(psk_config(), 4);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
}

#[test]
fn a_ticket_without_its_keys_is_worth_nothing_and_is_not_used_up() {
    let pki = Pki::new();
    let mut gateway = ticket_gateway(&pki, |_| {});
    let (_, ticket) = logged_in(&mut gateway, psk_config());
    let stolen = InitiatorTicket { sk_d: vec![1; ticket.sk_d.len()], ..ticket.clone() };
    let mut thief = Client::new(returns(psk_config(), &stolen), 3);
    // Under other keys its IKE_AUTH does not even open.
    assert!(thief.login(&mut gateway).is_empty());
    assert_eq!(gateway.count(IkeCounter::DropIntegrity), 1);
    gateway.advance(60_000);
    let mut client = Client::new(returns(psk_config(), &ticket), 4);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
}

#[test]
fn auth_identities_and_certificates_are_held_against_the_ticket() {
    let wrong_auth = |_: ExchangeType, mut payloads: Vec<Payload>| {
        for payload in &mut payloads {
            if let Payload::Auth(auth) = payload {
                auth.data[0] ^= 1;
            }
        }
        payloads
    };
    let no_auth = |exchange: ExchangeType, mut payloads: Vec<Payload>| {
        payloads.retain(|payload| exchange != ExchangeType::IkeAuth || !matches!(payload, Payload::Auth(_)));
        payloads
    };
    let with_cert = |exchange: ExchangeType, mut payloads: Vec<Payload>| {
        if exchange == ExchangeType::IkeAuth {
            payloads.push(Payload::Cert(Cert { encoding: CertEncoding::X509Signature, data: vec![0x30, 0] }));
        }
        payloads
    };
    let other_idr = |exchange: ExchangeType, mut payloads: Vec<Payload>| {
        if exchange == ExchangeType::IkeAuth {
            let other = Identity::Fqdn("vpn2.example".to_owned());
            payloads.push(Payload::IdR(Identification::new(other)));
        }
        payloads
    };
    let arranged: [(&str, Arrange, NotifyType); 4] = [
        ("AUTH", wrong_auth, NotifyType::AuthenticationFailed),
        ("no AUTH", no_auth, NotifyType::InvalidSyntax),
        ("CERT", with_cert, NotifyType::InvalidSyntax),
        ("IDr", other_idr, NotifyType::AuthenticationFailed),
    ];
    let pki = Pki::new();
    let mut gateway = ticket_gateway(&pki, |_| {});
    let (_, ticket) = logged_in(&mut gateway, psk_config());
    let logins = gateway.address_requests.len();
    for (what, arrange, kind) in arranged {
        let mut client = Client::new(InitiatorConfig { arrange, ..returns(psk_config(), &ticket) }, 3);
        assert_eq!(client.login(&mut gateway), refused(kind), "{what}");
    }
    let somebody = Identity::Fqdn("somebody.example".to_owned());
    let mut client = Client::new(InitiatorConfig { identity: somebody, ..returns(psk_config(), &ticket) }, 3);
    assert_eq!(client.login(&mut gateway), refused(NotifyType::AuthenticationFailed), "IDi");
    assert_eq!(gateway.address_requests.len(), logins, "nobody got as far as an address");
    let mut client = Client::new(returns(psk_config(), &ticket), 4);
    assert!(client.login(&mut gateway).contains(&Notable::Up), "the ticket is still good");
}

/// What was allowed when the ticket was given is not for ever.
#[test]
fn policy_is_asked_again() {
    let pki = Pki::new();
    type Change = (&'static str, fn(&mut EndpointConfig));
    let changes: [Change; 6] = [
        ("tickets", |config| config.extensions.tickets = false),
        ("method", |config| config.methods.psk = false),
        ("cipher", |config| config.ike_proposals = vec!["aes256-sha256-curve25519".parse().unwrap()]),
        ("group", |config| config.ike_proposals = vec!["aes256gcm16-prfsha384-ecp521".parse().unwrap()]),
        ("ML-KEM", |config| config.ike_proposals = vec![format!("{IKE}-ke1_mlkem768").parse().unwrap()]),
        ("identity", |config| config.identity = Identity::Fqdn("vpn2.example".to_owned())),
    ];
    for (what, change) in changes {
        let mut gateway = ticket_gateway(&pki, |_| {});
        let (_, ticket) = logged_in(&mut gateway, psk_config());
        let tickets = gateway.tickets.clone();
        let mut changed = ticket_gateway(&pki, change);
        changed.tickets = tickets;
        let mut client = Client::new(returns(psk_config(), &ticket), 3);
        assert_eq!(client.login(&mut changed), refused(NotifyType::TicketNack), "{what}");
        changed.assert_empty();
    }
}

#[test]
fn cookies_limits_and_repeated_requests_are_as_for_ike_sa_init() {
    let pki = Pki::new();
    let mut gateway = ticket_gateway(&pki, |config| config.limits.cookie_threshold = 0);
    let (_, ticket) = logged_in(&mut gateway, psk_config());
    let mut client = Client::new(returns(psk_config(), &ticket), 3);
    let happened = client.login(&mut gateway);
    assert_eq!(happened.first(), Some(&Notable::CookieAsked));
    assert!(happened.contains(&Notable::Up));

    let mut gateway = ticket_gateway(&pki, |config| config.limits.half_open = 1);
    let (_, ticket) = logged_in(&mut gateway, psk_config());
    let mut client = Client::new(returns(psk_config(), &ticket), 3);
    let first = client.initiator.start().unwrap();
    gateway.hold = |kind| matches!(kind, JobKind::FindTicket { .. });
    gateway.input(Input::Datagram(client.datagram(&first[0])));
    gateway.input(Input::Datagram(client.datagram(&first[0])));
    assert_eq!((gateway.held_jobs.len(), gateway.count(IkeCounter::DropBusy)), (1, 1));
    let mut other = Client::new(returns(psk_config(), &ticket), 4);
    assert!(other.login(&mut gateway).is_empty());
    assert_eq!(gateway.count(IkeCounter::DropHalfOpenLimit), 1);
    assert!(gateway.do_held_job());
    let answer = gateway.outbox.pop_front().unwrap();
    gateway.input(Input::Datagram(client.datagram(&first[0])));
    assert_eq!(gateway.outbox.pop_front().as_ref(), Some(&answer), "the same answer again");
    let next = client.receive(&answer);
    client.exchange(&mut gateway, next);
    assert!(client.notable.contains(&Notable::Up));
}

#[test]
fn malformed_requests_leave_nothing() {
    let without_ticket = |_: ExchangeType, mut payloads: Vec<Payload>| {
        payloads.retain(
            |payload| !matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::TicketOpaque),
        );
        payloads
    };
    let with_auth = |exchange: ExchangeType, mut payloads: Vec<Payload>| {
        if exchange == ExchangeType::IkeSessionResume {
            payloads.push(Payload::Eap(vec![2, 1, 0, 4]));
        }
        payloads
    };
    let pki = Pki::new();
    for arrange in [without_ticket as Arrange, with_auth] {
        let mut gateway = ticket_gateway(&pki, |_| {});
        let (_, ticket) = logged_in(&mut gateway, psk_config());
        let held = gateway.endpoint.held();
        let mut client = Client::new(InitiatorConfig { arrange, ..returns(psk_config(), &ticket) }, 3);
        assert_eq!(client.login(&mut gateway), refused(NotifyType::InvalidSyntax));
        assert_eq!(gateway.endpoint.held(), held);
    }
}

/// The driver does not answer, or answers after the client is gone: every state lets go of what it holds.
#[test]
fn jobs_that_fail_or_come_late() {
    let pki = Pki::new();
    let mut gateway = ticket_gateway(&pki, |_| {});
    let (_, ticket) = logged_in(&mut gateway, psk_config());
    let held = gateway.endpoint.held();
    gateway.hold = |kind| matches!(kind, JobKind::FindTicket { .. });
    let mut client = Client::new(returns(psk_config(), &ticket), 3);
    client.login(&mut gateway);
    assert_eq!(gateway.fail_held_job().as_deref(), Some("find ticket"));
    client.exchange(&mut gateway, Vec::new());
    assert_eq!(client.notable, refused(NotifyType::TicketNack));
    assert_eq!(gateway.endpoint.held(), held);
    let mut client = Client::new(returns(psk_config(), &ticket), 4);
    client.login(&mut gateway);
    gateway.advance(31_000);
    assert_eq!(gateway.endpoint.half_open(), 0);
    assert!(gateway.do_held_job());
    assert_eq!(gateway.endpoint.held(), held);

    gateway.hold = |kind| matches!(kind, JobKind::MakeTicket(_));
    let mut client = Client::new(asks(psk_config()), 5);
    client.login(&mut gateway);
    assert_eq!(gateway.fail_held_job().as_deref(), Some("make ticket"));
    client.exchange(&mut gateway, Vec::new());
    assert!(client.notable.contains(&Notable::Up), "the login does not depend on it");
    assert!(client.initiator.ticket().is_none());
}

#[test]
fn a_ticket_is_given_on_request_and_after_a_rekey() {
    let pki = Pki::new();
    let mut gateway = ticket_gateway(&pki, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    assert!(client.initiator.ticket().is_none(), "who does not ask gets none");
    assert_eq!(client.act(&mut gateway, Initiator::ask_for_ticket), [Notable::Answered]);
    let first = client.initiator.ticket().unwrap().clone();
    client.act(&mut gateway, Initiator::rekey_ike);
    assert_eq!(client.act(&mut gateway, Initiator::ask_for_ticket), [Notable::Answered]);
    let second = client.initiator.ticket().unwrap().clone();
    assert_ne!(first.sk_d, second.sk_d, "it is of the new IKE SA");
    let mut again = Client::new(returns(psk_config(), &second), 3);
    assert!(again.login(&mut gateway).contains(&Notable::Up));

    // A gateway whose driver makes none says so, and the exchange goes on.
    gateway.makes_tickets = false;
    let mut client = Client::new(asks(psk_config()), 4);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let nack = |payload: &Payload| matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::TicketNack);
    assert!(client.initiator.last_answer().iter().any(nack));
    // Its deadline passes: it is answered all the same.
    gateway.hold = |kind| matches!(kind, JobKind::MakeTicket(_));
    client.act(&mut gateway, Initiator::ask_for_ticket);
    gateway.advance(16_000);
    client.exchange(&mut gateway, Vec::new());
    assert!(client.initiator.last_answer().iter().any(nack));
    assert!(gateway.do_held_job(), "late, and nobody minds");
    client.notable.clear();
    assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
}

#[test]
fn a_request_with_the_rekey_of_the_ike_sa_is_answered_later() {
    let pki = Pki::new();
    let mut gateway = ticket_gateway(&pki, |_| {});
    let (mut client, _) = logged_in(&mut gateway, psk_config());
    client.initiator.ask_with_rekeys();
    let first = client.initiator.rekey_ike().unwrap();
    gateway.input(Input::Datagram(client.datagram(&first[0])));
    let answer = gateway.outbox.pop_front().unwrap();
    let next = client.receive(&answer);
    let acked = |payload: &Payload| matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::TicketAck);
    assert!(client.initiator.last_answer().iter().any(acked));
    client.exchange(&mut gateway, next);
    assert_eq!(std::mem::take(&mut client.notable), [Notable::IkeRekeyed]);
    assert_eq!(client.act(&mut gateway, Initiator::ask_for_ticket), [Notable::Answered]);
    assert!(client.initiator.ticket().is_some());
}

/// A PPK and ML-KEM in one login; a resumed session inherits both through SK_d, and repeats neither (RFC 8784 §3).
#[test]
fn a_ppk_stays_in_the_keys_when_a_session_is_resumed() {
    let pki = Pki::new();
    let hybrid = format!("{IKE}-ke1_mlkem768");
    let mut gateway = ticket_gateway(&pki, |config| {
        config.ike_proposals = vec![hybrid.parse().unwrap()];
        let key = crate::api::Secret::new(b"a key of the branch".to_vec());
        config.ppk =
            PpkPolicy { required: true, keys: [(b"branch".to_vec(), Ppk { identity: None, key })].into() };
    });
    let config = || InitiatorConfig { ike: vec![hybrid.parse().unwrap()], ..eap_config(&pki, PASSWORD) };
    let ppk = InitiatorPpk { id: b"branch".to_vec(), key: b"a key of the branch".to_vec(), mandatory: true };
    let (_, ticket) = logged_in(&mut gateway, InitiatorConfig { ppk: Some(ppk), ..config() });
    let before = gateway.facts();
    assert!(before.ppk && before.ike_suite == hybrid);
    assert_eq!(
        (gateway.count(IkeCounter::AdditionalKeyExchanges), gateway.count(IkeCounter::PpkUsed)),
        (1, 1)
    );
    let mut client = Client::new(returns(config(), &ticket), 3);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let after = gateway.facts();
    assert!(after.ppk && after.ike_suite == hybrid && after.by_ticket);
    assert_eq!(
        (gateway.count(IkeCounter::AdditionalKeyExchanges), gateway.count(IkeCounter::PpkUsed)),
        (1, 1)
    );
    gateway.input(Input::Operator(Operator::Drop(before.session)));
    assert_agreement(&client, &gateway);
}

/// A gateway without the extension knows neither the request nor the exchange.
#[test]
fn switched_off_it_is_not_there() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(asks(psk_config()), 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let about_tickets = |payload: &Payload| {
        let kinds = [NotifyType::TicketNack, NotifyType::TicketAck, NotifyType::TicketLtOpaque];
        matches!(payload, Payload::Notify(notify) if kinds.contains(&notify.kind))
    };
    assert!(!client.initiator.last_answer().iter().any(about_tickets));
    client.act(&mut gateway, Initiator::ask_for_ticket);
    assert!(!client.initiator.last_answer().iter().any(about_tickets));
}

/// A session that was resumed goes on in another process, and is still known as such.
#[test]
fn a_resumed_session_outlives_its_process() {
    let pki = Pki::new();
    let mut gateway = ticket_gateway(&pki, |_| {});
    let (_, ticket) = logged_in(&mut gateway, psk_config());
    gateway.input(Input::Operator(Operator::Drop(gateway.session())));
    let mut client = Client::new(returns(psk_config(), &ticket), 3);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let snapshot = gateway.snapshot().unwrap();
    gateway.restart();
    gateway.restore(snapshot.expose(), 0).unwrap();
    assert!(gateway.facts().by_ticket);
    assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
}

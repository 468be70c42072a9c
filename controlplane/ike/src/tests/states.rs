//! Every exchange in every state: what is not allowed is dropped and changes nothing (the class of CVE-2026-78135), and
//! `docs/ike.md` draws the states that the code has.

use std::collections::BTreeSet;

use super::harness::*;
use crate::api::{Datagram, Input, JobKind, Operator};
use crate::counters::IkeCounter;
use crate::state::StateName;
use crate::testing::*;
use crate::wire::{
    Delete, ExchangeType, Ke, Nonce, Notify, NotifyType, Payload, Sa, TrafficSelector, TsRange,
};

const ALL: [StateName; 19] = [
    StateName::KeyExchange,
    StateName::TicketLookup,
    StateName::AwaitIntermediate,
    StateName::Encapsulating,
    StateName::AwaitAuth,
    StateName::PskLookup,
    StateName::CertificateCheck,
    StateName::CertificateSign,
    StateName::EapSign,
    StateName::EapServer,
    StateName::EapClient,
    StateName::EapFinalAuth,
    StateName::Addressing,
    StateName::Installing,
    StateName::Ticketing,
    StateName::Established,
    StateName::Closing,
    StateName::Farewell,
    StateName::Ended,
];

const EXCHANGES: [ExchangeType; 8] = [
    ExchangeType::IkeSaInit,
    ExchangeType::IkeAuth,
    ExchangeType::CreateChildSa,
    ExchangeType::Informational,
    ExchangeType::IkeSessionResume,
    ExchangeType::IkeIntermediate,
    ExchangeType::IkeFollowupKe,
    ExchangeType::Unknown(200),
];

/// The whole table, written down once more, by hand.
#[test]
fn exchanges_by_state() {
    let mut allowed = BTreeSet::new();
    for state in ALL {
        for exchange in EXCHANGES {
            for is_response in [false, true] {
                if state.allows(exchange, is_response) {
                    allowed.insert(format!("{state} {exchange} {is_response}"));
                }
            }
        }
    }
    let expected = [
        "AwaitIntermediate IKE_INTERMEDIATE false",
        "AwaitAuth IKE_AUTH false",
        "EapClient IKE_AUTH false",
        "EapClient INFORMATIONAL false",
        "EapFinalAuth IKE_AUTH false",
        "EapFinalAuth INFORMATIONAL false",
        "Established CREATE_CHILD_SA false",
        "Established CREATE_CHILD_SA true",
        "Established INFORMATIONAL false",
        "Established INFORMATIONAL true",
        "Established IKE_FOLLOWUP_KE false",
        "Established IKE_FOLLOWUP_KE true",
        "Closing CREATE_CHILD_SA false",
        "Closing CREATE_CHILD_SA true",
        "Closing INFORMATIONAL false",
        "Closing INFORMATIONAL true",
        "Closing IKE_FOLLOWUP_KE true",
        "Farewell INFORMATIONAL false",
    ];
    assert_eq!(allowed, expected.map(str::to_owned).into());
}

/// Brings a session into a state by holding the job that leaves it, or by stopping there.
fn reach(state: StateName, pki: &Pki) -> Option<(Client, Gateway)> {
    let hybrid = matches!(state, StateName::AwaitIntermediate | StateName::Encapsulating);
    let suite = format!("{IKE}{}", if hybrid { "-ke1_mlkem768" } else { "" });
    let mut gateway = Gateway::new(pki, 1, |config| {
        if hybrid {
            config.ike_proposals = vec![suite.parse().unwrap()];
        }
        config.extensions.tickets = true;
    });
    let hold: fn(&JobKind) -> bool = match state {
        StateName::PskLookup => |kind| matches!(kind, JobKind::PskLookup { .. }),
        StateName::CertificateCheck => {
            |kind| matches!(kind, JobKind::PublicKey(work) if work.name() == "verify")
        }
        StateName::CertificateSign | StateName::EapSign => {
            |kind| matches!(kind, JobKind::PublicKey(work) if work.name() == "sign")
        }
        StateName::Encapsulating => {
            |kind| matches!(kind, JobKind::PublicKey(work) if work.name() == "encapsulate")
        }
        StateName::EapServer => |kind| matches!(kind, JobKind::Eap(_)),
        StateName::Addressing => |kind| matches!(kind, JobKind::Address(_)),
        StateName::Installing => |kind| matches!(kind, JobKind::InstallChild(_)),
        StateName::Ticketing => |kind| matches!(kind, JobKind::MakeTicket(_)),
        _ => |_| false,
    };
    gateway.hold = hold;
    let config = match state {
        StateName::CertificateCheck | StateName::CertificateSign => {
            certificate_config(pki, pki.issue("client.example", 2040))
        }
        StateName::EapSign | StateName::EapServer | StateName::EapClient | StateName::EapFinalAuth => {
            eap_config(pki, PASSWORD)
        }
        StateName::Farewell => InitiatorConfig { auth: AuthWith::Psk(b"wrong".to_vec()), ..psk_config() },
        StateName::Ticketing => InitiatorConfig { ask_ticket: true, ..psk_config() },
        _ if hybrid => InitiatorConfig { ike: vec![suite.parse().unwrap()], ..psk_config() },
        _ => psk_config(),
    };
    let mut client = Client::new(config, 2);
    let first = client.initiator.start().unwrap();
    let rounds = match state {
        StateName::AwaitAuth | StateName::AwaitIntermediate => 1,
        StateName::EapClient => 2,
        StateName::EapFinalAuth => 4,
        // Never seen from outside, or without keys that a message could be sealed with.
        StateName::KeyExchange | StateName::TicketLookup | StateName::Ended => return None,
        _ => {
            client.exchange(&mut gateway, first);
            if state == StateName::Closing {
                let session = gateway.session();
                gateway.input(Input::Operator(Operator::Delete(session)));
                gateway.outbox.clear();
            }
            return Some((client, gateway));
        }
    };
    let mut request = first;
    for _ in 0..rounds {
        gateway.input(Input::Datagram(client.datagram(&request[0])));
        let answer = gateway.outbox.pop_front().unwrap();
        request = client.receive(&answer);
    }
    Some((client, gateway))
}

/// Payloads that would do something if the exchange were taken.
fn payloads(exchange: ExchangeType, client: &Client) -> Vec<Payload> {
    let any = || vec![TrafficSelector::Range(TsRange::any_ipv4())];
    let esp = ESP.parse::<crate::suite::EspProposal>().unwrap().to_wire(1, 0x4242);
    match exchange {
        ExchangeType::CreateChildSa => {
            let old = client.initiator.children().first().map(|child| child.inbound_spi);
            let mut payloads: Vec<Payload> = Vec::new();
            payloads.extend(old.map(|old| Payload::Notify(Notify::esp(NotifyType::RekeySa, old))));
            payloads.push(Payload::Sa(Sa { proposals: vec![esp] }));
            payloads.push(Payload::Nonce(Nonce::new(vec![7; 32]).unwrap()));
            payloads.push(Payload::TsI(any()));
            payloads.push(Payload::TsR(any()));
            payloads
        }
        ExchangeType::Informational => vec![Payload::Delete(Delete::Ike)],
        ExchangeType::IkeSaInit => vec![
            Payload::Sa(Sa { proposals: vec![esp] }),
            Payload::Ke(Ke { group: 19, data: vec![1; 64] }),
            Payload::Nonce(Nonce::new(vec![7; 32]).unwrap()),
        ],
        ExchangeType::IkeSessionResume => vec![
            Payload::Nonce(Nonce::new(vec![7; 32]).unwrap()),
            Payload::Notify(Notify::with_data(NotifyType::TicketOpaque, vec![7; 64])),
        ],
        ExchangeType::IkeIntermediate | ExchangeType::IkeFollowupKe => {
            vec![Payload::Ke(Ke { group: 36, data: vec![1; 1184] })]
        }
        _ => vec![Payload::Eap(vec![2, 1, 0, 5, 1])],
    }
}

/// Well-formed messages under the right keys with the right message ID, in every exchange and direction.
#[test]
fn what_a_state_does_not_allow_changes_nothing() {
    let pki = Pki::new();
    for state in ALL {
        let Some((client, mut gateway)) = reach(state, &pki) else { continue };
        let mut client = client;
        let session = (0..10)
            .map(crate::api::SessionId)
            .find(|id| gateway.endpoint.state_of(*id).is_some())
            .unwrap_or_else(|| panic!("{state}: no session"));
        assert_eq!(gateway.endpoint.state_of(session), Some(state.to_string()));
        for exchange in EXCHANGES {
            for is_response in [false, true] {
                if state.allows(exchange, is_response) {
                    continue;
                }
                for id in 0..8 {
                    let before = gateway.endpoint.held();
                    let events = gateway.events.len();
                    let payloads = payloads(exchange, &client);
                    let sent = client.initiator.raw_message(exchange, is_response, id, payloads).unwrap();
                    let datagram = client.datagram(&sent[0]);
                    gateway.input(Input::Datagram(datagram));
                    let case = format!("{state}: {exchange} response {is_response} id {id}");
                    assert_eq!(gateway.endpoint.held(), before, "{case}");
                    assert_eq!(gateway.events.len(), events, "{case}");
                    assert_eq!(gateway.endpoint.state_of(session), Some(state.to_string()), "{case}");
                    // A genuine retransmission of an answered request may be answered again, and no more.
                    let again = gateway.count(IkeCounter::RetransmitsAnswered);
                    assert!(gateway.outbox.is_empty() || again > 0, "{case}");
                    gateway.outbox.clear();
                }
            }
        }
    }
}

/// After a rekey of ours we are the initiator of the IKE SA, and the same table holds: what is not allowed changes nothing, and
/// what is allowed works, in either role.
#[test]
fn the_table_holds_in_both_roles() {
    let pki = Pki::new();
    for we_began in [false, true] {
        let (mut client, mut gateway) = reach(StateName::Established, &pki).unwrap();
        if we_began {
            gateway.input(Input::Operator(Operator::RekeyIke(gateway.session())));
            client.exchange(&mut gateway, Vec::new());
            client.notable.clear();
        }
        let session = gateway.session();
        let facts = gateway.endpoint.ike_facts(session).unwrap();
        assert_eq!(facts.local_began, we_began);
        for exchange in EXCHANGES {
            for is_response in [false, true] {
                let next = if is_response { facts.local_next_id } else { facts.peer_next_id };
                for id in [next, next + 1] {
                    // A request that the table allows would be answered.
                    if StateName::Established.allows(exchange, is_response) && !is_response && id == next {
                        continue;
                    }
                    let before = (gateway.endpoint.held(), gateway.events.len());
                    let payloads = payloads(exchange, &client);
                    let sent = client.initiator.raw_message(exchange, is_response, id, payloads).unwrap();
                    gateway.input(Input::Datagram(client.datagram(&sent[0])));
                    let case = format!("{exchange} response {is_response} id {id}, we began: {we_began}");
                    assert_eq!((gateway.endpoint.held(), gateway.events.len()), before, "{case}");
                    assert!(gateway.outbox.is_empty(), "{case}");
                }
            }
        }
        // A follow-up of nothing is refused, an INFORMATIONAL answered, a Child SA made.
        let ke = vec![Payload::Ke(Ke { group: 36, data: vec![1; 1184] })];
        client.act(&mut gateway, |initiator| initiator.raw_request(ExchangeType::IkeFollowupKe, ke));
        let unknown = |payload: &Payload| matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::StateNotFound);
        assert!(client.initiator.last_answer().iter().any(unknown), "we began: {we_began}");
        assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
        client.act(&mut gateway, |initiator| initiator.create_child(None, None));
        assert_eq!(client.initiator.children().len(), 2);
        assert_agreement(&client, &gateway);
        // And our own exchanges, each in the role that the IKE SA gives us.
        gateway.input(Input::Operator(Operator::RekeyChildren(session)));
        client.exchange(&mut gateway, Vec::new());
        gateway.input(Input::Operator(Operator::RekeyIke(session)));
        client.exchange(&mut gateway, Vec::new());
        assert!(gateway.endpoint.ike_facts(session).unwrap().local_began);
        gateway.advance(20_000);
        assert_agreement(&client, &gateway);
    }
}

/// Clear messages with the SPIs of a session, of anybody: errors, deletes, responses (RFC 7296 §2.21).
#[test]
fn unprotected_messages_never_touch_a_session() {
    let pki = Pki::new();
    for state in ALL {
        let Some((client, mut gateway)) = reach(state, &pki) else { continue };
        let mut client = client;
        let sent = client.initiator.raw_message(ExchangeType::Informational, false, 5, Vec::new()).unwrap();
        let template = crate::wire::Header::parse(&sent[0].bytes).unwrap();
        let before = (gateway.endpoint.held(), gateway.events.len());
        for kind in [
            NotifyType::AuthenticationFailed,
            NotifyType::InvalidIkeSpi,
            NotifyType::InvalidSyntax,
            NotifyType::NoProposalChosen,
            NotifyType::InvalidMajorVersion,
        ] {
            for exchange in EXCHANGES {
                for is_response in [false, true] {
                    for message_id in 0..4 {
                        let header = crate::wire::Header { exchange, is_response, message_id, ..template };
                        let payloads = vec![Payload::Notify(Notify::new(kind)), Payload::Delete(Delete::Ike)];
                        let bytes = crate::wire::Message::new(header, payloads).emit_clear().unwrap();
                        let datagram = Datagram { bytes, ..client.datagram(&sent[0]) };
                        gateway.input(Input::Datagram(datagram));
                    }
                }
            }
        }
        assert_eq!((gateway.endpoint.held(), gateway.events.len()), before, "{state}");
        assert!(gateway.outbox.is_empty(), "{state}");
    }
}

/// The drawing names every state, and its arrows are those of the table beside it.
#[test]
fn the_manual_draws_the_states() {
    let manual = include_str!("../../../../docs/ike.md");
    for state in ALL {
        assert!(manual.contains(&format!("| `{state}` |")), "docs/ike.md lacks a row for {state}");
        let exchanges: Vec<String> = EXCHANGES
            .iter()
            .flat_map(|exchange| [(exchange, false), (exchange, true)])
            .filter(|(exchange, is_response)| state.allows(**exchange, *is_response))
            .map(|(exchange, is_response)| {
                format!("{exchange} {}", if is_response { "answer" } else { "request" })
            })
            .collect();
        let takes = if exchanges.is_empty() { "nothing".to_owned() } else { exchanges.join(", ") };
        let row = manual.lines().find(|line| line.starts_with(&format!("| `{state}` |"))).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.get(2), Some(&takes.as_str()), "docs/ike.md, {state}");
        let next: Vec<String> = state.next().iter().map(|next| format!("`{next}`")).collect();
        let next = if next.is_empty() { "–".to_owned() } else { next.join(", ") };
        assert_eq!(cells.get(3), Some(&next.as_str()), "docs/ike.md, {state}");
    }
}

//! One IKE message in one line, by the names of what is in it. Enters: a datagram, and the keys of its IKE SA if there is
//! one. Leaves: header and payloads, without any octet of keys, AUTH, EAP or tokens: a log may be read by people who must
//! not log in.

use causeway_ike::api::Event;
use causeway_ike::counters::IkeCounter;
use causeway_ike::crypto::{IkeKeys, Role};
use causeway_ike::wire::{Header, Incoming, Message, Payload, PayloadType, WireError};
use causeway_shared::api::DebugTopic;

/// Payloads of one message that are named; the rest is counted.
const MAX_NAMED: usize = 40;

/// Header of a datagram, e.g. `IKE_AUTH request 1, I flag, 1234 octets, 0011223344556677_i 8899aabbccddeeff_r`.
pub(super) fn header(bytes: &[u8]) -> Result<(Header, String), WireError> {
    let header = Header::parse(bytes)?;
    let kind = if header.is_response { "response" } else { "request" };
    let flag = if header.from_initiator { "initiator's" } else { "responder's" };
    let text = format!(
        "{} {kind} {}, {flag}, {} octets, {:016x}_i {:016x}_r",
        header.exchange,
        header.message_id,
        bytes.len(),
        header.initiator_spi.0,
        header.responder_spi.0,
    );
    Ok((header, text))
}

/// Our SPI in a message: the I flag says which side sent it.
pub(super) fn local_spi(header: &Header, inbound: bool) -> u64 {
    if header.from_initiator == inbound { header.responder_spi.0 } else { header.initiator_spi.0 }
}

/// Payloads of a datagram that is not encrypted, or that `sender`'s keys open.
pub(super) fn payloads(bytes: &[u8], keys: Option<(Role, &IkeKeys)>) -> String {
    let incoming = match Incoming::parse(bytes) {
        Ok(incoming) => incoming,
        Err(error) => return format!("malformed: {error}"),
    };
    // The opener of the other side opens what `sender` has sealed.
    let opener = keys.and_then(|(sender, keys)| {
        let receiver = match sender {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        };
        keys.ends(receiver).ok().map(|(_, opener)| opener)
    });
    match (incoming, opener) {
        (Incoming::Clear(message), _) => list(&message),
        (Incoming::Encrypted(message), Some(opener)) => match message.open(&opener) {
            Ok(message) => format!("SK {{ {} }}", list(&message)),
            Err(error) => format!("SK, {error}"),
        },
        (Incoming::Encrypted(_), None) => "SK, keys unknown".to_owned(),
        (Incoming::Fragment(fragment), _) => {
            format!("SKF, fragment {} of {}", fragment.number, fragment.total)
        }
    }
}

/// Whether a counter grows only when something is not as it should be.
pub(super) fn is_error(counter: IkeCounter) -> bool {
    !matches!(
        counter,
        IkeCounter::DatagramsIn
            | IkeCounter::DatagramsOut
            | IkeCounter::CookiesSent
            | IkeCounter::HandshakesBegun
            | IkeCounter::HandshakesDone
            | IkeCounter::ChildRekeys
            | IkeCounter::IkeRekeys
            | IkeCounter::PeerDeletes
    )
}

/// An event: whose, under which topic, and what happened.
pub(super) fn event(event: &Event) -> (u64, DebugTopic, String) {
    use DebugTopic::{Error, Internal};
    match event {
        Event::SessionUp(facts) => {
            let (peer, port, method) = (facts.peer, facts.peer_port, &facts.auth_method);
            let text = format!(
                "session up: {} by {method} from {peer}:{port}, {}, {}",
                facts.user, facts.ike_suite, facts.spis
            );
            (facts.session.0, Internal, text)
        }
        Event::HandshakeFailed { session, peer, identity, fault, reason, counter } => {
            let who = identity.as_deref().unwrap_or("nobody yet");
            let counter = counter.name();
            let text = format!("handshake of {who} from {peer} failed: {reason} ({fault:?}, {counter})");
            (session.0, Error, text)
        }
        Event::SessionDown { session, reason } => {
            (session.0, Internal, format!("session down: {}", reason.name()))
        }
        Event::IkeRekeyed { session, spis, suite, by } => {
            (session.0, Internal, format!("IKE SA rekeyed by {by:?}: {suite}, {spis}"))
        }
        Event::PeerMoved { session, peer, peer_port } => {
            (session.0, Internal, format!("peer moved to {peer}:{peer_port}"))
        }
        Event::ChildUp(facts) => {
            let (suite, inbound, outbound) = (&facts.suite, facts.inbound_spi, facts.outbound_spi);
            let replaces = facts.replaces.map_or(String::new(), |old| format!(", replaces {old:08x}"));
            let text = format!("Child SA up: {suite}, in {inbound:08x}, out {outbound:08x}{replaces}");
            (facts.session.0, Internal, text)
        }
        Event::ChildDown { session, inbound_spi, replaced_by } => {
            let successor = replaced_by.map_or(String::new(), |new| format!(", replaced by {new:08x}"));
            (session.0, Internal, format!("Child SA down: in {inbound_spi:08x}{successor}"))
        }
        Event::ChildRefused { session, notify } => {
            (session.0, Error, format!("no Child SA: the client was sent {notify}"))
        }
        Event::PeerConfirmed { session } => {
            (session.0, Internal, "the peer has our last answer of IKE_AUTH".to_owned())
        }
        Event::TokenReplayed { session, tag, peer } => {
            let of = tag.map_or(String::new(), |tag| format!(" of session {tag}"));
            (session.0, Error, format!("a token{of} that is not in force any more was used from {peer}"))
        }
        // No session has this number.
        Event::ShutdownComplete { .. } => (u64::MAX, Internal, "every session is ended".to_owned()),
    }
}

fn list(message: &Message) -> String {
    let mut names: Vec<String> = message.payloads.iter().take(MAX_NAMED).map(name).collect();
    let more = message.payloads.len().saturating_sub(MAX_NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

fn name(payload: &Payload) -> String {
    let kind = payload.payload_type();
    match payload {
        Payload::IdI(id) | Payload::IdR(id) => {
            format!("{kind}(type {}, {})", id.identity.id_type(), id.identity)
        }
        Payload::Auth(auth) => format!("{kind}({}, {} octets)", auth.method, auth.data.len()),
        Payload::Notify(notify) => format!("{kind}({})", notify.kind),
        Payload::Vendor(data) | Payload::Eap(data) => format!("{kind}({} octets)", data.len()),
        Payload::Cp(configuration) => {
            let attributes: Vec<String> = configuration
                .attributes
                .iter()
                .map(|attribute| match attribute.value.len() {
                    0 => attribute.kind.to_string(),
                    octets => format!("{}[{octets}]", attribute.kind),
                })
                .collect();
            format!("{kind}({}: {})", configuration.kind, attributes.join(" "))
        }
        Payload::TsI(selectors) | Payload::TsR(selectors) => format!("{kind}({})", selectors.len()),
        Payload::Unknown { number, body } => {
            format!("{}({} octets)", PayloadType::Unknown(*number), body.len())
        }
        _ => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use causeway_ike::ident::Identity;
    use causeway_ike::wire::{
        Auth, AuthMethod, CfgAttribute, CfgAttributeType, CfgType, Configuration, ExchangeType,
        Identification, IkeSpi, Notify, NotifyType,
    };

    use super::*;

    #[test]
    fn a_message_is_named_without_its_secrets() {
        let secret = b"a token that nobody may read".to_vec();
        let header_sent = Header::new(IkeSpi(0x11), IkeSpi(0x22), ExchangeType::IkeAuth, true, false, 1);
        let token = CfgAttribute { kind: CfgAttributeType::from_number(28_801), value: secret.clone() };
        let address = CfgAttribute { kind: CfgAttributeType::InternalIp4Address, value: Vec::new() };
        let message = Message::new(
            header_sent,
            vec![
                Payload::IdI(Identification::new(Identity::Fqdn("client.example".into()))),
                Payload::Auth(Auth { method: AuthMethod::SharedKey, data: secret.clone() }),
                Payload::Eap(secret.clone()),
                Payload::Cp(Configuration { kind: CfgType::Request, attributes: vec![address, token] }),
                Payload::Notify(Notify::new(NotifyType::InitialContact)),
            ],
        );
        let bytes = message.emit_clear().unwrap();
        let (read, text) = header(&bytes).unwrap();
        assert_eq!(
            text,
            format!(
                "IKE_AUTH request 1, initiator's, {} octets, 0000000000000011_i 0000000000000022_r",
                bytes.len()
            )
        );
        assert_eq!((local_spi(&read, true), local_spi(&read, false)), (0x22, 0x11));
        let text = payloads(&bytes, None);
        for part in [
            "IDi(type 2, client.example)",
            "AUTH(shared key, 28 octets)",
            "EAP(28 octets)",
            "CP(CFG_REQUEST: INTERNAL_IP4_ADDRESS ",
            "[28])",
            "N(INITIAL_CONTACT)",
        ] {
            assert!(text.contains(part), "`{part}` is not in {text}");
        }
        assert!(!text.contains("token"));
    }

    #[test]
    fn nonsense_is_said_to_be_nonsense() {
        assert!(header(b"short").is_err());
        assert!(payloads(&[0; 40], None).starts_with("malformed: "));
    }
}

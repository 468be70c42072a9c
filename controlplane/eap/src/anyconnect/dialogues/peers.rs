//! The peer against gateways that are not ours.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::message::GatewayMessage;
use super::*;

#[test]
fn opaque_comes_back_octet_by_octet() {
    let opaque = "<opaque  is-for='sg' ><x a=\"&#65;\"/><!-- keep --><![CDATA[<&]]>\n</opaque >";
    let document = format!(
        "<config-auth type='auth-request'>{opaque}<auth id='main'><form><input name='username'/></form></auth></config-auth>"
    );
    let mut peer = introduced();
    let request = Tlvs::of_document(document.as_bytes()).encode_request(2).unwrap();
    let PeerStep::FillForm(_) = peer.handle(PeerInput::Packet(&request)) else { panic!("no form") };
    let answers =
        FormAnswers { answers: vec![("username".into(), Password::new("ann".into()))], group: None };
    let PeerStep::Response(response) = peer.handle(PeerInput::Answers(answers)) else { panic!("no answer") };
    assert!(String::from_utf8_lossy(&response).contains(&format!("<session-token/>{opaque}<auth>")));
}

#[test]
fn the_peer_trusts_no_success_before_complete() {
    let mut peer = introduced();
    assert!(matches!(
        peer.handle(PeerInput::Packet(&[3, 1, 0, 4])),
        PeerStep::Discard(DiscardReason::OutOfOrder)
    ));
    let mut peer = AnyConnectPeer::new(PeerConfig::default());
    let complete = GatewayMessage::Complete(Box::default()).write().unwrap();
    let complete = Tlvs::of_document(complete.as_bytes()).encode_request(1).unwrap();
    assert!(matches!(
        peer.handle(PeerInput::Packet(&complete)),
        PeerStep::Discard(DiscardReason::OutOfOrder)
    ));
    let PeerStep::Response(nak) = peer.handle(PeerInput::Packet(&[1, 5, 0, 6, 26, 1])) else { panic!() };
    assert_eq!(nak, [2, 5, 0, 6, 3, 254]);
}

#[test]
fn a_success_instead_of_complete_is_ignored() {
    let document =
        "<config-auth type='auth-request'><auth id='main'><authentication-complete/></auth></config-auth>";
    let mut peer = introduced();
    let request = Tlvs::of_document(document.as_bytes()).encode_request(2).unwrap();
    assert!(matches!(peer.handle(PeerInput::Packet(&request)), PeerStep::Response(_)));
    let success = PeerInput::Packet(&[3, 2, 0, 4]);
    assert!(matches!(peer.handle(success), PeerStep::Discard(DiscardReason::OutOfOrder)));
    assert!(matches!(
        peer.handle(PeerInput::Packet(&[4, 2, 0, 4])),
        PeerStep::Failure(PeerFailure::Refused(None))
    ));
}

#[test]
fn a_gateway_that_asks_without_end_is_left() {
    let mut peer = introduced();
    let document =
        "<config-auth type='auth-request'><auth id='main'><authentication-complete/></auth></config-auth>";
    for identifier in 2..=peer::MAX_REQUESTS {
        let request = Tlvs::of_document(document.as_bytes()).encode_request(identifier as u8).unwrap();
        assert!(matches!(peer.handle(PeerInput::Packet(&request)), PeerStep::Response(_)), "{identifier}");
    }
    let request = Tlvs::of_document(document.as_bytes()).encode_request(99).unwrap();
    let step = peer.handle(PeerInput::Packet(&request));
    assert!(matches!(step, PeerStep::Failure(PeerFailure::TooManyRequests)));
}

#[test]
fn the_peer_refuses_forms_that_would_break_its_documents() {
    let document = "<config-auth type='auth-request'><auth id='main'><form>\
        <input type='hidden' name='a&gt;&lt;b' value='1'/></form></auth></config-auth>";
    let mut peer = introduced();
    let request = Tlvs::of_document(document.as_bytes()).encode_request(2).unwrap();
    assert!(matches!(peer.handle(PeerInput::Packet(&request)), PeerStep::FillForm(_)));
    let step = peer.handle(PeerInput::Answers(FormAnswers { answers: vec![], group: None }));
    assert!(matches!(step, PeerStep::Failure(PeerFailure::Unsendable)));
}

#[test]
fn the_peer_answers_by_the_names_that_gateways_expect() {
    let document = "<config-auth type='auth-request'><auth id='challenge'><form><input type='hidden' name='h' value='1'/>\
        <input type='password' name='new_password'/><input type='password' name='verify_password'/></form></auth>\
        </config-auth>";
    let mut peer = introduced();
    let request = Tlvs::of_document(document.as_bytes()).encode_request(2).unwrap();
    assert!(matches!(peer.handle(PeerInput::Packet(&request)), PeerStep::FillForm(_)));
    assert!(matches!(
        peer.handle(PeerInput::Packet(&request)),
        PeerStep::Discard(DiscardReason::AwaitingVerdict)
    ));
    let both = ["new_password", "verify_password"].map(|name| (name.to_owned(), Password::new("n".into())));
    let answers = FormAnswers { answers: both.into(), group: None };
    let PeerStep::Response(response) = peer.handle(PeerInput::Answers(answers)) else { panic!() };
    let Ok(Frame::Response { content: Content::AnyConnect(tlvs), .. }) = Frame::decode(&response) else {
        panic!()
    };
    let read = ClientMessage::read(tlvs.document.unwrap()).unwrap();
    let ClientMessage::AuthReply(reply) = read.message else { panic!() };
    let names: HashMap<_, _> =
        reply.answers.iter().map(|answer| (answer.name.as_str(), answer.value.as_str())).collect();
    assert_eq!(names, HashMap::from([("h", "1"), ("password", "n")]));
    let PeerStep::Response(again) = peer.handle(PeerInput::Packet(&request)) else { panic!() };
    assert_eq!(again, response);
}

proptest! {
    /// Whatever a gateway sends, the peer neither panics nor believes a success.
    #[test]
    fn a_hostile_gateway_gets_no_success(packets in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..90), 0u8..4), 0..8)) {
        let mut peer = introduced();
        for (octets, shape) in packets {
            let packet = match shape {
                0 => octets,
                1 => vec![3, octets.first().copied().unwrap_or(0), 0, 4],
                2 => Tlvs::of_document(&octets).encode_request(2).unwrap(),
                _ => {
                    let document = [b"<config-auth type='auth-request'>", octets.as_slice()].concat();
                    Tlvs::of_document(&document).encode_request(2).unwrap()
                }
            };
            let logged_in = matches!(peer.handle(PeerInput::Packet(&packet)), PeerStep::Success(_));
            prop_assert!(!logged_in);
        }
    }
}

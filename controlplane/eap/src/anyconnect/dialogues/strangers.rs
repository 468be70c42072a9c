//! What a client may say that no peer of ours would: out of order, odd, hostile.

use proptest::prelude::*;

use super::super::framing::UnknownTlv;
use super::super::message::{MAX_FIELD_OCTETS, MAX_LIST};
use super::super::server::MAX_NOTES;
use super::super::xml::XmlError;
use super::*;

#[test]
fn an_unlisted_group_is_refused_like_a_wrong_password_and_unasked_ones_are_ignored() {
    let listed = ServerConfig { groups: vec!["staff".into()], ..config() };
    let mut server = at_form(listed);
    let Step::Request(request) = server.say(2, &reply(RIGHT, Some("root"))) else {
        panic!("not asked again")
    };
    assert!(document_of(&request).1.contains(forms::REFUSED));
    let Step::VerifyPassword(question) = server.say(3, &reply(RIGHT, Some("staff"))) else { panic!() };
    assert_eq!((question.group.as_deref(), question.attempt), (Some("staff"), 2));

    let mut server = at_form(config());
    let Step::VerifyPassword(question) = server.say(2, &reply(RIGHT, Some("root"))) else { panic!() };
    assert_eq!(question.group, None);
}

#[test]
fn another_group_may_be_picked_by_beginning_anew() {
    let mut server = at_form(ServerConfig { groups: vec!["staff".into(), "sales".into()], ..config() });
    let init = |group: &str| {
        ClientMessage::Init(Init { group_select: Some(group.into()), client: client(), ..Init::default() })
    };
    assert!(matches!(server.say(2, &init("root")), Step::Discard(DiscardReason::OutOfOrder)));
    let Step::Request(request) = server.say(2, &init("sales")) else { panic!("not asked again") };
    assert!(document_of(&request).1.contains("<option selected=\"true\">sales</option>"));
    let Step::VerifyPassword(question) = server.say(3, &reply(RIGHT, None)) else { panic!() };
    assert_eq!((question.group.as_deref(), question.attempt), (Some("sales"), 1));
}

#[test]
fn a_banner_of_the_verdict_goes_before_the_configured_one() {
    let mut server = at_form(config());
    let Step::VerifyPassword(_) = server.say(2, &reply(RIGHT, None)) else { panic!() };
    let accepted = Accepted { user: "Ann".into(), banner: Some("Hello <Ann>".into()) };
    let Step::Request(request) = server.0.handle(Input::Password(PasswordVerdict::Accepted(accepted))) else {
        panic!()
    };
    assert!(document_of(&request).1.contains("<banner>Hello &lt;Ann&gt;</banner>"));
    let Step::Success { login, .. } = server.say(3, &ack()) else { panic!() };
    assert_eq!(login.user(), "Ann", "the account's own spelling");
}

#[test]
fn a_peer_that_wants_another_method_is_refused_once() {
    for nak in [&[2, 1, 0, 6, 3, 26][..], &[2, 1, 0, 12, 254, 0, 0, 0, 0, 0, 0, 3]] {
        let (mut server, _) = AnyConnectServer::start(config().into(), setup());
        let Step::Failure { packet, reason } = server.handle(Input::Packet(nak)) else {
            panic!("{nak:02x?}")
        };
        assert_eq!((packet, reason), (vec![4, 1, 0, 4], FailureReason::NoCommonMethod));
        assert!(matches!(server.handle(Input::Packet(nak)), Step::Discard(DiscardReason::Finished)));
        let mut server = at_form(config());
        let late: Vec<u8> =
            nak.iter().enumerate().map(|(at, octet)| if at == 1 { 2 } else { *octet }).collect();
        assert!(matches!(server.0.handle(Input::Packet(&late)), Step::Discard(DiscardReason::OutOfOrder)));
    }
}

#[test]
fn the_same_response_again_gets_the_same_answer() {
    let mut server = at_form(config());
    let init = response(1, &ClientMessage::Init(Init { client: client(), ..Init::default() }));
    let Step::Request(form) = server.0.handle(Input::Packet(&init)) else { panic!("no answer") };
    assert_eq!(document_of(&form).0, 2);
    let wrong = response(2, &reply(("ann", "wrong"), None));
    assert!(matches!(server.0.handle(Input::Packet(&wrong)), Step::VerifyPassword(_)));
    assert!(matches!(server.0.handle(Input::Packet(&wrong)), Step::Discard(DiscardReason::AwaitingVerdict)));
    let Step::Request(first) = server.0.handle(Input::Password(PasswordVerdict::Refused)) else { panic!() };
    for _ in 0..5 {
        let Step::Request(again) = server.0.handle(Input::Packet(&wrong)) else { panic!("no answer") };
        assert_eq!(again, first, "a repetition is no attempt");
    }
    let other = response(2, &reply(RIGHT, None));
    assert!(matches!(server.0.handle(Input::Packet(&other)), Step::Discard(DiscardReason::WrongIdentifier)));
}

#[test]
fn what_belongs_to_another_state_changes_nothing() {
    let init = || ClientMessage::Init(Init { client: client(), ..Init::default() });
    let signed = |identifier| {
        let chain = pkcs7::write(&[LEAF.to_vec()]).unwrap();
        Tlvs { chain: Some(&chain), signature: Some(b"good"), ..Tlvs::default() }
            .encode_response(identifier)
            .unwrap()
    };
    let discarded = |step| matches!(step, Step::Discard(DiscardReason::OutOfOrder));
    let (server, _) = AnyConnectServer::start(config().into(), setup());
    let mut server = Tried(server);
    assert!(discarded(server.say(1, &ack())));
    assert!(discarded(server.say(1, &reply(RIGHT, None))));
    assert!(discarded(server.0.handle(Input::Packet(&signed(1)))));
    assert!(matches!(
        server.0.handle(Input::Password(PasswordVerdict::Refused)),
        Step::Discard(DiscardReason::UnaskedVerdict)
    ));
    assert!(matches!(server.say(1, &init()), Step::Request(_)));
    assert!(discarded(server.say(2, &ack())), "an ack before complete is no login");
    assert!(discarded(server.say(2, &init())));
    assert!(discarded(server.0.handle(Input::Packet(&signed(2)))));
    assert!(matches!(server.say(2, &reply(RIGHT, None)), Step::VerifyPassword(_)));
    assert!(matches!(server.say(2, &ack()), Step::Discard(DiscardReason::AwaitingVerdict)));
    assert!(matches!(
        server.0.handle(Input::Certificate(CertificateVerdict::Unavailable)),
        Step::Discard(DiscardReason::UnaskedVerdict)
    ));
    let accepted = Accepted { user: "ann".into(), banner: None };
    assert!(matches!(
        server.0.handle(Input::Password(PasswordVerdict::Accepted(accepted))),
        Step::Request(_)
    ));
    assert!(discarded(server.say(3, &reply(RIGHT, None))));
    assert!(discarded(server.say(3, &init())));
    assert!(matches!(server.say(3, &ack()), Step::Success { .. }));
    assert!(matches!(server.say(3, &ack()), Step::Discard(DiscardReason::Finished)));
}

#[test]
fn a_signature_comes_with_its_chain_and_with_nothing_but_an_init() {
    let chain = pkcs7::write(&[LEAF.to_vec()]).unwrap();
    let document = |message: &ClientMessage| message.write().unwrap();
    let init = document(&ClientMessage::Init(Init { client: client(), ..Init::default() }));
    let (reply, ack) = (document(&reply(RIGHT, None)), document(&ack()));
    let tlvs = |chain, signature, document| Tlvs { chain, signature, document, unknown: vec![] };
    let (some_chain, signature) = (Some(chain.as_slice()), Some(&b"good"[..]));
    let config = || ServerConfig { certificate: CertificateUse::Required, ..config() };
    for (tlvs, taken) in [
        (tlvs(some_chain, signature, Some(init.as_bytes())), true),
        (tlvs(some_chain, signature, None), true),
        (tlvs(some_chain, signature, Some(reply.as_bytes())), false),
        (tlvs(some_chain, signature, Some(ack.as_bytes())), false),
        (tlvs(some_chain, None, Some(init.as_bytes())), false),
        (tlvs(None, signature, Some(init.as_bytes())), false),
        (tlvs(Some(LEAF), signature, Some(init.as_bytes())), false),
        (tlvs(None, None, None), false),
    ] {
        let mut server = at_form(config());
        let step = server.0.handle(Input::Packet(&tlvs.encode_response(2).unwrap()));
        match step {
            Step::VerifyCertificate(question) => assert!(taken && question.chain == [LEAF]),
            Step::Discard(_) => assert!(!taken, "{tlvs:?}"),
            _ => panic!("{tlvs:?}"),
        }
    }
}

#[test]
fn what_fits_into_no_document_ends_the_conversation() {
    let endless = ServerConfig { title: "x".repeat(70_000), ..config() };
    let mut server = Tried(AnyConnectServer::start(endless.into(), setup()).0);
    let step = server.say(1, &ClientMessage::Init(Init::default()));
    let Step::Failure { packet, reason } = step else { panic!("it was sent") };
    assert_eq!((packet, reason), (vec![4, 1, 0, 4], FailureReason::MessageTooLong));
    assert!(matches!(server.say(1, &ack()), Step::Discard(DiscardReason::Finished)));
}

#[test]
fn hostile_documents_are_refused_and_the_login_goes_on() {
    let reply = "<config-auth type='auth-reply'><auth><username>ann</username></auth>";
    let table: Vec<(Vec<u8>, DiscardReason)> = vec![
        (
            b"<!DOCTYPE x [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><config-auth type='auth-reply'>&b;</config-auth>".to_vec(),
            message::MessageError::Xml(XmlError::Doctype).into(),
        ),
        (
            format!("{reply}<a>&b;</a></config-auth>").into(),
            message::MessageError::Xml(XmlError::UnknownEntity).into(),
        ),
        (
            format!("{reply}{}", "<a>".repeat(100)).into(),
            message::MessageError::Xml(XmlError::TooDeep).into(),
        ),
        (
            [reply.as_bytes(), b"<a>\xc3\x28</a></config-auth>"].concat(),
            message::MessageError::Xml(XmlError::NotUtf8).into(),
        ),
        (
            format!("{reply}<version>{}</version></config-auth>", "x".repeat(MAX_FIELD_OCTETS + 1)).into(),
            message::MessageError::FieldTooLong("version").into(),
        ),
        (
            format!(
                "<config-auth type='auth-reply'><auth><password>{}</password></auth></config-auth>",
                "x".repeat(MAX_FIELD_OCTETS + 1)
            )
            .into(),
            message::MessageError::FieldTooLong("auth").into(),
        ),
        (
            format!(
                "<config-auth type='auth-reply'><auth>{}</auth></config-auth>",
                "<a/>".repeat(MAX_LIST + 1)
            )
            .into(),
            message::MessageError::TooMany("auth").into(),
        ),
        (b"<config-auth type='complete'/>".to_vec(), message::MessageError::UnknownType.into()),
        (b"<config-auth type='auth-request'/>".to_vec(), message::MessageError::UnknownType.into()),
        (b"<config-auth/>".to_vec(), message::MessageError::WrongRoot.into()),
        (b"<x type='auth-reply'/>".to_vec(), message::MessageError::WrongRoot.into()),
    ];
    let mut server = at_form(config());
    for (document, expected) in table {
        let packet = Tlvs::of_document(&document).encode_response(2).unwrap();
        let Step::Discard(reason) = server.0.handle(Input::Packet(&packet)) else {
            panic!("{:.200} was taken", String::from_utf8_lossy(&document))
        };
        assert_eq!(reason, expected);
    }
    // A mebibyte does not even fit into a packet; the packet that claims the most has 64 KiB.
    let mebibyte = vec![b'x'; 1024 * 1024];
    assert!(Tlvs::of_document(&mebibyte).encode_response(2).is_err());
    assert!(matches!(server.0.handle(Input::Packet(&mebibyte)), Step::Discard(DiscardReason::Framing(_))));
    assert!(matches!(server.say(2, &self::reply(RIGHT, None)), Step::VerifyPassword(_)));
}

#[test]
fn what_nobody_knows_is_skipped_and_noted() {
    let mut server = at_form(config());
    let document = "<config-auth type='auth-reply' z='1'><new-thing><x/></new-thing><auth><username>ann</username>\
        <password>pw</password></auth></config-auth>";
    let long = [9; 40];
    let unknown = vec![UnknownTlv { kind: 2, value: &[1, 2] }, UnknownTlv { kind: 4, value: &long }];
    let tlvs = Tlvs { document: Some(document.as_bytes()), unknown, ..Tlvs::default() };
    let packet = tlvs.encode_response(2).unwrap();
    let Step::VerifyPassword(question) = server.0.handle(Input::Packet(&packet)) else { panic!() };
    assert_eq!((question.user.as_str(), question.password.as_str()), ("ann", "pw"));
    assert_eq!(
        server.0.take_notes(),
        [
            Note::UnknownTlv { kind: 2, octets: 2, head: vec![1, 2] },
            Note::UnknownTlv { kind: 4, octets: 40, head: vec![9; 32] },
            Note::UnknownElement { name: "new-thing".into() },
        ]
    );
    assert!(server.0.take_notes().is_empty());
    let mut server = Tried(AnyConnectServer::start(config().into(), setup()).0);
    for identifier in 1..10 {
        let document = format!(
            "<config-auth type='{}'>{}</config-auth>",
            if identifier == 1 { "init" } else { "auth-reply" },
            "<u/>".repeat(40)
        );
        let packet = Tlvs::of_document(document.as_bytes()).encode_response(identifier).unwrap();
        server.0.handle(Input::Packet(&packet));
        server.0.handle(Input::Password(PasswordVerdict::Challenge { prompt: String::new() }));
    }
    assert_eq!(server.0.take_notes().len(), MAX_NOTES);
}

#[test]
fn the_order_of_elements_does_not_matter() {
    let mut server = at_form(config());
    let document = "<config-auth type='auth-reply'><group-select/><auth><secondary_password>s</secondary_password>\
        <password> p </password><secondary_username>t</secondary_username><username> ann\n</username></auth>\
        <device-id>win</device-id><version>5</version></config-auth>";
    let packet = Tlvs::of_document(document.as_bytes()).encode_response(2).unwrap();
    let Step::VerifyPassword(question) = server.0.handle(Input::Packet(&packet)) else { panic!() };
    assert_eq!((question.user.as_str(), question.password.as_str()), ("ann", " p "));
    let (name, password) = question.secondary.unwrap();
    assert_eq!((name.as_str(), password.as_str()), ("t", "s"));
}

proptest! {
    /// Random octets, damaged packets, packets in the wrong place: no panic, no change, and the login still works.
    #[test]
    fn garbage_at_any_step_changes_nothing(
        garbage in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..96), any::<u16>(), 0u8..3), 0..10),
    ) {
        let (mut server, _) = AnyConnectServer::start(config().into(), setup());
        let script =
            [ClientMessage::Init(Init { client: client(), ..Init::default() }), reply(RIGHT, None), ack()];
        for (step, message) in script.iter().enumerate() {
            let identifier = step as u8 + 1;
            let good = response(identifier, message);
            for (octets, shape, at) in &garbage {
                if usize::from(*at) != step {
                    continue;
                }
                let bad = match shape % 3 {
                    0 => octets.clone(),
                    // Truncated: the Length no longer fits.
                    1 => good[..usize::from(*shape) % good.len()].to_vec(),
                    // The right head for this step, then garbage of the document's, which can be no message.
                    _ => Tlvs::of_document(octets).encode_response(identifier).unwrap(),
                };
                prop_assert!(matches!(server.handle(Input::Packet(&bad)), Step::Discard(_)), "{:02x?}", bad);
            }
            match server.handle(Input::Packet(&good)) {
                Step::Request(_) => prop_assert_eq!(step, 0),
                Step::VerifyPassword(question) => {
                    prop_assert_eq!(step, 1);
                    prop_assert_eq!((question.user.as_str(), question.password.as_str()), RIGHT);
                    let accepted = Accepted { user: "ann".into(), banner: None };
                    let step = server.handle(Input::Password(PasswordVerdict::Accepted(accepted)));
                    prop_assert!(matches!(step, Step::Request(_)));
                }
                Step::Success { login, .. } => prop_assert!(step == 2 && login.user() == "ann"),
                _ => prop_assert!(false, "refused at step {}", step),
            }
        }
    }

    /// Messages in any order, verdicts asked for or not: without an accepting verdict there is no login.
    #[test]
    fn nothing_but_an_accepting_verdict_logs_in(moves in proptest::collection::vec((0u8..8, any::<u8>()), 0..40), certificate in 0u8..3) {
        let certificate = [CertificateUse::None, CertificateUse::Required, CertificateUse::Instead][usize::from(certificate)];
        let config = ServerConfig { certificate, attempts: 4, ..config() };
        let (mut server, hello) = AnyConnectServer::start(config.into(), setup());
        let mut identifier = hello[1];
        let chain = pkcs7::write(&[LEAF.to_vec()]).unwrap();
        for (shape, seed) in moves {
            let signed = Tlvs { chain: Some(&chain), signature: Some(&[seed]), ..Tlvs::default() };
            let init = Init { no_certificate: seed % 2 == 0, ..Init::default() };
            let step = match shape {
                0 => server.handle(Input::Packet(&response(identifier, &ClientMessage::Init(init)))),
                1 => server.handle(Input::Packet(&response(identifier, &reply(("ann", "x"), None)))),
                2 => server.handle(Input::Packet(&response(identifier, &ack()))),
                3 => server.handle(Input::Packet(&signed.encode_response(identifier).unwrap())),
                4 => server.handle(Input::Password(PasswordVerdict::Refused)),
                5 => server.handle(Input::Password(PasswordVerdict::Challenge { prompt: "?".into() })),
                6 => server.handle(Input::Certificate(CertificateVerdict::Refused { reason: String::new() })),
                // A good certificate is not enough where a password is asked for too.
                _ if certificate == CertificateUse::Required => {
                    let accepted = Accepted { user: "ann".into(), banner: None };
                    server.handle(Input::Certificate(CertificateVerdict::Accepted(accepted)))
                }
                _ => continue,
            };
            if let Step::Request(request) = &step {
                identifier = request[1];
            }
            let logged_in = matches!(step, Step::Success { .. });
            prop_assert!(!logged_in);
        }
    }
}

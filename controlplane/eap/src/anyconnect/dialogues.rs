//! Whole dialogues, server against peer, and everything a stranger may say in between.

use std::collections::HashMap;

use proptest::prelude::*;

use super::framing::{Content, Frame, Tlvs, UnknownTlv};
use super::message::{
    Ack, Answer, AuthReply, ClientMessage, Complete, Form, GatewayMessage, Init, MAX_FIELD_OCTETS, MAX_LIST,
};
use super::server::{MAX_NOTES, MAX_REQUESTS};
use super::xml::XmlError;
use super::*;

const SIGNED_OCTETS: &[u8] = b"what the client signs";
const LEAF: &[u8] = include_bytes!("testdata/leaf.der");
const CA: &[u8] = include_bytes!("testdata/ca.der");

fn config() -> ServerConfig {
    ServerConfig {
        certificate: CertificateUse::None,
        title: "Login".into(),
        message: "Please enter your username and password.".into(),
        banner: "Welcome & be good".into(),
        groups: vec![],
        attempts: 3,
        client_services_port: None,
        server_cert_hash: [0xab; 20],
        profile: None,
    }
}

fn setup() -> ConversationSetup {
    ConversationSetup {
        identifier: 1,
        handle: 77,
        session_number: 4242,
        session_secret: [0xcd; 20],
        initiator_signed_octets: SIGNED_OCTETS.to_vec(),
    }
}

fn client() -> ClientInfo {
    ClientInfo {
        version: "4.9.01095".into(),
        device: Device {
            platform: "linux-64".into(),
            computer_name: "ann's <laptop>".into(),
            device_type: "X".into(),
            platform_version: "6.1".into(),
            unique_id: "ab".repeat(32),
            unique_id_global: "cd".repeat(20),
        },
        mac_addresses: vec![
            MacAddress { address: "00-00-5e-00-53-01".into(), public_interface: true },
            MacAddress { address: "00-00-5e-00-53-02".into(), public_interface: false },
        ],
        auth_methods: vec!["multiple-cert".into(), "single-sign-on".into()],
    }
}

/// The user, as the peer's test double.
#[derive(Clone, Default)]
struct User {
    /// Name and password for each form, in order.
    logins: Vec<(&'static str, &'static str)>,
    /// Answers for each challenge, in order.
    challenges: Vec<&'static str>,
    /// What to sign with, if there is a certificate.
    signature: Option<&'static [u8]>,
    group: Option<&'static str>,
}

/// The directory, as the verifier's test double: ann has a password, otto a one-time password too.
fn judge(question: &PasswordQuestion) -> PasswordVerdict {
    let accepted = || PasswordVerdict::Accepted(Accepted { user: question.user.clone(), banner: None });
    let challenge = || PasswordVerdict::Challenge { prompt: "Code from <your> token?".into() };
    match (question.user.as_str(), question.password.as_str(), question.answers_challenge) {
        ("ann", " s3cret<&>\" ", false) => accepted(),
        ("otto", "pw", false) => challenge(),
        ("otto", "again", true) => challenge(),
        ("otto", "123456", true) => accepted(),
        ("down", ..) => PasswordVerdict::Unavailable,
        _ => PasswordVerdict::Refused,
    }
}

fn judge_certificate(question: &CertificateQuestion) -> CertificateVerdict {
    assert_eq!(question.chain, [LEAF, CA]);
    assert_eq!(question.signed_octets, SIGNED_OCTETS);
    match question.signature.as_slice() {
        b"good" => CertificateVerdict::Accepted(Accepted { user: "ann@cert".into(), banner: None }),
        b"down" => CertificateVerdict::Unavailable,
        _ => CertificateVerdict::Refused { reason: "signature made with SHA-1".into() },
    }
}

/// How both sides see the end, and what was said on the way.
struct Story {
    server: Result<Login, FailureReason>,
    peer: Result<Complete, PeerFailure>,
    /// Requests: identifier and document.
    requests: Vec<(u8, String)>,
    forms: Vec<Form>,
    questions: Vec<PasswordQuestion>,
}

/// Runs both sides to the end.
fn converse(config: ServerConfig, mut user: User) -> Story {
    user.logins.reverse();
    user.challenges.reverse();
    let (mut server, request) = AnyConnectServer::start(config.into(), setup());
    let group = user.group.map(str::to_owned);
    let mut peer =
        AnyConnectPeer::new(PeerConfig { client: client(), group_access: "https://gw".into(), group });
    let mut story = Story {
        server: Err(FailureReason::TooManyRequests),
        peer: Err(PeerFailure::TooManyRequests),
        requests: vec![],
        forms: vec![],
        questions: vec![],
    };
    let mut packet = request;
    let end = loop {
        story.requests.push(document_of(&packet));
        let mut step = peer.handle(PeerInput::Packet(&packet));
        let response = loop {
            step = match step {
                PeerStep::Response(response) => break response,
                PeerStep::FillForm(form) => {
                    let answers = fill(&form, &mut user);
                    story.forms.push(*form);
                    peer.handle(PeerInput::Answers(answers))
                }
                PeerStep::Sign => {
                    peer.handle(PeerInput::Certificate(user.signature.map(|signature| ClientCertificate {
                        chain: vec![LEAF.to_vec(), CA.to_vec()],
                        signature: signature.to_vec(),
                    })))
                }
                _ => panic!("the peer has nothing to say"),
            };
        };
        let mut step = server.handle(Input::Packet(&response));
        packet = loop {
            step = match step {
                Step::Request(request) => break request,
                Step::VerifyPassword(question) => {
                    let verdict = judge(&question);
                    story.questions.push(question);
                    server.handle(Input::Password(verdict))
                }
                Step::VerifyCertificate(question) => {
                    server.handle(Input::Certificate(judge_certificate(&question)))
                }
                Step::Success { packet, login } => {
                    story.server = Ok(login);
                    break packet;
                }
                Step::Failure { packet, reason } => {
                    story.server = Err(reason);
                    break packet;
                }
                Step::Discard(reason) => panic!("the server discarded: {reason}"),
            };
        };
        if packet[0] != 1 {
            break packet;
        }
    };
    let identifier = story.requests.last().unwrap().0;
    assert_eq!(end, [if story.server.is_ok() { 3 } else { 4 }, identifier, 0, 4]);
    story.peer = match peer.handle(PeerInput::Packet(&end)) {
        PeerStep::Success(complete) => Ok(*complete),
        PeerStep::Failure(reason) => Err(reason),
        _ => panic!("the peer does not see the end"),
    };
    assert!(matches!(server.handle(Input::Packet(&end)), Step::Discard(_)));
    assert!(matches!(peer.handle(PeerInput::Packet(&end)), PeerStep::Discard(DiscardReason::Finished)));
    assert!(server.take_notes().is_empty());
    story
}

fn fill(form: &Form, user: &mut User) -> FormAnswers {
    let (name, password) = match form.id.as_str() {
        "main" => user.logins.pop().expect("a form too many"),
        _ => ("", user.challenges.pop().expect("a challenge too many")),
    };
    let answers = form.inputs.iter().map(|input| {
        let answer = if input.name == "username" { name } else { password };
        (input.name.clone(), Password::new(answer.to_owned()))
    });
    FormAnswers { answers: answers.collect(), group: None }
}

fn document_of(request: &[u8]) -> (u8, String) {
    let Ok(Frame::Request { identifier, content: Content::AnyConnect(tlvs) }) = Frame::decode(request) else {
        panic!("no request: {request:02x?}")
    };
    assert!(tlvs.unknown.is_empty() && tlvs.chain.is_none() && tlvs.signature.is_none());
    (identifier, String::from_utf8(tlvs.document.unwrap().to_vec()).unwrap())
}

const RIGHT: (&str, &str) = ("ann", " s3cret<&>\" ");

#[test]
fn the_right_password_logs_in() {
    let story = converse(config(), User { logins: vec![RIGHT], ..User::default() });
    let login = story.server.unwrap();
    assert_eq!((login.user(), login.group(), login.certificate_identity()), ("ann", None, None));
    assert_eq!(*login.client(), client());
    let complete = story.peer.unwrap();
    assert_eq!(complete.session_id, "4242");
    assert_eq!(complete.banner, "Welcome & be good");
    assert_eq!(complete.server_cert_hash, Some([0xab; 20]));
    let (identifiers, documents): (Vec<_>, Vec<_>) = story.requests.into_iter().unzip();
    assert_eq!(identifiers, [1, 2, 3], "one exchange each for init, form and ack");
    let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    assert_eq!(
        documents,
        [
            format!(
                "{declaration}<config-auth client=\"vpn\" type=\"hello\" aggregate-auth-version=\"2\">\
                 </config-auth>"
            ),
            format!(
                "{declaration}<config-auth client=\"vpn\" type=\"auth-request\" aggregate-auth-version=\"2\">\
                 <opaque is-for=\"sg\"><tunnel-group></tunnel-group><group-alias></group-alias>\
                 <aggauth-handle>77</aggauth-handle></opaque>\
                 <auth id=\"main\"><title>Login</title>\
                 <message>Please enter your username and password.</message><banner></banner>\
                 <form><input type=\"text\" name=\"username\" label=\"Username:\"/>\
                 <input type=\"password\" name=\"password\" label=\"Password:\"/></form></auth></config-auth>"
            ),
            format!(
                "{declaration}<config-auth client=\"vpn\" type=\"complete\" aggregate-auth-version=\"2\">\
                 <session-id>4242</session-id><session-token>4D@4242@{}</session-token>\
                 <auth id=\"success\"><banner>Welcome &amp; be good</banner>\
                 <message id=\"0\" param1=\"\" param2=\"\"/></auth>\
                 <capabilities><crypto-supported>ssl-dhe</crypto-supported></capabilities>\
                 <config client=\"vpn\" type=\"private\"><vpn-base-config><server-cert-hash>{}\
                 </server-cert-hash></vpn-base-config></config></config-auth>",
                "CD".repeat(20),
                "AB".repeat(20)
            ),
        ]
    );
}

#[test]
fn two_wrong_passwords_may_be_followed_by_the_right_one() {
    let logins = vec![("ann", "wrong"), ("bob", "s3cret"), RIGHT];
    let story = converse(config(), User { logins, ..User::default() });
    assert_eq!(story.server.unwrap().user(), "ann");
    assert_eq!(story.questions.iter().map(|question| question.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    let errors: Vec<_> =
        story.forms.iter().map(|form| form.error.as_ref().map(|error| error.text.as_str())).collect();
    assert_eq!(errors, [None, Some(forms::REFUSED), Some(forms::REFUSED)]);
    assert_eq!(
        story.forms[1], story.forms[2],
        "a user who does not exist is told what a wrong password is told"
    );
    assert_eq!(story.requests.len(), 5);
}

#[test]
fn the_last_attempt_ends_it_and_an_unknown_user_looks_like_a_wrong_password() {
    let mut stories = vec![];
    for user in ["ann", "nobody", "", "x".repeat(200).leak()] {
        let logins = vec![(user, "wrong"), (user, "wronger"), (user, "s3cret")];
        let story = converse(config(), User { logins, ..User::default() });
        assert_eq!(story.server, Err(FailureReason::BadCredentials));
        assert_eq!(story.peer, Err(PeerFailure::Refused(Some(forms::REFUSED.into()))));
        stories.push(story.requests);
    }
    assert!(stories.iter().all(|story| *story == stories[0]));
    let once = ServerConfig { attempts: 1, ..config() };
    let story = converse(once, User { logins: vec![("ann", "wrong")], ..User::default() });
    assert_eq!(story.server, Err(FailureReason::BadCredentials));
    assert_eq!(story.requests.len(), 2);
}

#[test]
fn challenges_follow_the_password_and_use_up_no_attempt() {
    let user = User {
        logins: vec![("otto", "pw"), ("otto", "pw")],
        challenges: vec!["again", "000000", "123456"],
        ..User::default()
    };
    let story = converse(config(), user);
    assert_eq!(story.server.unwrap().user(), "otto");
    let ids: Vec<_> = story.forms.iter().map(|form| form.id.as_str()).collect();
    assert_eq!(ids, ["main", "challenge", "challenge", "main", "challenge"]);
    assert_eq!(story.forms[1].message, "Code from <your> token?");
    let attempts: Vec<_> =
        story.questions.iter().map(|question| (question.attempt, question.answers_challenge)).collect();
    assert_eq!(attempts, [(1, false), (1, true), (1, true), (2, false), (2, true)]);
    assert!(story.questions.iter().all(|question| question.user == "otto"));
}

#[test]
fn endless_challenges_end() {
    let challenges = vec!["again"; MAX_REQUESTS as usize];
    let story = converse(config(), User { logins: vec![("otto", "pw")], challenges, ..User::default() });
    assert_eq!(story.server, Err(FailureReason::TooManyRequests));
    assert_eq!(story.requests.len(), MAX_REQUESTS as usize);
}

#[test]
fn certificate_and_password_are_both_asked_for_and_both_needed() {
    let config = || ServerConfig { certificate: CertificateUse::Required, ..config() };
    let user = |signature, login| User { signature, logins: vec![login], ..User::default() };
    let story = converse(config(), user(Some(b"good"), RIGHT));
    let login = story.server.unwrap();
    assert_eq!((login.user(), login.certificate_identity()), ("ann", Some("ann@cert")));
    assert_eq!(story.questions[0].certificate_identity.as_deref(), Some("ann@cert"));
    assert_eq!(story.requests.len(), 4);
    assert!(story.requests[1].1.contains("<client-cert-request/>"));

    let story = converse(config(), user(Some(b"bad"), RIGHT));
    assert_eq!(story.server, Err(FailureReason::BadCertificate("signature made with SHA-1".into())));
    assert!(story.forms.is_empty(), "no password is asked for after a bad certificate");
    assert_eq!(converse(config(), user(None, RIGHT)).server, Err(FailureReason::NoCertificate));
    assert_eq!(converse(config(), user(Some(b"down"), RIGHT)).server, Err(FailureReason::Unavailable));
    let mut wrong = user(Some(b"good"), ("ann", "wrong"));
    wrong.logins = vec![("ann", "wrong"); 3];
    assert_eq!(converse(config(), wrong).server, Err(FailureReason::BadCredentials));
}

#[test]
fn a_certificate_can_stand_instead_of_a_password() {
    let config = || ServerConfig { certificate: CertificateUse::Instead, ..config() };
    let story = converse(config(), User { signature: Some(b"good"), ..User::default() });
    let login = story.server.unwrap();
    assert_eq!((login.user(), login.certificate_identity()), ("ann@cert", Some("ann@cert")));
    assert!(story.forms.is_empty() && story.questions.is_empty());
    assert!(story.requests[2].1.contains("<auth id=\"main\"><authentication-complete/></auth>"));
    assert_eq!(story.requests.len(), 4);
    let story = converse(config(), User { signature: Some(b"bad"), ..User::default() });
    assert!(matches!(story.server, Err(FailureReason::BadCertificate(_))));
    assert_eq!(converse(config(), User::default()).server, Err(FailureReason::NoCertificate));
}

#[test]
fn the_verifier_may_be_unable_to_judge() {
    let story = converse(config(), User { logins: vec![("down", "x")], ..User::default() });
    assert_eq!(story.server, Err(FailureReason::Unavailable));
    assert_eq!(story.peer, Err(PeerFailure::Refused(None)));
}

#[test]
fn groups_are_offered_and_the_choice_is_kept() {
    let config = || ServerConfig { groups: vec!["staff".into(), "a & b".into()], ..config() };
    let user = |group| User { logins: vec![RIGHT], group, ..User::default() };
    for (wish, expected) in [(None, "staff"), (Some("a & b"), "a & b"), (Some("none"), "staff")] {
        let story = converse(config(), user(wish));
        assert_eq!(story.server.unwrap().group(), Some(expected));
        assert_eq!(story.questions[0].group.as_deref(), Some(expected));
        let selected: Vec<_> = story.forms[0].groups.iter().filter(|group| group.selected).collect();
        assert_eq!(selected.len(), 1);
        assert_eq!(selected[0].name, expected);
    }
}

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

/// A server under trial.
struct Tried(AnyConnectServer);

impl Tried {
    fn say(&mut self, identifier: u8, message: &ClientMessage) -> Step {
        self.0.handle(Input::Packet(&response(identifier, message)))
    }
}

/// A server that shows its first form.
fn at_form(config: ServerConfig) -> Tried {
    let mut server = Tried(AnyConnectServer::start(config.into(), setup()).0);
    let init = ClientMessage::Init(Init { client: client(), ..Init::default() });
    assert!(matches!(server.say(1, &init), Step::Request(_)));
    server
}

/// A peer that has sent init.
fn introduced() -> AnyConnectPeer {
    let mut peer = AnyConnectPeer::new(PeerConfig { client: client(), ..PeerConfig::default() });
    let (_, hello) = AnyConnectServer::start(config().into(), setup());
    assert!(matches!(peer.handle(PeerInput::Packet(&hello)), PeerStep::Response(_)));
    peer
}

fn response(identifier: u8, message: &ClientMessage) -> Vec<u8> {
    let document = message.write().unwrap();
    Tlvs::of_document(document.as_bytes()).encode_response(identifier).unwrap()
}

fn reply((user, password): (&str, &str), group: Option<&str>) -> ClientMessage {
    let answer = |name: &str, value: &str| Answer { name: name.into(), value: Password::new(value.into()) };
    ClientMessage::AuthReply(AuthReply {
        client: client(),
        opaque: None,
        answers: vec![answer("username", user), answer("password", password)],
        group_select: group.map(str::to_owned),
    })
}

fn ack() -> ClientMessage {
    ClientMessage::Ack(Ack { client: client() })
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
                    let step = server.handle(Input::Password(judge(&question)));
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

//! Logins from the first packet to the last, server against peer.

use super::super::message::{Complete, Form};
use super::super::server::MAX_REQUESTS;
use super::*;

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

//! The founding document's story against the daemon: AnyConnect-EAP, suspend, resume, restart, fall-back to a login.

use causeway_client::agent::AgentError;
use causeway_client::control::{ConnectionState, Request};
use causeway_client::initiator::Fault;

use crate::client::Client;
use crate::gateway::{Gateway, PASSWORD, USER, wait_until};

const METHODS: &str = "\"anyconnect-eap\"";
const RECONNECT: &str = "[reconnect]\nenabled = true\ntimeout_secs = 900\n[store]\nbackend = \"memory\"\n";

#[test]
fn login_suspend_resume_keeps_address_and_session() {
    let gateway = Gateway::start("resume", METHODS, RECONNECT);
    // One answer only: the resume must not ask for a password.
    let mut client = Client::start(&gateway, "", "[ike]\ndpd_interval_secs = 1\n", &[PASSWORD]);
    let before = client.connected();
    let session_id = before.session_id.clone().expect("the gateway offers Auto Reconnect");
    assert_eq!((session_id.len(), before.resumed), (18, false));
    client.until("liveness", |status| status.dpd_answered >= 1);
    assert_eq!(client.command(Request::Suspend).state, ConnectionState::Suspended);
    let after = client.command(Request::Resume);
    assert_eq!((after.state, after.resumed), (ConnectionState::Connected, true));
    assert_eq!((after.logins, after.resumes, after.resumes_refused), (1, 1, 0));
    assert_eq!(after.address, before.address);
    assert_eq!(after.session_id.as_ref(), Some(&session_id));
    assert_ne!(before.local.unwrap().port(), after.local.unwrap().port());
    assert_ne!(before.ike_spis, after.ike_spis);
    client.until("liveness of the resumed session", |status| status.dpd_answered >= after.dpd_answered + 2);
    // A second time, with the rotated token.
    client.command(Request::Suspend);
    let again = client.command(Request::Resume);
    assert_eq!((again.resumes, again.address), (2, before.address));
    client.command(Request::Disconnect);
    client.end().unwrap();
    assert!(!client.directory.join("session.json").exists());
    let events = client.events();
    for wanted in [
        &format!("Using IKE ID '{session_id}' for reconnect"),
        "Session level reconnect reason code 9:\nSystem resume from suspend mode",
        "Reconnecting to IKEv2_Gateway...",
        "Connected to IKEv2_Gateway.",
    ] {
        assert!(events.contains(wanted), "{wanted}: {events}");
    }
    assert!(!events.contains(PASSWORD));
}

#[test]
fn a_client_that_was_killed_resumes_from_its_file() {
    let gateway = Gateway::start("restart", METHODS, RECONNECT);
    let mut first = Client::start(&gateway, "", "", &[PASSWORD]);
    let before = first.connected();
    first.command(Request::Suspend);
    let file = first.directory.join("session.json");
    let kept = std::fs::read(&file).unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains(PASSWORD));
    // What a kill leaves behind: the file, and nothing said to the gateway.
    first.command(Request::Disconnect);
    first.end().unwrap();
    assert!(!file.exists());
    write_private(&file, &kept);
    let second = Client::start(&gateway, "", "", &[]);
    let after = second.connected();
    assert_eq!((after.address, after.logins, after.resumes), (before.address, 0, 1));
}

#[test]
fn a_token_that_is_not_known_leads_to_a_login() {
    let gateway = Gateway::start("fallback", METHODS, RECONNECT);
    let mut first = Client::start(&gateway, "", "", &[PASSWORD]);
    first.connected();
    let file = first.directory.join("session.json");
    let kept = String::from_utf8(std::fs::read(&file).unwrap()).unwrap();
    first.command(Request::Disconnect);
    first.end().unwrap();
    let events = first.events().len();
    write_private(&file, kept.as_bytes());
    let second = Client::start(&gateway, "", "[reconnect]\nretry_secs = 1\n", &[PASSWORD]);
    let after = second.connected();
    assert_eq!((after.logins, after.resumes, after.resumes_refused), (1, 0, 1));
    assert!(!after.resumed);
    let told = second.events();
    assert!(told[events..].contains("The session cannot be resumed; logging in again."), "{told}");
}

#[test]
fn a_gateway_without_reconnect_leaves_nothing_to_resume() {
    let gateway = Gateway::start("plain", METHODS, "");
    let client = Client::start(&gateway, "", "", &[PASSWORD]);
    assert_eq!(client.connected().session_id, None);
    assert!(!client.directory.join("session.json").exists());
}

#[test]
fn a_wrong_password_is_asked_for_again() {
    let gateway = Gateway::start("retry", METHODS, RECONNECT);
    let client = Client::start(&gateway, "", "", &["not it", "nor this", PASSWORD]);
    client.connected();
    wait_until("what the user was told", || client.user.told().matches("Login failed.").count() == 2);
}

#[test]
fn three_wrong_passwords_end_the_client() {
    let gateway = Gateway::start("thrice", METHODS, RECONNECT);
    let mut client = Client::start(&gateway, "", "", &["1", "2", "3", PASSWORD]);
    assert!(matches!(client.end(), Err(AgentError::Login(Fault::Login(_) | Fault::Refused(_)))));
    assert!(!client.directory.join("session.json").exists());
}

#[test]
fn certificate_password_group_and_banner() {
    for with_certificate in [true, false] {
        let extra = format!(
            "{RECONNECT}[anyconnect]\ncertificate = \"required\"\nbanner = \"Authorised use only.\"\n\
             groups = [\"staff\", \"guests\"]\n[[group]]\nname = \"staff\"\n[[group]]\nname = \"guests\"\n"
        );
        let gateway = Gateway::start_for_certificates(&format!("pki-{with_certificate}"), METHODS, &extra);
        let user = gateway.directory.join("user");
        let login = match with_certificate {
            true => format!(
                "group = \"guests\"\ncertificate_file = \"{0}.pem\"\nprivate_key_file = \"{0}.key\"\n",
                user.display()
            ),
            false => "group = \"guests\"\n".to_owned(),
        };
        let mut client = Client::start(&gateway, &login, "", &[PASSWORD]);
        if with_certificate {
            let status = client.connected();
            assert_eq!((status.user.as_str(), status.logins), (USER, 1));
            assert!(client.user.told().contains("Authorised use only."), "{}", client.user.told());
            // Neither certificate nor password is asked for again.
            client.command(Request::Suspend);
            let back = client.command(Request::Resume);
            assert_eq!((back.address, back.logins, back.resumes), (status.address, 1, 1));
        } else {
            assert!(client.end().is_err());
        }
    }
}

fn write_private(path: &std::path::Path, octets: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(octets).unwrap();
}

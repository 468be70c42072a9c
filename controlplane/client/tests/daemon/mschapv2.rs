//! Logins by EAP-MSCHAPv2 and EAP-GTC, as to any gateway without Auto Reconnect.

use causeway_client::agent::AgentError;
use causeway_client::control::{ConnectionState, Reply, Request};
use causeway_client::initiator::Fault;

use crate::client::Client;
use crate::gateway::{Gateway, PASSWORD};

const METHODS: &str = "\"eap-mschapv2\"";
const LOGIN: &str = "method = \"eap-mschapv2\"";

#[test]
fn a_login_lives_is_rekeyed_and_ends() {
    let gateway = Gateway::start("life", METHODS, "");
    let mut client = Client::start(&gateway, LOGIN, "[ike]\ndpd_interval_secs = 1\n", &[PASSWORD]);
    let status = client.connected();
    assert!(status.address.unwrap().to_string().starts_with("10.99.20."));
    assert_eq!(status.subnets, ["10.99.10.0/24"]);
    assert_eq!((status.logins, status.resumes, status.session_id), (1, 0, None));
    client.until("liveness", |status| status.dpd_answered >= 2);
    client.command(Request::Rekey);
    client.until("a rekey", |status| status.rekeys == 1);
    client.until("liveness after the rekey", |status| status.dpd_answered >= 4);
    client.command(Request::Disconnect);
    client.end().unwrap();
    let events = client.events();
    assert!(
        events.contains("Description : The IPsec connection to the secure gateway has been established.")
    );
    assert!(events.contains("Connected to IKEv2_Gateway."), "{events}");
    assert!(!events.contains(PASSWORD));
}

#[test]
fn a_method_without_a_key_logs_in_too_and_a_foreign_offer_is_refused_first() {
    // The gateway begins with MSCHAPv2; the client's Nak leads to GTC.
    let gateway = Gateway::start("gtc", "\"eap-mschapv2\", \"eap-gtc\"", "");
    let mut client = Client::start(&gateway, "method = \"eap-gtc\"", "", &[PASSWORD]);
    assert!(client.connected().address.is_some());
    client.command(Request::Disconnect);
    client.end().unwrap();
    let mut client = Client::start(&gateway, "method = \"eap-gtc\"", "", &["not it"]);
    assert!(matches!(client.end(), Err(AgentError::Login(Fault::Login(_) | Fault::Refused(_)))));
}

#[test]
fn a_wrong_password_ends_the_client_and_says_why() {
    let gateway = Gateway::start("wrong", METHODS, "");
    let mut client = Client::start(&gateway, LOGIN, "", &["not it"]);
    assert!(matches!(client.end(), Err(AgentError::Login(Fault::Login(_) | Fault::Refused(_)))));
    assert!(client.events().contains("Type : Error"));
}

#[test]
fn a_gateway_that_proves_nothing_is_told_nothing() {
    let gateway = Gateway::start("untrusted", METHODS, "");
    for (change, extra) in [
        // The chain does not lead to the gateway's own certificate.
        ("gateway.pem", ""),
        // The certificate has another name; a second `[gateway]` would be a mistake, so the name is changed in the file.
        ("ca.pem", "other.example.test"),
    ] {
        let authority = std::fs::read_to_string(gateway.directory.join(change)).unwrap();
        let mut client = Client::start_as(&gateway, LOGIN, "", &[PASSWORD], |text| {
            std::fs::write(gateway.directory.join("other.pem"), &authority).unwrap();
            let text = text.replace("/ca.pem", "/other.pem");
            if extra.is_empty() { text } else { text.replace("vpn.example.test", extra) }
        });
        assert!(matches!(client.end(), Err(AgentError::Login(Fault::Gateway(_)))));
    }
}

#[test]
fn a_session_without_token_logs_in_again_after_a_suspend() {
    let gateway = Gateway::start("again", METHODS, "");
    let mut client = Client::start(&gateway, LOGIN, "", &[PASSWORD, PASSWORD]);
    let before = client.connected();
    assert_eq!(client.command(Request::Suspend).state, ConnectionState::Suspended);
    assert!(matches!(client.ask(Request::Rekey), Some(Reply::Refused(_))));
    let after = client.command(Request::Resume);
    assert_eq!((after.state, after.logins, after.resumed), (ConnectionState::Connected, 2, false));
    assert_ne!(before.local.unwrap().port(), after.local.unwrap().port());
    assert_ne!(before.ike_spis, after.ike_spis);
    client.command(Request::Disconnect);
    client.end().unwrap();
}

//! Certificates that are renewed while sessions are up.

use std::fs;

use causeway_ike::testing::Notable;

use crate::client::Client;
use crate::gateway::{Gateway, PASSWORD, USER};

#[test]
fn a_renewed_certificate_is_shown_to_the_next_login_and_sessions_go_on() {
    let mut gateway = Gateway::start("renewed", "");
    let mut early = Client::eap(&gateway, USER, PASSWORD).connect();
    gateway.renew_certificate();
    gateway.until("the new files are read", |gateway| gateway.counter("driver_certificates_read") == 1);
    // Trusts the new authority alone.
    let late = Client::eap(&gateway, USER, PASSWORD).connect();
    assert!(late.ike.address().is_some());
    assert_eq!(gateway.sessions().total, 2);
    let rekey = early.ike.rekey_ike().unwrap();
    early.send(rekey);
    early.until_seen(&Notable::IkeRekeyed);
    assert!(!early.seen.contains(&Notable::Down));
}

#[test]
fn files_that_do_not_fit_are_named_and_the_old_certificate_stays() {
    let mut gateway = Gateway::start("unfit", "");
    let key = gateway.directory().join("gateway.key");
    let foreign = rcgen::KeyPair::generate().unwrap().serialize_pem();
    fs::write(&key, foreign).unwrap();
    gateway.until("the operator is told", |gateway| problem(gateway).is_some());
    let told = problem(&gateway).unwrap();
    assert!(told.contains(&key.display().to_string()) && told.contains("does not belong"), "{told}");
    assert_eq!(gateway.counter("driver_certificates_read"), 0);
    let _early = Client::eap(&gateway, USER, PASSWORD).connect();
    gateway.renew_certificate();
    gateway.until("the operator sees it mended", |gateway| problem(gateway).is_none());
    let _late = Client::eap(&gateway, USER, PASSWORD).connect();
    assert_eq!(gateway.sessions().total, 2);
}

fn problem(gateway: &Gateway) -> Option<String> {
    gateway.health().problems.into_iter().find(|problem| problem.contains("certificate"))
}

//! The configuration's grammar of IKE proposals and the protocol's own parser accept and refuse the same texts.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use causeway_ike::suite::IkeProposal;
use causeway_shared::config::{Presence, check_ike_proposal, sections};

#[test]
fn configuration_and_protocol_read_the_same_proposals() {
    let section = sections().find(|s| s.path == "ike").expect("there is [ike]");
    let key = section.keys.iter().find(|k| k.name == "proposals").expect("there is ike.proposals");
    let Presence::Default(defaults) = key.presence else { panic!("ike.proposals has a default") };
    let defaults: Vec<&str> = defaults.split('"').skip(1).step_by(2).collect();
    assert!(defaults.len() > 3, "{defaults:?}");
    for proposal in &defaults {
        assert_eq!(check_ike_proposal(proposal), Ok(()), "{proposal}");
    }

    let heads = [
        "",
        "aes128",
        "aes192",
        "aes256",
        "aes256gcm16",
        "aes128gcm",
        "aes256gcm128",
        "aes256-aes128gcm16",
        "des",
    ];
    let hashes = [
        "",
        "sha256",
        "sha2_384",
        "sha512",
        "prfsha256",
        "sha256-prfsha512",
        "prfsha384-sha384-sha512",
        "md5",
    ];
    let groups =
        ["", "modp2048", "ecp256", "ecp384-ecp521", "curve25519", "x25519", "modp1024", "ecp256-esn"];
    let mut accepted = 0;
    for (head, hash, group) in
        heads.iter().flat_map(|a| hashes.iter().flat_map(move |b| groups.map(|c| (*a, *b, c))))
    {
        let words: Vec<&str> = [head, hash, group].into_iter().filter(|w| !w.is_empty()).collect();
        let text = words.join("-");
        let (ours, theirs) = (check_ike_proposal(&text), text.parse::<IkeProposal>());
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}: configuration {ours:?}, protocol {theirs:?}");
        accepted += usize::from(ours.is_ok());
    }
    assert!(accepted > 50, "{accepted}");
}

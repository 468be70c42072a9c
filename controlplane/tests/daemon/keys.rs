//! Keys leave only where the configuration says so, and then Wireshark can use them.

use causeway_ike::testing::Notable;
use causeway_shared::api::ExportedKeys;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::http;

#[test]
fn keys_stay_inside_unless_they_are_let_out() {
    let gateway = Gateway::start("keys-kept", "");
    Client::psk(&gateway, "a.example").connect();
    let id = gateway.sessions().sessions.remove(0).id;
    let answer = http::request(&gateway.api, "POST", &format!("/v1/sessions/{id}/keys"), None);
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("management.allow_key_export"), "{answer:?}");
}

#[test]
fn exported_keys_are_those_in_use() {
    let gateway = Gateway::start("keys-out", "[management]\nallow_key_export = true");
    assert_eq!(http::request(&gateway.api, "POST", "/v1/sessions/77/keys", None).status, 404);
    let mut client = Client::psk(&gateway, "a.example").connect();
    let session = gateway.sessions().sessions.remove(0);
    let path = format!("/v1/sessions/{}", session.id);
    let export = || {
        let answer = http::request(&gateway.api, "POST", &format!("{path}/keys"), None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json::<ExportedKeys>()
    };
    let keys = export();
    assert_eq!(keys.ikev2_decryption_table.len(), 1);
    let fields: Vec<&str> = keys.ikev2_decryption_table[0].split(',').collect();
    let (initiator, responder) = session.ike_spis.split_once("_i ").unwrap();
    assert_eq!((fields[0], fields[1]), (initiator, responder.trim_end_matches("_r")));
    assert_eq!((fields[2].len(), fields[3].len()), (72, 72), "a key of 32 octets and a salt of 4");
    assert_eq!(fields[4..], ["\"AES-GCM-256 with 16 octet ICV [RFC5282]\"", "", "", "\"NONE [RFC4306]\""]);
    let child = &session.child_sas[0];
    assert_eq!(keys.esp_sa.len(), 2);
    for (row, spi) in keys.esp_sa.iter().zip([&child.inbound_spi, &child.outbound_spi]) {
        assert!(row.starts_with("\"IPv4\",\"127.0.0.1\",\"127.0.0.1\",\"0x"), "{row}");
        assert!(row.contains(spi) && row.ends_with("\"NULL\",\"\""), "{row}");
    }
    let body = Some(r#"{"what":"ike"}"#);
    assert_eq!(http::request(&gateway.api, "POST", &format!("{path}/rekey"), body).status, 202);
    client.until_seen(&Notable::IkeRekeyed);
    client.until("other keys", |_| {
        let rows = export().ikev2_decryption_table;
        rows.iter().any(|row| *row != keys.ikev2_decryption_table[0])
    });
}

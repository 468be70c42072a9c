//! What the operator's `show crypto …` commands need of a session beyond its outline: the fields of IOS's own commands,
//! as figures and short names. Enters: nothing. Leaves: types only.
//!
//! Everything is optional or has a default: a control plane that does not know a field leaves it out, and the command
//! prints what is known.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The IKE SA of a session, as `show crypto session detail` and `show crypto ikev2 session detailed` show it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct IkeDetails {
    /// Name of the gateway's profile that the session belongs to: `gateway.profile`.
    pub profile: Option<String>,
    /// The session's virtual interface, `Virtual-AccessN`; a resumed session gets a new number.
    pub interface: Option<String>,
    /// Number of the session in the order of their start ("Session-id"); a resumed session gets a new one.
    pub serial: Option<u64>,
    /// Number of the IKE SA among those that are up ("connid", "Tunnel-id").
    pub tunnel_id: Option<u32>,
    /// Number that the crypto engine would know it by: 1000 and `serial`.
    pub ce_id: Option<u64>,
    /// IDi: as text, or in upper-case hex when it was a session id, after a reconnect.
    pub phase1_id: Option<String>,
    /// Capability letters; see [`Capabilities::letters`].
    pub capabilities: String,
    /// Our end.
    pub local: Option<UdpEnd>,
    /// The peer's end as we see it.
    pub remote: Option<UdpEnd>,
    /// Our SPI, 16 hex digits.
    pub local_spi: Option<String>,
    /// The peer's SPI, 16 hex digits.
    pub remote_spi: Option<String>,
    /// Hard lifetime of the IKE SA, seconds; `None` for none.
    pub lifetime_secs: Option<u64>,
    /// Age of the IKE SA, seconds: since login, or since its last rekey.
    pub active_secs: Option<u64>,
    /// Cipher: `AES-CBC` or `AES-GCM`.
    pub encr: Option<String>,
    /// Key size, bits.
    pub key_bits: Option<u16>,
    /// Hash of the PRF, e.g. `SHA512`.
    pub prf: Option<String>,
    /// Hash of the integrity algorithm, e.g. `SHA512`; `None` as text with an AEAD.
    pub hash: Option<String>,
    /// Key exchange group, by IANA number.
    pub dh_group: Option<u16>,
    /// Additional key exchanges (RFC 9370), in order: `ML-KEM-768`, `ML-KEM-1024`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_kes: Vec<String>,
    /// How we proved who we are: `RSA`, `ECDSA` or `PSK`.
    pub auth_sign: Option<String>,
    /// How the client proved who it is: `AnyConnect-EAP`, `EAP`, `PSK`, or the kind of its certificate's key: `RSA`, `ECDSA`
    /// or `ED25519`.
    pub auth_verify: Option<String>,
    /// IDr.
    pub local_id: Option<String>,
    /// IDi, spelt as in `phase1_id`.
    pub remote_id: Option<String>,
    /// The user that EAP named; absent after a reconnect, which has no EAP.
    pub remote_eap_id: Option<String>,
    /// Our requests and the peer's.
    pub messages: Option<MessageIds>,
    /// How liveness is checked; `None` when it is not.
    pub dpd: Option<DeadPeerDetection>,
    /// How large messages travel.
    pub fragmentation: Fragmentation,
    /// Where NATs were found (RFC 7296 §2.23).
    pub nat: NatSide,
    /// Whether we began the IKE SA.
    pub initiator: bool,
    /// What the client says it is: `AnyConnect`; absent after a reconnect, or if it does not say.
    pub peer_type: Option<String>,
    /// Authorization group whose attributes the session has.
    pub group: Option<String>,
    /// Whether the session was resumed: by session id and token, or by a ticket.
    pub resumed: bool,
    /// Whether that was a ticket (session resumption, RFC 5723).
    #[serde(default)]
    pub by_ticket: bool,
    /// Whether the keys depend on a post-quantum pre-shared key (PPK, RFC 8784).
    #[serde(default)]
    pub ppk: bool,
    /// Whether the client has a session id and a token to come back with.
    pub reconnect_capable: bool,
    /// When the policy ends the session, seconds from now; `None` for never.
    pub session_ends_in_secs: Option<u64>,
}

/// One end of an IKE SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UdpEnd {
    /// Address.
    pub address: IpAddr,
    /// UDP port.
    pub port: u16,
}

/// Message IDs of both directions (RFC 7296 §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageIds {
    /// Message ID of the next request of ours; 0 while we have sent none.
    pub local_request: u32,
    /// Message ID that the peer's next request must have.
    pub remote_request: u32,
    /// Lowest Message ID of ours without an answer.
    pub local_next: u32,
    /// Lowest Message ID of the peer's that we have not answered.
    pub remote_next: u32,
    /// Message ID up to which our requests are queued or sent.
    pub local_queued: u32,
    /// Message ID up to which the peer's requests have arrived.
    pub remote_queued: u32,
    /// Requests of the peer that we take at once.
    pub local_window: u32,
    /// Requests of ours that the peer takes at once (SET_WINDOW_SIZE; 1 without).
    pub remote_window: u32,
}

/// When the gateway asks whether the client lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeadPeerDetection {
    /// Silence before the first question, seconds.
    pub interval_secs: u64,
    /// Time between questions without an answer, seconds.
    pub retry_secs: u64,
    /// Queued on demand: we do not ask before the client has asked once.
    pub on_demand: bool,
}

/// How large messages travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Fragmentation {
    /// In IP fragments.
    #[default]
    None,
    /// RFC 7383.
    Ietf,
    /// Payload 132, as Cisco's clients do.
    Cisco,
}

/// Where NATs were found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum NatSide {
    /// Nowhere.
    #[default]
    None,
    /// In front of us.
    Inside,
    /// In front of the peer.
    Outside,
    /// In front of both.
    Both,
}

impl NatSide {
    /// From what NAT detection found.
    pub fn new(local_behind: bool, peer_behind: bool) -> NatSide {
        match (local_behind, peer_behind) {
            (false, false) => NatSide::None,
            (true, false) => NatSide::Inside,
            (false, true) => NatSide::Outside,
            (true, true) => NatSide::Both,
        }
    }
}

/// What a session can do, as one letter each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// C: the gateway was given its configuration (never, as a concentrator gives).
    pub config_mode: bool,
    /// D: dead peer detection.
    pub dead_peer_detection: bool,
    /// N: a NAT was found and ESP travels in UDP.
    pub nat_traversal: bool,
    /// F: IKE fragmentation.
    pub fragmentation: bool,
    /// R: the session was resumed.
    pub reconnected: bool,
}

impl Capabilities {
    /// The letters: those that the published example shows together, `DNR`, then the other one.
    pub fn letters(self) -> String {
        [
            (self.config_mode, 'C'),
            (self.dead_peer_detection, 'D'),
            (self.nat_traversal, 'N'),
            (self.reconnected, 'R'),
            (self.fragmentation, 'F'),
        ]
        .into_iter()
        .filter_map(|(has, letter)| has.then_some(letter))
        .collect()
    }
}

/// A Child SA pair beyond its outline.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct EspDetails {
    /// Selectors of our side.
    pub local: Vec<SelectorRange>,
    /// Selectors of the peer's side.
    pub remote: Vec<SelectorRange>,
    /// Cipher: `AES-CBC` or `AES-GCM`.
    pub encr: Option<String>,
    /// Key size, bits.
    pub key_bits: Option<u16>,
    /// Hash of the integrity algorithm, e.g. `SHA384`; `None` as text with an AEAD.
    pub hmac: Option<String>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Inbound packets that were refused.
    pub in_drops: Option<u64>,
    /// Outbound packets that were refused.
    pub out_drops: Option<u64>,
    /// KiB that may still come in before the rekey; `None` without such a limit.
    pub in_left_kib: Option<u64>,
    /// KiB that may still go out before the rekey; `None` without such a limit.
    pub out_left_kib: Option<u64>,
    /// Seconds until the rekey; `None` when the gateway does not rekey by time.
    pub left_secs: Option<u64>,
}

/// A traffic selector; both ranges are inclusive (RFC 7296 §3.13.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SelectorRange {
    /// IP protocol, 0 for any.
    pub protocol: u8,
    /// First address.
    pub first: IpAddr,
    /// Last address.
    pub last: IpAddr,
    /// First port.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_in_the_examples_order() {
        let before =
            Capabilities { dead_peer_detection: true, nat_traversal: true, ..Capabilities::default() };
        assert_eq!(before.letters(), "DN");
        assert_eq!(Capabilities { reconnected: true, ..before }.letters(), "DNR");
        assert_eq!(Capabilities { fragmentation: true, reconnected: true, ..before }.letters(), "DNRF");
        assert_eq!(Capabilities::default().letters(), "");
    }

    #[test]
    fn details_of_another_version_are_read_as_far_as_they_go() {
        let read: IkeDetails = serde_json::from_str(r#"{"serial": 16, "of_tomorrow": [1]}"#).unwrap();
        assert_eq!(read, IkeDetails { serial: Some(16), ..IkeDetails::default() });
    }

    #[test]
    fn the_side_of_a_nat_is_named_from_where_we_stand() {
        for (local, peer, side) in [
            (false, false, NatSide::None),
            (true, false, NatSide::Inside),
            (false, true, NatSide::Outside),
            (true, true, NatSide::Both),
        ] {
            assert_eq!(NatSide::new(local, peer), side);
        }
    }
}

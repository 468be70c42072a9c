//! `show crypto ikev2 session [detailed]` and `show crypto ikev2 sa [detailed]`.

use causeway_shared::api::{ChildSa, Fragmentation, NatSide, Session, SessionState};

use super::super::units::printable;
use super::{flow, known, status};

/// Above all sessions.
pub(super) const SESSION: &str = "IPv4 Crypto IKEv2 Session";
/// Above all SAs.
pub(super) const SA: &str = "IPv4 Crypto IKEv2 SA";

/// Suite, life and Child SAs.
pub(super) fn session(session: &Session) -> Vec<String> {
    let mut lines = vec![counts(session)];
    lines.extend(sa(session));
    for child in &session.child_sas {
        lines.extend(selectors(child));
        lines.push(spis(child));
    }
    lines
}

/// Every field of the IKE SA and of its Child SAs.
pub(super) fn session_detailed(session: &Session) -> Vec<String> {
    let mut lines = vec![counts(session)];
    lines.extend(sa_detailed(session));
    for child in &session.child_sas {
        let esp = &child.esp;
        lines.extend(selectors(child));
        lines.push(spis(child));
        lines.push(format!("{INDENT}AH spi in/out: 0x0/0x0"));
        lines.push(format!("{INDENT}CPI in/out: 0x0/0x0"));
        lines.push(format!(
            "{INDENT}Encr: {}, keysize: {}, esp_hmac: {}",
            known(esp.encr.as_ref()),
            known(esp.key_bits),
            known(esp.hmac.as_ref()),
        ));
        lines.push(format!("{INDENT}ah_hmac: None, comp: IPCOMP_NONE, mode tunnel"));
    }
    lines
}

/// Suite and life.
pub(super) fn sa(session: &Session) -> Vec<String> {
    let ike = &session.ike;
    let end = |end: Option<causeway_shared::api::UdpEnd>| {
        known(end.map(|end| format!("{}/{}", end.address, end.port)))
    };
    let status = match session.state {
        SessionState::Connecting => "IN-NEG",
        SessionState::Active => "READY",
        SessionState::Closing => "DELETE",
    };
    vec![
        "Tunnel-id Local Remote fvrf/ivrf Status".to_owned(),
        format!("{} {} {} none/none {status}", known(ike.tunnel_id), end(ike.local), end(ike.remote)),
        format!(
            "  Encr: {}, keysize: {}, PRF: {}, Hash: {}, DH Grp:{}, Auth sign: {}, Auth verify: {}",
            known(ike.encr.as_ref()),
            known(ike.key_bits),
            known(ike.prf.as_ref()),
            known(ike.hash.as_ref()),
            known(ike.dh_group),
            known(ike.auth_sign.as_ref()),
            known(ike.auth_verify.as_ref()),
        ),
        format!(
            "  Life/Active Time: {}/{} sec",
            // IOS has no IKE SA without a lifetime; 0 is what its configuration would call one.
            ike.lifetime_secs.unwrap_or(0),
            ike.active_secs.unwrap_or(session.established_secs),
        ),
    ]
}

/// Every field of the IKE SA.
pub(super) fn sa_detailed(session: &Session) -> Vec<String> {
    let ike = &session.ike;
    let mut lines = sa(session);
    if !ike.additional_kes.is_empty() {
        lines.push(format!("  PQC Key Exchange: {}", ike.additional_kes.join(" ")));
    }
    lines.push(format!("  CE id: {}, Session-id: {}", known(ike.ce_id), number(session)));
    lines.push(format!("  Status Description: {}", description(session.state)));
    lines.push(format!(
        "  Local spi: {} Remote spi: {}",
        known(ike.local_spi.as_ref()),
        known(ike.remote_spi.as_ref())
    ));
    lines.push(format!("  Local id: {}", known(ike.local_id.as_ref())));
    let remote_id = ike.remote_id.as_ref().unwrap_or(&session.ike_identity);
    lines.push(format!("  Remote id: {}", printable(remote_id)));
    lines.extend(ike.remote_eap_id.as_ref().map(|id| format!("  Remote EAP id: {}", printable(id))));
    let id = |pick: fn(causeway_shared::api::MessageIds) -> u32| known(ike.messages.map(pick));
    let (local, remote) = (id(|m| m.local_request), id(|m| m.remote_request));
    lines.push(format!("  Local req msg id: {local} Remote req msg id: {remote}"));
    let (local, remote) = (id(|m| m.local_next), id(|m| m.remote_next));
    lines.push(format!("  Local next msg id: {local} Remote next msg id: {remote}"));
    let (local, remote) = (id(|m| m.local_queued), id(|m| m.remote_queued));
    lines.push(format!("  Local req queued: {local} Remote req queued: {remote}"));
    let (local, remote) = (id(|m| m.local_window), id(|m| m.remote_window));
    lines.push(format!("  Local window: {local} Remote window: {remote}"));
    let (interval, retry) = ike.dpd.map_or((0, 0), |dpd| (dpd.interval_secs, dpd.retry_secs));
    lines.push(format!("  DPD configured for {interval} seconds, retry {retry}"));
    lines.push(match ike.fragmentation {
        Fragmentation::None => "  Fragmentation not configured.".to_owned(),
        Fragmentation::Ietf => "  IETF Std Fragmentation configured.".to_owned(),
        Fragmentation::Cisco => "  Cisco Fragmentation configured.".to_owned(),
    });
    lines.push("  Extended Authentication not configured.".to_owned());
    lines.push(match ike.nat {
        NatSide::None => "  NAT-T is not detected".to_owned(),
        NatSide::Inside => "  NAT-T is detected inside".to_owned(),
        NatSide::Outside => "  NAT-T is detected outside".to_owned(),
        NatSide::Both => "  NAT-T is detected inside and outside".to_owned(),
    });
    lines.push("  Cisco Trust Security SGT is disabled".to_owned());
    lines.extend(session.inner_address.map(|address| format!("  Assigned host addr: {address}")));
    let prefix6 = session.inner_prefix6.as_deref().map(printable);
    lines.extend(prefix6.map(|prefix| format!("  Assigned IPv6 prefix: {prefix}")));
    lines.push(format!("  Initiator of SA : {}", if ike.initiator { "Yes" } else { "No" }));
    lines.extend(ike.peer_type.as_ref().map(|kind| format!("  PEER TYPE: {}", printable(kind))));
    lines
}

/// Under `Child sa: `.
const INDENT: &str = "          ";

fn counts(session: &Session) -> String {
    let (number, status, children) = (number(session), status(session), session.child_sas.len());
    format!("Session-id:{number}, Status:{status}, IKE count:1, CHILD count:{children}")
}

fn number(session: &Session) -> String {
    session.ike.serial.map_or_else(|| printable(&session.id), |serial| serial.to_string())
}

fn description(state: SessionState) -> &'static str {
    match state {
        SessionState::Connecting => "Negotiation in progress",
        SessionState::Active => "Negotiation done",
        SessionState::Closing => "Deleting",
    }
}

fn selectors(child: &ChildSa) -> Vec<String> {
    let of = |side: &str, ranges: &[causeway_shared::api::SelectorRange]| {
        ranges.iter().map(|range| format!("{side} selector {}", flow::range(range))).collect::<Vec<_>>()
    };
    let mut lines = of("local", &child.esp.local);
    lines.extend(of("remote", &child.esp.remote));
    let begin =
        |(place, line): (usize, String)| format!("{}{line}", if place == 0 { "Child sa: " } else { INDENT });
    lines.into_iter().enumerate().map(begin).collect()
}

fn spis(child: &ChildSa) -> String {
    let spi =
        |hex: &str| u32::from_str_radix(hex, 16).map_or_else(|_| printable(hex), |spi| format!("0x{spi:X}"));
    format!("{INDENT}ESP spi in/out: {}/{}", spi(&child.inbound_spi), spi(&child.outbound_spi))
}

//! `show crypto session [detail]`.

use causeway_shared::api::{ChildSa, Session, SessionState};

use super::super::units::printable;
use super::{clock, flow, known, status};

/// The lines above all sessions; the detailed ones explain the capability letters.
pub(super) fn header(detail: bool) -> String {
    let title = "Crypto session current status";
    let legend = "\n\
        Code: C - IKE Configuration mode, D - Dead Peer Detection\n\
        K - Keepalives, N - NAT-traversal, T - cTCP encapsulation\n\
        X - IKE Extended Authentication, F - IKE Fragmentation\n\
        R - IKE Auto Reconnect";
    format!("{title}{}", if detail { legend } else { "" })
}

/// Without capabilities and figures.
pub(super) fn brief(session: &Session) -> Vec<String> {
    let mut lines = vec![interface(session), profile(session), state(session)];
    lines.push(match session.ike.remote {
        Some(remote) => format!("Peer: {} port {}", remote.address, remote.port),
        None => format!("Peer: {}", printable(&session.peer)),
    });
    lines.push(number(session));
    lines.push(ike_sa(session));
    for child in &session.child_sas {
        lines.extend(flow::permits(&child.esp).map(|permit| format!("  IPSEC FLOW: {permit}")));
        lines.push(ACTIVE_SAS.to_owned());
    }
    lines
}

/// Every field.
pub(super) fn detail(session: &Session) -> Vec<String> {
    let ike = &session.ike;
    let mut lines = vec![
        interface(session),
        profile(session),
        format!("Uptime: {}", clock(session.established_secs)),
        state(session),
    ];
    lines.push(match ike.remote {
        Some(remote) => format!("Peer: {} port {} fvrf: (none) ivrf: (none)", remote.address, remote.port),
        None => format!("Peer: {} fvrf: (none) ivrf: (none)", printable(&session.peer)),
    });
    let phase1_id = ike.phase1_id.as_ref().unwrap_or(&session.ike_identity);
    lines.push(format!("      Phase1_id: {}", printable(phase1_id)));
    lines.push("      Desc: (none)".to_owned());
    lines.push(number(session));
    lines.push(ike_sa(session));
    let left = ike.lifetime_secs.map(|all| clock(all.saturating_sub(ike.active_secs.unwrap_or(0))));
    lines.push(format!(
        "    Capabilities:{} connid:{} lifetime:{}",
        if ike.capabilities.is_empty() { "(none)".to_owned() } else { printable(&ike.capabilities) },
        known(ike.tunnel_id),
        left.as_deref().unwrap_or("none"),
    ));
    lines.extend(session.child_sas.iter().flat_map(child));
    lines
}

/// Each Child SA is two SAs, one for each direction.
const ACTIVE_SAS: &str = "    Active SAs: 2, origin: crypto map";

fn interface(session: &Session) -> String {
    format!("Interface: {}", known(session.ike.interface.as_ref()))
}

fn profile(session: &Session) -> String {
    format!("Profile: {}", known(session.ike.profile.as_ref()))
}

fn state(session: &Session) -> String {
    format!("Session status: {}", status(session))
}

fn number(session: &Session) -> String {
    let number = session.ike.serial.map_or_else(|| printable(&session.id), |serial| serial.to_string());
    format!("  Session ID: {number}")
}

fn ike_sa(session: &Session) -> String {
    let end = |end: Option<causeway_shared::api::UdpEnd>| {
        known(end.map(|end| format!("{}/{}", end.address, end.port)))
    };
    let (local, remote) = (end(session.ike.local), end(session.ike.remote));
    let active = if session.state == SessionState::Closing { "Inactive" } else { "Active" };
    format!("  IKEv2 SA: local {local} remote {remote} {active}")
}

fn child(child: &ChildSa) -> Vec<String> {
    let esp = &child.esp;
    let life = |left_kib: Option<u64>| {
        let volume = left_kib.map_or_else(|| "KB Vol Rekey Disabled".to_owned(), |left| left.to_string());
        let time = esp.left_secs.map_or_else(|| "Sec Rekey Disabled".to_owned(), |left| left.to_string());
        format!("life (KB/Sec) {volume}/{time}")
    };
    let mut lines: Vec<String> = flow::permits(esp).map(|permit| format!("  IPSEC FLOW: {permit}")).collect();
    lines.push(ACTIVE_SAS.to_owned());
    lines.push(format!(
        "    Inbound: #pkts dec'ed {} drop {} {}",
        child.in_packets,
        known(esp.in_drops),
        life(esp.in_left_kib),
    ));
    lines.push(format!(
        "    Outbound: #pkts enc'ed {} drop {} {}",
        child.out_packets,
        known(esp.out_drops),
        life(esp.out_left_kib),
    ));
    lines
}

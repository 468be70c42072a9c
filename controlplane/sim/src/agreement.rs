//! Whether both sides believe the same, and whether anything is left when nobody is connected.
//!
//! Enters: clients and gateway at one moment. Leaves: nothing, or the first difference. A Child SA is the same on both sides
//! when SPIs, keys and sequence-number size are, crosswise.

use std::collections::BTreeSet;
use std::net::IpAddr;

use causeway_ike::api::SessionId;
use causeway_ike::{Endpoint, Held};

use crate::client::{Client, Phase};
use crate::gateway::Gateway;
use crate::plane::addresses;

/// Compares one client with the gateway.
pub fn check_client(client: &Client, gateway: &Gateway) -> Result<(), String> {
    if !client.is_settled() {
        return Err(format!("it waits for an answer ({:?})", client.phase()));
    }
    let Some(spis) = client.ike_spis() else { return Ok(()) };
    let session =
        session_of(spis, gateway).ok_or(format!("the gateway does not have its IKE SA {spis:x?}"))?;
    for child in client.children() {
        let sa = gateway.plane.sas().get(&child.outbound_spi);
        let sa = sa.ok_or(format!("it has {:08x}, the gateway has not", child.outbound_spi))?;
        let same = (sa.install.outbound_spi, sa.install.esn) == (child.inbound_spi, child.esn)
            && sa.install.inbound_keymat == child.outbound_key
            && sa.install.outbound_keymat == child.inbound_key
            && sa.install.peer_inner == client.inner();
        if !same {
            return Err(format!("the gateway differs about {:08x}", child.outbound_spi));
        }
    }
    let theirs: BTreeSet<u32> = client.children().iter().map(|child| child.outbound_spi).collect();
    let installed = gateway.plane.sas().iter().filter(|(_, sa)| sa.install.session == session);
    let ours: BTreeSet<u32> = installed.map(|(spi, _)| *spi).collect();
    if let Some(spi) = ours.difference(&theirs).next() {
        return Err(format!("the gateway has {spi:08x}, it has not"));
    }
    let mut inner = addresses(client.inner()).filter(|_| !theirs.is_empty());
    inner.try_for_each(|inner| check_outbound(client, inner, gateway))
}

/// Whether packets to a client leave by a Child SA that it has.
fn check_outbound(client: &Client, inner: IpAddr, gateway: &Gateway) -> Result<(), String> {
    let (_, esp) = gateway.plane.send_to(inner).ok_or("nothing carries packets to it")?;
    let mut children = client.children().iter();
    match children.any(|child| (child.inbound_spi, &child.inbound_key) == (esp.spi, &esp.key)) {
        true => Ok(()),
        false => Err("packets to it leave by an SA that it has not".into()),
    }
}

/// Whether the gateway has a session for every client that is up, and nothing for anybody else.
pub fn check_gateway(clients: &[Client], gateway: &Gateway) -> Result<u64, String> {
    let up: BTreeSet<SessionId> = clients
        .iter()
        .filter(|client| client.phase() == Phase::Up)
        .filter_map(|client| session_of(client.ike_spis()?, gateway))
        .collect();
    if let Some(session) = gateway.sessions().keys().find(|session| !up.contains(session)) {
        return Err(format!("{session:?} is up, but its client is not"));
    }
    if let Some((spi, sa)) = gateway.plane.sas().iter().find(|(_, sa)| !up.contains(&sa.install.session)) {
        return Err(format!("{spi:08x} belongs to {:?}, which is not up", sa.install.session));
    }
    let remains = gateway.remains();
    let leases = gateway.sessions().values().filter(|session| session.facts.lease.is_some()).count();
    if (remains.leases, remains.conversations, remains.jobs) != (leases, 0, 0)
        || remains.spis != remains.children
    {
        return Err(format!("the gateway holds more than its sessions need: {remains:?}"));
    }
    Ok(up.len() as u64)
}

/// The session whose IKE SA has these SPIs.
pub fn session_of(spis: (u64, u64), gateway: &Gateway) -> Option<SessionId> {
    let mut sessions = gateway.sessions().iter();
    sessions.find(|(_, session)| (session.spis.initiator, session.spis.responder) == spis).map(|(id, _)| *id)
}

/// Whether the endpoint itself holds nothing.
pub fn nothing_left(endpoint: &Endpoint) -> Result<(), String> {
    let held = endpoint.held();
    if held == Held::default() { Ok(()) } else { Err(format!("the endpoint still holds {held:?}")) }
}

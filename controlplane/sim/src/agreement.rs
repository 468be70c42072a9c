//! Whether both sides believe the same, and whether anything is left when nobody is connected.
//!
//! Enters: clients and gateway at one moment. Leaves: the number of clients that are up, or the first difference. A Child SA
//! is the same on both sides when SPIs, keys and sequence-number size are, crosswise.

use std::collections::BTreeSet;

use causeway_ike::{Endpoint, Held};

use crate::client::{Client, Phase};
use crate::gateway::Gateway;

/// Compares both sides.
pub fn check(clients: &[Client], gateway: &Gateway) -> Result<u64, String> {
    let up: Vec<&Client> = clients.iter().filter(|client| client.phase() == Phase::Up).collect();
    if let Some(busy) = clients.iter().position(|client| !client.is_settled()) {
        return Err(format!("client {busy} waits for an answer ({:?})", clients[busy].phase()));
    }
    let theirs: BTreeSet<(u64, u64)> = up.iter().filter_map(|client| client.ike_spis()).collect();
    let ours: BTreeSet<(u64, u64)> =
        gateway.sessions().values().map(|session| (session.spis.initiator, session.spis.responder)).collect();
    if theirs != ours {
        return Err(format!("IKE SAs differ: clients have {theirs:x?}, the gateway {ours:x?}"));
    }
    let mut spis = BTreeSet::new();
    for (number, client) in up.iter().enumerate() {
        for child in client.children() {
            let sa = gateway.plane.sas().get(&child.outbound_spi);
            let sa =
                sa.ok_or(format!("client {number} has {:08x}, the gateway has not", child.outbound_spi))?;
            let same = (sa.install.outbound_spi, sa.install.esn) == (child.inbound_spi, child.esn)
                && sa.install.inbound_keymat == child.outbound_key
                && sa.install.outbound_keymat == child.inbound_key
                && Some(sa.install.peer_inner) == client.inner_address();
            if !same {
                return Err(format!(
                    "client {number} and the gateway differ about {:08x}",
                    child.outbound_spi
                ));
            }
            spis.insert(child.outbound_spi);
        }
        if let Some(inner) = client.inner_address()
            && !client.children().is_empty()
        {
            let sent = gateway.plane.send_to(inner);
            let (_, esp) = sent.ok_or(format!("nothing carries packets to client {number}"))?;
            if !client
                .children()
                .iter()
                .any(|child| (child.inbound_spi, &child.inbound_key) == (esp.spi, &esp.key))
            {
                return Err(format!("packets to client {number} leave by an SA that it has not"));
            }
        }
    }
    let installed: BTreeSet<u32> = gateway.plane.sas().keys().copied().collect();
    if let Some(spi) = installed.difference(&spis).next() {
        return Err(format!("the gateway has {spi:08x}, no client has"));
    }
    let remains = gateway.remains();
    let leases = gateway.sessions().values().filter(|session| session.facts.lease.is_some()).count();
    if (remains.leases, remains.conversations, remains.jobs) != (leases, 0, 0)
        || remains.spis != installed.len()
    {
        return Err(format!("the gateway holds more than its sessions need: {remains:?}"));
    }
    Ok(up.len() as u64)
}

/// Whether the endpoint itself holds nothing.
pub fn nothing_left(endpoint: &Endpoint) -> Result<(), String> {
    let held = endpoint.held();
    if held == Held::default() { Ok(()) } else { Err(format!("the endpoint still holds {held:?}")) }
}

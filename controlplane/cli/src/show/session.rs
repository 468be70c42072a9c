//! `causeway show session ID`: everything about one session, grouped as an operator asks: who, where, how, what flows.

use std::io::Write;

use causeway_shared::api::{ChildSa, Session};

use super::sessions::state;
use super::units::{duration, grouped, octets, printable};
use crate::exit::{Exit, Failure};

/// Width of the names on the left.
const NAME_WIDTH: usize = 14;

/// Both families of a client's inner addresses, as far as there are any.
pub(super) fn addresses(session: &Session) -> Option<String> {
    let v4 = session.inner_address.map(|address| address.to_string());
    let both: Vec<String> = v4.into_iter().chain(session.inner_prefix6.as_deref().map(printable)).collect();
    (!both.is_empty()).then(|| both.join(", "))
}

pub(super) fn print(session: &Session, out: &mut dyn Write) -> Result<Exit, Failure> {
    writeln!(out, "Session {}", printable(&session.id))?;
    let address = match (addresses(session), &session.pool) {
        (Some(address), Some(pool)) => format!("{address} from pool {}", printable(pool)),
        (Some(address), None) => address,
        (None, _) => "none yet".to_owned(),
    };
    let nat = if session.nat_detected { ", behind NAT" } else { ", no NAT" };
    let lines = [
        ("user", printable(&session.user)),
        ("IKE identity", printable(&session.ike_identity)),
        ("method", printable(&session.auth_method)),
        ("state", state(session.state).to_owned()),
        ("address", address),
        ("peer", format!("{}{nat}", printable(&session.peer))),
        (
            "up",
            format!("{}, set up in {} ms", duration(session.established_secs), grouped(session.set_up_ms)),
        ),
        ("idle", duration(session.idle_secs)),
        ("IKE suite", printable(&session.ike_suite)),
        ("IKE SPIs", printable(&session.ike_spis)),
        ("from client", flow(session.traffic.in_packets, session.traffic.in_bytes)),
        ("to client", flow(session.traffic.out_packets, session.traffic.out_bytes)),
    ];
    for (name, value) in lines {
        writeln!(out, "  {name:NAME_WIDTH$}{value}")?;
    }
    if session.child_sas.is_empty() {
        writeln!(out, "\n  no Child SA")?;
    }
    for child in &session.child_sas {
        print_child(child, out)?;
    }
    Ok(Exit::Ok)
}

fn print_child(child: &ChildSa, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "\n  Child SA, up {}", duration(child.established_secs))?;
    let carried = match child.encapsulation.as_str() {
        "udp" => "in UDP".to_owned(),
        "esp" => "plain ESP".to_owned(),
        other => printable(other),
    };
    let list = |selectors: &[String]| selectors.iter().map(|s| printable(s)).collect::<Vec<_>>().join(", ");
    let lines = [
        ("suite", format!("{}, {carried}", printable(&child.esp_suite))),
        ("SPIs", format!("in {}, out {}", printable(&child.inbound_spi), printable(&child.outbound_spi))),
        ("our side", list(&child.local_selectors)),
        ("client's side", list(&child.peer_selectors)),
        ("from client", flow(child.in_packets, child.in_bytes)),
        ("to client", flow(child.out_packets, child.out_bytes)),
    ];
    for (name, value) in lines {
        writeln!(out, "    {name:NAME_WIDTH$}{value}")?;
    }
    Ok(())
}

fn flow(packets: u64, bytes: u64) -> String {
    format!("{} packets, {}", grouped(packets), octets(bytes))
}

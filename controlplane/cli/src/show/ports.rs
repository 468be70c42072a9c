//! `causeway show ports`: the data plane's ports and what was chosen for each.

use std::io::Write;

use causeway_shared::api::{Port, PortLink, PortList};
use causeway_shared::config::PortRole;

use super::table;
use super::units::printable;
use crate::exit::{Exit, Failure};

const HEADER: [&str; 8] = ["PORT", "ROLE", "LINK", "DRIVER", "MAC", "MTU", "QUEUES", "SPREAD BY"];
const MTU: usize = 5;

pub(super) fn print(list: &PortList, out: &mut dyn Write) -> Result<Exit, Failure> {
    if !list.dataplane_attached {
        writeln!(out, "The data plane is not attached; `causeway show health` says why.")?;
        return Ok(Exit::Ok);
    }
    let rows = list.ports.iter().map(row).collect();
    writeln!(out, "{}", table(&HEADER, rows, &[MTU]))?;
    for port in &list.ports {
        writeln!(out, "\n{}: {}", printable(&port.name), printable(&port.device))?;
        writeln!(out, "  polled by   {}", workers(&port.polled_by))?;
        writeln!(out, "  ESP engine  {}: {}", printable(&port.esp.engine), printable(&port.esp.reason))?;
        if port.esp.device_failed {
            writeln!(
                out,
                "              the crypto device has FAILED: software does all until the data plane is restarted"
            )?;
        }
        let inline = if port.esp.inline_capable {
            "offered by the device, not used"
        } else {
            "not offered by the device"
        };
        writeln!(out, "  inline ESP  {inline}")?;
    }
    Ok(Exit::Ok)
}

fn row(port: &Port) -> Vec<String> {
    let role = match port.role {
        PortRole::Outside => "outside",
        PortRole::Inside => "inside",
    };
    vec![
        printable(&port.name),
        role.to_owned(),
        link(port.link),
        printable(&port.driver),
        printable(&port.mac),
        port.mtu.to_string(),
        format!("{} in, {} out", port.rx_queues, port.tx_queues),
        port.spread.name().to_owned(),
    ]
}

fn link(link: PortLink) -> String {
    match link {
        PortLink { up: false, .. } => "down".to_owned(),
        PortLink { speed_mbps: None, .. } => "up".to_owned(),
        PortLink { speed_mbps: Some(speed), .. } => format!("up, {speed} Mbit/s"),
    }
}

fn workers(numbers: &[u16]) -> String {
    let names: Vec<String> = numbers.iter().map(u16::to_string).collect();
    match names.len() {
        0 => "no worker".to_owned(),
        1 => format!("worker {}", names.concat()),
        _ => format!("workers {}", names.join(", ")),
    }
}

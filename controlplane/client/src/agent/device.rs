//! The TUN device: packets of the machine in, packets of the gateway out; its address and routes by the `ip` command.
//!
//! Enters: what the gateway granted. Leaves: IPv4 packets. The device lives as long as the client, through suspends and
//! resumes, so that connections over it survive them; what is sent meanwhile is dropped.

use std::net::Ipv4Addr;

use tokio::process::Command;
use tokio_tun::Tun;

use crate::config::Tunnel;

/// The whole IPv4 Internet in two halves, so that the machine's default route stays as it is.
const EVERYTHING: [(Ipv4Addr, u8); 2] = [(Ipv4Addr::UNSPECIFIED, 1), (Ipv4Addr::new(128, 0, 0, 0), 1)];

/// A device that is up.
pub(super) struct Device {
    tun: Tun,
    name: String,
    address: Option<Ipv4Addr>,
    /// The route around the tunnel to the gateway.
    around: Option<Ipv4Addr>,
    /// Whether the tunnel's routes hold the gateway's own address.
    needs_way_around: bool,
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Hop {
    via: Option<String>,
    device: String,
}

impl Hop {
    /// Reads the lines of `ip -o route`.
    fn read(lines: &str) -> Vec<Hop> {
        let after = |line: &str, word: &str| {
            let mut words = line.split_whitespace().skip_while(|found| *found != word);
            words.nth(1).map(str::to_owned)
        };
        lines
            .lines()
            .filter_map(|line| Some(Hop { via: after(line, "via"), device: after(line, "dev")? }))
            .collect()
    }
}

impl Device {
    pub(super) fn open(config: &Tunnel) -> Result<Device, String> {
        let tun = Tun::builder()
            .name(&config.device)
            .mtu(i32::from(config.mtu))
            .up()
            .build()
            .map_err(|error| format!("the device {} cannot be made: {error}", config.device))?
            .pop()
            .ok_or_else(|| format!("the device {} was not made", config.device))?;
        let name = tun.name().to_owned();
        Ok(Device { tun, name, address: None, around: None, needs_way_around: false })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives it address and routes; the same again does no harm.
    pub(super) async fn configure(
        &mut self,
        config: &Tunnel,
        address: Ipv4Addr,
        subnets: &[(Ipv4Addr, u8)],
        gateway: Ipv4Addr,
    ) -> Result<(), String> {
        if let Some(old) = self.address.filter(|old| *old != address) {
            ip(&["address", "del", &format!("{old}/32"), "dev", &self.name]).await?;
        }
        ip(&["address", "replace", &format!("{address}/32"), "dev", &self.name]).await?;
        self.address = Some(address);
        if !config.routes {
            return Ok(());
        }
        let subnets = if subnets.is_empty() { &EVERYTHING[..] } else { subnets };
        match subnets.iter().any(|subnet| holds(*subnet, gateway)) {
            true => self.route_around(gateway).await?,
            false => self.needs_way_around = false,
        }
        let source = address.to_string();
        for (network, prefix_len) in subnets {
            let prefix = format!("{network}/{prefix_len}");
            ip(&["route", "replace", &prefix, "dev", &self.name, "src", &source]).await?;
        }
        Ok(())
    }

    /// Finds the way around the tunnel again, if there must be one: the machine may have moved to another network.
    pub(super) async fn refresh_way_around(&mut self, gateway: Ipv4Addr) -> Result<(), String> {
        match self.needs_way_around {
            true => self.route_around(gateway).await,
            false => Ok(()),
        }
    }

    /// The gateway itself must not be reached through the tunnel to it.
    async fn route_around(&mut self, gateway: Ipv4Addr) -> Result<(), String> {
        self.forget_way_around().await;
        self.needs_way_around = true;
        let best = Hop::read(&ip(&["-o", "route", "get", &gateway.to_string()]).await?);
        let hop = match best.into_iter().find(|hop| hop.device != self.name) {
            Some(hop) => Some(hop),
            // Our halves hide the default route, but it is still there.
            None => Hop::read(&ip(&["-o", "route", "show", "default"]).await?)
                .into_iter()
                .find(|hop| hop.device != self.name),
        };
        let hop = hop.ok_or_else(|| format!("there is no route to {gateway}"))?;
        if hop.device == "lo" {
            return Ok(());
        }
        let prefix = format!("{gateway}/32");
        let mut words = vec!["route", "replace", &prefix];
        words.extend(hop.via.iter().flat_map(|via| ["via", via]));
        words.extend(["dev", &hop.device]);
        ip(&words).await?;
        self.around = Some(gateway);
        Ok(())
    }

    /// Removes what would stay behind the device.
    pub(super) async fn forget_way_around(&mut self) {
        if let Some(gateway) = self.around.take() {
            // The network it led through may be gone, and the route with it.
            let _ = ip(&["route", "del", &format!("{gateway}/32")]).await;
        }
    }

    /// Gives the machine a packet; one that the device does not take is lost, as on any network.
    pub(super) async fn deliver(&self, packet: &[u8]) {
        let _ = self.tun.send(packet).await;
    }
}

/// The next packet of the machine; never without a device.
pub(super) async fn receive(device: Option<&Device>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match device {
        Some(device) => device.tun.recv(buffer).await,
        None => std::future::pending().await,
    }
}

async fn ip(words: &[&str]) -> Result<String, String> {
    let output = Command::new("ip")
        .args(words)
        .output()
        .await
        .map_err(|error| format!("the command `ip` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`ip {}`: {}", words.join(" "), said.trim()))
}

fn holds((network, prefix_len): (Ipv4Addr, u8), address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
    u32::from(network) & mask == u32::from(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read() {
        let hop =
            |via: Option<&str>, device: &str| Hop { via: via.map(str::to_owned), device: device.into() };
        let text = "192.0.2.1 via 10.0.0.1 dev eth0 src 10.0.0.7 uid 0 \\    cache \n\
                    default dev wwan0 scope link metric 700\nunreachable default\n";
        assert_eq!(Hop::read(text), [hop(Some("10.0.0.1"), "eth0"), hop(None, "wwan0")]);
    }

    #[test]
    fn subnets() {
        let gateway = Ipv4Addr::new(192, 0, 2, 1);
        for (subnet, prefix_len, wanted) in [
            ([192, 0, 2, 0], 24, true),
            ([192, 0, 3, 0], 24, false),
            ([0, 0, 0, 0], 0, true),
            ([128, 0, 0, 0], 1, true),
            ([0, 0, 0, 0], 1, false),
            ([192, 0, 2, 1], 32, true),
        ] {
            assert_eq!(holds((subnet.into(), prefix_len), gateway), wanted);
        }
    }
}

//! The TUN device: packets of the machine in, packets of the gateway out; its address and routes by the `ip` command.
//!
//! Enters: what the gateway granted. Leaves: IP packets of either version. The device lives as long as the client, through suspends and
//! resumes, so that connections over it survive them; what is sent meanwhile is dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::process::Command;
use tokio_tun::Tun;

use crate::attributes::Granted;
use crate::config::Tunnel;

/// The whole Internet of each family in two halves, so that the machine's default routes stay as they are.
const EVERYTHING: [(IpAddr, u8); 4] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1),
    (IpAddr::V4(Ipv4Addr::new(128, 0, 0, 0)), 1),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 1),
    (IpAddr::V6(Ipv6Addr::new(0x8000, 0, 0, 0, 0, 0, 0, 0)), 1),
];

/// A device that is up.
pub(super) struct Device {
    tun: Tun,
    name: String,
    /// One of each family at most.
    addresses: Vec<IpAddr>,
    /// The route around the tunnel to the gateway.
    around: Option<IpAddr>,
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
        Ok(Device { tun, name, addresses: Vec::new(), around: None, needs_way_around: false })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives it addresses and routes; the same again does no harm. Says why it goes on with IPv4 alone, if it does.
    pub(super) async fn configure(
        &mut self,
        config: &Tunnel,
        granted: &Granted,
        gateway: IpAddr,
    ) -> Result<Option<String>, String> {
        let wanted = [granted.address.map(IpAddr::V4), granted.address6.map(IpAddr::V6)];
        for old in std::mem::take(&mut self.addresses) {
            if !wanted.contains(&Some(old)) {
                ip(&["address", "del", &host(old), "dev", &self.name]).await?;
            }
        }
        let mut problem = None;
        for address in wanted.into_iter().flatten() {
            let prefix = host(address);
            let mut words = vec!["address", "replace", &prefix, "dev", &self.name];
            // Nobody else is on this link, so the address can be used at once.
            words.extend(address.is_ipv6().then_some("nodad"));
            match ip(&words).await {
                Ok(_) => self.addresses.push(address),
                // As on a machine whose IPv6 is switched off.
                Err(error) if !self.addresses.is_empty() => problem = Some(error),
                Err(error) => return Err(error),
            }
        }
        if !config.routes {
            return Ok(problem);
        }
        let subnets = if granted.subnets.is_empty() { &EVERYTHING[..] } else { &granted.subnets[..] };
        match subnets.iter().any(|subnet| holds(*subnet, gateway)) {
            true => self.route_around(gateway).await?,
            false => self.needs_way_around = false,
        }
        for (network, prefix_len) in subnets {
            let source = self.addresses.iter().find(|address| address.is_ipv4() == network.is_ipv4());
            let Some(source) = source.map(IpAddr::to_string) else { continue };
            let prefix = format!("{network}/{prefix_len}");
            ip(&["route", "replace", &prefix, "dev", &self.name, "src", &source]).await?;
        }
        Ok(problem)
    }

    /// Finds the way around the tunnel again, if there must be one: the machine may have moved to another network.
    pub(super) async fn refresh_way_around(&mut self, gateway: IpAddr) -> Result<(), String> {
        match self.needs_way_around {
            true => self.route_around(gateway).await,
            false => Ok(()),
        }
    }

    /// The gateway itself must not be reached through the tunnel to it.
    async fn route_around(&mut self, gateway: IpAddr) -> Result<(), String> {
        self.forget_way_around().await;
        self.needs_way_around = true;
        let best = Hop::read(&ip(&["-o", "route", "get", &gateway.to_string()]).await?);
        let hop = match best.into_iter().find(|hop| hop.device != self.name) {
            Some(hop) => Some(hop),
            // Our halves hide the default route, but it is still there.
            None => Hop::read(&ip(&["-o", family(gateway), "route", "show", "default"]).await?)
                .into_iter()
                .find(|hop| hop.device != self.name),
        };
        let hop = hop.ok_or_else(|| format!("there is no route to {gateway}"))?;
        if hop.device == "lo" {
            return Ok(());
        }
        let prefix = host(gateway);
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
            let _ = ip(&["route", "del", &host(gateway)]).await;
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

/// The prefix of one address.
fn host(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// The switch of `ip` for an address's family.
fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}

fn holds((network, prefix_len): (IpAddr, u8), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
            u32::from(network) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len.min(128))).unwrap_or(0);
            u128::from(network) & mask == u128::from(address) & mask
        }
        _ => false,
    }
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
        let gateway = IpAddr::from([192, 0, 2, 1]);
        for (subnet, prefix_len, wanted) in [
            ([192, 0, 2, 0], 24, true),
            ([192, 0, 3, 0], 24, false),
            ([0, 0, 0, 0], 0, true),
            ([128, 0, 0, 0], 1, true),
            ([0, 0, 0, 0], 1, false),
            ([192, 0, 2, 1], 32, true),
        ] {
            assert_eq!(holds((IpAddr::from(subnet), prefix_len), gateway), wanted);
        }
        let gateway: IpAddr = "2001:db8:1::1".parse().unwrap();
        for (subnet, prefix_len, wanted) in
            [("2001:db8:1::", 64, true), ("2001:db8:2::", 64, false), ("::", 1, true), ("8000::", 1, false)]
        {
            assert_eq!(holds((subnet.parse().unwrap(), prefix_len), gateway), wanted);
        }
        assert!(!holds((IpAddr::from([0, 0, 0, 0]), 0), gateway), "another family");
    }
}

//! A model of the data plane: which Child SAs are installed, which one carries what, and who broke the contract.
//!
//! Enters: installs, commands, ESP packets that are no more than an SPI and the key they claim to be sealed with. Leaves:
//! events, and a list of faults: anything that a real data plane would have to refuse. Nothing is forgiven silently.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use causeway_controlplane::slots::Slots;
use causeway_ike::api::{ChildCommand, ChildInstall, DataPlaneEvent, EspPath, Inner};
use causeway_shared::sa::IpPrefix;

use crate::net::Esp;

/// Slots of the SA table.
const SA_CAPACITY: u32 = 1024;

/// What became of an ESP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Opened.
    Accepted,
    /// No SA has this SPI.
    UnknownSpi,
    /// The SA has another key.
    WrongKey,
}

/// The data plane.
pub struct Plane {
    slots: Slots,
    sas: BTreeMap<u32, Sa>,
    selected: BTreeMap<IpAddr, u32>,
    faults: Vec<String>,
    /// Installs done.
    pub installs: u64,
    /// Removals done.
    pub removes: u64,
}

/// An installed Child SA.
pub struct Sa {
    /// As it was installed.
    pub install: ChildInstall,
    /// Outer addresses now.
    pub path: EspPath,
    /// When the last packet was accepted, in milliseconds.
    pub last_inbound_ms: Option<u64>,
    /// Its session had ended before it was installed.
    pub late: bool,
}

impl Plane {
    /// An empty table.
    pub fn new() -> Plane {
        let slots = match Slots::new(SA_CAPACITY) {
            Ok(slots) => slots,
            Err(error) => unreachable!("{error}"),
        };
        Plane {
            slots,
            sas: BTreeMap::new(),
            selected: BTreeMap::new(),
            faults: vec![],
            installs: 0,
            removes: 0,
        }
    }

    /// An SPI for a Child SA to come.
    pub fn allocate(&mut self, now_ms: u64, random: u32) -> Option<u32> {
        self.slots.allocate(Duration::from_millis(now_ms), random).ok()
    }

    /// Takes an SPI back that is not installed.
    pub fn free(&mut self, now_ms: u64, inbound_spi: u32) {
        if self.sas.contains_key(&inbound_spi) {
            self.fault(format!("SPI {inbound_spi:08x} was given back while installed"));
        }
        if !self.slots.release(Duration::from_millis(now_ms), inbound_spi) {
            self.fault(format!("SPI {inbound_spi:08x} was given back but not in use"));
        }
    }

    /// Installs a Child SA.
    pub fn install(&mut self, install: ChildInstall) {
        let spi = install.inbound_spi;
        if self.sas.contains_key(&spi) {
            self.fault(format!("SPI {spi:08x} was installed twice"));
        }
        if install.inbound_keymat == install.outbound_keymat {
            self.fault(format!("SPI {spi:08x} has the same key in both directions"));
        }
        if self.sas.values().any(|sa| sa.install.inbound_keymat == install.inbound_keymat) {
            self.fault(format!("SPI {spi:08x} has the key of another SA"));
        }
        if let Some(both) = self.overlap(&install) {
            self.fault(format!("{both} is another session's, too"));
        }
        self.insert(install, false);
    }

    /// Installs a Child SA whose session has ended and given its address back while the install waited: its answer has it
    /// removed. Until then it may hold an address that was leased again, but traffic to the new holder must not go to it.
    pub fn install_late(&mut self, install: ChildInstall) {
        let taken = addresses(install.peer_inner).find(|inner| self.selected.contains_key(inner));
        if let Some(inner) = taken.filter(|_| install.outbound_selected) {
            self.fault(format!("traffic to {inner} goes to a session that has ended"));
        }
        self.insert(install, true);
    }

    fn insert(&mut self, install: ChildInstall, late: bool) {
        let spi = install.inbound_spi;
        if install.outbound_selected {
            self.selected.extend(addresses(install.peer_inner).map(|inner| (inner, spi)));
        }
        self.installs += 1;
        let path = install.path;
        self.sas.insert(spi, Sa { install, path, last_inbound_ms: None, late });
    }

    /// What another session's SA has of the inner addresses of this one: as the data plane sees it, whatever the pools say.
    fn overlap(&self, install: &ChildInstall) -> Option<IpPrefix> {
        let others = self.sas.values().filter(|sa| sa.install.session != install.session && !sa.late);
        let ours: Vec<IpPrefix> = prefixes(install.peer_inner).collect();
        let mut theirs = others.flat_map(|sa| prefixes(sa.install.peer_inner));
        theirs.find(|one| ours.iter().any(|other| one.overlaps(*other)))
    }

    /// Performs a command; a removed SA's SPI is given back.
    pub fn command(&mut self, now_ms: u64, command: ChildCommand) {
        let (spi, name) = match command {
            ChildCommand::SelectOutbound { inbound_spi } => (inbound_spi, "selected"),
            ChildCommand::Remove { inbound_spi } => (inbound_spi, "removed"),
            ChildCommand::MovePeer { inbound_spi, .. } => (inbound_spi, "moved"),
        };
        let Some(sa) = self.sas.get_mut(&spi) else {
            return self.fault(format!("SPI {spi:08x} was {name} but is not installed"));
        };
        match command {
            ChildCommand::SelectOutbound { .. } => {
                self.selected.extend(addresses(sa.install.peer_inner).map(|inner| (inner, spi)));
            }
            ChildCommand::MovePeer { path, .. } => sa.path = path,
            ChildCommand::Remove { .. } => {
                self.sas.remove(&spi);
                self.selected.retain(|_, selected| *selected != spi);
                self.removes += 1;
                self.free(now_ms, spi);
            }
        }
    }

    /// Takes an ESP packet from a client.
    pub fn receive(&mut self, now_ms: u64, from: SocketAddr, esp: &Esp) -> (Verdict, Vec<DataPlaneEvent>) {
        let inbound_spi = esp.spi;
        let Some(sa) = self.sas.get_mut(&inbound_spi) else { return (Verdict::UnknownSpi, vec![]) };
        if sa.install.inbound_keymat != esp.key {
            return (Verdict::WrongKey, vec![]);
        }
        let mut events = vec![];
        if sa.last_inbound_ms.replace(now_ms).is_none() {
            events.push(DataPlaneEvent::FirstInbound { inbound_spi });
        }
        if let Some(udp) = &mut sa.path.udp
            && (sa.path.peer, udp.peer) != (from.ip(), from.port())
        {
            (sa.path.peer, udp.peer) = (from.ip(), from.port());
            let (peer, peer_port) = (from.ip(), Some(from.port()));
            events.push(DataPlaneEvent::PeerMoved { inbound_spi, peer, peer_port });
        }
        (Verdict::Accepted, events)
    }

    /// The packet that carries something to this inner address, and where it goes. `None` if no SA is selected.
    pub fn send_to(&self, inner: IpAddr) -> Option<(SocketAddr, Esp)> {
        let sa = self.sas.get(self.selected.get(&inner)?)?;
        let to = SocketAddr::new(sa.path.peer, sa.path.udp.map_or(0, |udp| udp.peer));
        Some((to, Esp { spi: sa.install.outbound_spi, key: sa.install.outbound_keymat.clone() }))
    }

    /// The data plane dies, and the control plane gives it every SA again: nothing is known of what has arrived.
    pub fn restart(&mut self) {
        self.sas.values_mut().for_each(|sa| sa.last_inbound_ms = None);
    }

    /// What is installed, by the SPI of packets to us.
    pub fn sas(&self) -> &BTreeMap<u32, Sa> {
        &self.sas
    }

    /// SPIs in use, installed or not.
    pub fn spis_in_use(&self) -> u32 {
        self.slots.used()
    }

    /// Every broken rule so far.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    fn fault(&mut self, what: String) {
        self.faults.push(what);
    }
}

impl Default for Plane {
    fn default() -> Plane {
        Plane::new()
    }
}

/// One each of the families there are; of IPv6 the first address of the client's prefix.
pub fn addresses(inner: Inner) -> impl Iterator<Item = IpAddr> {
    let v4 = inner.v4.map(IpAddr::V4);
    v4.into_iter().chain(inner.v6.map(|inner| IpAddr::V6(inner.address)))
}

/// All that is the client's, of each family that there is.
fn prefixes(inner: Inner) -> impl Iterator<Item = IpPrefix> {
    let v4 = inner.v4.and_then(|address| IpPrefix::new(address.into(), 32));
    let v6 = inner.v6.and_then(|inner| IpPrefix::new(inner.address.into(), inner.prefix_len));
    v4.into_iter().chain(v6)
}

#[cfg(test)]
mod tests {
    use causeway_ike::api::{Inner6, Secret, SessionId, UdpPorts};

    use std::net::Ipv4Addr;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    const INNER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 7));

    fn install(inbound_spi: u32, key: u8) -> ChildInstall {
        ChildInstall {
            session: SessionId(1),
            inbound_spi,
            outbound_spi: 77,
            suite: "aes256gcm16".parse().unwrap(),
            esn: false,
            inbound_keymat: Secret::new(vec![key; 36]),
            outbound_keymat: Secret::new(vec![key + 1; 36]),
            path: EspPath {
                local: Ipv4Addr::new(192, 0, 2, 1).into(),
                peer: CLIENT,
                udp: Some(UdpPorts { local: 4500, peer: 4500 }),
            },
            peer_inner: INNER.into(),
            local_selectors: vec![],
            peer_selectors: vec![],
            outbound_selected: true,
        }
    }

    #[test]
    fn every_broken_rule_is_noted() {
        let remove = |inbound_spi| ChildCommand::Remove { inbound_spi };
        type Act = fn(&mut Plane, u32);
        let table: [(&str, Act); 8] = [
            ("installed twice", |plane, spi| plane.install(install(spi, 9))),
            ("key of another SA", |plane, spi| plane.install(install(spi + 1, 1))),
            ("same key in both directions", |plane, spi| {
                let same = Secret::new(vec![5; 36]);
                let (inbound_keymat, outbound_keymat) = (same.clone(), same);
                plane.install(ChildInstall { inbound_keymat, outbound_keymat, ..install(spi + 1, 9) });
            }),
            ("another session's, too", |plane, spi| {
                plane.install(ChildInstall { session: SessionId(2), ..install(spi + 1, 9) });
            }),
            ("another session's, too", |plane, spi| {
                let of = |address: &str, prefix_len| Inner {
                    v4: None,
                    v6: address.parse().ok().map(|address| Inner6 { address, prefix_len }),
                };
                plane.install(ChildInstall { peer_inner: of("fd00::7", 128), ..install(spi + 1, 9) });
                let (session, peer_inner) = (SessionId(2), of("fd00::1", 64));
                plane.install(ChildInstall { session, peer_inner, ..install(spi + 2, 19) });
            }),
            ("given back while installed", |plane, spi| plane.free(0, spi)),
            ("not in use", |plane, spi| plane.free(0, spi + 1)),
            ("selected but is not installed", |plane, spi| {
                plane.command(0, ChildCommand::SelectOutbound { inbound_spi: spi + 1 });
            }),
        ];
        for (words, act) in table {
            let mut plane = Plane::new();
            let spi = plane.allocate(0, 3).unwrap();
            plane.install(install(spi, 1));
            assert_eq!(plane.faults(), [""; 0]);
            act(&mut plane, spi);
            assert!(plane.faults()[0].contains(words), "{words}: {:?}", plane.faults());
        }
        let mut plane = Plane::new();
        let spi = plane.allocate(0, 3).unwrap();
        plane.install(install(spi, 1));
        plane.command(0, remove(spi));
        assert_eq!((plane.faults().len(), plane.sas().len(), plane.spis_in_use()), (0, 0, 0));
        plane.command(0, remove(spi));
        assert!(plane.faults()[0].contains("removed but is not installed"));
    }

    #[test]
    fn packets_are_opened_by_spi_and_key_and_moves_are_told() {
        let mut plane = Plane::new();
        let spi = plane.allocate(0, 3).unwrap();
        plane.install(install(spi, 1));
        let esp = |spi, key| Esp { spi, key: Secret::new(vec![key; 36]) };
        let (home, moved) = (SocketAddr::new(CLIENT, 4500), SocketAddr::new(CLIENT, 9999));
        assert_eq!(plane.receive(1, home, &esp(spi + 1, 1)).0, Verdict::UnknownSpi);
        assert_eq!(plane.receive(1, home, &esp(spi, 2)).0, Verdict::WrongKey);
        let first = plane.receive(1, home, &esp(spi, 1));
        assert_eq!(first, (Verdict::Accepted, vec![DataPlaneEvent::FirstInbound { inbound_spi: spi }]));
        let (peer, peer_port) = (CLIENT, Some(9999));
        let told = vec![DataPlaneEvent::PeerMoved { inbound_spi: spi, peer, peer_port }];
        assert_eq!(plane.receive(2, moved, &esp(spi, 1)), (Verdict::Accepted, told));
        assert_eq!(plane.send_to(INNER).unwrap().0, moved);
    }
}

//! One session in its stored form.
//!
//! Enters: what the driver knows of a session beyond its record in the store: its number, figures, the Child SAs with
//! their keys, the IKE snapshot. Leaves: octets, and back. The store seals them ([`IkeState`]).
//!
//! Layout: length of the head (4 octets), head (JSON, no secrets), number of Child SAs (2), each as its install command
//! behind its length (2), snapshot. Integers are big-endian.

use std::net::IpAddr;

use causeway_shared::api::Traffic;
use causeway_shared::sa::SaPair;
use causeway_shared::wire::{Action, COMMAND_SLOT_BYTES, Command, SlotMessage};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::link::EarlierTraffic;
use crate::sessions::SaTraffic;
use crate::store::{IkeState, StoreError};

/// Of the layout; another one is not read.
const VERSION: u32 = 2;

/// Why stored octets are no session of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// Another version wrote it.
    #[error("another version stored it")]
    Version,
    /// It contradicts its layout.
    #[error("it is damaged")]
    Damaged,
}

/// A session that goes on.
pub struct Kept {
    /// The run of the machine in which it was stored.
    pub boot_id: String,
    /// When, milliseconds of CLOCK_MONOTONIC.
    pub saved_ms: u64,
    /// Its number.
    pub session: u64,
    /// Its place among the sessions that are up.
    pub tunnel_id: u32,
    /// How its user proved itself.
    pub method: String,
    /// Where its client was last.
    pub last_peer: Option<(IpAddr, u16)>,
    /// What Child SAs carried that are gone.
    pub past: Traffic,
    /// Its Child SAs.
    pub sas: Vec<KeptSa>,
    /// What [`causeway_ike::Endpoint::restore`] takes.
    pub snapshot: Zeroizing<Vec<u8>>,
}

/// A Child SA of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptSa {
    /// As it is installed if no data plane has it.
    pub pair: SaPair,
    /// What it has carried.
    pub traffic: EarlierTraffic,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    boot_id: String,
    saved_ms: u64,
    session: u64,
    tunnel_id: u32,
    method: String,
    last_peer: Option<(IpAddr, u16)>,
    past: Traffic,
    figures: Vec<(Figures, Figures)>,
}

#[derive(Serialize, Deserialize)]
struct Figures {
    traffic: Traffic,
    in_drops: u64,
    out_drops: u64,
    last_inbound_ms: Option<u64>,
}

impl Kept {
    /// Its octets.
    ///
    /// # Errors
    /// When it is larger than the store takes.
    pub fn encode(&self) -> Result<IkeState, StoreError> {
        let figures = |sa: &KeptSa| (Figures::of(sa.traffic.before), Figures::of(sa.traffic.total));
        let head = Head {
            version: VERSION,
            boot_id: self.boot_id.clone(),
            saved_ms: self.saved_ms,
            session: self.session,
            tunnel_id: self.tunnel_id,
            method: self.method.clone(),
            last_peer: self.last_peer,
            past: self.past,
            figures: self.sas.iter().map(figures).collect(),
        };
        let head = serde_json::to_vec(&head).unwrap_or_default();
        let most = 8 + head.len() + self.sas.len() * (2 + COMMAND_SLOT_BYTES) + self.snapshot.len();
        // The full size at once: growing would leave copies of keys behind.
        let mut octets = Vec::with_capacity(most);
        octets.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
        octets.extend_from_slice(&head);
        octets.extend_from_slice(&u16::try_from(self.sas.len()).unwrap_or(u16::MAX).to_be_bytes());
        for sa in &self.sas {
            let mut slot = Zeroizing::new([0; COMMAND_SLOT_BYTES]);
            let command = Command { id: 0, action: Action::InstallSa(Box::new(sa.pair.clone())) };
            // What the data plane was told once can be told again; nothing else is among them.
            let used = command.encode(&mut slot[..]).unwrap_or_default();
            octets.extend_from_slice(&u16::try_from(used).unwrap_or_default().to_be_bytes());
            octets.extend_from_slice(slot.get(..used).unwrap_or_default());
        }
        octets.extend_from_slice(&self.snapshot);
        IkeState::new(octets)
    }

    /// Reads what [`Kept::encode`] wrote.
    ///
    /// # Errors
    /// For anything else.
    pub fn decode(state: &IkeState) -> Result<Kept, Unreadable> {
        let (head, rest) = take::<4>(state.as_bytes()).map(|(len, rest)| (u32::from_be_bytes(len), rest))?;
        let head_len = usize::try_from(head).map_err(|_| Unreadable::Damaged)?;
        let (head, rest) = rest.split_at_checked(head_len).ok_or(Unreadable::Damaged)?;
        let version: OnlyVersion = serde_json::from_slice(head).map_err(|_| Unreadable::Damaged)?;
        if version.version != VERSION {
            return Err(Unreadable::Version);
        }
        let head: Head = serde_json::from_slice(head).map_err(|_| Unreadable::Damaged)?;
        let (count, mut rest) = take::<2>(rest)?;
        if usize::from(u16::from_be_bytes(count)) != head.figures.len() {
            return Err(Unreadable::Damaged);
        }
        let mut sas = Vec::new();
        for (before, total) in head.figures {
            let (len, after) = take::<2>(rest)?;
            let (slot, after) =
                after.split_at_checked(usize::from(u16::from_be_bytes(len))).ok_or(Unreadable::Damaged)?;
            rest = after;
            let Ok(Command { action: Action::InstallSa(pair), .. }) = Command::decode(slot) else {
                return Err(Unreadable::Damaged);
            };
            let traffic = EarlierTraffic { before: before.back(), total: total.back() };
            sas.push(KeptSa { pair: *pair, traffic });
        }
        Ok(Kept {
            boot_id: head.boot_id,
            saved_ms: head.saved_ms,
            session: head.session,
            tunnel_id: head.tunnel_id,
            method: head.method,
            last_peer: head.last_peer,
            past: head.past,
            sas,
            snapshot: Zeroizing::new(rest.to_vec()),
        })
    }
}

#[derive(Deserialize)]
struct OnlyVersion {
    version: u32,
}

impl Figures {
    fn of(traffic: SaTraffic) -> Figures {
        let SaTraffic { traffic, in_drops, out_drops, last_inbound_ms } = traffic;
        Figures { traffic, in_drops, out_drops, last_inbound_ms }
    }

    fn back(self) -> SaTraffic {
        let Figures { traffic, in_drops, out_drops, last_inbound_ms } = self;
        SaTraffic { traffic, in_drops, out_drops, last_inbound_ms }
    }
}

fn take<const N: usize>(octets: &[u8]) -> Result<([u8; N], &[u8]), Unreadable> {
    octets.split_first_chunk::<N>().map(|(head, rest)| (*head, rest)).ok_or(Unreadable::Damaged)
}

#[cfg(test)]
mod tests {
    use causeway_shared::sa::{Encapsulation, EspKeys, EspSuite, SaLimits, Selector};

    use std::net::Ipv4Addr;

    use super::*;

    fn sa(inbound_spi: u32) -> KeptSa {
        let suite = EspSuite::Aes256CbcSha512;
        let keys = |octet| EspKeys::from_keymat(suite, &[octet; 96]).unwrap();
        let any = Selector {
            protocol: 0,
            first: Ipv4Addr::UNSPECIFIED.into(),
            last: Ipv4Addr::BROADCAST.into(),
            first_port: 0,
            last_port: u16::MAX,
        };
        let pair = SaPair {
            inbound_spi,
            outbound_spi: 0x9000,
            session_id: 7,
            suite,
            esn: true,
            inbound_keys: keys(1),
            outbound_keys: keys(2),
            local_outer: Ipv4Addr::new(192, 0, 2, 1).into(),
            peer_outer: Ipv4Addr::new(198, 51, 100, 1).into(),
            encapsulation: Encapsulation::Udp { local_port: 4500, peer_port: 40_000 },
            peer_inner: Ipv4Addr::new(10, 0, 0, 1).into(),
            peer_selectors: vec![any],
            local_selectors: vec![any; 16],
            replay_window: 64,
            first_outbound_sequence: 1 << 40,
            highest_inbound_sequence: 5,
            limits: SaLimits::default(),
            outbound_selected: true,
        };
        let total = SaTraffic { in_drops: 3, last_inbound_ms: Some(9), ..SaTraffic::default() };
        KeptSa { pair, traffic: EarlierTraffic { before: SaTraffic::default(), total } }
    }

    fn kept(sas: Vec<KeptSa>) -> Kept {
        Kept {
            boot_id: "b".into(),
            saved_ms: 77,
            session: 7,
            tunnel_id: 2,
            method: "psk".into(),
            last_peer: Some((Ipv4Addr::new(198, 51, 100, 1).into(), 40_000)),
            past: Traffic { in_packets: 1, in_bytes: 2, out_packets: 3, out_bytes: 4 },
            sas,
            snapshot: Zeroizing::new(b"snapshot".to_vec()),
        }
    }

    #[test]
    fn a_session_is_read_as_it_was_written() {
        for sas in [Vec::new(), vec![sa(0x1001)], vec![sa(0x1001), sa(0x1002)]] {
            let before = kept(sas);
            let state = before.encode().unwrap();
            let after = Kept::decode(&state).unwrap();
            assert_eq!(after.sas, before.sas);
            assert_eq!(after.snapshot, before.snapshot);
            assert_eq!(after.encode().unwrap().as_bytes(), state.as_bytes());
            let most = state.as_bytes().len() - before.snapshot.len();
            for cut in 0..most {
                let cut = IkeState::new(state.as_bytes()[..cut].to_vec()).unwrap();
                assert!(Kept::decode(&cut).is_err());
            }
        }
    }

    #[test]
    fn another_version_is_not_read() {
        let mut octets = kept(Vec::new()).encode().unwrap().as_bytes().to_vec();
        let name = b"\"version\":";
        let at = octets.windows(name.len()).position(|window| window == name).unwrap();
        octets[at + name.len()] = b'9';
        let other = IkeState::new(octets).unwrap();
        assert_eq!(Kept::decode(&other).err(), Some(Unreadable::Version));
    }
}

//! Neighbours of the ports: Ethernet addresses that ARP or neighbour discovery taught us, and packets that wait for them (RFC 826,
//! RFC 1122 §2.3.2; RFC 4861 §7.3, of whose states asked, known and asked again are kept). One table for each family.
//!
//! Bounded everywhere: entries, waiting packets, waiting packets per neighbour, tries.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;

use causeway_shared::net::ethernet::{self, Mac};

use crate::path::{Now, PortId};
use crate::route::NextHop;

/// Most neighbours, known and asked for.
pub const MAX_NEIGHBOURS: usize = 4096;
/// Most packets that wait for neighbours.
pub const MAX_WAITING: usize = 256;
/// Most packets that wait for one neighbour.
pub const MAX_WAITING_EACH: u8 = 8;
/// Requests before a neighbour is given up.
pub const MAX_TRIES: u8 = 3;
/// Milliseconds between two requests.
pub const RETRY_MS: u64 = 1_000;
/// Milliseconds after which a neighbour in use is asked again.
pub const REACHABLE_MS: u64 = 30_000;

type Key<A> = (PortId, A);

struct Neighbour {
    mac: Option<Mac>,
    confirmed_ms: u64,
    asked_ms: u64,
    tries: u8,
    waiting: u8,
    used: bool,
}

/// Where a packet's neighbour stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// Known.
    Known(Mac),
    /// Asked for: hold the packet.
    Asked,
    /// New: ask for it, and hold the packet.
    Ask,
    /// A bound is reached: drop the packet.
    Full,
}

/// What time demands of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due<A = Ipv4Addr> {
    /// Ask for it; its Ethernet address if it is to be asked directly.
    Ask(PortId, A, Option<Mac>),
    /// It did not answer: what waited is lost.
    GivenUp(PortId, A),
}

/// What a message changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learnt {
    /// We have no use for it.
    Ignored,
    /// Nothing new, but it lives.
    Confirmed,
    /// A new or other Ethernet address: what waited can go.
    Changed,
}

/// All neighbours of a worker, of one family.
pub struct Neighbours<B, A = Ipv4Addr> {
    table: HashMap<Key<A>, Neighbour>,
    waiting: Vec<(Key<A>, B)>,
    generation: u32,
}

/// The Ethernet header to a next hop, ready to be written. It holds until the next change or tick of [`Neighbours`], so that
/// a hop in use is seen to be in use.
#[derive(Clone, Copy)]
pub(crate) struct Adjacent<A = Ipv4Addr> {
    hop: NextHop<A>,
    generation: u32,
    /// The port's MTU.
    pub mtu: u16,
    /// The header.
    pub header: [u8; ethernet::HEADER_LEN],
}

impl<A: Copy + Eq> Adjacent<A> {
    /// Of a neighbour that was just resolved.
    pub fn new(
        hop: NextHop<A>,
        generation: u32,
        mtu: u16,
        header: [u8; ethernet::HEADER_LEN],
    ) -> Adjacent<A> {
        Adjacent { hop, generation, mtu, header }
    }

    /// Of no hop; `unspecified` is nobody's address.
    pub fn none(unspecified: A) -> Adjacent<A> {
        let hop = NextHop { port: PortId(u16::MAX), address: unspecified };
        Adjacent { hop, generation: 0, mtu: 0, header: [0; ethernet::HEADER_LEN] }
    }

    /// Whether it holds for this hop now.
    #[inline]
    pub fn is_for(&self, hop: NextHop<A>, generation: u32) -> bool {
        self.hop == hop && self.generation == generation
    }
}

impl<B, A: Copy + Eq + Hash> Neighbours<B, A> {
    /// An empty table with all the memory it will use.
    pub fn new() -> Neighbours<B, A> {
        Neighbours {
            table: HashMap::with_capacity(MAX_NEIGHBOURS),
            waiting: Vec::with_capacity(MAX_WAITING),
            generation: 0,
        }
    }

    /// Stands for a table that is being walked; allocates nothing.
    pub fn placeholder() -> Neighbours<B, A> {
        Neighbours { table: HashMap::new(), waiting: Vec::new(), generation: 0 }
    }

    /// Where `address` on `port` stands; one that was unknown is entered as asked for.
    pub fn resolve(&mut self, port: PortId, address: A, now: Now) -> Resolution {
        let room = self.waiting.len() < MAX_WAITING;
        if let Some(neighbour) = self.table.get_mut(&(port, address)) {
            neighbour.used = true;
            return match neighbour.mac {
                Some(mac) => Resolution::Known(mac),
                None if room && neighbour.waiting < MAX_WAITING_EACH => Resolution::Asked,
                None => Resolution::Full,
            };
        }
        if !room || self.table.len() >= MAX_NEIGHBOURS {
            return Resolution::Full;
        }
        let neighbour = Neighbour {
            mac: None,
            confirmed_ms: now.monotonic_ms,
            asked_ms: now.monotonic_ms,
            tries: 1,
            waiting: 0,
            used: true,
        };
        self.table.insert((port, address), neighbour);
        Resolution::Ask
    }

    /// Changes whenever an [`Adjacent`] may no longer hold.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Holds a packet until the neighbour answers.
    ///
    /// # Errors
    /// Gives it back when a bound is reached or the neighbour is not asked for.
    pub fn hold(&mut self, port: PortId, address: A, packet: B) -> Result<(), B> {
        let Some(neighbour) = self.table.get_mut(&(port, address)) else { return Err(packet) };
        if self.waiting.len() >= MAX_WAITING || neighbour.waiting >= MAX_WAITING_EACH {
            return Err(packet);
        }
        neighbour.waiting += 1;
        self.waiting.push(((port, address), packet));
        Ok(())
    }

    /// Takes what a message says about its sender. Only a message that was meant for us (`to_us`) makes a new
    /// entry, so that strangers' chatter does not fill the table.
    pub fn learn(&mut self, port: PortId, address: A, mac: Mac, to_us: bool, now: Now) -> Learnt {
        let full = self.table.len() >= MAX_NEIGHBOURS;
        self.generation = self.generation.wrapping_add(1);
        match self.table.get_mut(&(port, address)) {
            Some(neighbour) => {
                let same = neighbour.mac == Some(mac);
                neighbour.mac = Some(mac);
                neighbour.confirmed_ms = now.monotonic_ms;
                neighbour.tries = 0;
                neighbour.used = false;
                neighbour.waiting = 0;
                if same { Learnt::Confirmed } else { Learnt::Changed }
            }
            None if to_us && !full => {
                let neighbour = Neighbour {
                    mac: Some(mac),
                    confirmed_ms: now.monotonic_ms,
                    asked_ms: 0,
                    tries: 0,
                    waiting: 0,
                    used: false,
                };
                self.table.insert((port, address), neighbour);
                Learnt::Changed
            }
            None => Learnt::Ignored,
        }
    }

    /// Takes the packets that wait for a neighbour, in order, one by one.
    pub fn next_waiting(&mut self, port: PortId, address: A) -> Option<B> {
        let place = self.waiting.iter().position(|(key, _)| *key == (port, address))?;
        Some(self.waiting.remove(place).1)
    }

    /// Drops the packets whose neighbour is no longer asked for, and says how many.
    pub fn drop_orphans(&mut self) -> usize {
        let before = self.waiting.len();
        let table = &self.table;
        self.waiting.retain(|(key, _)| table.contains_key(key));
        before - self.waiting.len()
    }

    /// Packets that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Ages the table; `due` hears what is to be done about whom.
    pub fn tick(&mut self, now: Now, mut due: impl FnMut(Due<A>)) {
        self.generation = self.generation.wrapping_add(1);
        self.table.retain(|(port, address), neighbour| {
            let age = now.monotonic_ms.saturating_sub(neighbour.confirmed_ms);
            if neighbour.mac.is_some() && age < REACHABLE_MS {
                return true;
            }
            if neighbour.mac.is_some() && !neighbour.used {
                // Nobody sent there since it was last heard: forget it rather than ask.
                return false;
            }
            if now.monotonic_ms.saturating_sub(neighbour.asked_ms) < RETRY_MS {
                return true;
            }
            if neighbour.tries >= MAX_TRIES {
                due(Due::GivenUp(*port, *address));
                return false;
            }
            neighbour.tries += 1;
            neighbour.asked_ms = now.monotonic_ms;
            due(Due::Ask(*port, *address, neighbour.mac));
            true
        });
    }
}

impl<B, A: Copy + Eq + Hash> Default for Neighbours<B, A> {
    fn default() -> Neighbours<B, A> {
        Neighbours::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId(1);
    const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    fn at(monotonic_ms: u64) -> Now {
        Now { monotonic_ms }
    }

    fn due(table: &mut Neighbours<u32>, now: u64) -> Vec<Due> {
        let mut all = Vec::new();
        table.tick(at(now), |due| all.push(due));
        all
    }

    #[test]
    fn asked_three_times_then_given_up() {
        let mut table = Neighbours::new();
        assert_eq!(table.resolve(PORT, HOST, at(0)), Resolution::Ask);
        table.hold(PORT, HOST, 7).unwrap();
        assert_eq!(due(&mut table, 999), []);
        assert_eq!(due(&mut table, 1000), [Due::Ask(PORT, HOST, None)]);
        assert_eq!(due(&mut table, 2000), [Due::Ask(PORT, HOST, None)]);
        assert_eq!(due(&mut table, 2999), []);
        assert_eq!(due(&mut table, 3000), [Due::GivenUp(PORT, HOST)]);
        assert_eq!(table.waiting(), 1);
        assert_eq!((table.drop_orphans(), table.waiting()), (1, 0));
        assert_eq!(table.resolve(PORT, HOST, at(3000)), Resolution::Ask);
    }

    #[test]
    fn an_answer_frees_what_waits_in_order() {
        let mut table = Neighbours::new();
        assert_eq!(table.resolve(PORT, HOST, at(0)), Resolution::Ask);
        for packet in 0..u32::from(MAX_WAITING_EACH) {
            table.hold(PORT, HOST, packet).unwrap();
        }
        assert_eq!(table.resolve(PORT, HOST, at(1)), Resolution::Full);
        assert_eq!(table.hold(PORT, HOST, 99), Err(99));
        assert_eq!(table.learn(PORT, HOST, MAC, false, at(5)), Learnt::Changed);
        let freed: Vec<_> = std::iter::from_fn(|| table.next_waiting(PORT, HOST)).collect();
        assert_eq!(freed, (0..u32::from(MAX_WAITING_EACH)).collect::<Vec<_>>());
        assert_eq!(table.resolve(PORT, HOST, at(6)), Resolution::Known(MAC));
    }

    #[test]
    fn one_in_use_is_asked_again_and_one_idle_is_forgotten() {
        let mut table = Neighbours::<u32>::new();
        table.learn(PORT, HOST, MAC, true, at(0));
        assert_eq!(table.resolve(PORT, HOST, at(10)), Resolution::Known(MAC));
        assert_eq!(due(&mut table, REACHABLE_MS), [Due::Ask(PORT, HOST, Some(MAC))]);
        assert_eq!(table.resolve(PORT, HOST, at(REACHABLE_MS)), Resolution::Known(MAC));
        assert_eq!(table.learn(PORT, HOST, MAC, true, at(REACHABLE_MS + 1)), Learnt::Confirmed);
        assert_eq!(due(&mut table, 2 * REACHABLE_MS + 1), []);
        assert_eq!(table.resolve(PORT, HOST, at(2 * REACHABLE_MS + 1)), Resolution::Ask);
    }

    #[test]
    fn strangers_do_not_fill_the_table_and_it_is_bounded() {
        let mut table = Neighbours::<u32>::new();
        assert_eq!(table.learn(PORT, HOST, MAC, false, at(0)), Learnt::Ignored);
        for index in 0..MAX_NEIGHBOURS as u32 {
            assert_eq!(table.learn(PORT, index.into(), MAC, true, at(0)), Learnt::Changed);
        }
        assert_eq!(table.learn(PORT, HOST, MAC, true, at(0)), Learnt::Ignored);
        assert_eq!(table.resolve(PORT, HOST, at(0)), Resolution::Full);
    }
}

//! The stages of the path, one per file, and what they hand to each other. Their order stands in `path.rs`.
//!
//! A stage is a function `run(items, state, out)`: it empties `items`, and each packet ends in exactly one place — a later
//! stage's queue, the sink, or a counted drop. A packet's type says what is known about it at that point.

pub(crate) mod classify;
pub(crate) mod encap;
pub(crate) mod esp_in_accept;
pub(crate) mod esp_in_lookup;
pub(crate) mod esp_in_open;
pub(crate) mod esp_in_replay;
pub(crate) mod esp_out_seal;
pub(crate) mod esp_out_seq;
pub(crate) mod forward;
mod fragment;
pub(crate) mod icmp_error;
pub(crate) mod ike_out;
pub(crate) mod local;
pub(crate) mod natt;
pub(crate) mod neighbour;
pub(crate) mod pmtu;
pub(crate) mod policy_in;
pub(crate) mod policy_out;
pub(crate) mod punt;
pub(crate) mod route;
mod state;

use causeway_shared::config::PortRole;
use causeway_shared::counters::Drop;
use causeway_shared::net::icmp;

pub(crate) use state::State;

use crate::path::{Ingress, Outer, PortId, Queues};

/// Most packets that wait for a stage; enough for a burst in which every packet is cut into eight.
pub(crate) const QUEUE: usize = 256;

/// An Ethernet frame as received.
pub(crate) struct Frame<B> {
    pub port: PortId,
    pub buffer: B,
}

/// A packet to us from a client; the buffer starts behind the outer IPv4 header (`natt`, `punt`: at the UDP header;
/// `esp_in_lookup`: at the ESP header).
pub(crate) struct FromPeer<B> {
    pub buffer: B,
    pub outer: Outer,
}

/// ESP for one of our SAs; the buffer starts at the ESP header.
pub(crate) struct EspIn<B> {
    pub buffer: B,
    pub outer: Outer,
    pub slot: u32,
    /// The 64-bit number; a guess until the ICV proves it.
    pub sequence: u64,
}

/// A checked IPv4 packet that came out of an SA, or goes into one.
pub(crate) struct InSa<B> {
    pub buffer: B,
    pub slot: u32,
    pub ingress: Ingress,
}

/// A checked clear IPv4 packet.
pub(crate) struct Clear<B> {
    pub buffer: B,
    pub ingress: Ingress,
}

/// ESP to a client, with its sequence number.
pub(crate) struct EspOut<B> {
    pub buffer: B,
    pub slot: u32,
    pub sequence: u64,
    /// The inner packet's TOS.
    pub tos: u8,
    /// Octets of the inner packet.
    pub inner_len: usize,
}

/// An IPv4 packet that leaves by a port of this side.
pub(crate) struct Leaving<B> {
    pub buffer: B,
    pub role: PortRole,
    pub ingress: Ingress,
}

/// A packet already counted as dropped, about which its sender is to hear.
pub(crate) struct Refused<B> {
    pub buffer: B,
    pub ingress: Ingress,
    pub error: icmp::Error,
}

/// A bounded queue in front of a stage. All its memory is there from the start.
pub(crate) struct Queue<T>(Vec<T>);

impl<T> Queue<T> {
    pub fn new() -> Queue<T> {
        Queue(Vec::with_capacity(QUEUE))
    }

    /// Stands for a queue that a stage is emptying; allocates nothing.
    pub fn placeholder() -> Queue<T> {
        Queue(Vec::new())
    }

    /// Puts back the emptied queue that a placeholder stood for.
    pub fn restore(&mut self, mut emptied: Queue<T>) {
        emptied.0.append(&mut self.0);
        *self = emptied;
    }

    pub fn push(&mut self, item: T) -> Result<(), Drop> {
        if self.0.len() >= QUEUE {
            return Err(Drop::NoBuffer);
        }
        self.0.push(item);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn drain(&mut self) -> std::vec::Drain<'_, T> {
        self.0.drain(..)
    }

    /// The first items, at most `most`.
    pub fn drain_some(&mut self, most: usize) -> std::vec::Drain<'_, T> {
        let count = most.min(self.0.len());
        self.0.drain(..count)
    }
}

/// Where a stage's packets go.
pub(crate) struct Out<'a, B, S, P> {
    pub queues: &'a mut Queues<B>,
    pub sink: &'a mut S,
    pub probe: &'a mut P,
}

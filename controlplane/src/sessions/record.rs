//! One session: what is known of it, and how it is rendered for the API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use causeway_ike::api::{ChildFacts, EspPath, IkeSpis, Selector, SessionFacts};
use causeway_shared::api::{ChildSa, EspDetails, IkeDetails, SelectorRange, Session, SessionState, Traffic};

use super::limits::Carried;
use crate::store::Totals;

/// A Child SA's figures, as the data plane keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SaTraffic {
    /// Packets and inner octets.
    pub traffic: Traffic,
    /// Inbound packets that were refused.
    pub in_drops: u64,
    /// Outbound packets that were refused.
    pub out_drops: u64,
    /// When the last inbound packet was accepted, milliseconds of CLOCK_MONOTONIC; `None` for never.
    pub last_inbound_ms: Option<u64>,
}

/// A session that is up.
#[derive(Clone)]
pub struct Record {
    facts: SessionFacts,
    numbers: Numbers,
    policy: SessionPolicy,
    state: SessionState,
    children: Vec<Child>,
    /// Figures of Child SAs that are gone.
    past: Traffic,
    /// When the last packet came in over one of them.
    past_inbound_ms: Option<u64>,
    /// When the peer was last heard, as far as events tell, milliseconds of CLOCK_MONOTONIC.
    last_heard_ms: u64,
}

/// What operators call a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// In the order of their start, never used twice.
    pub serial: u64,
    /// Among the sessions that are up: the lowest that was free.
    pub tunnel_id: u32,
}

/// What a session may have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionPolicy {
    /// The group whose attributes it has.
    pub group: Option<String>,
    /// Whether its client has a session id and a token to come back with.
    pub reconnect_capable: bool,
    /// When it ends whatever happens, milliseconds of CLOCK_MONOTONIC.
    pub ends_ms: Option<u64>,
}

/// A Child SA of a session.
#[derive(Clone)]
pub(super) struct Child {
    inbound_spi: u32,
    outbound_spi: u32,
    esp_suite: String,
    path: EspPath,
    local_selectors: Vec<Selector>,
    peer_selectors: Vec<Selector>,
    established_ms: u64,
}

impl Record {
    pub(super) fn new(facts: &SessionFacts, numbers: Numbers) -> Record {
        Record {
            facts: facts.clone(),
            numbers,
            policy: SessionPolicy::default(),
            state: SessionState::Connecting,
            children: Vec::new(),
            past: Traffic::default(),
            past_inbound_ms: None,
            last_heard_ms: facts.established_at.as_millis(),
        }
    }

    /// The session's id.
    pub fn id(&self) -> u64 {
        self.facts.session.0
    }

    /// What operators call it.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// What was known when it came up, with the SPIs and the peer's end of now.
    pub fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    /// The authenticated user.
    pub fn user(&self) -> &str {
        &self.facts.user
    }

    /// The peer's outer address.
    pub fn peer(&self) -> IpAddr {
        self.facts.peer
    }

    /// The peer's outer port.
    pub fn peer_port(&self) -> u16 {
        self.facts.peer_port
    }

    /// The inner address, if it has one.
    pub fn inner_address(&self) -> Option<Ipv4Addr> {
        self.facts.lease.as_ref().and_then(|lease| lease.address)
    }

    /// The inner IPv6 address with the length of the prefix that is the client's, if it has one.
    pub fn inner_prefix6(&self) -> Option<String> {
        let inner = self.facts.lease.as_ref()?.address6?;
        Some(format!("{}/{}", inner.address, inner.prefix_len))
    }

    /// What its Child SAs carried that are gone.
    pub(super) fn totals(&self) -> Totals {
        let Traffic { in_packets, in_bytes, out_packets, out_bytes } = self.past;
        Totals { in_packets, in_bytes, out_packets, out_bytes }
    }

    /// What all of its Child SAs carried, with the figures of those that are there.
    pub(super) fn carried(&self, there: impl Iterator<Item = SaTraffic>) -> Carried {
        let Traffic { in_packets, out_packets, .. } = self.past;
        let past = Carried { in_packets, out_packets, last_inbound_ms: self.past_inbound_ms };
        there.fold(past, |sum, one| Carried {
            in_packets: sum.in_packets.saturating_add(one.traffic.in_packets),
            out_packets: sum.out_packets.saturating_add(one.traffic.out_packets),
            last_inbound_ms: sum.last_inbound_ms.max(one.last_inbound_ms),
        })
    }

    /// SPIs of packets to us, of every Child SA.
    pub fn inbound_spis(&self) -> impl Iterator<Item = u32> + '_ {
        self.children.iter().map(|child| child.inbound_spi)
    }

    /// The session as the API shows it. `figures` belong to [`Record::inbound_spis`], in the same order.
    pub fn render(&self, now_ms: u64, figures: &[Option<SaTraffic>]) -> Session {
        let facts = &self.facts;
        let since = |then_ms: u64| now_ms.saturating_sub(then_ms) / 1000;
        let figure = |place: usize| figures.get(place).copied().flatten().unwrap_or_default();
        let last_esp = (0..self.children.len()).filter_map(|place| figure(place).last_inbound_ms).max();
        let mut traffic = self.past;
        let child_sas = self.children.iter().enumerate().map(|(place, child)| {
            add(&mut traffic, figure(place).traffic);
            child.render(figures.get(place).copied().flatten(), since(child.established_ms))
        });
        Session {
            child_sas: child_sas.collect(),
            id: facts.session.0.to_string(),
            user: facts.user.clone(),
            ike_identity: facts.identity.to_string(),
            auth_method: facts.auth_method.clone(),
            state: self.state,
            inner_address: self.inner_address(),
            inner_prefix6: self.inner_prefix6(),
            pool: facts.lease.as_ref().map(|lease| lease.pool.clone()),
            peer: SocketAddr::new(facts.peer, facts.peer_port).to_string(),
            nat_detected: facts.nat_detected,
            ike_suite: facts.ike_suite.clone(),
            ike_spis: facts.spis.to_string(),
            established_secs: since(facts.established_at.as_millis()),
            set_up_ms: facts.established_at.millis_since(facts.started_at),
            idle_secs: since(self.last_heard_ms.max(last_esp.unwrap_or(0))),
            traffic,
            ike: IkeDetails {
                group: self.policy.group.clone(),
                reconnect_capable: self.policy.reconnect_capable,
                session_ends_in_secs: self.policy.ends_ms.map(|ends| ends.saturating_sub(now_ms) / 1000),
                ..IkeDetails::default()
            },
        }
    }

    pub(super) fn ike_rekeyed(&mut self, spis: IkeSpis, suite: &str) {
        self.facts.spis = spis;
        suite.clone_into(&mut self.facts.ike_suite);
    }

    pub(super) fn moved(&mut self, peer: IpAddr, peer_port: u16) {
        self.facts.peer = peer;
        self.facts.peer_port = peer_port;
        for child in &mut self.children {
            child.path.peer = peer;
        }
    }

    pub(super) fn describe(&mut self, policy: SessionPolicy) {
        self.policy = policy;
    }

    pub(super) fn set_serial(&mut self, serial: u64) {
        self.numbers.serial = serial;
    }

    /// What its Child SAs carried that are gone.
    pub(super) fn past(&self) -> Traffic {
        self.past
    }

    pub(super) fn goes_on(&mut self, numbers: Numbers, past: Traffic) {
        (self.numbers, self.past) = (numbers, past);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state == SessionState::Closing
    }

    pub(super) fn closing(&mut self) {
        self.state = SessionState::Closing;
    }

    pub(super) fn child_up(&mut self, child: Child) {
        if self.state == SessionState::Connecting {
            self.state = SessionState::Active;
        }
        self.last_heard_ms = self.last_heard_ms.max(child.established_ms);
        self.children.push(child);
    }

    pub(super) fn child_down(&mut self, inbound_spi: u32, last: Option<SaTraffic>) {
        let before = self.children.len();
        self.children.retain(|child| child.inbound_spi != inbound_spi);
        if self.children.len() < before
            && let Some(last) = last
        {
            add(&mut self.past, last.traffic);
            self.past_inbound_ms = self.past_inbound_ms.max(last.last_inbound_ms);
            self.last_heard_ms = self.last_heard_ms.max(last.last_inbound_ms.unwrap_or(0));
        }
    }
}

impl Child {
    pub(super) fn new(facts: &ChildFacts) -> Child {
        let esn = if facts.esn { "-esn" } else { "" };
        Child {
            inbound_spi: facts.inbound_spi,
            outbound_spi: facts.outbound_spi,
            esp_suite: format!("{}{esn}", facts.suite),
            path: facts.path,
            local_selectors: facts.local_selectors.clone(),
            peer_selectors: facts.peer_selectors.clone(),
            established_ms: facts.established_at.as_millis(),
        }
    }

    /// `figures` are missing when the data plane knows nothing of it.
    fn render(&self, figures: Option<SaTraffic>, established_secs: u64) -> ChildSa {
        let traffic = figures.unwrap_or_default().traffic;
        let texts = |selectors: &[Selector]| selectors.iter().map(selector_text).collect();
        ChildSa {
            inbound_spi: format!("{:08x}", self.inbound_spi),
            outbound_spi: format!("{:08x}", self.outbound_spi),
            esp_suite: self.esp_suite.clone(),
            encapsulation: if self.path.udp.is_some() { "udp" } else { "esp" }.to_owned(),
            local_selectors: texts(&self.local_selectors),
            peer_selectors: texts(&self.peer_selectors),
            in_packets: traffic.in_packets,
            in_bytes: traffic.in_bytes,
            out_packets: traffic.out_packets,
            out_bytes: traffic.out_bytes,
            established_secs,
            esp: EspDetails {
                local: ranges(&self.local_selectors),
                remote: ranges(&self.peer_selectors),
                esn: self.esp_suite.ends_with("-esn"),
                in_drops: figures.map(|figures| figures.in_drops),
                out_drops: figures.map(|figures| figures.out_drops),
                ..EspDetails::default()
            },
        }
    }
}

fn ranges(selectors: &[Selector]) -> Vec<SelectorRange> {
    let range = |selector: &Selector| SelectorRange {
        protocol: selector.protocol,
        first: selector.first,
        last: selector.last,
        first_port: selector.first_port,
        last_port: selector.last_port,
    };
    selectors.iter().map(range).collect()
}

fn add(sum: &mut Traffic, more: Traffic) {
    sum.in_packets = sum.in_packets.saturating_add(more.in_packets);
    sum.in_bytes = sum.in_bytes.saturating_add(more.in_bytes);
    sum.out_packets = sum.out_packets.saturating_add(more.out_packets);
    sum.out_bytes = sum.out_bytes.saturating_add(more.out_bytes);
}

/// A prefix where the range is one, else the range; then protocol and ports where they are limited.
pub(super) fn selector_text(selector: &Selector) -> String {
    let mut text = match prefix_len(selector.first, selector.last) {
        Some(prefix_len) => format!("{}/{prefix_len}", selector.first),
        None => format!("{}-{}", selector.first, selector.last),
    };
    if selector.protocol != 0 {
        text += &format!(" protocol {}", selector.protocol);
    }
    match (selector.first_port, selector.last_port) {
        (0, u16::MAX) => {}
        (first, last) if first == last => text += &format!(" port {first}"),
        (first, last) => text += &format!(" ports {first}-{last}"),
    }
    text
}

/// Length of the prefix that the range is.
fn prefix_len(first: IpAddr, last: IpAddr) -> Option<u32> {
    let (bits, first, last) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            (32, u128::from(first.to_bits()), u128::from(last.to_bits()))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => (128, first.to_bits(), last.to_bits()),
        _ => return None,
    };
    // In a prefix the bits that differ are the last ones, all clear in the first address and all set in the last one.
    let host = first ^ last;
    let is_prefix = first & host == 0 && host & host.wrapping_add(1) == 0;
    is_prefix.then(|| bits - host.trailing_ones())
}

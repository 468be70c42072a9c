//! A packet's way through the path, step by step.
//!
//! Enters: frames and what other workers handed over; the counters after every stage. Leaves: one text for each stage that the packet
//! went through, made of the counters that grew there, drop reasons among them, and one for all that left. A traced packet goes
//! through the path alone, behind those that came before it and in front of those that came after, so all that happens then is its
//! doing. What waits for a neighbour's address or a crypto device is not followed beyond.

use std::net::IpAddr;

use causeway_shared::counters::{COUNTERS, Drop, Flow};
use causeway_shared::wire::{
    Event, MAX_TRACE_STEPS, Observation, SeenRef, TraceFilter, TraceOrder, TraceStep, TracedPacket,
};

use super::describe::{self, Glance, describe, describe_ip, shorten};
use super::tell;
use crate::buffer::Buffer;
use crate::counters::Counters;
use crate::path::{Now, PortId, STAGES, Sink, Tables};
use crate::probe::Probe;
use crate::sa::OutboundRoute;
use crate::sink::{Full, Handoff, Punt, SaDirection, SaStatistics};

/// One trace.
pub(crate) struct Trace {
    watch: u32,
    filter: TraceFilter,
    left: u32,
    max_ms: u64,
    until_ms: u64,
    told: bool,
}

impl Trace {
    pub fn new(watch: u32, order: TraceOrder) -> Trace {
        let TraceOrder { filter, packets, max_ms } = order;
        Trace { watch, filter, left: packets, max_ms, until_ms: 0, told: false }
    }

    pub fn begin(&mut self, now: Now) {
        self.until_ms = now.monotonic_ms.saturating_add(self.max_ms);
    }

    /// Whether it takes more packets.
    pub fn is_open(&self) -> bool {
        self.left > 0
    }

    /// Ends by time, and tells that it has ended.
    pub fn tick<B>(&mut self, now: Now, sink: &mut impl Sink<B>) {
        if now.monotonic_ms >= self.until_ms {
            self.left = 0;
        }
        if self.left == 0 && !self.told {
            self.told = sink.observe(&Observation::Ended { watch: self.watch }).is_ok();
        }
    }

    /// Takes a frame from a port: what is to be written about it.
    pub fn take_frame(&mut self, frame: &[u8], port: PortId, tables: &Tables) -> Option<TracedPacket> {
        let glance = Glance::at_frame(frame);
        let wanted = match &glance {
            Some(glance) => self.wants(glance, tables),
            None => self.filter == TraceFilter::default(),
        };
        wanted.then(|| self.taken(format!("port {}: {}", port.0, describe(frame))))
    }

    /// Takes what another worker handed over, if that is a packet.
    pub fn take_handoff<B: Buffer>(&mut self, item: &Handoff<B>, tables: &Tables) -> Option<TracedPacket> {
        let (wanted, text) = match item {
            Handoff::EspIn { buffer, outer } => {
                let (spi, sequence) = describe::esp_header(buffer.data())?;
                let peer = outer.addresses(buffer).map(|(peer, _)| peer);
                let wanted = self.filter.peer.is_none_or(|wanted| peer == Some(wanted))
                    && self.filter.spi.is_none_or(|wanted| wanted == spi)
                    && self.filter.inner.is_none_or(|inner| leaves_by(inner, tables) == Some(spi));
                (wanted, format!("ESP spi {spi:#010x} seq {sequence}, {} octets", buffer.len()))
            }
            Handoff::EspOut { buffer, .. }
            | Handoff::EspOut6 { buffer, .. }
            | Handoff::Fragment { buffer } => {
                let glance = Glance::at_ip(buffer.data())?;
                (self.wants(&glance, tables), describe_ip(buffer.data()))
            }
            Handoff::Neighbour { .. } | Handoff::Neighbour6 { .. } | Handoff::PathMtu6 { .. } => return None,
        };
        wanted.then(|| self.taken(format!("from another worker: {text}")))
    }

    fn wants(&self, glance: &Glance<'_>, tables: &Tables) -> bool {
        let TraceFilter { peer, spi, inner } = self.filter;
        let is_end = |wanted: IpAddr| wanted == glance.source || wanted == glance.destination;
        let its_spi = glance.esp().map(|(spi, _)| spi);
        peer.is_none_or(is_end)
            && spi.is_none_or(|wanted| its_spi == Some(wanted))
            && inner.is_none_or(|inner| match its_spi {
                Some(spi) => leaves_by(inner, tables) == Some(spi),
                None => is_end(inner),
            })
    }

    fn taken(&mut self, entry: String) -> TracedPacket {
        self.left = self.left.saturating_sub(1);
        TracedPacket {
            watch: self.watch,
            time_ns: 0,
            entry: shorten(entry),
            steps: Vec::new(),
            left: Vec::new(),
        }
    }
}

/// The inbound SPI of the SA that packets to a client leave by.
fn leaves_by(inner: IpAddr, tables: &Tables) -> Option<u32> {
    let route = match inner {
        IpAddr::V4(inner) => tables.outbound.lookup(inner),
        IpAddr::V6(inner) => tables.outbound6.lookup(inner),
    };
    match route {
        OutboundRoute::Client(spi) => Some(spi),
        OutboundRoute::Vacant | OutboundRoute::Elsewhere => None,
    }
}

/// Follows one packet from stage to stage.
pub(crate) struct Tracer {
    before: [u64; COUNTERS],
    steps: Vec<TraceStep>,
}

impl Tracer {
    pub fn new(counters: &Counters) -> Tracer {
        Tracer { before: *counters.words(), steps: Vec::new() }
    }

    /// The packet's story.
    pub fn finish<B>(
        mut self,
        mut packet: TracedPacket,
        left: Vec<String>,
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        // What was refused on the way into the path, in front of every stage.
        let did = self.growth(counters);
        if !did.is_empty() {
            self.steps.push(TraceStep { stage: "outcome".to_owned(), did });
        }
        self.steps.truncate(MAX_TRACE_STEPS);
        packet.steps = self.steps;
        packet.left = left;
        packet.left.truncate(MAX_LEFT);
        packet.time_ns = sink.clock_ns();
        tell(&Observation::Trace(packet), sink, counters);
    }

    /// The counters that grew since the last look, as text.
    fn growth(&mut self, counters: &Counters) -> String {
        let flows = Flow::ALL.iter().map(|flow| (flow.index(), flow.name(), false));
        let drops = Drop::ALL.iter().map(|reason| (reason.index(), reason.name(), true));
        let mut texts = Vec::new();
        for (index, name, is_drop) in flows.chain(drops) {
            let now = counters.words().get(index).copied().unwrap_or_default();
            let before = self.before.get(index).copied().unwrap_or_default();
            match now.wrapping_sub(before) {
                0 => {}
                _ if is_drop => texts.insert(0, format!("dropped: {name}")),
                1 => texts.push(name.to_owned()),
                more => texts.push(format!("{name} +{more}")),
            }
        }
        self.before = *counters.words();
        shorten(texts.join(", "))
    }
}

/// Texts of what left; a packet is cut into at most eight.
const MAX_LEFT: usize = 8;

impl Probe for Tracer {
    const SPLIT: bool = true;

    fn counted(&mut self, stage: usize, counters: &Counters) {
        let Some((name, _)) = STAGES.get(stage) else { return };
        let did = self.growth(counters);
        self.steps.push(TraceStep { stage: (*name).to_owned(), did });
    }
}

/// Passes on what leaves the path, and writes it down.
pub(crate) struct Spy<'s, S> {
    pub sink: &'s mut S,
    pub left: Vec<String>,
}

impl<S> Spy<'_, S> {
    fn note(&mut self, text: String) {
        self.left.push(shorten(text));
    }
}

impl<B: Buffer, S: Sink<B>> Sink<B> for Spy<'_, S> {
    fn tx(&mut self, port: PortId, frame: B) {
        self.note(format!("port {}: {}", port.0, describe(frame.data())));
        self.sink.tx(port, frame);
    }

    fn handoff(&mut self, worker: u16, item: Handoff<B>) -> Result<(), Handoff<B>> {
        if item.buffer().is_some() {
            self.note(format!("to worker {worker}, which goes on with it"));
        }
        self.sink.handoff(worker, item)
    }

    fn punt(&mut self, datagram: Punt<'_>) -> Result<(), Full> {
        self.note(format!("to the control plane: IKE, {} octets", datagram.payload.len()));
        self.sink.punt(datagram)
    }

    fn event(&mut self, event: Event) -> Result<(), Full> {
        self.sink.event(event)
    }

    fn reserve_sequence(&mut self, slot: u32, block_end: u64) {
        self.sink.reserve_sequence(slot, block_end);
    }

    fn sa_statistics(&mut self, slot: u32, statistics: SaStatistics) {
        self.sink.sa_statistics(slot, statistics);
    }

    fn expect_sa_statistics(&self, slot: u32) {
        self.sink.expect_sa_statistics(slot);
    }

    fn sa_drop(&mut self, slot: u32, direction: SaDirection) {
        self.sink.sa_drop(slot, direction);
    }

    fn seen(&mut self, packet: &SeenRef<'_>, snap_len: u16) -> Result<(), Full> {
        self.sink.seen(packet, snap_len)
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), Full> {
        self.sink.observe(observation)
    }

    fn clock_ns(&self) -> u64 {
        self.sink.clock_ns()
    }
}

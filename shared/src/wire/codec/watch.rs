//! Watches in commands and observations in slots: kind (1), then the fields of the kind in the order written here.
//!
//! [`SeenRef`] is a captured packet without an allocation, for the workers.

use std::net::IpAddr;

use super::bytes::{Reader, Writer};
use super::{check_family, check_spi};
use crate::wire::{
    CaptureOrder, FlowEnd, FlowKey, FlowOrder, FlowRecord, MAX_SEEN, MAX_TRACE_STEPS, MAX_TRACE_TEXT,
    OBSERVATION_SLOT_BYTES, Observation, Seen, SeenPacket, SlotError, SlotMessage, TraceFilter, TraceOrder,
    TraceStep, TracedPacket, Watch, WatchOrder, Way,
};

const CAPTURE: u8 = 1;
const TRACE: u8 = 2;
const FLOWS: u8 = 3;

const PACKET: u8 = 1;
const TRACED: u8 = 2;
const FLOW: u8 = 3;
const ENDED: u8 = 4;

/// A [`SeenPacket`] whose octets lie in a packet buffer: an outer header that is made anew, if any, and the rest.
#[derive(Clone, Copy, Debug)]
pub struct SeenRef<'a> {
    /// What is known of it.
    pub seen: Seen,
    /// Its first octets.
    pub head: &'a [u8],
    /// Those behind.
    pub tail: &'a [u8],
}

impl SeenRef<'_> {
    /// Writes the packet, of which at most `snap_len` octets, into a slot and returns the octets used.
    ///
    /// # Errors
    /// When it does not fit, which [`MAX_SEEN`] octets do.
    pub fn encode(&self, slot: &mut [u8], snap_len: u16) -> Result<usize, SlotError> {
        let snap_len = usize::from(snap_len).min(MAX_SEEN);
        let head = self.head.get(..snap_len).unwrap_or(self.head);
        let left = snap_len.saturating_sub(head.len());
        let tail = self.tail.get(..left).unwrap_or(self.tail);
        let mut out = Writer::new(slot);
        out.u8(PACKET)?;
        write_seen(&mut out, &self.seen)?;
        out.u16(u16::try_from(head.len() + tail.len()).map_err(|_| SlotError::Invalid("octets"))?)?;
        out.octets(head)?;
        out.octets(tail)?;
        Ok(out.used())
    }
}

impl SlotMessage for Observation {
    const SLOT_BYTES: usize = OBSERVATION_SLOT_BYTES;
    const LAYOUT: &'static str = "observation-1";

    fn encode(&self, slot: &mut [u8]) -> Result<usize, SlotError> {
        let mut out = Writer::new(slot);
        match self {
            Observation::Packet(SeenPacket { seen, octets }) => {
                if octets.len() > MAX_SEEN {
                    return Err(SlotError::TooLong { needed: octets.len(), available: MAX_SEEN });
                }
                return SeenRef { seen: *seen, head: octets, tail: &[] }.encode(slot, MAX_SEEN as u16);
            }
            Observation::Trace(traced) => write_traced(&mut out, traced)?,
            Observation::Flow(record) => write_flow(&mut out, record)?,
            Observation::Ended { watch } => {
                out.u8(ENDED)?;
                out.u32(*watch)?;
            }
        }
        Ok(out.used())
    }

    fn decode(slot: &[u8]) -> Result<Self, SlotError> {
        let mut input = Reader::new(slot);
        let observation = match input.u8("kind")? {
            PACKET => {
                let seen = read_seen(&mut input)?;
                let len = usize::from(input.u16("length")?);
                if len > MAX_SEEN || len as u64 > u64::from(seen.whole_len) {
                    return Err(SlotError::Invalid("length"));
                }
                Observation::Packet(SeenPacket { seen, octets: input.octets(len, "octets")?.to_vec() })
            }
            TRACED => Observation::Trace(read_traced(&mut input)?),
            FLOW => Observation::Flow(read_flow(&mut input)?),
            ENDED => Observation::Ended { watch: input.u32("watch")? },
            other => return Err(SlotError::UnknownKind(u32::from(other))),
        };
        input.finish()?;
        Ok(observation)
    }
}

pub(super) fn write_watch(out: &mut Writer<'_>, watch: &Watch) -> Result<(), SlotError> {
    out.u32(watch.id)?;
    match watch.order {
        WatchOrder::Capture(CaptureOrder {
            session_id,
            outer,
            inner,
            snap_len,
            max_packets,
            max_octets,
            max_ms,
        }) => {
            check_snap_len(snap_len)?;
            out.u8(CAPTURE)?;
            out.u64(session_id)?;
            out.u8(u8::from(outer))?;
            out.u8(u8::from(inner))?;
            out.u16(snap_len)?;
            out.u32(max_packets)?;
            out.u64(max_octets)?;
            out.u64(max_ms)
        }
        WatchOrder::Trace(TraceOrder { filter: TraceFilter { peer, spi, inner }, packets, max_ms }) => {
            out.u8(TRACE)?;
            let given =
                u8::from(peer.is_some()) | u8::from(spi.is_some()) << 1 | u8::from(inner.is_some()) << 2;
            out.u8(given)?;
            peer.map_or(Ok(()), |peer| out.ip(peer))?;
            spi.map_or(Ok(()), |spi| out.u32(spi))?;
            inner.map_or(Ok(()), |inner| out.ip(inner))?;
            out.u32(packets)?;
            out.u64(max_ms)
        }
        WatchOrder::Flows(FlowOrder { active_ms, idle_ms }) => {
            check_periods(active_ms, idle_ms)?;
            out.u8(FLOWS)?;
            out.u32(active_ms)?;
            out.u32(idle_ms)
        }
    }
}

pub(super) fn read_watch(input: &mut Reader<'_>) -> Result<Watch, SlotError> {
    let id = input.u32("watch")?;
    let order = match input.u8("order")? {
        CAPTURE => {
            let order = CaptureOrder {
                session_id: input.u64("session_id")?,
                outer: input.bool("outer")?,
                inner: input.bool("inner")?,
                snap_len: input.u16("snap_len")?,
                max_packets: input.u32("max_packets")?,
                max_octets: input.u64("max_octets")?,
                max_ms: input.u64("max_ms")?,
            };
            check_snap_len(order.snap_len)?;
            WatchOrder::Capture(order)
        }
        TRACE => {
            let given = input.u8("filter")?;
            if given > 7 {
                return Err(SlotError::Invalid("filter"));
            }
            let filter = TraceFilter {
                peer: (given & 1 != 0).then(|| input.ip("peer")).transpose()?,
                spi: (given & 2 != 0).then(|| input.u32("spi")).transpose()?,
                inner: (given & 4 != 0).then(|| input.ip("inner")).transpose()?,
            };
            let (packets, max_ms) = (input.u32("packets")?, input.u64("max_ms")?);
            WatchOrder::Trace(TraceOrder { filter, packets, max_ms })
        }
        FLOWS => {
            let order = FlowOrder { active_ms: input.u32("active_ms")?, idle_ms: input.u32("idle_ms")? };
            check_periods(order.active_ms, order.idle_ms)?;
            WatchOrder::Flows(order)
        }
        other => return Err(SlotError::UnknownKind(u32::from(other))),
    };
    Ok(Watch { id, order })
}

fn check_snap_len(snap_len: u16) -> Result<(), SlotError> {
    let fits = (1..=MAX_SEEN).contains(&usize::from(snap_len));
    if fits { Ok(()) } else { Err(SlotError::Invalid("snap_len")) }
}

fn check_periods(active_ms: u32, idle_ms: u32) -> Result<(), SlotError> {
    if active_ms > 0 && idle_ms > 0 { Ok(()) } else { Err(SlotError::Invalid("period")) }
}

fn write_way(out: &mut Writer<'_>, way: Way) -> Result<(), SlotError> {
    out.u8(match way {
        Way::FromPeer => 0,
        Way::ToPeer => 1,
    })
}

fn read_way(input: &mut Reader<'_>) -> Result<Way, SlotError> {
    Ok(if input.bool("way")? { Way::ToPeer } else { Way::FromPeer })
}

fn write_seen(out: &mut Writer<'_>, seen: &Seen) -> Result<(), SlotError> {
    out.u32(seen.watch)?;
    out.u64(seen.time_ns)?;
    out.u32(check_spi("inbound_spi", seen.inbound_spi)?)?;
    write_way(out, seen.way)?;
    out.u8(u8::from(seen.inner))?;
    out.u32(seen.whole_len)
}

fn read_seen(input: &mut Reader<'_>) -> Result<Seen, SlotError> {
    Ok(Seen {
        watch: input.u32("watch")?,
        time_ns: input.u64("time_ns")?,
        inbound_spi: check_spi("inbound_spi", input.u32("inbound_spi")?)?,
        way: read_way(input)?,
        inner: input.bool("inner")?,
        whole_len: input.u32("whole_len")?,
    })
}

fn write_text(out: &mut Writer<'_>, text: &str) -> Result<(), SlotError> {
    if text.len() > MAX_TRACE_TEXT {
        return Err(SlotError::TooLong { needed: text.len(), available: MAX_TRACE_TEXT });
    }
    out.u8(text.len() as u8)?;
    out.octets(text.as_bytes())
}

/// Text that is shown to people: without control characters, which would move their cursors.
fn read_text(input: &mut Reader<'_>, field: &'static str) -> Result<String, SlotError> {
    let len = usize::from(input.u8(field)?);
    let text = std::str::from_utf8(input.octets(len, field)?).map_err(|_| SlotError::Invalid(field))?;
    let fits = len <= MAX_TRACE_TEXT && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(SlotError::Invalid(field)) }
}

fn write_count(out: &mut Writer<'_>, count: usize) -> Result<(), SlotError> {
    if count > MAX_TRACE_STEPS {
        return Err(SlotError::TooLong { needed: count, available: MAX_TRACE_STEPS });
    }
    out.u8(count as u8)
}

fn read_count(input: &mut Reader<'_>) -> Result<usize, SlotError> {
    let count = usize::from(input.u8("count")?);
    if count <= MAX_TRACE_STEPS { Ok(count) } else { Err(SlotError::Invalid("count")) }
}

fn write_traced(out: &mut Writer<'_>, traced: &TracedPacket) -> Result<(), SlotError> {
    out.u8(TRACED)?;
    out.u32(traced.watch)?;
    out.u64(traced.time_ns)?;
    write_text(out, &traced.entry)?;
    write_count(out, traced.steps.len())?;
    for TraceStep { stage, did } in &traced.steps {
        write_text(out, stage)?;
        write_text(out, did)?;
    }
    write_count(out, traced.left.len())?;
    traced.left.iter().try_for_each(|left| write_text(out, left))
}

fn read_traced(input: &mut Reader<'_>) -> Result<TracedPacket, SlotError> {
    let (watch, time_ns) = (input.u32("watch")?, input.u64("time_ns")?);
    let entry = read_text(input, "entry")?;
    let steps = (0..read_count(input)?)
        .map(|_| Ok(TraceStep { stage: read_text(input, "stage")?, did: read_text(input, "did")? }))
        .collect::<Result<_, SlotError>>()?;
    let left = (0..read_count(input)?).map(|_| read_text(input, "left")).collect::<Result<_, SlotError>>()?;
    Ok(TracedPacket { watch, time_ns, entry, steps, left })
}

fn write_flow(out: &mut Writer<'_>, record: &FlowRecord) -> Result<(), SlotError> {
    let FlowRecord { key, packets, octets, first_ms, last_ms, end } = record;
    check_family(key.source, key.destination)?;
    out.u8(FLOW)?;
    out.u64(key.session_id)?;
    for address in [key.source, key.destination] {
        out.ip(address)?;
    }
    out.u8(key.protocol)?;
    write_way(out, key.way)?;
    out.u16(key.source_port)?;
    out.u16(key.destination_port)?;
    for number in [packets, octets, first_ms, last_ms] {
        out.u64(*number)?;
    }
    out.u8(*end as u8)
}

fn read_flow(input: &mut Reader<'_>) -> Result<FlowRecord, SlotError> {
    let session_id = input.u64("session_id")?;
    let (source, destination): (IpAddr, IpAddr) = (input.ip("source")?, input.ip("destination")?);
    check_family(source, destination)?;
    let key = FlowKey {
        session_id,
        source,
        destination,
        protocol: input.u8("protocol")?,
        way: read_way(input)?,
        source_port: input.u16("source_port")?,
        destination_port: input.u16("destination_port")?,
    };
    let (packets, octets) = (input.u64("packets")?, input.u64("octets")?);
    let (first_ms, last_ms) = (input.u64("first_ms")?, input.u64("last_ms")?);
    let number = input.u8("end")?;
    let end = [FlowEnd::Idle, FlowEnd::Active, FlowEnd::Forced, FlowEnd::Displaced]
        .into_iter()
        .find(|end| *end as u8 == number)
        .ok_or(SlotError::Invalid("end"))?;
    Ok(FlowRecord { key, packets, octets, first_ms, last_ms, end })
}

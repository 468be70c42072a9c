//! Cuts an IPv4 packet into fragments (RFC 791 §3.2).

use causeway_shared::counters::Drop;
use causeway_shared::net::{checksum, ipv4};

use crate::buffer::{Allocator, Buffer};

const FLAG_MF: u16 = 0x2000;
/// Longest IPv4 header.
const MAX_HEADER_LEN: usize = 60;
/// Most fragments a packet is cut into.
pub(super) const MAX_FRAGMENTS: usize = 64;
/// Option type bit: goes into every fragment.
const OPTION_COPIED: u8 = 0x80;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;

/// Cuts a checked packet into pieces of at most `mtu` octets and gives each to `piece`, with whether it is the first.
///
/// The first piece stays in the packet's own buffer.
///
/// # Errors
/// With the packet as it was: `TooBig` if it must not be fragmented, or `mtu` has no room for a header and eight octets;
/// `NoBuffer` if there are too few buffers.
pub(super) fn fragment<A: Allocator>(
    mut packet: A::Buffer,
    mtu: usize,
    allocator: &mut A,
    mut piece: impl FnMut(A::Buffer, bool),
) -> Result<(), (Drop, A::Buffer)> {
    let Some(plan) = Plan::new(packet.data(), mtu) else { return Err((Drop::TooBig, packet)) };
    let mut pieces: arrayvec::ArrayVec<A::Buffer, MAX_FRAGMENTS> = arrayvec::ArrayVec::new();
    for index in 1..plan.count {
        let Some(buffer) = allocator.allocate().and_then(|buffer| plan.fill(packet.data(), index, buffer))
        else {
            return Err((Drop::NoBuffer, packet));
        };
        if pieces.try_push(buffer).is_err() {
            return Err((Drop::NoBuffer, packet));
        }
    }
    plan.shorten(&mut packet);
    piece(packet, true);
    pieces.into_iter().for_each(|buffer| piece(buffer, false));
    Ok(())
}

/// How a packet is cut.
struct Plan {
    header_len: usize,
    /// Octets of payload in every piece but the last, a multiple of 8.
    step: usize,
    count: usize,
    /// The packet's own offset, in units of 8 octets, and more-fragments flag.
    offset: u16,
    more: bool,
}

impl Plan {
    fn new(octets: &[u8], mtu: usize) -> Option<Plan> {
        let packet = ipv4::Packet::parse(octets).ok()?;
        let header_len = packet.header_len();
        let step = mtu.checked_sub(header_len)? / 8 * 8;
        if packet.dont_fragment() || step == 0 {
            return None;
        }
        let count = packet.payload().len().div_ceil(step);
        let offset = (packet.fragment_offset() / 8) as u16;
        (count <= MAX_FRAGMENTS).then_some(Plan {
            header_len,
            step,
            count,
            offset,
            more: packet.more_fragments(),
        })
    }

    /// Writes a later piece into a fresh buffer.
    fn fill<B: Buffer>(&self, octets: &[u8], index: usize, mut buffer: B) -> Option<B> {
        let (header, payload) = octets.split_at_checked(self.header_len)?;
        let start = index * self.step;
        let end = payload.len().min(start + self.step);
        let part = payload.get(start..end)?;
        let mut copy = [0; MAX_HEADER_LEN];
        let copy = copy.get_mut(..self.header_len)?;
        copy.copy_from_slice(header);
        blank_options(copy.get_mut(ipv4::HEADER_LEN..)?);
        self.adjust(copy, index, part.len());
        let (to_header, to_part) =
            buffer.append(self.header_len + part.len())?.split_at_mut_checked(self.header_len)?;
        to_header.copy_from_slice(copy);
        to_part.copy_from_slice(part);
        Some(buffer)
    }

    /// Cuts the original down to the first piece.
    fn shorten<B: Buffer>(&self, packet: &mut B) {
        let len = packet.len().min(self.header_len + self.step);
        let _ = packet.truncate(len);
        if let Some(header) = packet.data_mut().get_mut(..self.header_len) {
            self.adjust(header, 0, len - self.header_len);
        }
    }

    /// Sets length, offset, flag and checksum of a piece's header.
    fn adjust(&self, header: &mut [u8], index: usize, payload_len: usize) {
        let last = index + 1 == self.count;
        let offset = self.offset.wrapping_add((index * self.step / 8) as u16);
        let flags = if last && !self.more { 0 } else { FLAG_MF };
        if let Some(fixed) = header.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
            [fixed[2], fixed[3]] = ((self.header_len + payload_len) as u16).to_be_bytes();
            [fixed[6], fixed[7]] = (flags | offset).to_be_bytes();
            [fixed[10], fixed[11]] = [0, 0];
        }
        let sum = checksum::of(header).to_be_bytes();
        if let Some(place) = header.get_mut(10..12) {
            place.copy_from_slice(&sum);
        }
    }
}

/// Replaces options that belong to the first fragment only by no-operations.
fn blank_options(mut options: &mut [u8]) {
    while let Some(kind) = options.first().copied() {
        let len = match kind {
            OPTION_END => return,
            OPTION_NOP => 1,
            _ => options.get(1).map_or(1, |len| usize::from(*len).max(1)),
        };
        if len > options.len() {
            return options.fill(OPTION_NOP);
        }
        let Some((option, rest)) = std::mem::take(&mut options).split_at_mut_checked(len) else { return };
        if kind & OPTION_COPIED == 0 {
            option.fill(OPTION_NOP);
        }
        options = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{HeapAllocator, HeapBuffer};
    use proptest::prelude::*;

    fn packet(payload: &[u8], options: &[u8], dont_fragment: bool, offset: u16, more: bool) -> HeapBuffer {
        let header = ipv4::Header {
            tos: 0,
            total_len: (ipv4::HEADER_LEN + options.len() + payload.len()) as u16,
            identification: 77,
            dont_fragment,
            more_fragments: more,
            fragment_offset: offset,
            ttl: 9,
            protocol: 17,
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
        };
        let mut octets = [&header.to_bytes(), options].concat();
        octets[0] = 0x45 + (options.len() / 4) as u8;
        octets[10..12].fill(0);
        let sum = checksum::of(&octets).to_be_bytes();
        octets[10..12].copy_from_slice(&sum);
        octets.extend(payload);
        HeapBuffer::from_slice(&octets)
    }

    #[test]
    fn what_must_stay_whole_is_given_back_unchanged() {
        for (dont_fragment, mtu) in [(true, 100), (false, 27)] {
            let whole = packet(&[7; 200], &[], dont_fragment, 0, false);
            let (reason, back) =
                fragment(whole.clone(), mtu, &mut HeapAllocator, |_, _| panic!("a piece")).unwrap_err();
            assert_eq!((reason, back.data()), (Drop::TooBig, whole.data()));
        }
    }

    #[test]
    fn options_that_are_not_copied_stay_in_the_first_piece() {
        // Record route (7, not copied), then router alert (148, copied).
        let options = [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0];
        let mut seen = Vec::new();
        let whole = packet(&[7; 100], &options, false, 0, false);
        fragment(whole, 80, &mut HeapAllocator, |piece, _| seen.push(piece.data()[20..32].to_vec()))
            .ok()
            .unwrap();
        assert_eq!(seen[0], options);
        assert!(seen.len() > 1 && seen[1..].iter().all(|o| *o == [1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 0]));
    }

    proptest! {
        #[test]
        fn pieces_put_together_are_the_packet(
            payload in prop::collection::vec(any::<u8>(), 1..1600), mtu in 60usize..700, offset in 0u16..20, more: bool,
        ) {
            let payload = if more { &payload[..payload.len() / 8 * 8] } else { &payload[..] };
            prop_assume!(!payload.is_empty());
            let whole = packet(payload, &[], false, offset * 8, more);
            let mut put_together = Vec::new();
            let mut pieces = Vec::new();
            fragment(whole, mtu, &mut HeapAllocator, |piece, first| {
                assert_eq!(first, pieces.is_empty());
                pieces.push(piece);
            }).ok().unwrap();
            for (index, piece) in pieces.iter().enumerate() {
                let parsed = ipv4::Packet::parse(piece.data()).unwrap();
                prop_assert!(piece.len() <= mtu && parsed.total_len() == piece.len());
                prop_assert_eq!(parsed.fragment_offset(), usize::from(offset) * 8 + put_together.len());
                prop_assert_eq!(parsed.more_fragments(), more || index + 1 < pieces.len());
                prop_assert_eq!(parsed.identification(), 77);
                put_together.extend_from_slice(parsed.payload());
            }
            prop_assert_eq!(put_together, payload);
        }

        #[test]
        fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..200), mtu in 0usize..120) {
            let _ = fragment(HeapBuffer::from_slice(&octets), mtu, &mut HeapAllocator, |_, _| ());
            let mut options = octets;
            blank_options(&mut options);
        }
    }
}

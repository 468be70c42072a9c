//! Cuts an IPv6 packet of ours into fragments (RFC 8200 §4.5). Only what we send ourselves is cut: nobody else's packets are.

use causeway_shared::counters::Drop;
use causeway_shared::net::ipv6;

use super::fragment::MAX_FRAGMENTS;
use crate::buffer::{Allocator, Buffer};

/// Gives the pieces of a packet that has no extension headers, of at most `mtu` octets each, to `piece`.
///
/// # Errors
/// `TooBig` when it is no such packet or `mtu` has no room; `NoBuffer` if there are too few buffers.
pub(super) fn fragment6<A: Allocator>(
    packet: &[u8],
    mtu: usize,
    identification: u32,
    allocator: &mut A,
    mut piece: impl FnMut(A::Buffer),
) -> Result<(), Drop> {
    let (header, payload) = packet.split_first_chunk::<{ ipv6::HEADER_LEN }>().ok_or(Drop::TooBig)?;
    let step = mtu.saturating_sub(ipv6::HEADER_LEN + ipv6::FRAGMENT_LEN) / 8 * 8;
    if step == 0 || payload.len().div_ceil(step) > MAX_FRAGMENTS {
        return Err(Drop::TooBig);
    }
    for (index, part) in payload.chunks(step).enumerate() {
        let start = index * step;
        let more = start + part.len() < payload.len();
        let front =
            ipv6::fragment_headers(header, part.len(), start, more, identification).ok_or(Drop::TooBig)?;
        let mut buffer = allocator.allocate().ok_or(Drop::NoBuffer)?;
        let place = buffer.append(front.len() + part.len()).ok_or(Drop::NoBuffer)?;
        place.iter_mut().zip(front.iter().chain(part)).for_each(|(to, from)| *to = *from);
        piece(buffer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::HeapAllocator;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_put_together_are_the_packet(len in 1usize..9000, mtu in 1280usize..1500, id: u32) {
            let header = ipv6::Header {
                traffic_class: 3,
                flow_label: 9,
                payload_len: len as u16,
                next_header: 17,
                hop_limit: 64,
                source: "2001:db8::1".parse().unwrap(),
                destination: "2001:db8::2".parse().unwrap(),
            };
            let payload: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            let whole = [&header.to_bytes()[..], &payload].concat();
            let mut together = Vec::new();
            let mut ended = false;
            fragment6(&whole, mtu, id, &mut HeapAllocator, |piece| {
                assert!(piece.len() <= mtu && !ended);
                let packet = ipv6::Packet::parse(piece.data()).unwrap();
                assert_eq!((packet.protocol(), packet.traffic_class(), packet.is_fragment()), (17, 3, true));
                let [_, _, o0, o1, i @ ..]: [u8; 8] = piece.data()[40..48].try_into().unwrap();
                let offset = u16::from_be_bytes([o0, o1]);
                assert_eq!((usize::from(offset & !7), i), (together.len(), id.to_be_bytes()));
                together.extend_from_slice(&piece.data()[48..]);
                ended = offset & 1 == 0;
            }).unwrap();
            prop_assert!(ended && together == payload);
        }
    }
}

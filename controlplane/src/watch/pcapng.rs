//! Packets as a pcapng file in memory (draft-ietf-opsawg-pcapng): one section, an interface for each side of the encryption.
//!
//! Enters: captured packets. Leaves: octets of a file that Wireshark and tcpdump read. Both interfaces are of raw IP, because packets
//! are taken behind their Ethernet header; times are of nanoseconds.

use std::time::Duration;

use causeway_shared::wire::{SeenPacket, Way};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// The section's length is not told.
const UNKNOWN_LENGTH: u64 = u64::MAX;
/// Raw IPv4 or IPv6.
const LINKTYPE_RAW: u16 = 101;
/// Of each block: its kind, its length twice.
const BLOCK_FRAME: usize = 12;

const OPT_END: u16 = 0;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const SHB_USERAPPL: u16 = 4;
/// 10^-9 s.
const NANOSECONDS: u8 = 9;
const FLAG_INBOUND: u32 = 1;
const FLAG_OUTBOUND: u32 = 2;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct FileTime {
    /// CLOCK_MONOTONIC.
    pub monotonic: Duration,
    /// Since 1970.
    pub wall: Duration,
}

/// A file that grows.
pub struct Pcapng {
    octets: Vec<u8>,
    began: FileTime,
    packets: u32,
    kept_octets: u64,
}

impl Pcapng {
    /// A file without packets, of which none is longer than `snap_len`.
    pub fn new(began: FileTime, snap_len: u16) -> Pcapng {
        let mut file = Pcapng { octets: Vec::new(), began, packets: 0, kept_octets: 0 };
        file.block(SECTION_HEADER, |body| {
            body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
            body.extend([1, 0, 0, 0]);
            body.extend(UNKNOWN_LENGTH.to_le_bytes());
            option(body, SHB_USERAPPL, b"causeway");
            option(body, OPT_END, &[]);
        });
        for name in ["outer", "inner"] {
            file.block(INTERFACE, |body| {
                body.extend(LINKTYPE_RAW.to_le_bytes());
                body.extend([0, 0]);
                body.extend(u32::from(snap_len).to_le_bytes());
                option(body, IF_NAME, name.as_bytes());
                option(body, IF_TSRESOL, &[NANOSECONDS]);
                option(body, OPT_END, &[]);
            });
        }
        file
    }

    /// Adds a packet.
    pub fn packet(&mut self, SeenPacket { seen, octets }: &SeenPacket) {
        let since = Duration::from_nanos(seen.time_ns).saturating_sub(self.began.monotonic);
        let time = u64::try_from(self.began.wall.saturating_add(since).as_nanos()).unwrap_or(u64::MAX);
        let flags = match seen.way {
            Way::FromPeer => FLAG_INBOUND,
            Way::ToPeer => FLAG_OUTBOUND,
        };
        self.block(ENHANCED_PACKET, |body| {
            for number in
                [u32::from(seen.inner), (time >> 32) as u32, time as u32, octets.len() as u32, seen.whole_len]
            {
                body.extend(number.to_le_bytes());
            }
            body.extend(octets);
            body.resize(body.len().next_multiple_of(4), 0);
            option(body, EPB_FLAGS, &flags.to_le_bytes());
            option(body, OPT_END, &[]);
        });
        self.packets = self.packets.saturating_add(1);
        self.kept_octets = self.kept_octets.saturating_add(octets.len() as u64);
    }

    /// Packets in it.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Octets of them.
    pub fn kept_octets(&self) -> u64 {
        self.kept_octets
    }

    /// The file.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    fn block(&mut self, kind: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let mut body = Vec::new();
        write(&mut body);
        let len = ((body.len() + BLOCK_FRAME) as u32).to_le_bytes();
        self.octets.extend(kind.to_le_bytes());
        self.octets.extend(len);
        self.octets.extend(body);
        self.octets.extend(len);
    }
}

/// Code, length, value padded to 32 bits.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

//! One packet as the kernels see it: where its text lies, and the three blocks that GCM adds to it.
//!
//! Enters: a whole ESP packet. Leaves: its text's place and length, nonce, AAD and length block (RFC 4106 §3–§5, NIST
//! SP 800-38D §7). The 16 octets of ESP header and IV in front of the text are just as long as a block, so that packet
//! and GHASH input run in step.

use crate::ESP_HEADER_LEN;

use super::GcmKey;

/// Octets of the explicit IV.
pub(super) const IV_LEN: usize = 8;
/// Octets of the ICV.
pub(super) const ICV_LEN: usize = 16;
/// Octets in front of the text.
pub(super) const HEAD_LEN: usize = ESP_HEADER_LEN + IV_LEN;
/// Octets of the longest text: the table of counters ends there.
pub const MAX_TEXT_LEN: usize = 10_224;
/// Rows of 64 octets in the longest packet without its ICV.
const ROWS: usize = (HEAD_LEN + MAX_TEXT_LEN) / 64;

/// A packet of `HEAD_LEN + text_len + ICV_LEN` octets.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// The packet's first octet; whoever made the frame has it borrowed for as long as the frame lives.
    pub packet: *mut u8,
    pub text_len: usize,
    /// Salt, IV, and a counter of 0.
    pub nonce: [u64; 2],
    /// SPI and sequence number, octets reversed.
    pub aad: [u64; 2],
}

impl Frame {
    /// Where the ICV stands.
    #[inline]
    pub fn icv(&self) -> *mut u8 {
        self.packet.wrapping_add(HEAD_LEN + self.text_len)
    }

    /// Where the text stands.
    #[inline]
    pub fn text(&self) -> *mut u8 {
        self.packet.wrapping_add(HEAD_LEN)
    }

    /// A packet to seal: writes its IV. `None` when it is too short or too long.
    #[inline]
    pub fn to_seal(packet: &mut [u8], key: &GcmKey, sequence: u64) -> Option<Frame> {
        let header = *packet.first_chunk::<ESP_HEADER_LEN>()?;
        let text_len = text_len(packet)?;
        let iv = sequence.to_be_bytes();
        *packet.get_mut(ESP_HEADER_LEN..)?.first_chunk_mut::<IV_LEN>()? = iv;
        Some(Frame::new(packet, text_len, header, iv, key, sequence))
    }

    /// A packet to open. `None` when it is too short or too long.
    #[inline]
    pub fn to_open(packet: &mut [u8], key: &GcmKey, sequence: u64) -> Option<Frame> {
        let header = *packet.first_chunk::<ESP_HEADER_LEN>()?;
        let text_len = text_len(packet)?;
        let iv = *packet.get(ESP_HEADER_LEN..)?.first_chunk::<IV_LEN>()?;
        Some(Frame::new(packet, text_len, header, iv, key, sequence))
    }

    #[inline]
    fn new(
        packet: &mut [u8],
        text_len: usize,
        header: [u8; ESP_HEADER_LEN],
        iv: [u8; IV_LEN],
        key: &GcmKey,
        sequence: u64,
    ) -> Frame {
        let header = u64::from_be_bytes(header);
        let iv = u64::from_le_bytes(iv);
        let salt = u64::from(u32::from_le_bytes(key.salt));
        let with_esn = [header << 32, (header & !0xFFFF_FFFF) | (sequence >> 32)];
        let aad = if key.esn { with_esn } else { [0, header] };
        Frame { packet: packet.as_mut_ptr(), text_len, nonce: [salt | iv << 32, iv >> 32], aad }
    }
}

#[inline]
fn text_len(packet: &[u8]) -> Option<usize> {
    let text_len = packet.len().checked_sub(HEAD_LEN + ICV_LEN)?;
    (text_len <= MAX_TEXT_LEN).then_some(text_len)
}

/// The last block of GHASH: the lengths of text and AAD in bits, octets reversed.
#[inline]
pub(super) fn length_block(text_len: usize, esn: bool) -> [u64; 2] {
    [text_len as u64 * 8, if esn { 96 } else { 64 }]
}

/// Row `r` holds the counters of the packet's blocks 4r … 4r + 3, to be XORed into a nonce. Block 0 is the header's
/// place, whose counter, 1, is the one that GCM encrypts for the ICV.
#[repr(C, align(64))]
pub(super) struct Counters([[u64; 8]; ROWS]);

pub(super) static COUNTERS: Counters = Counters::new();

impl Counters {
    const fn new() -> Counters {
        let mut rows = [[0; 8]; ROWS];
        let mut block = 0;
        while block < ROWS * 4 {
            rows[block / 4][block % 4 * 2 + 1] = (((block + 1) as u32).swap_bytes() as u64) << 32;
            block += 1;
        }
        Counters(rows)
    }

    /// The row's place. `row` must be below the number of rows of the longest packet.
    #[inline]
    pub fn row(&self, row: usize) -> *const [u64; 8] {
        debug_assert!(row < ROWS);
        self.0.as_ptr().wrapping_add(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_are_those_of_the_rfc() {
        let key = |esn| GcmKey::new(&[7; 16], [1, 2, 3, 4], esn).unwrap();
        let mut packet = [0; 40];
        packet[..8].copy_from_slice(&[0xa0, 0xa1, 0xa2, 0xa3, 0xb0, 0xb1, 0xb2, 0xb3]);
        let sequence = 0xc0c1_c2c3_b0b1_b2b3;
        let frame = Frame::to_seal(&mut packet, &key(false), sequence).unwrap();
        assert_eq!(packet[8..16], sequence.to_be_bytes());
        assert_eq!(frame.text_len, 8);
        assert_eq!(frame.aad, [0, 0xa0a1_a2a3_b0b1_b2b3]);
        let octets = [frame.nonce[0].to_le_bytes(), frame.nonce[1].to_le_bytes()].concat();
        assert_eq!(octets, [1, 2, 3, 4, 0xc0, 0xc1, 0xc2, 0xc3, 0xb0, 0xb1, 0xb2, 0xb3, 0, 0, 0, 0]);
        let frame = Frame::to_open(&mut packet, &key(true), sequence).unwrap();
        assert_eq!(frame.aad, [0xb0b1_b2b3_0000_0000, 0xa0a1_a2a3_c0c1_c2c3]);
        assert!(Frame::to_open(&mut packet[..31], &key(true), 0).is_none());
        assert!(Frame::to_open(&mut packet[..32], &key(true), 0).is_some());
        assert!(Frame::to_seal(&mut vec![0; MAX_TEXT_LEN + 32], &key(true), 0).is_some());
        assert!(Frame::to_seal(&mut vec![0; MAX_TEXT_LEN + 33], &key(true), 0).is_none());
    }

    #[test]
    fn counters_are_those_of_the_blocks() {
        assert_eq!(COUNTERS.0[0][1].to_le_bytes(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(COUNTERS.0[64][5].to_le_bytes(), [0, 0, 0, 0, 0, 0, 1, 3]);
        assert_eq!(COUNTERS.0[ROWS - 1][7].to_le_bytes(), [0, 0, 0, 0, 0, 0, 2, 0x80]);
    }
}

//! The engine's check at start: for every suite, a packet made by another implementation must open to its plaintext,
//! every damaged copy must be refused, and what we seal must open again (an AEAD: equal the other's packet octet by
//! octet). A processor or build on which that fails must not carry traffic.

use causeway_shared::sa::{EspKeys, EspSuite, MAX_CIPHER_KEY, MAX_INTEGRITY_KEY, SALT_LEN};

use super::{AwsLc, ESP_HEADER_LEN, EspEngine, OpenJob, SealJob};

/// The engine is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// A key was refused.
    #[error("crypto self-test: setting up {0} failed")]
    Setup(EspSuite),
    /// A good packet was refused or opened to something else.
    #[error("crypto self-test: {0} does not open a packet of another implementation")]
    Open(EspSuite),
    /// A damaged packet was taken.
    #[error("crypto self-test: {0} accepts a damaged packet")]
    Forgery(EspSuite),
    /// Our own packet is wrong.
    #[error("crypto self-test: {0} seals wrongly")]
    Seal(EspSuite),
    /// No random octets.
    #[error("crypto self-test: the system gives no random octets")]
    Random,
}

/// Random packets that [`test_against_aws_lc`] exchanges.
const RANDOM_PACKETS: usize = 1000;
/// Packets of one of its bursts.
const RANDOM_BURST: usize = 25;
/// Octets of its longest text.
const RANDOM_LEN: usize = 1500;

/// Exchanges random packets of `suites` with aws-lc-rs, in bursts of mixed suites, keys and lengths: what one side
/// seals the other opens.
///
/// # Errors
/// The first thing that went wrong.
pub(super) fn test_against_aws_lc<E: EspEngine>(
    engine: &mut E,
    suites: &[EspSuite],
) -> Result<(), SelfTestError> {
    for turn in 0..RANDOM_PACKETS / RANDOM_BURST {
        let mut packets = Vec::new();
        let (mut ours, mut theirs) = (Keys::<E>::default(), Keys::<AwsLc>::default());
        for place in 0..RANDOM_BURST {
            let suite = *suites.get(below(suites.len())?).ok_or(SelfTestError::Random)?;
            let mut keys = known_keys();
            random(&mut keys.cipher)?;
            random(&mut keys.integrity)?;
            random(&mut keys.salt)?;
            ours.add(suite, place % 2 == 0, &keys)?;
            theirs.add(suite, place % 2 == 0, &keys)?;
            packets.push(RandomPacket::new(suite)?);
        }
        let (sealed, opened) = if turn % 2 == 0 {
            (seal_all(engine, &ours, &mut packets), open_all(&mut AwsLc, &theirs, &mut packets))
        } else {
            (seal_all(&mut AwsLc, &theirs, &mut packets), open_all(engine, &ours, &mut packets))
        };
        sealed.map_err(SelfTestError::Seal)?;
        opened.map_err(SelfTestError::Open)?;
        let changed =
            packets.iter().find(|packet| packet.octets.get(packet.text_range()) != Some(&packet.text));
        changed.map_or(Ok(()), |packet| Err(SelfTestError::Open(packet.suite)))?;
    }
    Ok(())
}

/// The keys of a burst, one of each direction for every packet.
struct Keys<E: EspEngine> {
    outbound: Vec<E::OutboundKey>,
    inbound: Vec<E::InboundKey>,
}

impl<E: EspEngine> Default for Keys<E> {
    fn default() -> Keys<E> {
        Keys { outbound: Vec::new(), inbound: Vec::new() }
    }
}

impl<E: EspEngine> Keys<E> {
    fn add(&mut self, suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<(), SelfTestError> {
        self.outbound.push(E::setup_outbound(suite, esn, keys).map_err(|_| SelfTestError::Setup(suite))?);
        self.inbound.push(E::setup_inbound(suite, esn, keys).map_err(|_| SelfTestError::Setup(suite))?);
        Ok(())
    }
}

/// A packet of random length, text and sequence number.
struct RandomPacket {
    suite: EspSuite,
    sequence: u64,
    octets: Vec<u8>,
    text: Vec<u8>,
}

impl RandomPacket {
    fn new(suite: EspSuite) -> Result<RandomPacket, SelfTestError> {
        let blocks = 1 + below(RANDOM_LEN / suite.pad_align())?;
        let mut text = vec![0; blocks * suite.pad_align()];
        random(&mut text)?;
        let mut sequence = [0; 8];
        random(&mut sequence)?;
        let sequence = u64::from_be_bytes(sequence);
        let head = [0x0102_0304_u32.to_be_bytes(), (sequence as u32).to_be_bytes()].concat();
        let octets = [head, vec![0; suite.iv_len()], text.clone(), vec![0; suite.icv_len()]].concat();
        Ok(RandomPacket { suite, sequence, octets, text })
    }

    fn text_range(&self) -> std::ops::Range<usize> {
        let start = ESP_HEADER_LEN + self.suite.iv_len();
        start..start + self.text.len()
    }
}

/// Seals all; the suite of the first that was not.
fn seal_all<E: EspEngine>(
    engine: &mut E,
    keys: &Keys<E>,
    packets: &mut [RandomPacket],
) -> Result<(), EspSuite> {
    let both = keys.outbound.iter().zip(packets.iter_mut());
    let mut jobs: Vec<_> = both
        .map(|(key, packet)| SealJob {
            key,
            packet: &mut packet.octets,
            sequence: packet.sequence,
            sealed: false,
        })
        .collect();
    engine.seal_burst(&mut jobs);
    let failed = jobs.iter().position(|job| !job.sealed);
    failed.and_then(|place| packets.get(place)).map_or(Ok(()), |packet| Err(packet.suite))
}

/// Opens all; the suite of the first that was not.
fn open_all<E: EspEngine>(
    engine: &mut E,
    keys: &Keys<E>,
    packets: &mut [RandomPacket],
) -> Result<(), EspSuite> {
    let both = keys.inbound.iter().zip(packets.iter_mut());
    let mut jobs: Vec<_> = both
        .map(|(key, packet)| OpenJob {
            key,
            packet: &mut packet.octets,
            sequence: packet.sequence,
            opened: false,
        })
        .collect();
    engine.open_burst(&mut jobs);
    let failed = jobs.iter().position(|job| !job.opened);
    failed.and_then(|place| packets.get(place)).map_or(Ok(()), |packet| Err(packet.suite))
}

fn random(octets: &mut [u8]) -> Result<(), SelfTestError> {
    aws_lc_rs::rand::fill(octets).map_err(|_| SelfTestError::Random)
}

fn below(end: usize) -> Result<usize, SelfTestError> {
    let mut octets = [0; 8];
    random(&mut octets)?;
    Ok(usize::from_ne_bytes(octets) % end.max(1))
}

/// Checks every suite.
///
/// # Errors
/// The first thing that went wrong.
pub fn self_test<E: EspEngine>(engine: &mut E) -> Result<(), SelfTestError> {
    for (suite, sealed) in SEALED {
        check(engine, *suite, sealed)?;
    }
    Ok(())
}

/// Checks one suite.
///
/// # Errors
/// The first thing that went wrong.
pub(super) fn self_test_suite<E: EspEngine>(engine: &mut E, suite: EspSuite) -> Result<(), SelfTestError> {
    let known = SEALED.iter().find(|(other, _)| *other == suite);
    known.map_or(Err(SelfTestError::Setup(suite)), |(_, sealed)| check(engine, suite, sealed))
}

fn check<E: EspEngine>(engine: &mut E, suite: EspSuite, sealed: &[u8]) -> Result<(), SelfTestError> {
    let keys = known_keys();
    let inbound = E::setup_inbound(suite, true, &keys).map_err(|_| SelfTestError::Setup(suite))?;
    let outbound = E::setup_outbound(suite, true, &keys).map_err(|_| SelfTestError::Setup(suite))?;
    let body = ESP_HEADER_LEN + suite.iv_len()..sealed.len().saturating_sub(suite.icv_len());
    let mut room = [0; ROOM];
    let packet = room.get_mut(..sealed.len()).ok_or(SelfTestError::Open(suite))?;

    packet.copy_from_slice(sealed);
    if !open(engine, &inbound, packet, SEQUENCE) || !packet.get(body.clone()).is_some_and(is_plaintext) {
        return Err(SelfTestError::Open(suite));
    }
    for at in 0..sealed.len() {
        packet.copy_from_slice(sealed);
        if let Some(octet) = packet.get_mut(at) {
            *octet ^= 0x40;
        }
        if open(engine, &inbound, packet, SEQUENCE) {
            return Err(SelfTestError::Forgery(suite));
        }
    }
    packet.copy_from_slice(sealed);
    if open(engine, &inbound, packet, SEQUENCE + (1 << 32)) {
        return Err(SelfTestError::Forgery(suite));
    }

    packet.copy_from_slice(sealed);
    let clear = packet.get_mut(body.clone()).ok_or(SelfTestError::Seal(suite))?;
    write_plaintext(clear);
    let mut jobs = [SealJob { key: &outbound, packet: &mut *packet, sequence: SEQUENCE, sealed: false }];
    engine.seal_burst(&mut jobs);
    let [job] = jobs;
    let right = job.sealed && (!suite.is_aead() || *packet == *sealed);
    if !right || !open(engine, &inbound, packet, SEQUENCE) || !packet.get(body).is_some_and(is_plaintext) {
        return Err(SelfTestError::Seal(suite));
    }
    Ok(())
}

fn open<E: EspEngine>(engine: &mut E, key: &E::InboundKey, packet: &mut [u8], sequence: u64) -> bool {
    let mut jobs = [OpenJob { key, packet, sequence, opened: false }];
    engine.open_burst(&mut jobs);
    let [job] = jobs;
    job.opened
}

/// Cipher key 00 01 02 …, salt 53 53 53 53, integrity key 80 81 82 …
fn known_keys() -> EspKeys {
    let counting = |from: usize, index: usize| (from + index) as u8;
    EspKeys {
        cipher: std::array::from_fn::<u8, MAX_CIPHER_KEY, _>(|index| counting(0, index)),
        salt: [0x53; SALT_LEN],
        integrity: std::array::from_fn::<u8, MAX_INTEGRITY_KEY, _>(|index| counting(0x80, index)),
    }
}

/// An IPv4 header, text, RFC 4303 padding and trailer, as long as the suite's alignment makes it.
fn write_plaintext(to: &mut [u8]) {
    let pad = to.len().saturating_sub(INNER.len() + 2);
    let trailer = (1..=pad as u8).chain([pad as u8, 4]);
    for (to, from) in to.iter_mut().zip(INNER.iter().copied().chain(trailer)) {
        *to = from;
    }
}

fn is_plaintext(octets: &[u8]) -> bool {
    let mut expected = [0; ROOM];
    expected.get_mut(..octets.len()).is_some_and(|expected| {
        write_plaintext(expected);
        *expected == *octets
    })
}

/// Longest packet of the table below, and more.
const ROOM: usize = 128;
/// Above 2^32, so that the upper half matters.
const SEQUENCE: u64 = 0x1_0000_0005;
const INNER: &[u8] = b"\x45\0\0\x1c\0\x01\0\0\x40\x01\0\0\x0a\0\0\x01\x0a\0\0\x02causeway";

/// Made with Python `cryptography` 38 (OpenSSL): SPI 01020304, ESN, CBC IV 40 41 … 4f, an AEAD's IV the sequence
/// number; ChaCha20-Poly1305 with release 48.
const SEALED: &[(EspSuite, &[u8])] = &[
    (
        EspSuite::Aes128Gcm16,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x05,
            0x1b, 0x87, 0xab, 0x13, 0x8e, 0x9a, 0x1d, 0x1b, 0x74, 0xb5, 0x38, 0x66, 0x2f, 0x9b, 0x93, 0xbc,
            0xe7, 0x0f, 0x81, 0x58, 0x20, 0xf0, 0x31, 0xc7, 0xb1, 0x76, 0x30, 0xe6, 0xd2, 0x29, 0x0d, 0x2e,
            0x96, 0x6f, 0xfe, 0x7d, 0x7d, 0x5f, 0x8f, 0xa8, 0xfd, 0x51, 0x63, 0x14, 0x31, 0x2d, 0xfb, 0xc5,
        ],
    ),
    (
        EspSuite::Aes256Gcm16,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x05,
            0x19, 0xf2, 0x7f, 0x25, 0x69, 0x30, 0xe3, 0xcc, 0x9e, 0xde, 0x27, 0x1d, 0x20, 0xbd, 0xac, 0x8a,
            0xfb, 0xa4, 0xf7, 0x25, 0x60, 0xfb, 0x6e, 0xc6, 0x26, 0x78, 0x40, 0xe9, 0x74, 0x7c, 0x8e, 0xf1,
            0x02, 0x42, 0xad, 0xbe, 0x8e, 0x75, 0xf4, 0x8c, 0x05, 0x4b, 0x9b, 0x3c, 0x22, 0x0c, 0x6a, 0xd2,
        ],
    ),
    (
        EspSuite::Aes128CbcSha256,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47,
            0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0xb1, 0x80, 0x01, 0x33, 0x7a, 0xf4, 0xc9, 0x2b,
            0x3d, 0xa3, 0x62, 0x5b, 0xf9, 0xd7, 0x27, 0x8f, 0x5d, 0x8f, 0xc0, 0x70, 0x48, 0x46, 0x39, 0x06,
            0xe7, 0xc2, 0xef, 0x41, 0x44, 0x18, 0x50, 0xdf, 0x1f, 0xce, 0x7b, 0xb0, 0xa9, 0x23, 0x92, 0x9d,
            0x82, 0x9e, 0x0c, 0x31, 0xa0, 0x46, 0x59, 0xf2,
        ],
    ),
    (
        EspSuite::Aes192CbcSha256,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47,
            0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x06, 0x73, 0x85, 0x82, 0x03, 0x8f, 0x24, 0x53,
            0x7f, 0x23, 0x4c, 0xc6, 0x19, 0x52, 0xbd, 0x6f, 0x3a, 0xf9, 0x86, 0x93, 0x4c, 0xfc, 0xee, 0x10,
            0x8b, 0x1f, 0x21, 0x83, 0x4e, 0x1e, 0x54, 0x29, 0x22, 0xc6, 0xaf, 0xbb, 0x0e, 0x91, 0xc2, 0x44,
            0xb7, 0x9c, 0xc3, 0xc1, 0x6e, 0x95, 0x35, 0xf5,
        ],
    ),
    (
        EspSuite::Aes256CbcSha256,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47,
            0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0xc1, 0xcf, 0xe5, 0xaf, 0x11, 0xd9, 0x41, 0x12,
            0x2c, 0xd7, 0x9f, 0x05, 0x88, 0x11, 0xd0, 0x92, 0x1d, 0x08, 0xe3, 0x79, 0x02, 0x06, 0xec, 0x8f,
            0x1f, 0x21, 0x98, 0xa7, 0xc2, 0xb9, 0x5a, 0x72, 0x13, 0x87, 0xb3, 0xac, 0x51, 0x8f, 0xe8, 0x17,
            0x1b, 0xf5, 0x55, 0xb0, 0x56, 0x6c, 0xc4, 0x7d,
        ],
    ),
    (
        EspSuite::Aes128CbcSha384,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47,
            0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0xb1, 0x80, 0x01, 0x33, 0x7a, 0xf4, 0xc9, 0x2b,
            0x3d, 0xa3, 0x62, 0x5b, 0xf9, 0xd7, 0x27, 0x8f, 0x5d, 0x8f, 0xc0, 0x70, 0x48, 0x46, 0x39, 0x06,
            0xe7, 0xc2, 0xef, 0x41, 0x44, 0x18, 0x50, 0xdf, 0xf5, 0x01, 0xdb, 0xcf, 0xb1, 0x57, 0x12, 0x6e,
            0xe1, 0x00, 0x02, 0x7c, 0x0a, 0x6a, 0x76, 0x00, 0xdc, 0xb8, 0x7c, 0x12, 0x37, 0xdc, 0x4d, 0x35,
        ],
    ),
    (
        EspSuite::Aes192CbcSha384,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47,
            0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x06, 0x73, 0x85, 0x82, 0x03, 0x8f, 0x24, 0x53,
            0x7f, 0x23, 0x4c, 0xc6, 0x19, 0x52, 0xbd, 0x6f, 0x3a, 0xf9, 0x86, 0x93, 0x4c, 0xfc, 0xee, 0x10,
            0x8b, 0x1f, 0x21, 0x83, 0x4e, 0x1e, 0x54, 0x29, 0x07, 0x36, 0xbb, 0xa0, 0x38, 0xf1, 0xe9, 0x72,
            0x9a, 0xd0, 0xbe, 0x00, 0x96, 0x82, 0xaa, 0x23, 0x54, 0x71, 0x88, 0x26, 0xe1, 0x5f, 0x9d, 0x25,
        ],
    ),
    (
        EspSuite::Aes256CbcSha384,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47,
            0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0xc1, 0xcf, 0xe5, 0xaf, 0x11, 0xd9, 0x41, 0x12,
            0x2c, 0xd7, 0x9f, 0x05, 0x88, 0x11, 0xd0, 0x92, 0x1d, 0x08, 0xe3, 0x79, 0x02, 0x06, 0xec, 0x8f,
            0x1f, 0x21, 0x98, 0xa7, 0xc2, 0xb9, 0x5a, 0x72, 0xca, 0xd9, 0x9d, 0x79, 0xee, 0xd6, 0xbf, 0x89,
            0xae, 0x5a, 0x62, 0xf4, 0x55, 0x9f, 0x39, 0xba, 0x7d, 0x00, 0x47, 0x08, 0xb3, 0x12, 0x9c, 0xfa,
        ],
    ),
    (
        EspSuite::Aes128CbcSha512,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47,
            0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0xb1, 0x80, 0x01, 0x33, 0x7a, 0xf4, 0xc9, 0x2b,
            0x3d, 0xa3, 0x62, 0x5b, 0xf9, 0xd7, 0x27, 0x8f, 0x5d, 0x8f, 0xc0, 0x70, 0x48, 0x46, 0x39, 0x06,
            0xe7, 0xc2, 0xef, 0x41, 0x44, 0x18, 0x50, 0xdf, 0x0c, 0x01, 0x8b, 0xc6, 0xa6, 0x8c, 0x61, 0x42,
            0x32, 0x2b, 0xdf, 0x8d, 0xff, 0xc1, 0x16, 0xf8, 0x46, 0x6e, 0x86, 0xb7, 0x63, 0x6c, 0xd6, 0x24,
            0x92, 0x0e, 0xbd, 0xbd, 0x46, 0x16, 0xac, 0x06,
        ],
    ),
    (
        EspSuite::Aes192CbcSha512,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47,
            0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x06, 0x73, 0x85, 0x82, 0x03, 0x8f, 0x24, 0x53,
            0x7f, 0x23, 0x4c, 0xc6, 0x19, 0x52, 0xbd, 0x6f, 0x3a, 0xf9, 0x86, 0x93, 0x4c, 0xfc, 0xee, 0x10,
            0x8b, 0x1f, 0x21, 0x83, 0x4e, 0x1e, 0x54, 0x29, 0x15, 0x57, 0x1a, 0xfa, 0x2d, 0xd3, 0xd5, 0x6f,
            0x61, 0x9b, 0xea, 0x24, 0x27, 0x5f, 0xaf, 0xe8, 0x9f, 0xa2, 0x16, 0x29, 0xe8, 0x2b, 0xd3, 0x8d,
            0xd9, 0x00, 0xde, 0x28, 0xaf, 0x7c, 0x03, 0xd4,
        ],
    ),
    (
        EspSuite::Aes256CbcSha512,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47,
            0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0xc1, 0xcf, 0xe5, 0xaf, 0x11, 0xd9, 0x41, 0x12,
            0x2c, 0xd7, 0x9f, 0x05, 0x88, 0x11, 0xd0, 0x92, 0x1d, 0x08, 0xe3, 0x79, 0x02, 0x06, 0xec, 0x8f,
            0x1f, 0x21, 0x98, 0xa7, 0xc2, 0xb9, 0x5a, 0x72, 0x97, 0x08, 0x4a, 0x0c, 0xb6, 0x25, 0x94, 0x69,
            0xcf, 0xbf, 0x5b, 0xbe, 0x22, 0xdd, 0x5b, 0xf2, 0x93, 0x9f, 0x16, 0x8f, 0x50, 0xb7, 0x45, 0xfb,
            0x53, 0xf2, 0x7e, 0x99, 0x69, 0x41, 0x8b, 0x63,
        ],
    ),
    (
        EspSuite::ChaCha20Poly1305,
        &[
            0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x05,
            0x68, 0x87, 0xb9, 0xfb, 0x80, 0xf5, 0xb4, 0x98, 0x61, 0xc7, 0x43, 0x16, 0x5f, 0xc8, 0x0c, 0x1d,
            0x78, 0x1f, 0x30, 0x87, 0xd1, 0x29, 0xf2, 0xd3, 0x42, 0xef, 0x26, 0x2c, 0x22, 0x2f, 0x37, 0x50,
            0xba, 0x95, 0x38, 0x56, 0xd5, 0xef, 0xfa, 0xa6, 0x3d, 0x18, 0xf3, 0x4f, 0x9c, 0x13, 0xc3, 0xd8,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Portable, Wide};

    #[test]
    fn the_engine_passes_for_every_suite() {
        assert_eq!(self_test(&mut AwsLc), Ok(()));
        assert_eq!(self_test(&mut Portable), Ok(()));
        Wide::new().iter_mut().for_each(|wide| assert_eq!(self_test(wide), Ok(())));
        let covered: Vec<_> = SEALED.iter().map(|(suite, _)| *suite).collect();
        assert_eq!(covered, EspSuite::ALL);
    }

    /// An engine that takes every packet as it is.
    struct Broken;

    impl EspEngine for Broken {
        type InboundKey = ();
        type OutboundKey = ();

        fn setup_inbound(_: EspSuite, _: bool, _: &EspKeys) -> Result<(), crate::crypto::SetupError> {
            Ok(())
        }

        fn setup_outbound(_: EspSuite, _: bool, _: &EspKeys) -> Result<(), crate::crypto::SetupError> {
            Ok(())
        }

        fn open_burst(&mut self, jobs: &mut [OpenJob<'_, ()>]) {
            jobs.iter_mut().for_each(|job| job.opened = true);
        }

        fn seal_burst(&mut self, jobs: &mut [SealJob<'_, ()>]) {
            jobs.iter_mut().for_each(|job| job.sealed = true);
        }
    }

    #[test]
    fn a_broken_engine_fails() {
        assert_eq!(self_test(&mut Broken), Err(SelfTestError::Open(EspSuite::Aes128Gcm16)));
        assert!(matches!(test_against_aws_lc(&mut Broken, &EspSuite::ALL), Err(SelfTestError::Open(_))));
    }
}

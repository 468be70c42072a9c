//! ESP by a lookaside crypto device (DPDK cryptodev): which suites it does here, its keys, and what it is told of a packet.
//!
//! Enters: a device string; keys; whole ESP packets. Leaves: [`DeviceKey`]s, and [`Line`]s, one for each worker, in which packets
//! go to the device and come back in order. Only suites that the device offers and that pass its self-test go there; the
//! software engine has the others, and every SA's key stands by in software for when the device is full, or has failed: a line
//! that stands still for [`PATIENCE_TICKS`] gives up what the device has, and no line of the process uses the device again.
//!
//! RFC 4303 §2.2.1 (with ESN an ICV of its own covers the upper half behind the ciphertext), RFC 4106 §4 and §5 (nonce and
//! additional data of AES-GCM), RFC 3602 §3 (IVs that nobody foresees).

use std::fmt::Write as _;
use std::sync::OnceLock;

use causeway_dpdk::{
    CryptoDevice, CryptoDirection, CryptoHash, CryptoQueue, CryptoSession, CryptoWork, Eal, Finished, Mbuf,
    Mempool, Transform,
};
use causeway_shared::sa::{EspKeys, EspSuite, MAX_CIPHER_KEY, MAX_INTEGRITY_KEY, SALT_LEN};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::self_test::{self_test_suite, test_against_aws_lc};
use super::{ESP_HEADER_LEN, EngineError, EspEngine, OpenJob, SealJob, SetupError};
use crate::stages::{EspIn, EspOut};

/// Octets of AES-GCM's explicit IV.
const GCM_IV_LEN: usize = 8;
/// Octets of AES-CBC's IV, and of its blocks.
const CBC_LEN: usize = 16;
/// Octets of the sequence number's upper half.
const UPPER_LEN: usize = 4;
/// Times that the self-test looks for a packet before it calls the device broken.
const LOOKS: u32 = 50_000_000;
/// Ticks of `Path::tick`, about 100 ms each, in which a line with packets may stand still. A worker asks the device between any two of
/// them, so one that was not running itself blames nobody for it.
pub(crate) const PATIENCE_TICKS: u32 = 10;

/// The device of this process, once there is one.
static DEVICE: OnceLock<CryptoDevice> = OnceLock::new();
/// The suites that go there, once they are tested; until then the self-test alone makes keys.
static SUITES: OnceLock<Vec<EspSuite>> = OnceLock::new();

/// Filled once the device has stopped answering.
static FAILED: OnceLock<()> = OnceLock::new();

/// One SA's keys in one direction, in the device.
pub struct DeviceKey {
    session: CryptoSession,
    suite: EspSuite,
    esn: bool,
    salt: Zeroizing<[u8; SALT_LEN]>,
    /// Of AES-CBC: what no other SA's IVs are made from.
    iv_salt: Zeroizing<[u8; 8]>,
}

/// The packets of one worker on their way through the device.
pub struct Line {
    queue: CryptoQueue<Waiting>,
    /// Packets taken back at the last tick.
    taken: u64,
    /// Ticks in which the line stood still.
    still: u32,
}

/// What is known of a packet while it is away.
pub(crate) struct Waiting {
    pub packet: Kind,
    /// Inbound SPI of its SA: by then there may be another one in its place.
    pub inbound_spi: u32,
    /// The upper half of the sequence number stands in front of the ICV.
    pub lengthened: bool,
}

/// Which way it goes, and all of it but the buffer.
pub(crate) enum Kind {
    In(EspIn<()>),
    Out(EspOut<()>),
    /// Of the self-test: its place.
    Test(usize),
}

/// Opens, tests and starts the device, for at most `workers` workers and `sessions` SA directions. Leaves a line for each queue
/// pair that it has; workers beyond do all in software, and so does everybody if the device has no suite of ours.
///
/// # Errors
/// When there is no such device, it refuses a step, or it computes wrongly.
pub fn start(
    eal: Eal,
    device: &str,
    workers: u16,
    sessions: u32,
    pool: Mempool,
) -> Result<Vec<Line>, EngineError> {
    let (device, queues) = CryptoDevice::start(eal, device, workers, sessions)?;
    let mut lines: Vec<Line> = queues.into_iter().map(|queue| Line { queue, taken: 0, still: 0 }).collect();
    let name = device.name().to_owned();
    if DEVICE.set(device.clone()).is_err() {
        return Err(EngineError::SecondDevice(name));
    }
    let offered: Vec<EspSuite> =
        EspSuite::ALL.iter().copied().filter(|suite| offers(&device, *suite)).collect();
    let Some(first) = lines.first_mut() else { return Ok(lines) };
    let mut engine = Synchronous { line: first, pool };
    let works = |suite: &EspSuite, engine: &mut Synchronous<'_>| match self_test_suite(engine, *suite) {
        Ok(()) => true,
        Err(error) => {
            warn!(device = name, %suite, %error, "the crypto device fails its self-test for this suite, which stays in software");
            false
        }
    };
    let suites: Vec<EspSuite> = offered.into_iter().filter(|suite| works(suite, &mut engine)).collect();
    let suites = SUITES.get_or_init(|| suites);
    if suites.is_empty() {
        warn!(device = name, "the crypto device has none of our suites; all ESP stays in software");
        return Ok(Vec::new());
    }
    test_against_aws_lc(&mut engine, suites)
        .map_err(|error| EngineError::BrokenDevice(device.name().to_owned(), error))?;
    info!(
        device = name,
        driver = device.driver(),
        queue_pairs = lines.len(),
        suites = suites.len(),
        "crypto device started"
    );
    Ok(lines)
}

/// Name and driver of the device, and the suites that go to it.
pub(super) fn description(software: &str) -> Option<String> {
    let (device, suites) = (DEVICE.get()?, SUITES.get()?);
    let mut text = format!("crypto_device {} ({}) takes", device.name(), device.driver());
    let names: Vec<String> = suites.iter().map(EspSuite::to_string).collect();
    let _ = match names.len() {
        0 => write!(text, " nothing, having none of our suites"),
        count if count == EspSuite::ALL.len() => write!(text, " all suites"),
        _ => write!(text, " {}", names.join(", ")),
    };
    let _ = write!(text, "; {software} does the rest, and what finds the device full");
    Some(text)
}

fn has_failed() -> bool {
    FAILED.get().is_some()
}

/// Name of the device, if it has stopped answering; it is not used again before a restart.
pub fn failed_device() -> Option<&'static str> {
    if has_failed() { DEVICE.get().map(CryptoDevice::name) } else { None }
}

/// Whether the device says that it can do a suite, with and without ESN.
fn offers(device: &CryptoDevice, suite: EspSuite) -> bool {
    let keys =
        EspKeys { cipher: [0; MAX_CIPHER_KEY], salt: [0; SALT_LEN], integrity: [0; MAX_INTEGRITY_KEY] };
    [false, true].iter().all(|esn| transform(suite, *esn, &keys).is_some_and(|wanted| device.offers(&wanted)))
}

/// A key in the device; `None` where the suite is not for it or it has no room.
pub(super) fn device_key(
    direction: CryptoDirection,
    suite: EspSuite,
    esn: bool,
    keys: &EspKeys,
) -> Option<DeviceKey> {
    let device = DEVICE.get()?;
    let goes_there = !has_failed() && SUITES.get().is_none_or(|suites| suites.contains(&suite));
    let wanted = transform(suite, esn, keys).filter(|_| goes_there)?;
    let mut iv_salt = Zeroizing::new([0; 8]);
    aws_lc_rs::rand::fill(&mut *iv_salt).ok()?;
    let session = device.session(direction, &wanted);
    if session.is_none() {
        warn!(device = device.name(), "the crypto device takes no more keys; this SA stays in software");
    }
    Some(DeviceKey { session: session?, suite, esn, salt: Zeroizing::new(keys.salt), iv_salt })
}

/// A suite as the device is told of it; `None` for ChaCha20-Poly1305, which few devices have and stays in software.
fn transform(suite: EspSuite, esn: bool, keys: &EspKeys) -> Option<Transform<'_>> {
    let key = keys.cipher.get(..suite.cipher_key_len())?;
    let icv_len = suite.icv_len() as u16;
    if suite == EspSuite::ChaCha20Poly1305 {
        return None;
    }
    if suite.is_aead() {
        let aad_len = (ESP_HEADER_LEN + if esn { UPPER_LEN } else { 0 }) as u16;
        return Some(Transform::AesGcm { key, icv_len, aad_len });
    }
    let integrity_key = keys.integrity.get(..suite.integrity_key_len())?;
    let hash = match integrity_key.len() {
        32 => CryptoHash::Sha256,
        48 => CryptoHash::Sha384,
        64 => CryptoHash::Sha512,
        _ => return None,
    };
    Some(Transform::AesCbcHmac { key, hash, integrity_key, icv_len })
}

impl DeviceKey {
    pub(crate) fn session(&self) -> &CryptoSession {
        &self.session
    }

    /// Whether packets are longer while they are away, by the upper half that the ICV covers.
    pub(crate) fn lengthens(&self) -> bool {
        self.esn && !self.suite.is_aead()
    }

    /// Writes a packet's IV and says how the device seals it. `None`, and no change, for one that it cannot.
    pub(crate) fn prepare_seal(&self, packet: &mut Mbuf, sequence: u64) -> Option<CryptoWork> {
        let mut work = self.frame(packet, sequence)?;
        let field = packet.get_mut(ESP_HEADER_LEN..)?;
        if self.suite.is_aead() {
            let iv = sequence.to_be_bytes();
            *field.first_chunk_mut()? = iv;
            work.iv = self.nonce(iv);
        } else {
            // The IV is a number used once, encrypted under the packet's own key (NIST SP 800-38A appendix C): the device
            // encrypts it as a first block of the text, under an IV of zero, and so chains it to the second.
            let (salt, counter) = field.get_mut(..CBC_LEN)?.split_first_chunk_mut::<8>()?;
            *salt = *self.iv_salt;
            *counter.first_chunk_mut()? = sequence.to_be_bytes();
            work.cipher.start = ESP_HEADER_LEN;
        }
        Some(work)
    }

    /// Says how the device opens a packet. `None`, and no change, for one that it cannot.
    pub(crate) fn prepare_open(&self, packet: &mut Mbuf, sequence: u64) -> Option<CryptoWork> {
        let mut work = self.frame(packet, sequence)?;
        let field = packet.get(ESP_HEADER_LEN..)?;
        work.iv =
            if self.suite.is_aead() { self.nonce(*field.first_chunk()?) } else { *field.first_chunk()? };
        Some(work)
    }

    /// Brings a packet that is sealed back to its length.
    pub(crate) fn finish_seal(&self, packet: &mut Mbuf) -> Option<()> {
        let end = packet.len();
        let icv = end.checked_sub(self.suite.icv_len())?;
        packet.get(icv..)?;
        packet.copy_within(icv..end, icv.checked_sub(UPPER_LEN)?);
        shorten(packet)
    }

    /// What both directions share: ranges, additional data, the upper half put in where it is covered by the ICV.
    fn frame(&self, packet: &mut Mbuf, sequence: u64) -> Option<CryptoWork> {
        let text = ESP_HEADER_LEN + self.suite.iv_len();
        let icv_at = packet.len().checked_sub(self.suite.icv_len()).filter(|end| *end > text)?;
        let mut work = CryptoWork { cipher: text..icv_at, icv_at, ..CryptoWork::default() };
        let upper = ((sequence >> 32) as u32).to_be_bytes();
        let header: [u8; ESP_HEADER_LEN] = *packet.first_chunk()?;
        if self.suite.is_aead() {
            let [s0, s1, s2, s3, n0, n1, n2, n3] = header;
            let [u0, u1, u2, u3] = upper;
            let aad = if self.esn {
                [s0, s1, s2, s3, u0, u1, u2, u3, n0, n1, n2, n3, 0, 0, 0, 0]
            } else {
                [s0, s1, s2, s3, n0, n1, n2, n3, 0, 0, 0, 0, 0, 0, 0, 0]
            };
            work.aad = aad;
            return Some(work);
        }
        if !work.cipher.len().is_multiple_of(CBC_LEN) {
            return None;
        }
        if self.lengthens() {
            let end = packet.len();
            packet.append(UPPER_LEN)?;
            packet.copy_within(icv_at..end, icv_at + UPPER_LEN);
            *packet.get_mut(icv_at..)?.first_chunk_mut()? = upper;
            work.icv_at += UPPER_LEN;
        }
        work.hashed = 0..work.icv_at;
        Some(work)
    }

    /// RFC 4106 §4: the salt, then the IV.
    fn nonce(&self, iv: [u8; GCM_IV_LEN]) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce.iter_mut().zip(self.salt.iter().chain(&iv)).for_each(|(to, from)| *to = *from);
        nonce
    }
}

/// Takes back what the upper half added.
pub(crate) fn shorten(packet: &mut Mbuf) -> Option<()> {
    let len = packet.len().checked_sub(UPPER_LEN)?;
    packet.truncate(len).then_some(())
}

impl Line {
    pub(crate) fn queue(&mut self) -> &mut CryptoQueue<Waiting> {
        &mut self.queue
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }

    /// Whether the device takes another packet now.
    pub(crate) fn device_has_room(&self) -> bool {
        self.queue.device_has_room() && !has_failed()
    }

    /// The device has failed and nothing is left in line: what comes now overtakes nobody.
    pub(crate) fn is_over(&self) -> bool {
        has_failed() && self.queue.in_flight() == 0
    }

    /// Looks at each tick whether the line moves. Gives the device up when it has not for too long; answers how many packets that
    /// loses.
    pub(crate) fn watch(&mut self) -> usize {
        self.queue.poll();
        let moved = self.queue.taken() != self.taken || self.queue.in_flight() == 0;
        self.taken = self.queue.taken();
        self.still = if moved { 0 } else { self.still + 1 };
        if self.still < PATIENCE_TICKS {
            return 0;
        }
        self.still = 0;
        FAILED.get_or_init(|| ());
        self.queue.give_up()
    }
}

/// The device as an engine that waits for its answers, on copies of the packets: for its self-test.
struct Synchronous<'a> {
    line: &'a mut Line,
    pool: Mempool,
}

impl Synchronous<'_> {
    /// Sends a copy of each packet through the device; answers come to `back` with their place, in order.
    fn exchange<'a>(
        &mut self,
        packets: impl Iterator<Item = (&'a DeviceKey, &'a [u8], u64)>,
        prepare: impl Fn(&DeviceKey, &mut Mbuf, u64) -> Option<CryptoWork>,
        mut back: impl FnMut(usize, Finished<Waiting>),
    ) {
        for (place, (key, octets, sequence)) in packets.enumerate() {
            let copied = self.pool.allocate().and_then(|mut packet| {
                packet.append(octets.len())?.copy_from_slice(octets);
                Some(packet)
            });
            let Some(mut packet) = copied else { continue };
            let Some(work) = prepare(key, &mut packet, sequence) else { continue };
            let tag = Waiting { packet: Kind::Test(place), inbound_spi: 0, lengthened: key.lengthens() };
            // One without room comes back unanswered, which fails the test.
            let _ = self.line.queue.submit(&key.session, packet, &work, tag);
        }
        let queue = &mut self.line.queue;
        for _ in 0..LOOKS {
            queue.flush();
            queue.poll();
            while let Some(finished) = queue.take() {
                if let Kind::Test(place) = finished.tag.packet {
                    back(place, finished);
                }
            }
            if queue.in_flight() == 0 {
                return;
            }
            std::hint::spin_loop();
        }
    }
}

impl EspEngine for Synchronous<'_> {
    type InboundKey = DeviceKey;
    type OutboundKey = DeviceKey;

    fn setup_inbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<DeviceKey, SetupError> {
        device_key(CryptoDirection::Open, suite, esn, keys).ok_or(SetupError(suite))
    }

    fn setup_outbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<DeviceKey, SetupError> {
        device_key(CryptoDirection::Seal, suite, esn, keys).ok_or(SetupError(suite))
    }

    fn open_burst(&mut self, jobs: &mut [OpenJob<'_, DeviceKey>]) {
        let mut answers: Vec<Option<Mbuf>> = jobs.iter().map(|_| None).collect();
        let packets = jobs.iter().map(|job| (job.key, &*job.packet, job.sequence));
        self.exchange(packets, DeviceKey::prepare_open, |place, finished| {
            let Finished { mut packet, tag, done } = finished;
            let whole = !tag.lengthened || shorten(&mut packet).is_some();
            if let Some(answer) = answers.get_mut(place).filter(|_| done && whole) {
                *answer = Some(packet);
            }
        });
        for (job, answer) in jobs.iter_mut().zip(answers) {
            job.opened = take_over(job.packet, answer);
        }
    }

    fn seal_burst(&mut self, jobs: &mut [SealJob<'_, DeviceKey>]) {
        let mut answers: Vec<Option<Mbuf>> = jobs.iter().map(|_| None).collect();
        let keys: Vec<&DeviceKey> = jobs.iter().map(|job| job.key).collect();
        let packets = jobs.iter().map(|job| (job.key, &*job.packet, job.sequence));
        self.exchange(packets, DeviceKey::prepare_seal, |place, finished| {
            let Finished { mut packet, tag, done } = finished;
            let key = keys.get(place);
            let whole = !tag.lengthened || key.is_some_and(|key| key.finish_seal(&mut packet).is_some());
            if let Some(answer) = answers.get_mut(place).filter(|_| done && whole) {
                *answer = Some(packet);
            }
        });
        for (job, answer) in jobs.iter_mut().zip(answers) {
            job.sealed = take_over(job.packet, answer);
        }
    }
}

fn take_over(packet: &mut [u8], answer: Option<Mbuf>) -> bool {
    let Some(answer) = answer.filter(|answer| answer.len() == packet.len()) else { return false };
    packet.copy_from_slice(&answer);
    true
}

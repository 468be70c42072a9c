//! ESP with AES-CBC and HMAC-SHA2, bursts of packets with different keys.
//!
//! Enters: whole ESP packets and raw keys. Leaves: the packets sealed, or verified and then decrypted, in place. RFC 3602,
//! RFC 4868, RFC 4303 §3.3 and §3.4: the ICV covers the ciphertext, so a packet whose ICV is wrong is never decrypted.
//!
//! The IV is the sequence number's forward cipher under the packet's own key (NIST SP 800-38A App. C), which makes it unique
//! and unpredictable; it costs nothing but one more block at the head of the chain.

mod decrypt;
mod encrypt;
mod floor;
mod schedule;

use core::arch::x86_64::*;

use arrayvec::ArrayVec;
use zeroize::Zeroize;

pub use crate::hmac::Hash;
use crate::hmac::{Ending, Lanes, MacJob, MacKey};
use crate::sha256::{self, Sha256};
use crate::sha512::Sha512;
use crate::{ESP_HEADER_LEN, OpenJob, SealJob, Wide};
use encrypt::{Chain, Encrypt};
pub use floor::floor_cycles;
use schedule::{LANES, Schedule};

/// Octets of an IV, and of a block.
const BLOCK_LEN: usize = 16;
/// Packets that are worked on at a time; a longer burst is cut.
const CHUNK: usize = 64;
/// The longest packet: what an IP datagram can hold.
const PACKET_LEN_MAX: usize = 65_535;

/// The keys of one SA and direction: the raw cipher key and the integrity key's two hash states.
pub struct CbcKey {
    cipher: [u8; 32],
    mac: MacKey,
    rounds: Rounds,
    esn: bool,
    iv_salt: u32,
}

const _: () = assert!(size_of::<CbcKey>() <= 176);

/// AES's rounds, by its key's length.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Rounds {
    Ten,
    Twelve,
    Fourteen,
}

impl CbcKey {
    /// `None` unless `cipher` has 16, 24 or 32 octets and `integrity` as many as the hash's output.
    pub fn new(cipher: &[u8], hash: Hash, integrity: &[u8], esn: bool) -> Option<CbcKey> {
        let rounds = match cipher.len() {
            16 => Rounds::Ten,
            24 => Rounds::Twelve,
            32 => Rounds::Fourteen,
            _ => return None,
        };
        let mac = MacKey::new(hash, integrity)?;
        let mut key = CbcKey { cipher: [0; 32], mac, rounds, esn, iv_salt: 0 };
        key.cipher.get_mut(..cipher.len())?.copy_from_slice(cipher);
        Some(key)
    }

    /// With a random number that goes into every IV: so the IVs of two installations of one key differ, even if a sequence
    /// number should ever come twice.
    pub fn with_iv_salt(mut self, iv_salt: u32) -> CbcKey {
        self.iv_salt = iv_salt;
        self
    }

    /// Octets of the ICV.
    pub fn icv_len(&self) -> usize {
        self.mac.hash.icv_len()
    }

    /// Blocks of ciphertext in a packet of `len` octets, if it can be one of this key's.
    fn blocks(&self, len: usize) -> Option<usize> {
        let text = len.checked_sub(ESP_HEADER_LEN + BLOCK_LEN + self.icv_len())?;
        (len <= PACKET_LEN_MAX && text > 0 && text.is_multiple_of(BLOCK_LEN)).then_some(text / BLOCK_LEN)
    }
}

impl Drop for CbcKey {
    fn drop(&mut self) {
        self.cipher.zeroize();
    }
}

/// A key that may be one of AES-CBC: bursts of mixed suites need not be sorted first.
pub trait MaybeCbc {
    /// It, if it is.
    fn cbc_key(&self) -> Option<&CbcKey>;
}

impl MaybeCbc for CbcKey {
    #[inline]
    fn cbc_key(&self) -> Option<&CbcKey> {
        Some(self)
    }
}

/// The kernels, with their scratch: expanded keys live there for the length of a burst.
pub struct Cbc {
    scratch: Box<Scratch>,
    wide: Wide,
}

struct Scratch {
    schedules: [Schedule; CHUNK / LANES],
    encrypt: Encrypt,
    sha256: Lanes<Sha256>,
    sha512: Lanes<Sha512>,
}

impl Cbc {
    /// The kernels, on a processor that has them. Measures for some tens of microseconds what it does best.
    pub fn new(wide: Wide) -> Cbc {
        sha256::choose(wide);
        let scratch = Box::new(Scratch {
            schedules: [const { Schedule::new() }; CHUNK / LANES],
            encrypt: Encrypt::new(),
            sha256: Lanes::new(),
            sha512: Lanes::new(),
        });
        Cbc { scratch, wide }
    }

    /// Seals every packet that has a key of ours: writes its IV, encrypts it, writes its ICV. `sealed` becomes `false` where a
    /// packet's length cannot be that of its suite. Answers with the number of jobs whose keys are of other algorithms; they
    /// are left alone.
    pub fn seal_burst<K: MaybeCbc>(&mut self, jobs: &mut [SealJob<'_, K>]) -> usize {
        let Wide(()) = self.wide;
        let mut others = 0;
        for jobs in jobs.chunks_mut(CHUNK) {
            let mut packets = Packets::new();
            for (index, job) in jobs.iter_mut().enumerate() {
                match job.key.cbc_key() {
                    Some(key) => job.sealed = packets.push(index, key, job.packet, job.sequence),
                    None => others += 1,
                }
            }
            // SAFETY: `Wide` is the proof of the features.
            unsafe { self.scratch.seal(&mut packets) };
        }
        others
    }

    /// Opens every packet that has a key of ours: verifies its ICV, and decrypts it where that was right; where it was not,
    /// the packet stays as it came. Answers as [`Cbc::seal_burst`] does.
    pub fn open_burst<K: MaybeCbc>(&mut self, jobs: &mut [OpenJob<'_, K>]) -> usize {
        let Wide(()) = self.wide;
        let mut others = 0;
        for jobs in jobs.chunks_mut(CHUNK) {
            let mut packets = Packets::new();
            for (index, job) in jobs.iter_mut().enumerate() {
                match job.key.cbc_key() {
                    Some(key) => {
                        job.opened = false;
                        packets.push(index, key, job.packet, job.sequence);
                    }
                    None => others += 1,
                }
            }
            // SAFETY: `Wide` is the proof of the features.
            unsafe { self.scratch.open(&mut packets) };
            for packet in packets.of(&packets.order) {
                if let Some(job) = jobs.get_mut(packet.index) {
                    job.opened = true;
                }
            }
        }
        others
    }
}

impl Scratch {
    /// # Safety
    /// The processor has what [`Wide`] proves.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    unsafe fn seal(&mut self, packets: &mut Packets<'_>) {
        packets.sort();
        // SAFETY: `Packets::push` took packets of a suite's length from exclusive borrows that outlive this call.
        unsafe {
            for run in packets.runs() {
                let mut chains = ArrayVec::<Chain, CHUNK>::new();
                for packet in packets.of(run) {
                    let iv = packet.start.add(ESP_HEADER_LEN);
                    let sequence = packet.sequence.swap_bytes() as i64;
                    _mm_storeu_si128(iv.cast(), _mm_set_epi64x(sequence, i64::from(packet.key.iv_salt)));
                    chains.push(Chain { first: iv, blocks: packet.blocks + 1 });
                }
                match rounds(run) {
                    Rounds::Ten => self.encrypt::<10>(packets, run, &chains),
                    Rounds::Twelve => self.encrypt::<12>(packets, run, &chains),
                    Rounds::Fourteen => self.encrypt::<14>(packets, run, &chains),
                }
            }
            self.authenticate(packets, &mut Write);
        }
        self.wipe(packets.order.len());
    }

    /// Leaves in `packets` those whose ICV was right.
    ///
    /// # Safety
    /// The processor has what [`Wide`] proves.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    unsafe fn open(&mut self, packets: &mut Packets<'_>) {
        packets.sort();
        let mut verify = Verify { right: 0 };
        // SAFETY: as in `seal`.
        unsafe { self.authenticate(packets, &mut verify) };
        packets.keep(verify.right);
        for run in packets.runs() {
            // SAFETY: as in `seal`.
            unsafe {
                match rounds(run) {
                    Rounds::Ten => self.decrypt::<10>(packets, run),
                    Rounds::Twelve => self.decrypt::<12>(packets, run),
                    Rounds::Fourteen => self.decrypt::<14>(packets, run),
                }
            }
        }
        self.wipe(packets.order.len());
    }

    /// # Safety
    /// As [`Scratch::seal`]; `chains` are those of `run`, whose keys are all for `ROUNDS`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    unsafe fn encrypt<const ROUNDS: usize>(
        &mut self,
        packets: &Packets<'_>,
        run: &[Entry],
        chains: &[Chain],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            for (sixteen, schedule) in run.chunks(LANES).zip(&mut self.schedules) {
                schedule.expand::<ROUNDS, false>(&packets.keys(sixteen), sixteen.len());
            }
            self.encrypt.run::<ROUNDS>(chains, &mut self.schedules);
        }
    }

    /// # Safety
    /// As [`Scratch::seal`]; the keys of `run` are all for `ROUNDS`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    unsafe fn decrypt<const ROUNDS: usize>(&mut self, packets: &Packets<'_>, run: &[Entry]) {
        for (sixteen, schedule) in run.chunks(LANES).zip(&mut self.schedules) {
            // SAFETY: the caller's promise.
            unsafe {
                schedule.expand::<ROUNDS, true>(&packets.keys(sixteen), sixteen.len());
                for (lane, packet) in packets.of(sixteen).enumerate() {
                    let text = packet.start.add(ESP_HEADER_LEN + BLOCK_LEN);
                    decrypt::decrypt::<ROUNDS>(schedule.as_ptr().add(lane), text, packet.blocks);
                }
            }
        }
    }

    /// # Safety
    /// As [`Scratch::seal`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    unsafe fn authenticate(&mut self, packets: &Packets<'_>, ending: &mut impl Ending) {
        let mut sha256 = ArrayVec::<MacJob<'_>, CHUNK>::new();
        let mut sha512 = ArrayVec::<MacJob<'_>, CHUNK>::new();
        for packet in packets.of(&packets.order) {
            let job = MacJob {
                packet: packet.start,
                covered_len: ESP_HEADER_LEN + BLOCK_LEN + BLOCK_LEN * packet.blocks,
                key: &packet.key.mac,
                esn_high: packet.key.esn.then_some((packet.sequence >> 32) as u32),
                index: packet.index,
            };
            match packet.key.mac.hash {
                Hash::Sha256 => sha256.push(job),
                Hash::Sha384 | Hash::Sha512 => sha512.push(job),
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            self.sha256.run(&sha256, ending);
            self.sha512.run(&sha512, ending);
        }
    }

    /// Forgets the expanded keys of a chunk of `packets`.
    #[target_feature(enable = "avx512f")]
    fn wipe(&mut self, packets: usize) {
        for (group, schedule) in self.schedules.iter_mut().enumerate() {
            schedule.wipe(packets.saturating_sub(LANES * group));
        }
    }
}

/// One packet of a chunk. `start` comes from the job's exclusive borrow and is alive as long as the call.
#[derive(Clone, Copy)]
struct Packet<'k> {
    key: &'k CbcKey,
    start: *mut u8,
    sequence: u64,
    blocks: usize,
    index: usize,
}

/// A packet's place in the order: its key's rounds, its blocks, and which one it is, from the high bits down.
type Entry = u32;

/// A chunk's packets in the order in which they are worked on.
struct Packets<'k> {
    list: ArrayVec<Packet<'k>, CHUNK>,
    order: ArrayVec<Entry, CHUNK>,
}

impl<'k> Packets<'k> {
    fn new() -> Packets<'k> {
        Packets { list: ArrayVec::new(), order: ArrayVec::new() }
    }

    /// Whether the packet's length can be one of its suite.
    fn push(&mut self, index: usize, key: &'k CbcKey, packet: &mut [u8], sequence: u64) -> bool {
        // The key's lines come while the rest of the burst is looked at.
        let line = (&raw const *key).cast::<i8>();
        for offset in (0..size_of::<CbcKey>()).step_by(64) {
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(offset)) };
        }
        let Some(blocks) = key.blocks(packet.len()) else { return false };
        // Counted down, so that the highest entry is the first packet of its length.
        let place = (CHUNK - self.list.len()) as u32;
        self.order.push((key.rounds as u32) << 24 | (blocks as u32) << 8 | place);
        self.list.push(Packet { key, start: packet.as_mut_ptr(), sequence, blocks, index });
        true
    }

    /// The longest first, and keys of one length together.
    fn sort(&mut self) {
        if !self.order.is_sorted_by(|a, b| a > b) {
            self.order.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    /// Leaves out the packets whose bit is not set in `right`, bits counted by the packets' `index`.
    fn keep(&mut self, right: u64) {
        let list = &self.list;
        self.order.retain(|entry| right >> list[place(*entry)].index & 1 == 1);
    }

    /// The stretches of packets whose keys are of one length.
    fn runs(&self) -> impl Iterator<Item = &[Entry]> {
        self.order.chunk_by(|a, b| a >> 24 == b >> 24)
    }

    /// The packets of `entries`.
    fn of<'a>(&'a self, entries: &'a [Entry]) -> impl Iterator<Item = &'a Packet<'k>> {
        entries.iter().map(|entry| &self.list[place(*entry)])
    }

    /// The raw keys of up to sixteen packets; lanes without a packet have the first one's.
    fn keys(&self, entries: &[Entry]) -> [&'k [u8; 32]; LANES] {
        core::array::from_fn(|lane| {
            let entry = if lane < entries.len() { entries[lane] } else { entries[0] };
            &self.list[place(entry)].key.cipher
        })
    }
}

fn place(entry: Entry) -> usize {
    CHUNK - (entry & 0xFF) as usize
}

/// The rounds of a run's keys.
fn rounds(run: &[Entry]) -> Rounds {
    match run.first().map_or(0, |entry| entry >> 24) {
        0 => Rounds::Ten,
        1 => Rounds::Twelve,
        _ => Rounds::Fourteen,
    }
}

/// Sealing: the ICV is written.
struct Write;

impl Ending for Write {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    unsafe fn end(&mut self, _: usize, at: *mut u8, mask: __mmask16, icv: __m512i) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_epi32(at.cast(), mask, icv) };
    }
}

/// Opening: the ICV is compared, all of it at once, and the answer is a bit.
struct Verify {
    right: u64,
}

impl Ending for Verify {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    unsafe fn end(&mut self, index: usize, at: *mut u8, mask: __mmask16, icv: __m512i) {
        // SAFETY: the caller's promise.
        let received = unsafe { _mm512_maskz_loadu_epi32(mask, at.cast()) };
        let differing = _mm512_mask_cmpneq_epi32_mask(mask, received, icv);
        self.right |= u64::from(differing == 0) << index;
    }
}

#[cfg(test)]
mod tests;

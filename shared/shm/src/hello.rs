//! The one message on the handover socket: what the data plane says to whoever connects, beside the descriptors.
//!
//! Its first fields (magic, kind, detail, layout hash, version) never change, so that two versions that share nothing else
//! can still name each other.

use crate::layout::{HEADER, MAGIC, VERSION_BYTES};
use crate::mapping::Words;
use std::sync::atomic::Ordering::Relaxed;

/// Octets of a hello.
pub(crate) const HELLO_BYTES: usize = 8 + 4 + 4 + 8 + VERSION_BYTES + 8 + 8 + 4 + 4;

/// What the data plane answers to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// The segment comes with this message.
    Offer,
    /// The control plane with this process id is attached.
    Busy { pid: u32 },
    /// This user is not served.
    Forbidden { uid: u32 },
}

/// Which segment this is; said in the hello and again in the segment's header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) layout_hash: u64,
    pub(crate) version: [u8; VERSION_BYTES],
    pub(crate) epoch: u64,
    pub(crate) bytes: u64,
    pub(crate) workers: u32,
    pub(crate) sa_capacity: u32,
}

impl Identity {
    /// The version as text.
    pub(crate) fn version_text(&self) -> String {
        let used = self.version.iter().position(|octet| *octet == 0).unwrap_or(VERSION_BYTES);
        let text = String::from_utf8_lossy(self.version.get(..used).unwrap_or_default());
        // It is printed in an error message: a hostile one must not carry control characters there.
        text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    }

    /// Writes the identity into the segment's header; the magic last, though nobody attaches before the hello anyway.
    pub(crate) fn write_header(&self, segment: &Words) {
        for (word, value) in segment.iter().zip(self.header_words()).rev() {
            word.store(value, Relaxed);
        }
    }

    /// Whether the segment's header says the same.
    pub(crate) fn matches_header(&self, segment: &Words) -> bool {
        segment.len() >= HEADER.len
            && segment.iter().zip(self.header_words()).all(|(word, value)| word.load(Relaxed) == value)
    }

    fn header_words(&self) -> [u64; HEADER.len] {
        let mut words = [0; HEADER.len];
        let sizes = u64::from(self.workers) << 32 | u64::from(self.sa_capacity);
        let numbers = [MAGIC, self.layout_hash, self.epoch, self.bytes, sizes];
        let (version, _) = self.version.as_chunks::<8>();
        let version = version.iter().map(|chunk| u64::from_le_bytes(*chunk));
        words.iter_mut().zip(numbers.into_iter().chain(version)).for_each(|(word, value)| *word = value);
        words
    }
}

/// Cuts or pads a version to its field.
pub(crate) fn version_field(text: &str) -> [u8; VERSION_BYTES] {
    let mut field = [0; VERSION_BYTES];
    field.iter_mut().zip(text.bytes()).for_each(|(octet, value)| *octet = value);
    field
}

pub(crate) fn encode(answer: Answer, identity: &Identity) -> [u8; HELLO_BYTES] {
    let (kind, detail) = match answer {
        Answer::Offer => (0u32, 0u32),
        Answer::Busy { pid } => (1, pid),
        Answer::Forbidden { uid } => (2, uid),
    };
    let fields: [&[u8]; 9] = [
        &MAGIC.to_le_bytes(),
        &kind.to_le_bytes(),
        &detail.to_le_bytes(),
        &identity.layout_hash.to_le_bytes(),
        &identity.version,
        &identity.epoch.to_le_bytes(),
        &identity.bytes.to_le_bytes(),
        &identity.workers.to_le_bytes(),
        &identity.sa_capacity.to_le_bytes(),
    ];
    let mut hello = [0; HELLO_BYTES];
    hello.iter_mut().zip(fields.into_iter().flatten()).for_each(|(octet, value)| *octet = *value);
    hello
}

/// Reads a hello; `None` when it is none. The identity's sizes are not checked here.
pub(crate) fn decode(hello: &[u8]) -> Option<(Answer, Identity)> {
    let mut rest = hello;
    if u64::from_le_bytes(take(&mut rest)?) != MAGIC {
        return None;
    }
    let kind = u32::from_le_bytes(take(&mut rest)?);
    let detail = u32::from_le_bytes(take(&mut rest)?);
    let answer = match kind {
        0 => Answer::Offer,
        1 => Answer::Busy { pid: detail },
        2 => Answer::Forbidden { uid: detail },
        _ => return None,
    };
    let identity = Identity {
        layout_hash: u64::from_le_bytes(take(&mut rest)?),
        version: take(&mut rest)?,
        epoch: u64::from_le_bytes(take(&mut rest)?),
        bytes: u64::from_le_bytes(take(&mut rest)?),
        workers: u32::from_le_bytes(take(&mut rest)?),
        sa_capacity: u32::from_le_bytes(take(&mut rest)?),
    };
    Some((answer, identity))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{SEGMENT_ALIGN, create};

    fn identity(version: &str) -> Identity {
        let version = version_field(version);
        Identity { layout_hash: 1, version, epoch: 2, bytes: 3, workers: 4, sa_capacity: 5 }
    }

    #[test]
    fn hellos_round_trip_and_broken_ones_are_refused() {
        for answer in [Answer::Offer, Answer::Busy { pid: 9 }, Answer::Forbidden { uid: 7 }] {
            let hello = encode(answer, &identity("1.2.3"));
            assert_eq!(decode(&hello), Some((answer, identity("1.2.3"))));
            for cut in 0..HELLO_BYTES {
                assert_eq!(decode(&hello[..cut]), None);
            }
            let mut other = hello;
            other[0] ^= 1;
            assert_eq!(decode(&other), None);
            other = hello;
            other[8] = 9;
            assert_eq!(decode(&other), None);
        }
    }

    #[test]
    fn the_header_repeats_the_hello_and_versions_are_printable() {
        let (_memfd, words) = create(SEGMENT_ALIGN).unwrap();
        identity("0.1").write_header(&words);
        assert!(identity("0.1").matches_header(&words) && !identity("0.2").matches_header(&words));
        assert_eq!(identity("0.1\u{1b}[2J").version_text(), "0.1?[2J");
        assert_eq!(identity(&"v".repeat(100)).version_text(), "v".repeat(VERSION_BYTES));
    }
}

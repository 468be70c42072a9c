//! What the operator may know of the data plane's ports: a description of each, written once, and its link, kept current.
//!
//! Enters: [`Port`]s before the segment is offered, links at any time. Leaves: the same in the control plane, which reads
//! descriptions once, when it attaches, and refuses a segment where they make no sense.

use std::sync::atomic::Ordering::Relaxed;

use causeway_shared::api::{Port, PortEsp, PortLink};

use crate::mapping::Words;

/// Words of one port: a line for what changes (its link, and whether the crypto device has failed), then the length and the octets of the description.
pub(crate) const PORT_WORDS: usize = 256;
const LINK: usize = 0;
const DEVICE_FAILED: usize = 1;
const LENGTH: usize = 16;
const TEXT: usize = LENGTH + 1;
/// Octets that a description can have.
const TEXT_BYTES: usize = (PORT_WORDS - TEXT) * size_of::<u64>();

const LINK_UP: u64 = 1;
const SPEED_KNOWN: u64 = 2;
const SPEED_SHIFT: u32 = 32;

/// Where the data plane writes.
pub struct PortBoard {
    words: Words,
}

/// A port that the control plane will not see; its traffic is not concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDescribed {
    /// There are more ports than [`crate::MAX_PORTS`].
    #[error("the segment has no place for so many ports")]
    TooMany,
    /// Name and device string are too long.
    #[error("its description has {0} octets, at most {TEXT_BYTES} fit")]
    TooLong(usize),
    /// It has no JSON form.
    #[error("it cannot be described")]
    NoText,
}

impl PortBoard {
    pub(crate) fn new(words: Words) -> PortBoard {
        PortBoard { words }
    }

    /// Describes ports from the first place on, all or none. Only before the segment is offered: a control plane reads
    /// descriptions while it attaches, and nothing keeps it from seeing one half-written later.
    ///
    /// # Errors
    /// See [`NotDescribed`].
    pub fn describe(&self, ports: &[Port]) -> Result<(), NotDescribed> {
        if ports.len() > crate::MAX_PORTS {
            return Err(NotDescribed::TooMany);
        }
        let texts: Vec<Vec<u8>> = ports.iter().map(text_of).collect::<Result<_, _>>()?;
        for (index, (port, text)) in ports.iter().zip(&texts).enumerate() {
            let Some(place) = place(&self.words, index) else { return Err(NotDescribed::TooMany) };
            for (word, chunk) in place.iter().skip(TEXT).zip(text.chunks(size_of::<u64>())) {
                let mut octets = [0; size_of::<u64>()];
                octets.iter_mut().zip(chunk).for_each(|(octet, value)| *octet = *value);
                word.store(u64::from_le_bytes(octets), Relaxed);
            }
            if let Some(length) = place.get(LENGTH) {
                // Relaxed: the hello that follows on a socket orders all of it.
                length.store(text.len() as u64, Relaxed);
            }
            self.set_link(index, port.link);
        }
        Ok(())
    }

    /// Says how the link of the port at `index` is now; nothing when there is no such place.
    pub fn set_link(&self, index: usize, link: PortLink) {
        if let Some(word) = place(&self.words, index).and_then(|place| place.get(LINK)) {
            // Relaxed: one figure by itself.
            word.store(word_of(link), Relaxed);
        }
    }
}

impl PortBoard {
    /// Says that the crypto device has failed, of every port, because it does the ESP of all.
    pub fn set_device_failed(&self) {
        for index in 0..crate::MAX_PORTS {
            if let Some(word) = place(&self.words, index).and_then(|place| place.get(DEVICE_FAILED)) {
                // Relaxed: one figure by itself.
                word.store(1, Relaxed);
            }
        }
    }
}

/// Where the control plane reads.
pub(crate) struct PortReader {
    words: Words,
    described: Vec<Port>,
}

impl PortReader {
    /// Reads the descriptions; `None` when one is none.
    pub(crate) fn read(words: Words) -> Option<PortReader> {
        let mut described = Vec::new();
        for index in 0..crate::MAX_PORTS {
            let place = place(&words, index)?;
            let length = usize::try_from(place.get(LENGTH)?.load(Relaxed)).ok()?;
            if length == 0 {
                break;
            }
            // Copied out before it is looked at: the other side may write meanwhile.
            let octets: Vec<u8> =
                place.iter().skip(TEXT).flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
            described.push(Port::from_octets(octets.get(..length)?).ok()?);
        }
        Some(PortReader { words, described })
    }

    /// The descriptions, with what has changed by this moment.
    pub(crate) fn now(&self) -> Vec<Port> {
        let word = |index, at: usize| {
            place(&self.words, index).and_then(|place| place.get(at)).map(|word| word.load(Relaxed))
        };
        let described = self.described.iter().enumerate();
        described
            .map(|(index, port)| {
                let link = word(index, LINK).map_or(port.link, link_of);
                let device_failed = word(index, DEVICE_FAILED).is_some_and(|word| word != 0);
                let esp = PortEsp { device_failed, ..port.esp.clone() };
                Port { link, esp, ..port.clone() }
            })
            .collect()
    }
}

fn text_of(port: &Port) -> Result<Vec<u8>, NotDescribed> {
    let text = port.to_octets().map_err(|_| NotDescribed::NoText)?;
    if text.len() > TEXT_BYTES { Err(NotDescribed::TooLong(text.len())) } else { Ok(text) }
}

fn place(words: &Words, index: usize) -> Option<&[std::sync::atomic::AtomicU64]> {
    let start = index.checked_mul(PORT_WORDS)?;
    words.get(start..start.checked_add(PORT_WORDS)?)
}

fn word_of(link: PortLink) -> u64 {
    let speed = link.speed_mbps.map_or(0, |speed| u64::from(speed) << SPEED_SHIFT | SPEED_KNOWN);
    speed | if link.up { LINK_UP } else { 0 }
}

/// Any word is some link: bits without a meaning are passed over.
fn link_of(word: u64) -> PortLink {
    PortLink {
        up: word & LINK_UP != 0,
        speed_mbps: (word & SPEED_KNOWN != 0).then_some((word >> SPEED_SHIFT) as u32),
    }
}

#[cfg(test)]
mod tests {
    use causeway_shared::api::Spread;
    use causeway_shared::config::PortRole;

    use super::*;
    use crate::MAX_PORTS;
    use crate::layout::PORTS;
    use crate::mapping::{SEGMENT_ALIGN, create};

    fn example(name: &str) -> Port {
        Port {
            name: name.to_owned(),
            device: format!("net_af_packet0,iface={name}"),
            driver: "net_af_packet".to_owned(),
            role: PortRole::Outside,
            mac: "02:00:00:00:00:01".to_owned(),
            mtu: 1500,
            link: PortLink { up: true, speed_mbps: Some(10_000) },
            rx_queues: 2,
            tx_queues: 2,
            polled_by: vec![0, 1],
            spread: Spread::BehindTheDevice,
            esp: PortEsp {
                engine: "wide".to_owned(),
                reason: "it is the fastest".to_owned(),
                device_failed: false,
                inline_capable: false,
            },
        }
    }

    fn words() -> Words {
        create(SEGMENT_ALIGN).unwrap().1.part(PORTS.start, PORTS.len).unwrap()
    }

    #[test]
    fn descriptions_are_read_once_and_links_each_time() {
        let words = words();
        let board = PortBoard::new(words.clone());
        assert_eq!(PortReader::read(words.clone()).unwrap().now(), []);
        let ports = [example("wan"), Port { mtu: 9000, ..example("lan") }];
        board.describe(&ports).unwrap();
        let reader = PortReader::read(words).unwrap();
        assert_eq!(reader.now(), ports);

        for link in [
            PortLink { up: false, speed_mbps: None },
            PortLink { up: true, speed_mbps: Some(0) },
            PortLink { up: false, speed_mbps: Some(u32::MAX) },
        ] {
            board.set_link(1, link);
            assert_eq!((reader.now()[0].link, reader.now()[1].link), (ports[0].link, link));
        }
        assert!(reader.now().iter().all(|port| !port.esp.device_failed));
        board.set_device_failed();
        assert!(reader.now().iter().all(|port| port.esp.device_failed));
        board.set_link(usize::MAX, PortLink::default());
        board.set_link(MAX_PORTS, PortLink::default());
    }

    #[test]
    fn as_many_ports_as_can_be_configured_fit_and_no_more() {
        let words = words();
        let board = PortBoard::new(words.clone());
        let ports = vec![Port { polled_by: (0..128).collect(), ..example("a-port") }; MAX_PORTS + 1];
        assert_eq!(board.describe(&ports), Err(NotDescribed::TooMany));
        let long = Port { device: "x".repeat(TEXT_BYTES), ..example("long") };
        assert!(matches!(board.describe(&[ports[0].clone(), long]), Err(NotDescribed::TooLong(_))));
        assert_eq!(PortReader::read(words.clone()).unwrap().now(), [], "all or none");
        board.describe(&ports[1..]).unwrap();
        assert_eq!(PortReader::read(words).unwrap().now(), ports[1..]);
    }

    #[test]
    fn what_is_no_description_is_refused() {
        for (length, text) in
            [(1, 0), (TEXT_BYTES as u64 + 1, 0), (u64::MAX, 0), (2, u64::from_le_bytes(*b"{}      "))]
        {
            let words = words();
            words[LENGTH].store(length, Relaxed);
            words[TEXT].store(text, Relaxed);
            assert!(PortReader::read(words).is_none(), "{length} {text:x}");
        }
    }
}

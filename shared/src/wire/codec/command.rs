//! Commands in slots: id (8), kind (2), reserved (6), then the action's fields in the order written here.
//!
//! An `InstallSa` carries keys: who decodes one wipes the octets it decoded from.

use super::bytes::{Reader, Writer};
use super::watch::{read_watch, write_watch};
use super::{check_encapsulation, check_family, check_spi, read_peer_location, write_peer_location};
use crate::sa::{
    EspKeys, EspSuite, InnerAddresses, Ipv4Prefix, Ipv6Prefix, MAX_CIPHER_KEY, MAX_INTEGRITY_KEY,
    MAX_REPLAY_WINDOW, MAX_SELECTORS, SALT_LEN, SaLimits, SaPair, Selector,
};
use crate::wire::{Action, COMMAND_SLOT_BYTES, Command, SlotError, SlotMessage};

const INSTALL_SA: u16 = 1;
const SELECT_OUTBOUND: u16 = 2;
const REMOVE_SA: u16 = 3;
const MOVE_PEER: u16 = 4;
const ADD_POOL: u16 = 5;
const REMOVE_ALL: u16 = 6;
const BARRIER: u16 = 7;
const ADD_POOL6: u16 = 8;
const WATCH: u16 = 9;
const UNWATCH: u16 = 10;

impl SlotMessage for Command {
    const SLOT_BYTES: usize = COMMAND_SLOT_BYTES;
    const LAYOUT: &'static str = "command-4";

    fn encode(&self, slot: &mut [u8]) -> Result<usize, SlotError> {
        let mut out = Writer::new(slot);
        out.u64(self.id)?;
        out.u16(kind_of(&self.action))?;
        out.zeros(6)?;
        match &self.action {
            Action::InstallSa(pair) => write_pair(&mut out, pair)?,
            Action::SelectOutbound { inbound_spi } | Action::RemoveSa { inbound_spi } => {
                out.u32(check_spi("inbound_spi", *inbound_spi)?)?;
            }
            Action::MovePeer { inbound_spi, local_outer, peer_outer, encapsulation } => {
                out.u32(check_spi("inbound_spi", *inbound_spi)?)?;
                check_family(*local_outer, *peer_outer)?;
                out.ip(*local_outer)?;
                write_peer_location(&mut out, *peer_outer, *encapsulation)?;
            }
            Action::AddPool(pool) => {
                check_prefix(*pool)?;
                out.address(pool.address)?;
                out.u8(pool.length)?;
                out.zeros(3)?;
            }
            Action::AddPool6 { pool, client_length } => {
                check_pool6(*pool, *client_length)?;
                out.address6(pool.address)?;
                out.u8(pool.length)?;
                out.u8(*client_length)?;
                out.zeros(2)?;
            }
            Action::Watch(watch) => write_watch(&mut out, watch)?,
            Action::Unwatch { id } => out.u32(*id)?,
            Action::RemoveAll | Action::Barrier => {}
        }
        Ok(out.used())
    }

    fn decode(slot: &[u8]) -> Result<Self, SlotError> {
        let mut input = Reader::new(slot);
        let id = input.u64("id")?;
        let kind = input.u16("kind")?;
        input.zeros(6, "reserved")?;
        let action = match kind {
            INSTALL_SA => Action::InstallSa(read_pair(&mut input)?),
            SELECT_OUTBOUND => Action::SelectOutbound { inbound_spi: read_spi(&mut input)? },
            REMOVE_SA => Action::RemoveSa { inbound_spi: read_spi(&mut input)? },
            MOVE_PEER => {
                let inbound_spi = read_spi(&mut input)?;
                let local_outer = input.ip("local_outer")?;
                let (peer_outer, encapsulation) = read_peer_location(&mut input)?;
                check_family(local_outer, peer_outer)?;
                Action::MovePeer { inbound_spi, local_outer, peer_outer, encapsulation }
            }
            ADD_POOL => {
                let pool = Ipv4Prefix { address: input.address("pool")?, length: input.u8("pool_length")? };
                input.zeros(3, "reserved")?;
                Action::AddPool(check_prefix(pool)?)
            }
            ADD_POOL6 => {
                let pool = Ipv6Prefix { address: input.address6("pool")?, length: input.u8("pool_length")? };
                let client_length = input.u8("client_length")?;
                input.zeros(2, "reserved")?;
                check_pool6(pool, client_length)?;
                Action::AddPool6 { pool, client_length }
            }
            REMOVE_ALL => Action::RemoveAll,
            BARRIER => Action::Barrier,
            WATCH => Action::Watch(read_watch(&mut input)?),
            UNWATCH => Action::Unwatch { id: input.u32("watch")? },
            other => return Err(SlotError::UnknownKind(u32::from(other))),
        };
        input.finish()?;
        Ok(Command { id, action })
    }
}

/// The id of a command whose octets did not decode, so that it can be answered `Malformed`; `None` if not even that
/// is there.
pub fn peek_command_id(slot: &[u8]) -> Option<u64> {
    slot.first_chunk().map(|id| u64::from_le_bytes(*id))
}

fn kind_of(action: &Action) -> u16 {
    match action {
        Action::InstallSa(_) => INSTALL_SA,
        Action::SelectOutbound { .. } => SELECT_OUTBOUND,
        Action::RemoveSa { .. } => REMOVE_SA,
        Action::MovePeer { .. } => MOVE_PEER,
        Action::AddPool(_) => ADD_POOL,
        Action::AddPool6 { .. } => ADD_POOL6,
        Action::RemoveAll => REMOVE_ALL,
        Action::Barrier => BARRIER,
        Action::Watch(_) => WATCH,
        Action::Unwatch { .. } => UNWATCH,
    }
}

fn read_spi(input: &mut Reader<'_>) -> Result<u32, SlotError> {
    check_spi("inbound_spi", input.u32("inbound_spi")?)
}

fn check_prefix(pool: Ipv4Prefix) -> Result<Ipv4Prefix, SlotError> {
    match Ipv4Prefix::new(pool.address, pool.length) {
        None => Err(SlotError::Invalid("pool_length")),
        Some(canonical) if canonical != pool => Err(SlotError::Invalid("pool")),
        Some(canonical) => Ok(canonical),
    }
}

fn check_pool6(pool: Ipv6Prefix, client_length: u8) -> Result<(), SlotError> {
    check_prefix6(pool, "pool_length", "pool")?;
    let fits = (pool.length..=128).contains(&client_length);
    if fits { Ok(()) } else { Err(SlotError::Invalid("client_length")) }
}

fn check_prefix6(
    prefix: Ipv6Prefix,
    length: &'static str,
    address: &'static str,
) -> Result<Ipv6Prefix, SlotError> {
    match Ipv6Prefix::new(prefix.address, prefix.length) {
        None => Err(SlotError::Invalid(length)),
        Some(canonical) if canonical != prefix => Err(SlotError::Invalid(address)),
        Some(canonical) => Ok(canonical),
    }
}

/// Which families there are (1: IPv4, 2: IPv6, 3: both), then their values.
fn write_inner(out: &mut Writer<'_>, inner: InnerAddresses) -> Result<(), SlotError> {
    out.u8(u8::from(inner.v4.is_some()) | u8::from(inner.v6.is_some()) << 1)?;
    if let Some(address) = inner.v4 {
        out.address(address)?;
    }
    if let Some(prefix) = inner.v6 {
        out.address6(prefix.address)?;
        out.u8(prefix.length)?;
    }
    Ok(())
}

fn read_inner(input: &mut Reader<'_>) -> Result<InnerAddresses, SlotError> {
    let families = input.u8("peer_inner")?;
    if !matches!(families, 1..=3) {
        return Err(SlotError::Invalid("peer_inner"));
    }
    let v4 = (families & 1 != 0).then(|| input.address("peer_inner")).transpose()?;
    let mut prefix =
        || Ok(Ipv6Prefix { address: input.address6("peer_inner")?, length: input.u8("peer_inner_length")? });
    let v6 = (families & 2 != 0).then(&mut prefix).transpose()?;
    Ok(InnerAddresses { v4, v6 })
}

fn write_pair(out: &mut Writer<'_>, pair: &SaPair) -> Result<(), SlotError> {
    check_pair(pair)?;
    out.u32(pair.inbound_spi)?;
    out.u32(pair.outbound_spi)?;
    out.u64(pair.session_id)?;
    out.u8(pair.suite as u8)?;
    out.u8(u8::from(pair.esn))?;
    out.u8(u8::from(pair.outbound_selected))?;
    out.u8(0)?;
    out.u32(pair.replay_window)?;
    out.u64(pair.first_outbound_sequence)?;
    out.u64(pair.highest_inbound_sequence)?;
    for limit in
        [pair.limits.soft_bytes, pair.limits.hard_bytes, pair.limits.soft_packets, pair.limits.hard_packets]
    {
        out.u64(limit)?;
    }
    out.ip(pair.local_outer)?;
    write_peer_location(out, pair.peer_outer, pair.encapsulation)?;
    write_inner(out, pair.peer_inner)?;
    for keys in [&pair.inbound_keys, &pair.outbound_keys] {
        out.octets(&keys.cipher)?;
        out.octets(&keys.salt)?;
        out.octets(&keys.integrity)?;
    }
    write_selectors(out, &pair.peer_selectors)?;
    write_selectors(out, &pair.local_selectors)
}

fn read_pair(input: &mut Reader<'_>) -> Result<Box<SaPair>, SlotError> {
    let inbound_spi = input.u32("inbound_spi")?;
    let outbound_spi = input.u32("outbound_spi")?;
    let session_id = input.u64("session_id")?;
    let suite = EspSuite::from_number(input.u8("suite")?).ok_or(SlotError::Invalid("suite"))?;
    let esn = input.bool("esn")?;
    let outbound_selected = input.bool("outbound_selected")?;
    input.zeros(1, "reserved")?;
    let replay_window = input.u32("replay_window")?;
    let first_outbound_sequence = input.u64("first_outbound_sequence")?;
    let highest_inbound_sequence = input.u64("highest_inbound_sequence")?;
    let limits = SaLimits {
        soft_bytes: input.u64("soft_bytes")?,
        hard_bytes: input.u64("hard_bytes")?,
        soft_packets: input.u64("soft_packets")?,
        hard_packets: input.u64("hard_packets")?,
    };
    let local_outer = input.ip("local_outer")?;
    let (peer_outer, encapsulation) = read_peer_location(input)?;
    let peer_inner = read_inner(input)?;
    // The keys are read straight into the box, so that no other copy of them is left behind.
    let mut pair = Box::new(SaPair {
        inbound_spi,
        outbound_spi,
        session_id,
        suite,
        esn,
        inbound_keys: no_keys(),
        outbound_keys: no_keys(),
        local_outer,
        peer_outer,
        encapsulation,
        peer_inner,
        peer_selectors: Vec::new(),
        local_selectors: Vec::new(),
        replay_window,
        first_outbound_sequence,
        highest_inbound_sequence,
        limits,
        outbound_selected,
    });
    read_keys(input, &mut pair.inbound_keys, "inbound_keys")?;
    read_keys(input, &mut pair.outbound_keys, "outbound_keys")?;
    pair.peer_selectors = read_selectors(input, "peer_selectors")?;
    pair.local_selectors = read_selectors(input, "local_selectors")?;
    check_pair(&pair)?;
    Ok(pair)
}

/// The rules that hold for every honest description, checked on both sides.
fn check_pair(pair: &SaPair) -> Result<(), SlotError> {
    check_spi("inbound_spi", pair.inbound_spi)?;
    check_spi("outbound_spi", pair.outbound_spi)?;
    check_encapsulation(pair.encapsulation)?;
    check_family(pair.local_outer, pair.peer_outer)?;
    if let Some(prefix) = pair.peer_inner.v6 {
        check_prefix6(prefix, "peer_inner_length", "peer_inner")?;
    }
    check_keys(pair.suite, &pair.inbound_keys, "inbound_keys")?;
    check_keys(pair.suite, &pair.outbound_keys, "outbound_keys")?;
    check_selectors(&pair.peer_selectors, "peer_selectors")?;
    check_selectors(&pair.local_selectors, "local_selectors")?;
    let rules = [
        (!pair.peer_inner.is_empty(), "peer_inner"),
        (pair.replay_window <= MAX_REPLAY_WINDOW, "replay_window"),
        (pair.first_outbound_sequence >= 1, "first_outbound_sequence"),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, field)) => Err(SlotError::Invalid(field)),
        None => Ok(()),
    }
}

fn no_keys() -> EspKeys {
    EspKeys { cipher: [0; MAX_CIPHER_KEY], salt: [0; SALT_LEN], integrity: [0; MAX_INTEGRITY_KEY] }
}

fn read_keys(input: &mut Reader<'_>, keys: &mut EspKeys, field: &'static str) -> Result<(), SlotError> {
    input.copy_to(&mut keys.cipher, field)?;
    input.copy_to(&mut keys.salt, field)?;
    input.copy_to(&mut keys.integrity, field)
}

/// Octets that the suite does not use are zero.
fn check_keys(suite: EspSuite, keys: &EspKeys, field: &'static str) -> Result<(), SlotError> {
    let unused = [
        keys.cipher.get(suite.cipher_key_len()..),
        keys.salt.get(suite.salt_len()..),
        keys.integrity.get(suite.integrity_key_len()..),
    ];
    let clean =
        unused.into_iter().all(|part| part.is_some_and(|octets| octets.iter().all(|octet| *octet == 0)));
    if clean { Ok(()) } else { Err(SlotError::Invalid(field)) }
}

fn check_selectors(selectors: &[Selector], field: &'static str) -> Result<(), SlotError> {
    let ordered = |s: &Selector| {
        s.first.is_ipv4() == s.last.is_ipv4() && s.first <= s.last && s.first_port <= s.last_port
    };
    let fits = selectors.len() <= MAX_SELECTORS && selectors.iter().all(ordered);
    if fits { Ok(()) } else { Err(SlotError::Invalid(field)) }
}

fn write_selectors(out: &mut Writer<'_>, selectors: &[Selector]) -> Result<(), SlotError> {
    out.u8(u8::try_from(selectors.len()).map_err(|_| SlotError::Invalid("selectors"))?)?;
    for selector in selectors {
        out.u8(selector.protocol)?;
        out.ip(selector.first)?;
        out.ip(selector.last)?;
        out.u16(selector.first_port)?;
        out.u16(selector.last_port)?;
    }
    Ok(())
}

fn read_selectors(input: &mut Reader<'_>, field: &'static str) -> Result<Vec<Selector>, SlotError> {
    let count = usize::from(input.u8(field)?);
    if count > MAX_SELECTORS {
        return Err(SlotError::Invalid(field));
    }
    let mut read_one = || -> Result<Selector, SlotError> {
        Ok(Selector {
            protocol: input.u8(field)?,
            first: input.ip(field)?,
            last: input.ip(field)?,
            first_port: input.u16(field)?,
            last_port: input.u16(field)?,
        })
    };
    (0..count).map(|_| read_one()).collect()
}

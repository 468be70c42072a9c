//! An established session as octets, and back into the endpoint's tables.

use std::time::Duration;

use super::{MAGIC, Read, Reader, RestoreError, Writer};
use crate::api::{
    ClientKind, EspPath, Inner, Inner6, Lease, Liveness, Outputs, Secret, Selector, SelectorPolicy,
    SessionFacts, SessionId, UdpPorts,
};
use crate::child::{Child, ChildRole};
use crate::endpoint::Endpoint;
use crate::env::Env;
use crate::established::{Established, MAX_OLD_SAS, MAX_TASKS, NextSa, OldSa, Ours, Restored, Task};
use crate::exchange::authenticated::Authenticated;
use crate::exchange::mobility::Routability;
use crate::ident::Identity;
use crate::policy::Subnet;
use crate::sa::IkeSa;
use crate::selected::Selected;
use crate::selectors::SelectorPair;
use crate::state::{Session, State};
use crate::suite::{Cipher, EspSuite, Group, Integ};
use crate::time::Instant;
use crate::world::Cx;

const KINDS: [ClientKind; 2] = [ClientKind::AnyConnect, ClientKind::Standard];
/// More would be no state of ours.
const MAX_OLD_SAS_READ: u32 = MAX_OLD_SAS as u32;
pub(crate) const PEER_KEYS: [&str; 3] = ["rsa", "ecdsa", "ed25519"];
const LOCAL_AUTHS: [&str; 7] = ["psk", "rsa", "ecdsa", "ed25519", "unknown", "eap", "ticket"];

/// Writes a session; `None` while our rekey of the IKE SA is under way, whose outcome the octets could not follow. A
/// stored snapshot is to be deleted then.
pub(crate) fn write(session: &Established, now: Instant) -> Option<Secret> {
    if !session.is_restorable() {
        return None;
    }
    let mut out = Writer::new();
    out.raw(MAGIC);
    out.u64(session.id.0);
    let facts = &session.facts;
    out.bytes(facts.user.as_bytes());
    write_identity(&mut out, &facts.identity);
    out.bytes(facts.auth_method.as_bytes());
    out.option(facts.peer_key, |out, key| out.index(&PEER_KEYS, &key));
    out.index(&KINDS, &facts.client);
    out.list(&facts.vendor_ids, |out, name| out.bytes(name.as_bytes()));
    write_identity(&mut out, &facts.local_identity);
    out.index(&LOCAL_AUTHS, &facts.local_auth);
    out.option(facts.resumed, Writer::u64);
    out.bool(facts.by_ticket);
    out.bool(facts.ppk);
    out.u64(now.millis_since(facts.started_at));
    out.u64(now.millis_since(facts.established_at));
    out.option(session.lease.as_ref(), write_lease);
    session.sa.write(&mut out);
    let left = |at: Option<Instant>| at.map(|at| at.millis_since(now));
    out.u64(now.millis_since(session.sa_established_at));
    out.option(left(session.sa_rekey_at), Writer::u64);
    out.option(left(session.sa_hard_at), Writer::u64);
    let next: Vec<&NextSa> = session.next.iter().collect();
    out.list(&next, |out, next| {
        next.sa.write(out);
        out.u64(next.settle_at.millis_since(now));
    });
    out.list(&session.old, |out, old| {
        old.sa.write(out);
        out.u64(old.until.millis_since(now));
    });
    let waiting = session.sa.is_waiting();
    write_ours(&mut out, session.ours.as_ref().filter(|_| waiting));
    // Answered, but its successor not installed: it never will be.
    let lost = match &session.ours {
        Some(Ours::RekeyChild(rekey)) if !waiting => rekey.sent(),
        _ => None,
    };
    let again = lost.into_iter().flat_map(|(old, new)| [Task::WithdrawChild(new), Task::RekeyChild(old)]);
    let tasks: Vec<Task> = session
        .tasks
        .iter()
        .copied()
        .filter(|task| *task != Task::Redirect)
        .chain(again)
        .take(MAX_TASKS)
        .collect();
    out.list(&tasks, |out, task| write_task(out, *task));
    out.bool(session.childless_until.is_some());
    let children: Vec<&Child> = session.children.values().collect();
    out.list(&children, |out, child| write_child(out, child, now));
    out.option(session.selected.v4, Writer::u32);
    out.option(session.selected.v6, Writer::u32);
    write_liveness(&mut out, session.liveness);
    out.u64(session.peer_probes);
    out.bool(session.confirmed);
    out.bool(session.mobike);
    out.bool(session.redirect);
    Some(out.finish())
}

impl Endpoint {
    /// An established session as octets, for [`Endpoint::restore`] in another process. `None` if it is not up, or while
    /// our rekey of its IKE SA is under way: then no older snapshot of it may be used either.
    pub fn snapshot(&self, now: Instant, session: SessionId) -> Option<Secret> {
        write(self.established_session(session)?, now)
    }

    /// Takes up a session of another process where its snapshot left it, `elapsed` ago by a clock that outlives processes.
    /// It keeps its number. Its Child SAs must be installed and their SPIs taken; the events of their coming up are in `out` as if they were
    /// new. Each snapshot may be restored once.
    ///
    /// # Errors
    /// [`RestoreError`]; then nothing is held.
    pub fn restore(
        &mut self,
        now: Instant,
        elapsed: Duration,
        snapshot: &[u8],
        env: &mut dyn Env,
        out: &mut Outputs,
    ) -> Result<SessionId, RestoreError> {
        let rest = snapshot.strip_prefix(MAGIC).ok_or(RestoreError::Version)?;
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let mut input = Reader::new(rest);
        let restored = read(&mut input, now, elapsed_ms, env)?;
        input.finish()?;
        if restored.sa_hard_at.is_some_and(|at| at <= now) {
            return Err(RestoreError::Expired);
        }
        self.adopt(now, restored, env, out)
    }
}

fn read(input: &mut Reader<'_>, now: Instant, elapsed_ms: u64, env: &mut dyn Env) -> Read<Restored> {
    let past =
        |age: u64| Instant::from_millis(now.as_millis().saturating_sub(age.saturating_add(elapsed_ms)));
    let due = |left: u64| now.plus_millis(left.saturating_sub(elapsed_ms));
    let session = SessionId(input.u64()?);
    let user = input.text()?;
    let identity = read_identity(input)?;
    let auth_method = input.text()?;
    let peer_key = input.option(|input| input.index(&PEER_KEYS))?;
    let client = input.index(&KINDS)?;
    let vendor_ids = input.list(Reader::text)?;
    let local_identity = read_identity(input)?;
    let local_auth = input.index(&LOCAL_AUTHS)?;
    let resumed = input.option(Reader::u64)?;
    let by_ticket = input.bool()?;
    let ppk = input.bool()?;
    let started_at = past(input.u64()?);
    let established_at = past(input.u64()?);
    let lease = input.option(read_lease)?;
    let sa = IkeSa::read(input, now, env)?;
    let sa_established_at = past(input.u64()?);
    let sa_rekey_at = input.option(Reader::u64)?.map(due);
    let sa_hard_at = input.option(Reader::u64)?.map(due);
    let elapsed = (now, elapsed_ms);
    let mut next = Vec::new();
    for _ in 0..input.u32()?.min(2) {
        next.push(NextSa { sa: IkeSa::read(input, now, env)?, settle_at: due(input.u64()?) });
    }
    let mut old = Vec::new();
    for _ in 0..input.u32()?.min(MAX_OLD_SAS_READ) {
        old.push(OldSa { sa: IkeSa::read(input, now, env)?, until: due(input.u64()?) });
    }
    let ours = read_ours(input)?;
    let tasks = input.list(read_task)?;
    let childless = input.bool()?;
    let children = input.list(|input| read_child(input, elapsed))?;
    let selected = Selected { v4: input.option(Reader::u32)?, v6: input.option(Reader::u32)? };
    let liveness = read_liveness(input)?;
    let peer_probes = input.u64()?;
    let confirmed = input.bool()?;
    let mobike = input.bool()?;
    let redirect = input.bool()?;
    let known = selected.all().all(|spi| children.iter().any(|child| child.inbound_spi == spi));
    let mut spis: Vec<u32> = children.iter().map(|child| child.inbound_spi).collect();
    spis.sort_unstable();
    spis.dedup();
    if !known || spis.len() != children.len() {
        return Err(RestoreError::Malformed("its Child SAs contradict each other"));
    }
    if next.len() > 1 || tasks.len() > MAX_TASKS || ours.is_some() != sa.is_waiting() {
        return Err(RestoreError::Malformed("its exchanges contradict each other"));
    }
    let facts = Box::new(SessionFacts {
        session,
        user,
        identity,
        auth_method,
        peer_key,
        ike_suite: sa.keys.suite.to_string(),
        spis: sa.spis,
        nat_detected: sa.nat.detected(),
        local: sa.path.local,
        local_port: sa.path.local_port,
        peer: sa.path.peer,
        peer_port: sa.path.peer_port,
        lease: lease.clone(),
        client,
        vendor_ids,
        fragmentation: sa.fragmentation,
        local_identity,
        local_auth,
        resumed,
        by_ticket,
        ppk,
        started_at,
        established_at,
    });
    let proof = Authenticated::restored(&facts);
    Ok(Restored {
        proof,
        facts,
        lease,
        sa,
        sa_established_at,
        sa_rekey_at,
        sa_hard_at,
        next: next.pop(),
        old,
        ours,
        tasks,
        childless,
        children,
        selected,
        liveness,
        peer_probes,
        confirmed,
        mobike,
        redirect,
    })
}

impl Endpoint {
    fn adopt(
        &mut self,
        now: Instant,
        restored: Restored,
        env: &mut dyn Env,
        out: &mut Outputs,
    ) -> Result<SessionId, RestoreError> {
        let world = self.world_mut();
        if world.shutting_down || world.pages() >= world.config.limits.sessions {
            return Err(RestoreError::NoRoom);
        }
        let next = restored.next.iter().map(|next| next.sa.local_spi());
        let old = restored.old.iter().map(|old| old.sa.local_spi());
        let ike_spis: Vec<u64> = std::iter::once(restored.sa.local_spi()).chain(next).chain(old).collect();
        let taken = world.knows(restored.facts.session)
            || ike_spis.iter().any(|spi| world.ike_spis.contains_key(spi))
            || restored.children.iter().any(|child| world.child_spis.contains_key(&child.inbound_spi));
        if taken {
            return Err(RestoreError::Taken);
        }
        let mut cx = Cx { now, env, out, world };
        let id = restored.facts.session;
        cx.open_session_as(id);
        let told_gone = |child: &Child| matches!(child.role, ChildRole::Lingering { .. });
        let spis = restored.children.iter().map(|child| (child.inbound_spi, told_gone(child)));
        cx.take_over(id, &ike_spis, spis, restored.lease.clone());
        let state = Established::restore(&mut cx, id, restored);
        self.put_in(Session { id, state: State::Established(Box::new(state)) });
        Ok(id)
    }
}

pub(crate) fn write_identity(out: &mut Writer, identity: &Identity) {
    let mut data = Vec::new();
    identity.emit(&mut data);
    out.u8(identity.id_type());
    out.bytes(&data);
}

pub(crate) fn read_identity(input: &mut Reader<'_>) -> Read<Identity> {
    let id_type = input.u8()?;
    Identity::parse(id_type, input.bytes()?).map_err(|_| RestoreError::Malformed("an identity"))
}

fn write_lease(out: &mut Writer, lease: &Lease) {
    let Lease { address, netmask, address6, dns, subnets, selectors, lifetime_secs, pool, attributes } =
        lease;
    out.option(*address, Writer::ipv4);
    out.option(*netmask, Writer::ipv4);
    out.option(*address6, write_inner6);
    out.list(dns, |out, dns| out.ip(*dns));
    out.list(subnets, |out, subnet| {
        out.ip(subnet.address);
        out.u8(subnet.prefix_len);
    });
    out.bool(*selectors == SelectorPolicy::Any);
    out.option(*lifetime_secs, Writer::u32);
    out.bytes(pool.as_bytes());
    out.list(attributes, |out, (kind, value)| {
        out.u16(*kind);
        out.bytes(value);
    });
}

fn read_lease(input: &mut Reader<'_>) -> Read<Lease> {
    Ok(Lease {
        address: input.option(Reader::ipv4)?,
        netmask: input.option(Reader::ipv4)?,
        address6: input.option(read_inner6)?,
        dns: input.list(Reader::ip)?,
        subnets: input.list(|input| {
            let (address, prefix_len) = (input.ip()?, input.u8()?);
            let fits = prefix_len <= if address.is_ipv4() { 32 } else { 128 };
            fits.then_some(Subnet { address, prefix_len }).ok_or(RestoreError::Malformed("a subnet"))
        })?,
        selectors: if input.bool()? { SelectorPolicy::Any } else { SelectorPolicy::Subnets },
        lifetime_secs: input.option(Reader::u32)?,
        pool: input.text()?,
        attributes: input.list(|input| Ok((input.u16()?, input.bytes()?.to_vec())))?,
    })
}

fn write_inner6(out: &mut Writer, inner: Inner6) {
    out.ipv6(inner.address);
    out.u8(inner.prefix_len);
}

fn read_inner6(input: &mut Reader<'_>) -> Read<Inner6> {
    let inner = Inner6 { address: input.ipv6()?, prefix_len: input.u8()? };
    if inner.prefix_len <= 128 { Ok(inner) } else { Err(RestoreError::Malformed("a prefix length")) }
}

fn write_child(out: &mut Writer, child: &Child, now: Instant) {
    out.u32(child.inbound_spi);
    out.u32(child.outbound_spi);
    out.index(&Cipher::ALL, &child.suite.cipher);
    out.option(child.suite.integ, |out, integ| out.index(&Integ::ALL, &integ));
    out.bool(child.esn);
    out.option(child.group, |out, group| out.index(&Group::ALL, &group));
    for selectors in [&child.selectors.local, &child.selectors.peer] {
        out.list(selectors, |out, selector| {
            out.u8(selector.protocol);
            out.ip(selector.first);
            out.ip(selector.last);
            out.u16(selector.first_port);
            out.u16(selector.last_port);
        });
    }
    out.option(child.inner.v4, Writer::ipv4);
    out.option(child.inner.v6, write_inner6);
    out.ip(child.path.local);
    out.ip(child.path.peer);
    out.option(child.path.udp, |out, ports| {
        out.u16(ports.local);
        out.u16(ports.peer);
    });
    let (kind, other) = match child.role {
        ChildRole::Active => (0, 0),
        ChildRole::Successor { of } => (1, u64::from(of)),
        ChildRole::Replaced { by } => (2, u64::from(by)),
        ChildRole::Deleting => (3, 0),
        ChildRole::Lingering { until } => (4, until.millis_since(now)),
    };
    out.u8(kind);
    out.u64(other);
    out.bool(child.bound);
    out.u64(now.millis_since(child.established_at));
    let left = |at: Option<Instant>| at.map(|at| at.millis_since(now));
    out.option(left(child.rekey_at), Writer::u64);
    out.option(left(child.hard_at), Writer::u64);
}

fn read_child(input: &mut Reader<'_>, (now, elapsed_ms): (Instant, u64)) -> Read<Child> {
    let due = |left: u64| now.plus_millis(left.saturating_sub(elapsed_ms));
    let selector = |input: &mut Reader<'_>| {
        Ok(Selector {
            protocol: input.u8()?,
            first: input.ip()?,
            last: input.ip()?,
            first_port: input.u16()?,
            last_port: input.u16()?,
        })
    };
    Ok(Child {
        inbound_spi: input.u32()?,
        outbound_spi: input.u32()?,
        suite: EspSuite {
            cipher: input.index(&Cipher::ALL)?,
            integ: input.option(|input| input.index(&Integ::ALL))?,
        },
        esn: input.bool()?,
        group: input.option(|input| input.index(&Group::ALL))?,
        selectors: SelectorPair { local: input.list(selector)?, peer: input.list(selector)? },
        inner: Inner { v4: input.option(Reader::ipv4)?, v6: input.option(read_inner6)? },
        path: EspPath {
            local: input.ip()?,
            peer: input.ip()?,
            udp: input.option(|input| Ok(UdpPorts { local: input.u16()?, peer: input.u16()? }))?,
        },
        role: match (input.u8()?, input.u64()?) {
            (0, 0) => ChildRole::Active,
            (1, of) => ChildRole::Successor { of: spi(of)? },
            (2, by) => ChildRole::Replaced { by: spi(by)? },
            (3, 0) => ChildRole::Deleting,
            (4, left) => ChildRole::Lingering { until: due(left) },
            _ => return Err(RestoreError::Malformed("the role of a Child SA")),
        },
        bound: input.bool()?,
        established_at: Instant::from_millis(
            now.as_millis().saturating_sub(input.u64()?.saturating_add(elapsed_ms)),
        ),
        rekey_at: input.option(Reader::u64)?.map(&due),
        hard_at: input.option(Reader::u64)?.map(&due),
    })
}

fn spi(number: u64) -> Read<u32> {
    u32::try_from(number).map_err(|_| RestoreError::Malformed("an SPI"))
}

/// Our outstanding request. What was not sent yet is begun anew by its timer.
fn write_ours(out: &mut Writer, ours: Option<&Ours>) {
    let (kind, first, second) = match ours {
        // Where it was sent is not kept: the operator says it again.
        Some(Ours::Liveness | Ours::Redirect) => (1, 0, 0),
        Some(Ours::DeleteChild(spi)) => (2, *spi, 0),
        Some(Ours::Routability(_)) => (4, 0, 0),
        Some(Ours::LostChildRekey { old, new }) => (3, *old, *new),
        Some(Ours::RekeyChild(rekey)) => match rekey.sent() {
            Some((old, new)) => (3, old, new),
            None => (0, 0, 0),
        },
        Some(Ours::RekeyIke(_)) | None => (0, 0, 0),
    };
    out.u8(kind);
    out.u32(first);
    out.u32(second);
    if let Some(Ours::Routability(check)) = ours {
        check.write(out);
    }
}

fn read_ours(input: &mut Reader<'_>) -> Read<Option<Ours>> {
    Ok(Some(match (input.u8()?, input.u32()?, input.u32()?) {
        (0, 0, 0) => return Ok(None),
        (1, 0, 0) => Ours::Liveness,
        (2, spi, 0) => Ours::DeleteChild(spi),
        (3, old, new) => Ours::LostChildRekey { old, new },
        (4, 0, 0) => Ours::Routability(Routability::read(input)?),
        _ => return Err(RestoreError::Malformed("an exchange")),
    }))
}

fn write_task(out: &mut Writer, task: Task) {
    let (kind, spi) = match task {
        Task::Liveness => (0, 0),
        Task::DeleteChild(spi) => (1, spi),
        Task::WithdrawChild(spi) => (2, spi),
        Task::RekeyChild(spi) => (3, spi),
        Task::RekeyIke => (4, 0),
        Task::Routability | Task::Redirect => (5, 0),
    };
    out.u8(kind);
    out.u32(spi);
}

fn read_task(input: &mut Reader<'_>) -> Read<Task> {
    Ok(match (input.u8()?, input.u32()?) {
        (0, 0) => Task::Liveness,
        (1, spi) => Task::DeleteChild(spi),
        (2, spi) => Task::WithdrawChild(spi),
        (3, spi) => Task::RekeyChild(spi),
        (4, 0) => Task::RekeyIke,
        (5, 0) => Task::Routability,
        _ => return Err(RestoreError::Malformed("an exchange to begin")),
    })
}

fn write_liveness(out: &mut Writer, liveness: Liveness) {
    let (kind, interval, retry, tries) = match liveness {
        Liveness::Off => (0, 0, 0, 0),
        Liveness::Periodic { interval_secs } => (1, interval_secs, 0, 0),
        Liveness::OnDemand { interval_secs, retry_secs, tries } => (2, interval_secs, retry_secs, tries),
    };
    out.u8(kind);
    out.u64(interval);
    out.u64(retry);
    out.u32(tries);
}

fn read_liveness(input: &mut Reader<'_>) -> Read<Liveness> {
    match (input.u8()?, input.u64()?, input.u64()?, input.u32()?) {
        (0, 0, 0, 0) => Ok(Liveness::Off),
        (1, interval_secs, 0, 0) => Ok(Liveness::Periodic { interval_secs }),
        (2, interval_secs, retry_secs, tries) => Ok(Liveness::OnDemand { interval_secs, retry_secs, tries }),
        _ => Err(RestoreError::Malformed("liveness")),
    }
}

//! A client that moves to another address and says so: MOBIKE as responder (RFC 4555 §3.5 to §3.9).
//!
//! Enters: INFORMATIONAL requests of a client that announced MOBIKE. Leaves: the IKE SA at the new address at once; the
//! Child SAs after the client has shown that it receives packets there (COOKIE2). A client is told our other addresses when it
//! logs in, and may move to any of them; we never move by ourselves, so the client's own further addresses, which serve
//! only those who do, are not kept (§3.6).

use std::net::IpAddr;

use crate::api::{DownReason, EspPath};
use crate::child;
use crate::counters::IkeCounter;
use crate::error::IkeError;
use crate::established::{Established, Flow, Ours, Task};
use crate::exchange::ike_sa_init::{detect_nat, nat_detection};
use crate::policy::MAX_OWN_ADDRESSES;
use crate::sa::{Nat, Path};
use crate::snapshot::{Read, Reader, RestoreError, Writer};
use crate::wire::{ExchangeType, Message, Notify, NotifyType, Payload};
use crate::world::Cx;

/// Octets of our COOKIE2; RFC 4555 §4.2.5 allows 8 to 64.
const COOKIE2_LEN: usize = 16;
/// Octets that a peer's COOKIE2 may have.
const COOKIE2_LENS: std::ops::RangeInclusive<usize> = 8..=64;
/// What changes the addresses of an IKE SA, or the set of them.
const CHANGES: [NotifyType; 4] = [
    NotifyType::UpdateSaAddresses,
    NotifyType::AdditionalIp4Address,
    NotifyType::AdditionalIp6Address,
    NotifyType::NoAdditionalAddresses,
];

/// Our question whether the peer receives packets where it says it is.
pub(crate) struct Routability {
    cookie: [u8; COOKIE2_LEN],
    /// It went to more than one address, so its answer does not tell which of them works.
    scattered: bool,
}

/// Whether the addresses are as the client sent them: NO_NATS_ALLOWED names those that we see, or is not needed because the
/// client knows NAT traversal (RFC 4555 §3.9).
pub(crate) fn untouched(message: &Message, from: Path, nat: Nat) -> bool {
    match message.notify(NotifyType::NoNatsAllowed) {
        Some(notify) => protected_addresses(from) == notify.data,
        None => nat.traversal || message.header.exchange == ExchangeType::IkeAuth,
    }
}

/// What NO_NATS_ALLOWED says where no NAT is: source and destination address, source and destination port; 12 octets with IPv4, 36
/// with IPv6 (RFC 4555 §4.2.7).
pub(crate) fn protected_addresses(from: Path) -> Vec<u8> {
    let mut data = Vec::with_capacity(36);
    for address in [from.peer, from.local] {
        match address {
            IpAddr::V4(address) => data.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => data.extend_from_slice(&address.octets()),
        }
    }
    data.extend_from_slice(&from.peer_port.to_be_bytes());
    data.extend_from_slice(&from.local_port.to_be_bytes());
    data
}

/// What a client that moves may use beside the address that it uses now (RFC 4555 §3.4).
pub(crate) fn announce(addresses: &[IpAddr], used: IpAddr) -> impl Iterator<Item = Payload> {
    let others = addresses.iter().filter(move |address| **address != used).take(MAX_OWN_ADDRESSES);
    others.map(|address| {
        Payload::Notify(match address {
            IpAddr::V4(address) => {
                Notify::with_data(NotifyType::AdditionalIp4Address, address.octets().to_vec())
            }
            IpAddr::V6(address) => {
                Notify::with_data(NotifyType::AdditionalIp6Address, address.octets().to_vec())
            }
        })
    })
}

impl Established {
    /// Does what the notifies of MOBIKE in a request ask for; returns what the answer says of them.
    pub(crate) fn on_mobility(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        message: &Message,
        from: Path,
    ) -> Vec<Payload> {
        if !self.mobike {
            return Vec::new();
        }
        let cookie = message.notify(NotifyType::Cookie2).filter(|n| COOKIE2_LENS.contains(&n.data.len()));
        let mut answer: Vec<Payload> = cookie.cloned().map(Payload::Notify).into_iter().collect();
        let update = message.notify(NotifyType::UpdateSaAddresses).is_some();
        let changes = message.notifies().any(|notify| CHANGES.contains(&notify.kind));
        let refusal = if changes && !untouched(message, from, self.sa.nat) {
            Some((NotifyType::UnexpectedNatDetected, IkeCounter::UnexpectedNat))
        } else if update && !self.may_use(cx, from.local) {
            Some((NotifyType::UnacceptableAddresses, IkeCounter::AddressesRefused))
        } else {
            None
        };
        if let Some((kind, counter)) = refusal {
            cx.count(counter);
            answer.push(Payload::Notify(Notify::new(kind)));
            return answer;
        }
        let nat = detect_nat(message, from);
        if update && local_spi == self.sa.local_spi() {
            self.update_addresses(cx, from, nat);
        }
        if nat.is_some()
            && let Some(sa) = self.sa_mut(local_spi)
        {
            answer.extend(nat_detection(sa.spis, from));
        }
        answer
    }

    /// Whether it is the address that the client uses, or one that it was told.
    fn may_use(&self, cx: &Cx<'_>, local: IpAddr) -> bool {
        local == self.sa.path.local || cx.world.config.extensions.addresses.contains(&local)
    }

    /// The IKE SA moves; the Child SAs follow at once if they go there already, else after the check.
    fn update_addresses(&mut self, cx: &mut Cx<'_>, from: Path, nat: Option<Nat>) {
        if let Some(nat) = nat {
            self.sas_mut().for_each(|sa| sa.nat = nat);
        }
        if from != self.sa.path {
            cx.count(IkeCounter::AddressUpdates);
            self.move_ike(cx, from);
            if let Some(Ours::Routability(check)) = &mut self.ours {
                check.scattered = true;
            }
        }
        let esp = child::esp_path(&self.sa);
        if self.children.values().all(|child| is_same_place(child.path, esp)) {
            self.move_children(cx);
        } else {
            self.add_task(Task::Routability);
        }
    }

    /// Asks whether the peer receives packets at its new address (RFC 4555 §3.7).
    pub(crate) fn begin_routability_check(&mut self, cx: &mut Cx<'_>) -> Result<(), IkeError> {
        let esp = child::esp_path(&self.sa);
        if self.children.values().all(|child| child.path == esp) {
            return Ok(());
        }
        let cookie = cx.random();
        let notify = Notify::with_data(NotifyType::Cookie2, cookie.to_vec());
        self.sa.request(cx, ExchangeType::Informational, vec![Payload::Notify(notify)])?;
        self.ours = Some(Ours::Routability(Routability { cookie, scattered: false }));
        Ok(())
    }

    /// The peer has answered the check; with another cookie it is not to be dealt with any more.
    pub(crate) fn on_routability_answer(
        &mut self,
        cx: &mut Cx<'_>,
        check: &Routability,
        message: Result<Message, IkeError>,
    ) -> Flow {
        let cookie = message.as_ref().ok().and_then(|message| message.notify(NotifyType::Cookie2));
        if cookie.is_none_or(|cookie| cookie.data != check.cookie) {
            cx.count(IkeCounter::RoutabilityFailed);
            return Flow::End(DownReason::PeerMisbehaved);
        }
        if check.scattered {
            self.add_task(Task::Routability);
        } else {
            self.move_children(cx);
        }
        Flow::Stay
    }
}

/// Whether packets for one go where those for the other go, though perhaps with or without UDP.
fn is_same_place(one: EspPath, other: EspPath) -> bool {
    let ports = one.udp.zip(other.udp);
    one.peer == other.peer && ports.is_none_or(|(one, other)| one.peer == other.peer)
}

impl Routability {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.bytes(&self.cookie);
        out.bool(self.scattered);
    }

    pub(crate) fn read(input: &mut Reader<'_>) -> Read<Routability> {
        let cookie = input.bytes()?.try_into().map_err(|_| RestoreError::Malformed("a cookie"))?;
        Ok(Routability { cookie, scattered: input.bool()? })
    }
}

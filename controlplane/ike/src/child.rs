//! Child SAs: what a session remembers of one, and how its description for the data plane is made
//! (RFC 7296 §2.9, §2.17, §2.8).
//!
//! Enters: a negotiated suite, narrowed selectors, nonces, the IKE SA's keys. Leaves: an install for the data plane, the
//! payloads that tell the peer, and the [`Child`] that the session keeps.

use crate::api::{ChildFacts, ChildInstall, EspPath, Inner, SessionId, UdpPorts};
use crate::crypto::{Role, SharedSecret};
use crate::error::IkeError;
use crate::sa::{IkeSa, NAT_T_PORT};
use crate::selectors::{self, SelectorPair};
use crate::suite::{EspChoice, EspSuite, Group};
use crate::time::Instant;
use crate::wire::{Nonce, Payload};
use crate::world::Cx;

/// A Child SA that is installed.
#[derive(Clone)]
pub(crate) struct Child {
    pub(crate) inbound_spi: u32,
    pub(crate) outbound_spi: u32,
    pub(crate) suite: EspSuite,
    pub(crate) esn: bool,
    pub(crate) group: Option<Group>,
    pub(crate) selectors: SelectorPair,
    pub(crate) inner: Inner,
    pub(crate) path: EspPath,
    pub(crate) role: ChildRole,
    /// Whether the peer made it for one of its resources (RFC 9611), beside the one that packets to it leave by.
    pub(crate) bound: bool,
    /// When it was made.
    pub(crate) established_at: Instant,
    /// When we rekey it; `None` leaves that to the peer.
    pub(crate) rekey_at: Option<Instant>,
    /// When it ends.
    pub(crate) hard_at: Option<Instant>,
}

/// Where a Child SA stands in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChildRole {
    /// In use.
    Active,
    /// The peer made it to replace `of`; we send by `of` until the peer is known to use this one.
    Successor { of: u32 },
    /// `by` was made to replace it; whoever made that one deletes this one.
    Replaced { by: u32 },
    /// We delete it.
    Deleting,
    /// Deleted; stays installed for packets in flight until then.
    Lingering { until: Instant },
}

/// What the making of a Child SA is about.
pub(crate) struct Made<'a> {
    pub(crate) session: SessionId,
    pub(crate) inbound_spi: u32,
    pub(crate) choice: &'a EspChoice,
    pub(crate) selectors: SelectorPair,
    pub(crate) inner: Inner,
    pub(crate) ni: &'a Nonce,
    pub(crate) nr: &'a Nonce,
    pub(crate) shared: Option<&'a SharedSecret>,
    /// Our role in the exchange that makes it.
    pub(crate) local_role: Role,
    pub(crate) child_role: ChildRole,
    pub(crate) bound: bool,
    pub(crate) outbound_selected: bool,
}

/// A Child SA about to be installed.
pub(crate) struct ChildPlan {
    pub(crate) child: Child,
    pub(crate) install: ChildInstall,
    /// SA, TSi and TSr of the responder's answer.
    pub(crate) answer: Vec<Payload>,
}

/// Derives the keys and describes the SA. On an error the SPI is given back.
pub(crate) fn plan(cx: &mut Cx<'_>, sa: &IkeSa, made: Made<'_>) -> Result<ChildPlan, IkeError> {
    let keymat = sa.keys.child_keymat(made.choice.suite, made.shared, made.ni, made.nr);
    let Ok(keymat) = keymat else {
        cx.release_child(made.session, made.inbound_spi);
        return Err(IkeError::Bug("KEYMAT derivation failed"));
    };
    let (outbound, inbound) = match made.local_role {
        Role::Initiator => (&keymat.initiator_to_responder, &keymat.responder_to_initiator),
        Role::Responder => (&keymat.responder_to_initiator, &keymat.initiator_to_responder),
    };
    let secret = |key: &crate::crypto::Secret| crate::api::Secret::new(key.as_bytes().to_vec());
    let path = esp_path(sa);
    let inner = selectors::carried(made.inner, &made.selectors);
    let install = ChildInstall {
        session: made.session,
        inbound_spi: made.inbound_spi,
        outbound_spi: made.choice.peer_spi,
        suite: made.choice.suite,
        esn: made.choice.esn,
        inbound_keymat: secret(inbound),
        outbound_keymat: secret(outbound),
        path,
        peer_inner: inner,
        local_selectors: made.selectors.local.clone(),
        peer_selectors: made.selectors.peer.clone(),
        outbound_selected: made.outbound_selected,
    };
    let answer = vec![
        Payload::Sa(made.choice.answer(made.inbound_spi)),
        Payload::TsI(selectors::to_wire(&made.selectors.peer)),
        Payload::TsR(selectors::to_wire(&made.selectors.local)),
    ];
    let lifetimes = cx.world.config.lifetimes;
    let (rekey_at, hard_at) = lifetime(cx, lifetimes.child_rekey_secs);
    let child = Child {
        inbound_spi: made.inbound_spi,
        outbound_spi: made.choice.peer_spi,
        suite: made.choice.suite,
        esn: made.choice.esn,
        group: made.choice.group,
        selectors: made.selectors,
        inner,
        path,
        role: made.child_role,
        bound: made.bound,
        established_at: cx.now,
        rekey_at,
        hard_at,
    };
    Ok(ChildPlan { child, install, answer })
}

/// When an SA that begins now is rekeyed by us, and when it ends; nothing when `soft_secs` is 0.
pub(crate) fn lifetime(cx: &mut Cx<'_>, soft_secs: u64) -> (Option<Instant>, Option<Instant>) {
    if soft_secs == 0 {
        return (None, None);
    }
    let lifetimes = cx.world.config.lifetimes;
    let soft_ms = soft_secs.saturating_mul(1000);
    let spread = (soft_ms / 100).saturating_mul(u64::from(lifetimes.jitter_percent.min(50)));
    let draw = u64::from_be_bytes(cx.random());
    let early = draw.checked_rem(spread.saturating_add(1)).unwrap_or(0);
    let rekey_at = cx.now.plus_millis(soft_ms.saturating_sub(early));
    (Some(rekey_at), Some(rekey_at.plus_secs(lifetimes.rekey_grace_secs)))
}

/// How ESP of this IKE SA's Child SAs travels: in UDP exactly where a NAT was detected (RFC 7296 §2.23).
pub(crate) fn esp_path(sa: &IkeSa) -> EspPath {
    let path = sa.path;
    let ports = UdpPorts { local: NAT_T_PORT, peer: path.peer_port };
    EspPath { local: path.local, peer: path.peer, udp: sa.nat.detected().then_some(ports) }
}

impl Child {
    /// What the operator sees.
    pub(crate) fn facts(&self, session: SessionId, replaces: Option<u32>) -> Box<ChildFacts> {
        Box::new(ChildFacts {
            session,
            inbound_spi: self.inbound_spi,
            outbound_spi: self.outbound_spi,
            suite: self.suite,
            esn: self.esn,
            path: self.path,
            local_selectors: self.selectors.local.clone(),
            peer_selectors: self.selectors.peer.clone(),
            replaces,
            established_at: self.established_at,
        })
    }

    /// Whether it counts as one of the session's Child SAs (and not as the rest of an old one).
    pub(crate) fn is_current(&self) -> bool {
        matches!(self.role, ChildRole::Active | ChildRole::Successor { .. })
    }
}

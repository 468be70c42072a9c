//! Clients that are sent to another gateway (RFC 5685): instead of a session, once they are authenticated, or later.
//!
//! Enters: the policy, an operator's order, what the client said it can follow. Leaves: a REDIRECT; after one in a session,
//! the session's end, if the client does not end it by itself in time.

use std::net::IpAddr;

use crate::api::DownReason;
use crate::counters::IkeCounter;
use crate::error::IkeError;
use crate::established::{Established, Ours, Task};
use crate::exchange::admission::Admission;
use crate::exchange::closing::Farewell;
use crate::policy::{GatewayName, Redirected};
use crate::state::State;
use crate::wire::{ExchangeType, Message, Nonce, Notify, NotifyType, Payload};
use crate::world::Cx;

/// "GW Ident Type" of RFC 5685 §9.2.
const IPV4: u8 = 1;
const IPV6: u8 = 2;
const FQDN: u8 = 3;

/// Where a session is sent.
pub(crate) struct Leaving {
    pub(crate) to: GatewayName,
    /// When we end it, once the client has acknowledged.
    pub(crate) until: Option<crate::time::Instant>,
}

/// Whether an IKE_SA_INIT request announces that its sender follows.
pub(crate) fn is_supported(message: &Message) -> bool {
    let tells = [NotifyType::RedirectSupported, NotifyType::RedirectedFrom];
    message.notifies().any(|notify| tells.contains(&notify.kind))
}

/// The REDIRECT that answers an IKE_SA_INIT request, if the policy sends such clients on. Who was just sent here by the gateway
/// that we would send it to stays, so that two gateways do not play ball with it.
pub(crate) fn of_newcomer(cx: &Cx<'_>, message: &Message, ni: &Nonce, whom: Redirected) -> Option<Notify> {
    let policy = &cx.world.config.extensions.redirect;
    let meant = policy.whom == whom || whom == Redirected::WhenFull;
    let to = policy.to.as_ref().filter(|_| meant && is_supported(message))?;
    let (kind, name) = encoded(to);
    let came_from = message.notify(NotifyType::RedirectedFrom).map(|notify| notify.data.as_slice());
    let back = came_from
        .and_then(|data| data.split_at_checked(2))
        .is_some_and(|(head, from)| head.first() == Some(&kind) && from == name.as_slice());
    (!back).then(|| redirect(to, ni.as_bytes()))
}

/// REDIRECT; `nonce` is Ni in the answer to IKE_SA_INIT, and empty everywhere else (RFC 5685 §5, §9.2).
fn redirect(to: &GatewayName, nonce: &[u8]) -> Notify {
    let (kind, name) = encoded(to);
    let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    Notify::with_data(NotifyType::Redirect, [&[kind, len], name.as_slice(), nonce].concat())
}

fn encoded(gateway: &GatewayName) -> (u8, Vec<u8>) {
    match gateway {
        GatewayName::Address(IpAddr::V4(address)) => (IPV4, address.octets().to_vec()),
        GatewayName::Address(IpAddr::V6(address)) => (IPV6, address.octets().to_vec()),
        GatewayName::Fqdn(name) => (FQDN, name.as_bytes().to_vec()),
    }
}

impl Admission {
    /// Where this authenticated client is sent instead of being let in.
    pub(crate) fn sent_to(&self, cx: &Cx<'_>) -> Option<GatewayName> {
        let policy = &cx.world.config.extensions.redirect;
        // Who resumes a session has it here.
        let meant =
            policy.whom == Redirected::Authenticated && self.hs.redirect && self.who.resume().is_none();
        policy.to.clone().filter(|_| meant)
    }

    /// Both sides have proved themselves; the client goes elsewhere, and deletes this IKE SA or just forgets it.
    pub(crate) fn redirect(self, cx: &mut Cx<'_>, to: &GatewayName) -> State {
        let Admission { mut hs, mut head, .. } = self;
        head.push(Payload::Notify(redirect(to, &[])));
        cx.count(IkeCounter::Redirects);
        cx.leave_half_open(hs.id);
        if let Err(error) = hs.sa.respond(cx, head) {
            cx.count(error.counter());
        }
        Farewell::begin(cx, hs.id, hs.sa, DownReason::Redirected)
    }
}

impl Established {
    /// The operator sends this session to another gateway. A client that does not know how to follow stays.
    pub(crate) fn begin_leaving(mut self: Box<Self>, cx: &mut Cx<'_>, to: GatewayName) -> State {
        if self.redirect {
            self.leaving = Some(Leaving { to, until: None });
            self.add_task(Task::Redirect);
            self.pump(cx);
        }
        State::Established(self)
    }

    pub(crate) fn begin_redirect(&mut self, cx: &mut Cx<'_>) -> Result<(), IkeError> {
        let Some(leaving) = &self.leaving else { return Ok(()) };
        let notify = Payload::Notify(redirect(&leaving.to, &[]));
        self.sa.request(cx, ExchangeType::Informational, vec![notify])?;
        self.ours = Some(Ours::Redirect);
        Ok(())
    }

    /// The client knows where to go: it has a while to go there.
    pub(crate) fn on_redirect_answer(&mut self, cx: &mut Cx<'_>) {
        let grace = cx.world.config.extensions.redirect.grace_secs;
        if let Some(leaving) = &mut self.leaving {
            cx.count(IkeCounter::Redirects);
            leaving.until = Some(cx.now.plus_secs(grace));
        }
    }

    /// Why the session ends when the client deletes it.
    pub(crate) fn reason_of_delete(&self) -> DownReason {
        match &self.leaving {
            Some(Leaving { until: Some(_), .. }) => DownReason::Redirected,
            _ => DownReason::PeerDeleted,
        }
    }
}

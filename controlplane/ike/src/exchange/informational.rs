//! INFORMATIONAL requests of the peer: liveness, Delete, errors (RFC 7296 §1.4, §1.5, §2.25).
//!
//! Enters: an authenticated request. Leaves: always one answer; Child SAs or the session gone if the peer deletes them.

use crate::child::ChildRole;
use crate::error::IkeError;
use crate::established::{Established, Flow, OLD_SA_LINGER_MS};
use crate::sa::Path;
use crate::wire::{Delete, Message, NotifyType, Payload};
use crate::world::Cx;

impl Established {
    pub(crate) fn on_informational(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        message: &Message,
        from: Path,
    ) -> Result<Flow, IkeError> {
        let deletes = || {
            message.payloads.iter().filter_map(|payload| match payload {
                Payload::Delete(delete) => Some(delete),
                _ => None,
            })
        };
        if deletes().any(|delete| *delete == Delete::Ike) {
            self.respond(cx, local_spi, Vec::new())?;
            return Ok(self.on_ike_deleted(cx, local_spi));
        }
        if message.payloads.is_empty() {
            self.peer_probes = self.peer_probes.saturating_add(1);
        }
        let fatal = |kind| matches!(kind, NotifyType::AuthenticationFailed | NotifyType::InvalidSyntax);
        if message.notifies().any(|notify| fatal(notify.kind)) {
            // The peer has dropped the IKE SA (RFC 7296 §2.21.2, §2.21.3).
            self.respond(cx, local_spi, Vec::new())?;
            return Ok(Flow::Gone(self.reason_of_delete()));
        }
        let mut ours = Vec::new();
        for delete in deletes() {
            if let Delete::Esp(spis) = delete {
                ours.extend(spis.iter().filter_map(|spi| self.on_child_deleted(cx, *spi)));
            }
        }
        let mut answer = self.on_mobility(cx, local_spi, message, from);
        if !ours.is_empty() {
            answer.push(Payload::Delete(Delete::Esp(ours)));
        }
        self.respond_with_ticket(cx, local_spi, message, answer)?;
        Ok(Flow::Stay)
    }

    fn on_ike_deleted(&mut self, cx: &mut Cx<'_>, local_spi: u64) -> Flow {
        if let Some(old) = self.old.iter_mut().find(|old| old.sa.local_spi() == local_spi) {
            old.until = cx.now.plus_millis(OLD_SA_LINGER_MS);
            return Flow::Stay;
        }
        if let Some(redundant) = self.next.take_if(|next| next.sa.local_spi() == local_spi) {
            // The peer lost the collision and withdraws its IKE SA.
            self.keep_for_retransmissions(cx, redundant.sa);
            return Flow::Stay;
        }
        if self.next.is_some() {
            // The end of the peer's rekey.
            self.promote_next(cx);
            if let Some(old) = self.old.iter_mut().find(|old| old.sa.local_spi() == local_spi) {
                old.until = cx.now.plus_millis(OLD_SA_LINGER_MS);
            }
            return Flow::Stay;
        }
        Flow::Gone(self.reason_of_delete())
    }

    /// The peer deletes the Child SA that it receives by this SPI. Returns our half, if it is for us to name.
    fn on_child_deleted(&mut self, cx: &mut Cx<'_>, outbound_spi: u32) -> Option<u32> {
        let child = self.children.values().find(|child| child.outbound_spi == outbound_spi)?;
        let (spi, role) = (child.inbound_spi, child.role);
        match role {
            ChildRole::Lingering { .. } => None,
            // Both delete it at once: each answers without it (RFC 7296 §1.4.1).
            ChildRole::Deleting => {
                self.linger(cx, spi, None);
                None
            }
            ChildRole::Active | ChildRole::Successor { .. } | ChildRole::Replaced { .. } => {
                self.linger(cx, spi, None);
                Some(spi)
            }
        }
    }
}

//! What an established session does by itself as time goes by: liveness checks, rekeys that fall due, SAs that end
//! (RFC 7296 §2.4, §2.8).
//!
//! Enters: the clock. Leaves: tasks, requests sent again, the end of the session when the peer is dead.

use crate::api::{DownReason, JobResult, Liveness, WakeReason};
use crate::child::ChildRole;
use crate::counters::IkeCounter;
use crate::error::IkeError;
use crate::established::{Established, Flow, Ours, PeerRequest, REKEY_RETRY_MS, Task};
use crate::policy::Timing;
use crate::sa::{Resent, Retry};
use crate::state::State;
use crate::time::Instant;
use crate::world::Cx;

impl Liveness {
    /// What holds for a session of which the driver has said nothing.
    pub(crate) fn of_timing(timing: &Timing) -> Liveness {
        match timing.dpd_interval_secs {
            0 => Liveness::Off,
            interval_secs => Liveness::Periodic { interval_secs },
        }
    }

    fn interval_secs(self) -> Option<u64> {
        match self {
            Liveness::Off => None,
            Liveness::Periodic { interval_secs } | Liveness::OnDemand { interval_secs, .. } => {
                Some(interval_secs.max(1))
            }
        }
    }

    /// How a question is repeated.
    pub(crate) fn retry(self, timing: &Timing) -> Retry {
        match self {
            Liveness::OnDemand { retry_secs, tries, .. } => Retry::steady(retry_secs, tries),
            Liveness::Off | Liveness::Periodic { .. } => Retry::doubling(timing),
        }
    }
}

impl Established {
    pub(crate) fn on_timer(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        match self.sa.on_timer(cx) {
            Resent::NotDue | Resent::Sent => {}
            Resent::Exhausted => {
                cx.count(IkeCounter::PeersDead);
                return State::Ended(DownReason::PeerDead);
            }
        }
        if self.sa_hard_at.is_some_and(|at| at <= cx.now) {
            return self.delete(cx, DownReason::Expired);
        }
        if self.leaving.as_ref().and_then(|leaving| leaving.until).is_some_and(|until| until <= cx.now) {
            return self.delete(cx, DownReason::Redirected);
        }
        if self.childless_until.is_some_and(|until| until <= cx.now) && self.working.is_none() {
            return self.delete(cx, DownReason::NoChildSa);
        }
        if self.next.as_ref().is_some_and(|next| next.settle_at <= cx.now) {
            self.promote_next(cx);
        }
        self.old_sas_on_timer(cx);
        self.children_on_timer(cx);
        if self.sa_rekey_at.is_some_and(|at| at <= cx.now) {
            self.sa_rekey_at = Some(cx.now.plus_millis(REKEY_RETRY_MS));
            self.add_task(Task::RekeyIke);
        }
        self.liveness_on_timer(cx);
        match self.jobs_on_timer(cx) {
            Ok(Flow::Stay) => {}
            ended => {
                let local_spi = self.sa.local_spi();
                return self.after(cx, local_spi, ended);
            }
        }
        self.pump(cx);
        State::Established(self)
    }

    fn old_sas_on_timer(&mut self, cx: &mut Cx<'_>) {
        let mut gone = Vec::new();
        for old in &mut self.old {
            if old.sa.on_timer(cx) == Resent::Exhausted || (old.until <= cx.now && !old.sa.is_waiting()) {
                gone.push(old.sa.local_spi());
            }
        }
        gone.into_iter().for_each(|spi| self.forget_old(cx, spi));
    }

    fn children_on_timer(&mut self, cx: &mut Cx<'_>) {
        let mut tasks = Vec::new();
        let mut gone = Vec::new();
        for child in self.children.values_mut() {
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= cx.now);
            match child.role {
                ChildRole::Lingering { until } if until <= cx.now => gone.push(child.inbound_spi),
                ChildRole::Lingering { .. } | ChildRole::Deleting => {}
                _ if due(child.hard_at) => {
                    child.hard_at = None;
                    child.rekey_at = None;
                    tasks.push(Task::DeleteChild(child.inbound_spi));
                }
                ChildRole::Active | ChildRole::Successor { .. } if due(child.rekey_at) => {
                    child.rekey_at = Some(cx.now.plus_millis(REKEY_RETRY_MS));
                    tasks.push(Task::RekeyChild(child.inbound_spi));
                }
                _ => {}
            }
        }
        gone.into_iter().for_each(|spi| self.drop_child(cx, spi));
        tasks.into_iter().for_each(|task| self.add_task(task));
    }

    /// The driver wants this peer asked in another way.
    pub(crate) fn set_liveness(mut self: Box<Self>, liveness: Liveness) -> State {
        self.liveness = liveness;
        self.schedule_liveness();
        State::Established(self)
    }

    pub(crate) fn schedule_liveness(&mut self) {
        self.liveness_at = self.liveness.interval_secs().map(|interval| self.last_heard.plus_secs(interval));
    }

    /// Asks whether the peer lives, unless its traffic has just said so.
    fn liveness_on_timer(&mut self, cx: &mut Cx<'_>) {
        if self.liveness_at.is_none_or(|at| at > cx.now) {
            return;
        }
        let heard = self.children.keys().filter_map(|spi| cx.env.last_inbound(*spi)).max();
        self.last_heard = self.last_heard.max(heard.unwrap_or_default()).min(cx.now);
        self.schedule_liveness();
        if self.liveness_at.is_some_and(|at| at <= cx.now) {
            // An outstanding request of any kind asks the same question.
            if self.ours.is_none() && !self.sa.is_waiting() {
                self.add_task(Task::Liveness);
            }
            self.liveness_at = self.liveness.interval_secs().map(|interval| cx.now.plus_secs(interval));
        }
    }

    /// Gives up on jobs whose answer does not come; what they bring later is given back by the ledger.
    fn jobs_on_timer(&mut self, cx: &mut Cx<'_>) -> Result<Flow, IkeError> {
        if let Some(working) = self.working.take_if(|working| working.deadline <= cx.now) {
            let on_spi = working.local_spi;
            match &working.what {
                PeerRequest::Child(create) => cx.release_child(self.id, create.inbound_spi()),
                PeerRequest::Ike(rekey) => cx.release_ike_spi(self.id, rekey.local_spi()),
                PeerRequest::FollowUp(exchange) => cx.release_ike_spi(self.id, exchange.local_spi()),
                PeerRequest::Ticket(_) => {}
            }
            match working.what {
                // It asked for other things, too, and those are done.
                PeerRequest::Ticket(ticket) => {
                    self.on_ticket_job(cx, on_spi, *ticket, JobResult::Unavailable)?;
                }
                _ => self.refuse_kind(cx, on_spi, IkeError::Unavailable("job"))?,
            }
        }
        if self.follow_up.as_ref().is_some_and(|follow_up| follow_up.until() <= cx.now) {
            self.drop_follow_up(cx);
        }
        let lost = match &self.ours {
            Some(Ours::RekeyChild(rekey)) => rekey.job_deadline(),
            Some(Ours::RekeyIke(rekey)) => rekey.job_deadline(),
            _ => None,
        };
        if lost.is_some_and(|deadline| deadline <= cx.now) {
            match self.ours.take() {
                Some(Ours::RekeyChild(rekey)) => self.abandon_child_rekey(cx, *rekey),
                Some(Ours::RekeyIke(rekey)) => return Ok(self.ike_rekey_on_timer(cx, *rekey)),
                _ => {}
            }
        }
        Ok(Flow::Stay)
    }

    pub(crate) fn next_wakeup(&self) -> Option<(Instant, WakeReason)> {
        let mut wakes: Vec<(Instant, WakeReason)> = Vec::new();
        let mut add = |at: Option<Instant>, reason| wakes.extend(at.map(|at| (at, reason)));
        add(self.sa.resend_at(), WakeReason::Retransmit);
        add(self.sa_rekey_at, WakeReason::Rekey);
        add(self.sa_hard_at, WakeReason::HardLifetime);
        add(self.leaving.as_ref().and_then(|leaving| leaving.until), WakeReason::Leaving);
        add(self.next.as_ref().map(|next| next.settle_at), WakeReason::Linger);
        add(self.liveness_at, WakeReason::LivenessCheck);
        add(self.childless_until.filter(|_| self.working.is_none()), WakeReason::Childless);
        add(self.working.as_ref().map(|working| working.deadline), WakeReason::JobDeadline);
        add(self.follow_up.as_ref().map(|follow_up| follow_up.until()), WakeReason::Linger);
        match &self.ours {
            Some(Ours::RekeyChild(rekey)) => add(rekey.job_deadline(), WakeReason::JobDeadline),
            Some(Ours::RekeyIke(rekey)) => add(rekey.job_deadline(), WakeReason::JobDeadline),
            _ => {}
        }
        for old in &self.old {
            match old.sa.resend_at() {
                Some(at) => add(Some(at), WakeReason::Retransmit),
                None => add(Some(old.until), WakeReason::Linger),
            }
        }
        for child in self.children.values() {
            match child.role {
                ChildRole::Lingering { until } => add(Some(until), WakeReason::Linger),
                ChildRole::Deleting => {}
                ChildRole::Replaced { .. } => add(child.hard_at, WakeReason::HardLifetime),
                ChildRole::Active | ChildRole::Successor { .. } => {
                    add(child.rekey_at, WakeReason::Rekey);
                    add(child.hard_at, WakeReason::HardLifetime);
                }
            }
        }
        wakes.into_iter().min()
    }
}

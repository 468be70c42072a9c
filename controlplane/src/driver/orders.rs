//! What RADIUS servers order of sessions that are up or wait for their clients (RFC 5176 §2).
//!
//! Enters: a verified order. Leaves: sessions ended or changed, or the Error-Cause that says why not. An order that means several
//! sessions is carried out on all of them.

use causeway_radius::attribute::{ErrorCause, TerminateCause};
use causeway_radius::dynamic::{Change, Kind};

use super::core::Core;
use crate::aaa::radius::{Meant, Order};
use crate::clock;
use crate::link::Link;

impl<L: Link> Core<L> {
    /// Carries out an order.
    pub(super) fn order(&mut self, order: &Order) -> Result<(), ErrorCause> {
        let accounts = self.accounts.as_ref().ok_or(ErrorCause::AdministrativelyProhibited)?;
        let meant = accounts.accountant.meant(&order.selector);
        if meant.is_empty() {
            return Err(ErrorCause::SessionContextNotFound);
        }
        for one in &meant {
            match order.kind {
                Kind::Disconnect => self.disconnect(one),
                Kind::Change(change) => self.change(one, change),
            }
        }
        self.pump();
        Ok(())
    }

    fn disconnect(&mut self, meant: &Meant) {
        if let Some(session) = meant.session {
            if let Some(accounts) = &mut self.accounts {
                accounts.accountant.blame(&meant.accounting_id, TerminateCause::AdminReset);
            }
            self.delete(session);
        } else if let Some(id) = self.accounts.as_ref().and_then(|all| all.durable_id(&meant.accounting_id)) {
            self.table.clear(&id);
        }
    }

    fn change(&mut self, meant: &Meant, change: Change) {
        let now = self.desk.wall();
        if let Some(secs) = change.interim_secs
            && let Some(accounts) = &mut self.accounts
        {
            accounts.accountant.set_interim(&meant.accounting_id, u64::from(secs), now);
        }
        if let Some(secs) = change.session_timeout_secs {
            let ends_at = now.after(u64::from(secs));
            let durable = self.accounts.as_ref().and_then(|all| all.durable_id(&meant.accounting_id));
            match (durable, meant.session) {
                (Some(id), _) => self.table.end_at(&id, ends_at),
                (None, Some(session)) => self.limits.end_at(session, ends_at),
                (None, None) => {}
            }
        }
        if let (Some(secs), Some(session)) = (change.idle_timeout_secs, meant.session) {
            let link = &self.link;
            let carried = self.sessions.carried(session, |spi| link.traffic(spi));
            self.limits.change_idle(session, u64::from(secs), carried, clock::millis(clock::now()));
        }
    }
}

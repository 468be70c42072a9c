//! Silence and the way back: suspend, waking up, attempts to resume until the gateway must have forgotten the session.
//!
//! Enters: a command, or a machine that has slept. Leaves: a silent socket, or a [`Phase`] on the way to a connection.

use std::time::Duration;

use causeway_ike::wire::NotifyType;

use super::journal::{Kind, Source};
use super::{Agent, AgentError, Phase};
use crate::initiator::Fault;

/// Attempts to resume that may be refused before the user is asked to log in.
pub(super) const MAX_REFUSALS: u32 = 3;

impl Agent {
    pub(super) fn suspend(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Suspended { _silent: None });
        if let Phase::Up { link } = phase {
            self.tally.esp_before(link.tunnels.counters);
            self.phase = Phase::Suspended { _silent: Some(link.socket) };
        }
        self.journal.event(Kind::Information, Source::Agent, "Client Agent preparing for system suspend.");
    }

    pub(super) async fn wake_up(&mut self) {
        self.journal.event(Kind::Information, Source::Agent, "Client Agent continuing from system suspend.");
        self.journal.event(
            Kind::Warning,
            Source::Agent,
            "Session level reconnect reason code 9:\nSystem resume from suspend mode (Sleep, Stand-by, Hibernate, \
             etc).\nOriginates from session level",
        );
        self.lost_since = Some(std::time::Instant::now());
        self.reconnecting();
        match self.kept.is_some() {
            true => self.resume().await,
            false => self.log_in().await,
        }
    }

    /// An attempt to resume has failed. Only a gateway that has proved itself can end the session for good: what came before
    /// may be anybody's word, so it is asked again, and then the user logs in while the session is kept all the same.
    pub(super) async fn resume_failed(&mut self, fault: &Fault) {
        use NotifyType::{AuthenticationFailed, InternalAddressFailure};
        match fault {
            Fault::Denied(AuthenticationFailed | InternalAddressFailure) => {
                self.forget();
                self.log_in_instead().await;
            }
            Fault::Refused(AuthenticationFailed | InternalAddressFailure) => {
                self.refusals = self.refusals.saturating_add(1);
                if self.refusals < MAX_REFUSALS {
                    self.try_later(&fault.to_string());
                } else {
                    self.log_in_instead().await;
                }
            }
            _ => self.try_later(&fault.to_string()),
        }
    }

    async fn log_in_instead(&mut self) {
        self.refusals = 0;
        self.tally.resumes_refused = self.tally.resumes_refused.saturating_add(1);
        self.journal.tell_user("The session cannot be resumed; logging in again.");
        self.log_in().await;
    }

    /// A login has failed. If a session is kept, whoever stood in its way may be gone next time; a gateway that has proved
    /// itself and refused the user is not.
    pub(super) fn login_failed(&mut self, fault: Fault) {
        match fault {
            Fault::NoAnswer | Fault::Refused(_) | Fault::Gateway(_) if self.kept.is_some() => {
                self.try_later(&fault.to_string());
            }
            fault => self.finish(Err(AgentError::Login(fault))),
        }
    }

    pub(super) fn reconnecting(&mut self) {
        self.journal.tell_user(&format!("Reconnecting to {}...", self.config.display_name()));
    }

    /// Waits for the next attempt, unless the gateway has forgotten the session by now.
    pub(super) fn try_later(&mut self, reason: &str) {
        let keeps = self.kept.as_ref().and_then(|kept| kept.cleanup_interval_secs).map(u64::from);
        let timeout = Duration::from_secs(keeps.unwrap_or(self.config.reconnect.timeout_secs));
        if self.lost_since.is_none_or(|since| since.elapsed() >= timeout) {
            self.finish(Err(AgentError::Lost(reason.to_owned())));
            return;
        }
        let wait = Duration::from_secs(self.config.reconnect.retry_secs.max(1));
        self.phase = Phase::Waiting { until: tokio::time::Instant::now() + wait };
    }
}

//! What is counted of Auto Reconnect: the five figures that operators of Cisco's gateways know, and why attempts failed.

use causeway_shared::api::{Counter, ReconnectStats};

use super::{Refusal, Table};
use crate::counters::bump;

/// Counts since start, or since an operator reset them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// IKE_AUTH requests that named a session id, known or not.
    pub incoming: u64,
    /// Those that were resumed.
    pub success: u64,
    /// Those that were not, by [`Refusal::ALL`].
    refused: [u64; Refusal::ALL.len()],
    /// Sessions that fell silent.
    pub parked: u64,
    /// Sessions that waited too long or reached the end of their lifetime.
    pub expired: u64,
    /// Sessions that made room for others.
    pub evicted: u64,
    /// Burnt tokens that were used.
    pub replays: u64,
    /// Sessions that could not be stored, and so cannot be resumed.
    pub unstored: u64,
}

impl Counts {
    /// An attempt failed.
    pub fn refuse(&mut self, reason: Refusal) {
        if let Some(count) = self.refused.get_mut(reason as usize) {
            bump(count);
        }
    }

    /// How many attempts failed for this reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many attempts failed.
    pub fn failed(&self) -> u64 {
        self.refused.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// As the API shows them, with the gauges.
    pub fn render(&self, enabled: bool, active_capable: u64, inactive_capable: u64) -> ReconnectStats {
        let mut more: Vec<Counter> = Refusal::ALL
            .into_iter()
            .map(|reason| {
                counter(
                    &format!("reconnect_failed_{}", reason.name().replace('-', "_")),
                    self.refused(reason),
                    meaning(reason),
                    remedy(reason),
                )
            })
            .collect();
        more.extend([
            counter("reconnect_parked", self.parked, "Sessions that became inactive.", ""),
            counter(
                "reconnect_expired",
                self.expired,
                "Sessions that ended because their time was over.",
                "",
            ),
            counter(
                "reconnect_evicted",
                self.evicted,
                "Inactive sessions that made room for others.",
                "Raise reconnect.max_inactive or reconnect.per_user_max, or lower reconnect.timeout_secs.",
            ),
            counter(
                "reconnect_unstored",
                self.unstored,
                "Sessions that cannot be resumed because the store did not take them.",
                "Look for the store's error in the log.",
            ),
        ]);
        ReconnectStats {
            total_incoming: self.incoming,
            success: self.success,
            failed: self.failed(),
            active_capable,
            inactive_capable,
            enabled,
            more,
        }
    }
}

impl Table {
    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Counts from zero again. How many sessions there are does not change.
    pub fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }
}

fn counter(name: &str, value: u64, meaning: &str, remedy: &str) -> Counter {
    Counter { name: name.to_owned(), value, meaning: meaning.to_owned(), remedy: remedy.to_owned() }
}

fn meaning(reason: Refusal) -> &'static str {
    match reason {
        Refusal::UnknownId => "Attempts with a session id that nobody has (any more).",
        Refusal::Frozen => "Attempts refused unseen after too many failures.",
        Refusal::Expired => "Attempts that came after the session's time.",
        Refusal::StillActive => "Attempts to resume an active session, which the policy forbids.",
        Refusal::WrongToken => "Attempts with a wrong token.",
        Refusal::Replay => "Attempts with a token that was replaced and counts no longer.",
        Refusal::Raced => "Attempts that lost against another one for the same session.",
        Refusal::Overtaken => "Attempts that arrived after a newer one of the same client.",
        Refusal::AddressGone => "Attempts for sessions whose address is in no pool any more.",
        Refusal::Store => "Attempts that the store could not be asked about.",
        Refusal::Handshake => "Attempts whose handshake ended for another reason.",
    }
}

fn remedy(reason: Refusal) -> &'static str {
    match reason {
        Refusal::UnknownId | Refusal::Raced | Refusal::Overtaken | Refusal::Handshake => "",
        Refusal::Expired => "If clients sleep for longer, raise reconnect.timeout_secs.",
        Refusal::StillActive => "Set reconnect.allow_active_takeover = true if clients change networks.",
        Refusal::Frozen | Refusal::WrongToken => {
            "Somebody may be guessing; the log has the source addresses."
        }
        Refusal::Replay => "A client's state was copied or restored from a backup: ask its user.",
        Refusal::AddressGone => "Keep the pools when restarting, or let clients log in anew.",
        Refusal::Store => "Look for the store's error in the log.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_count_and_all_are_failures() {
        let mut counts = Counts { incoming: 12, success: 1, ..Counts::default() };
        for reason in Refusal::ALL {
            counts.refuse(reason);
            assert_eq!(counts.refused(reason), 1, "{reason:?}");
        }
        let stats = counts.render(true, 3, 4);
        assert_eq!((stats.total_incoming, stats.success, stats.failed), (12, 1, 11));
        assert_eq!((stats.active_capable, stats.inactive_capable), (3, 4));
        let mut names: Vec<_> = stats.more.iter().map(|counter| &counter.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), stats.more.len());
    }
}

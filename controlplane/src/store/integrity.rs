//! What is known of the store's soundness, for whoever asks while a check is running.
//!
//! Enters: the verdict of a check in the background. Leaves: [`Verdict`]s, and one sentence for the operator.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::StoreError;

/// Where a store's check puts what it finds. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Integrity(Arc<Mutex<Verdict>>);

/// How a store stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// There is nothing to check.
    #[default]
    Nothing,
    /// The check is under way.
    Checking,
    /// Every page and every seal is as it should be.
    Sound {
        /// How long the check took.
        took: Duration,
    },
    /// The pages fit together, but some sessions are not as they were stored: they cannot be resumed.
    Altered {
        /// How many.
        sessions: u64,
    },
    /// Pages do not fit together.
    Damaged(StoreError),
    /// The check could not be finished.
    Unfinished(StoreError),
}

impl Integrity {
    /// What is known now.
    pub fn verdict(&self) -> Verdict {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is wrong, with the next step; `None` while nothing is known to be.
    pub fn problem(&self) -> Option<String> {
        match self.verdict() {
            Verdict::Nothing | Verdict::Checking | Verdict::Sound { .. } => None,
            Verdict::Altered { sessions } => Some(format!(
                "{sessions} sessions in the store are not as they were stored: their clients must log in anew. Look for \
                 failing storage, or for somebody who writes to the file."
            )),
            Verdict::Damaged(error) => Some(format!("The session store was found damaged: {error}.")),
            Verdict::Unfinished(error) => Some(format!("The session store could not be checked: {error}.")),
        }
    }

    pub(super) fn set(&self, verdict: Verdict) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
    }
}

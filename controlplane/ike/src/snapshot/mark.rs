//! What of a session must be stored before the messages of an input leave.
//!
//! Enters: a session that is up. Leaves: a value that is another one exactly when a snapshot stored before would
//! contradict what the peer is told now.

use crate::api::{Liveness, SessionId};
use crate::child::ChildRole;
use crate::endpoint::Endpoint;
use crate::established::{Established, Task};
use crate::sa::{IkeSa, Path};
use crate::selected::Selected;

/// What a stored snapshot stands for. Timers and signs of life are not in it: losing them does no harm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    sas: Vec<SaMark>,
    children: Vec<(u32, ChildRole)>,
    selected: Selected,
    tasks: Vec<Task>,
    liveness: Liveness,
}

/// An IKE SA by our SPI: message IDs of the next request of either side, and where the peer is.
#[derive(Clone, PartialEq, Eq, Debug)]
struct SaMark {
    local_spi: u64,
    peer_next: u32,
    local_next: u32,
    path: Path,
}

impl Endpoint {
    /// What a snapshot of this session would stand for now; `None` where [`Endpoint::snapshot`] gives none.
    pub fn mark(&self, session: SessionId) -> Option<Mark> {
        self.established_session(session).filter(|session| session.is_restorable()).map(Mark::of)
    }
}

impl Endpoint {
    /// Inbound SPIs of a session's Child SAs, as long as they are installed; none unless the session is up.
    pub fn installed(&self, session: SessionId) -> Vec<u32> {
        let children = |session: &Established| session.children.keys().copied().collect();
        self.established_session(session).map(children).unwrap_or_default()
    }
}

impl Mark {
    fn of(session: &Established) -> Mark {
        let next = session.next.iter().map(|next| &next.sa);
        let old = session.old.iter().map(|old| &old.sa);
        Mark {
            sas: std::iter::once(&session.sa).chain(next).chain(old).map(SaMark::of).collect(),
            children: session.children.values().map(|child| (child.inbound_spi, child.role)).collect(),
            selected: session.selected,
            tasks: session.tasks.iter().copied().collect(),
            liveness: session.liveness,
        }
    }
}

impl SaMark {
    fn of(sa: &IkeSa) -> SaMark {
        let ids = sa.message_ids();
        SaMark {
            local_spi: sa.local_spi(),
            // A request without answer counts as not received.
            peer_next: ids.peer_outstanding.unwrap_or(ids.peer_next),
            local_next: ids.local_next,
            path: sa.path,
        }
    }
}

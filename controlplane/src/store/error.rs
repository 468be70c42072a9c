//! What can go wrong with the store, whose fault it is, and the way out.

use std::net::IpAddr;
use std::path::PathBuf;

/// Why a request was not met.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another session has this id.
    #[error("a session of this id is in the store already")]
    IdTaken,
    /// Another session has this inner address.
    #[error("the inner address {0} belongs to another session in the store")]
    AddressTaken(IpAddr),
    /// A field is larger than the store takes.
    #[error("{field} has {octets} octets, {most} is the most the store takes")]
    TooLarge {
        /// Which.
        field: &'static str,
        /// How large it is.
        octets: usize,
        /// How large it may be.
        most: usize,
    },
    /// A secret cannot be unsealed: the row was altered, or the node key is another one.
    #[error(
        "the secrets of a session in {path} cannot be unsealed: the row was altered or {path}.key is not the key \
         they were sealed with. Put the right key file back, or remove the session: its client logs in anew"
    )]
    Unsealable {
        /// The database.
        path: PathBuf,
    },
    /// The disk is full.
    #[error(
        "no space is left for {path}: free some on its file system. What is stored stays readable, nothing \
         acknowledged is lost, and writing goes on by itself once there is space"
    )]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// The file is no intact database.
    #[error(
        "{path} is damaged ({detail}). Put a backup in its place, or create an empty file {path}.move-aside and start \
         again: the damaged file is kept as {path}.damaged-…, the store starts empty and clients log in anew"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Another version of Causeway wrote the file.
    #[error(
        "{path} has schema version {found}, this version of Causeway reads {wanted}: run the version that wrote it, \
         or move the file away and start with an empty store"
    )]
    Version {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        wanted: i64,
    },
    /// It is a database, but not a session store.
    #[error("{path} is a database of another program: set store.path to a file of its own")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error("{path} is in use by another process: only one control plane may hold a store")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The node key cannot be used.
    #[error("the node key {path} cannot be used: {detail}")]
    NodeKey {
        /// The key's file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// Any other failure of disk or system.
    #[error("{path}: {detail}")]
    Io {
        /// The database.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// Too many requests wait.
    #[error("{0} requests wait for the store already")]
    Busy(usize),
    /// The store did not answer in time. The outcome of a change is unknown: ask again, the generation tells.
    #[error("the store did not answer within {0} ms")]
    Late(u64),
    /// The code that asked panicked: a mistake of ours.
    #[error("a request panicked in the store; nothing of it was kept")]
    Panicked,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the request is at fault, and the store goes on as if it had not been made.
    pub fn is_about_request(&self) -> bool {
        match self {
            StoreError::IdTaken
            | StoreError::AddressTaken(_)
            | StoreError::TooLarge { .. }
            | StoreError::Unsealable { .. } => true,
            StoreError::Full { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Version { .. }
            | StoreError::Foreign { .. }
            | StoreError::InUse { .. }
            | StoreError::NodeKey { .. }
            | StoreError::Io { .. }
            | StoreError::Busy(_)
            | StoreError::Late(_)
            | StoreError::Panicked
            | StoreError::Closed => false,
        }
    }
}

//! `auth.revocation` and its neighbours: whether client certificates may have been revoked, as the rest of Causeway sees it.

use std::path::PathBuf;

/// How the revocation of client certificates is looked up.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// What becomes of a certificate whose status cannot be learnt.
    pub check: RevocationCheck,
    /// Revocation lists on disk.
    pub crl_files: Vec<PathBuf>,
    /// Whether places that certificates name are asked.
    pub fetch: bool,
    /// How long a login waits for them, in milliseconds.
    pub wait_ms: u32,
}

/// `auth.revocation`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevocationCheck {
    /// Nothing is looked up.
    Off,
    /// A revoked certificate is refused, one of unknown status is not.
    Soft,
    /// Only what is known to be good logs in.
    Hard,
}

impl Default for Revocation {
    /// Nothing is looked up.
    fn default() -> Revocation {
        Revocation { check: RevocationCheck::Off, crl_files: Vec::new(), fetch: false, wait_ms: 0 }
    }
}

//! A session as it is stored: its durable id, what is known of it and its state, without secrets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Claim, StoreError};

/// Most octets of the merged attributes: a banner, routes and names of one session, in JSON.
pub const MAX_ATTRIBUTES_OCTETS: usize = 16 * 1024;
/// Most octets of what the client said of itself.
pub const MAX_CLIENT_OCTETS: usize = 4 * 1024;
/// Most octets of each name: user, group, profile, pool, accounting id. RADIUS carries at most 253.
pub const MAX_NAME_OCTETS: usize = 256;

/// Seconds since 1970 in store time (see [`super::clock::StoreClock`]): comparable across restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct WallSecs(pub u64);

impl WallSecs {
    /// So many seconds later, at most the end of time.
    pub fn after(self, secs: u64) -> WallSecs {
        // SQLite's integers are signed.
        WallSecs(self.0.saturating_add(secs).min(i64::MAX.unsigned_abs()))
    }
}

/// The name of a session that outlives its IKE SAs: 18 letters, as a client is told and presents again
/// (`[A-Za-z]`, as Cisco's clients expect). It is no secret, but not to be guessed either: 102 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurableId([u8; DurableId::LEN]);

impl DurableId {
    /// Letters of an id.
    pub const LEN: usize = 18;
    const ALPHABET: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    /// A fresh id; `fill` fills a buffer with random octets.
    pub fn random(mut fill: impl FnMut(&mut [u8])) -> DurableId {
        let mut letters = [0; DurableId::LEN];
        let mut found = 0;
        while found < letters.len() {
            let mut pool = [0; 32];
            fill(&mut pool);
            // 208 = 4 × 52: every letter is as likely as the others.
            for letter in pool.iter().filter(|octet| **octet < 208).map(|octet| usize::from(octet % 52)) {
                if let (Some(place), Some(letter)) = (letters.get_mut(found), DurableId::ALPHABET.get(letter))
                {
                    *place = *letter;
                    found += 1;
                }
            }
        }
        DurableId(letters)
    }

    /// The id that a peer presents, if it has the form of one.
    pub fn parse(octets: &[u8]) -> Option<DurableId> {
        let letters: [u8; DurableId::LEN] = octets.try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then_some(DurableId(letters))
    }

    /// Its letters.
    pub fn as_str(&self) -> &str {
        // Always ASCII, see `parse` and `random`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its octets, as they stand in an IKE payload.
    pub fn as_bytes(&self) -> &[u8; DurableId::LEN] {
        &self.0
    }
}

impl fmt::Display for DurableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for DurableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoredState {
    /// It has IKE SAs.
    Active,
    /// It was claimed and has no IKE SA of its own yet. After a restart it counts as active.
    Resuming,
    /// It waits for its client.
    Inactive {
        /// Since when.
        since: WallSecs,
        /// It may be resumed before this moment.
        expires_at: WallSecs,
    },
}

impl StoredState {
    /// Whether it waits for its client.
    pub fn is_inactive(self) -> bool {
        matches!(self, StoredState::Inactive { .. })
    }
}

/// Packets and octets of a whole session, over all its Child SAs so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Packets from the client.
    pub in_packets: u64,
    /// Their inner octets.
    pub in_bytes: u64,
    /// Packets to the client.
    pub out_packets: u64,
    /// Their inner octets.
    pub out_bytes: u64,
}

/// A session, without its secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRecord {
    /// Its name.
    pub id: DurableId,
    /// How often it was claimed: who knows the generation holds the session.
    pub generation: u64,
    /// The number operators see; new with every resumption.
    pub serial: u64,
    /// Where it stands.
    pub state: StoredState,
    /// The authenticated user.
    pub user: String,
    /// The group policy that was applied, or empty.
    pub group: String,
    /// The profile it came in by.
    pub profile: String,
    /// The pool of its addresses, or empty.
    pub pool: String,
    /// Its IPv4 address inside.
    pub inner_v4: Option<Ipv4Addr>,
    /// Its IPv6 address inside.
    pub inner_v6: Option<Ipv6Addr>,
    /// The merged authorization attributes, as the driver writes them (JSON).
    pub attributes: Vec<u8>,
    /// What the client said of itself: device id, version (JSON).
    pub client: Vec<u8>,
    /// Its accounting session id.
    pub accounting_id: String,
    /// When its user logged in.
    pub created_at: WallSecs,
    /// When it ends whatever happens, if its lifetime is limited.
    pub ends_at: Option<WallSecs>,
    /// How often it was resumed.
    pub resumptions: u64,
    /// What it has carried.
    pub totals: Totals,
}

impl SessionRecord {
    /// Whether everything in it is small enough for the store.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] names the first field that is not.
    pub fn check(&self) -> Result<(), StoreError> {
        for (field, octets, most) in [
            ("user", self.user.len(), MAX_NAME_OCTETS),
            ("group", self.group.len(), MAX_NAME_OCTETS),
            ("profile", self.profile.len(), MAX_NAME_OCTETS),
            ("pool", self.pool.len(), MAX_NAME_OCTETS),
            ("accounting id", self.accounting_id.len(), MAX_NAME_OCTETS),
            ("client", self.client.len(), MAX_CLIENT_OCTETS),
        ] {
            check_size(field, octets, most)?;
        }
        check_attributes(&self.attributes)
    }

    /// What its secrets are bound to: who it is and what it may do. If any of that is altered in the store, the secrets do not
    /// open, so the session cannot be resumed as somebody else's.
    pub(super) fn bound(&self) -> Vec<u8> {
        let number = |number: u64| number.to_be_bytes();
        let v4 = self.inner_v4.map(|address| address.octets());
        let v6 = self.inner_v6.map(|address| address.octets());
        let ends_at = self.ends_at.map(|ends_at| number(ends_at.0));
        let parts: [&[u8]; 12] = [
            self.id.as_bytes(),
            self.user.as_bytes(),
            self.group.as_bytes(),
            self.profile.as_bytes(),
            self.pool.as_bytes(),
            v4.as_ref().map_or(&[], |octets| octets),
            v6.as_ref().map_or(&[], |octets| octets),
            self.accounting_id.as_bytes(),
            &number(self.created_at.0),
            ends_at.as_ref().map_or(&[], |octets| octets),
            &self.client,
            &self.attributes,
        ];
        let mut bound = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
        for part in parts {
            bound.extend_from_slice(&number(part.len() as u64));
            bound.extend_from_slice(part);
        }
        bound
    }

    /// Whether it is inactive and its time is over.
    pub fn is_expired(&self, now: WallSecs) -> bool {
        matches!(self.state, StoredState::Inactive { expires_at, .. } if expires_at <= now)
    }

    /// What a won claim makes of it.
    pub(super) fn claimed(&mut self, claim: &Claim) {
        self.generation = self.generation.saturating_add(1);
        self.serial = claim.serial;
        self.state = StoredState::Resuming;
        self.resumptions = self.resumptions.saturating_add(1);
    }

    /// Its inner addresses.
    pub fn inner_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.inner_v4.map(IpAddr::V4).into_iter().chain(self.inner_v6.map(IpAddr::V6))
    }
}

pub(super) fn check_attributes(attributes: &[u8]) -> Result<(), StoreError> {
    check_size("attributes", attributes.len(), MAX_ATTRIBUTES_OCTETS)
}

pub(super) fn check_size(field: &'static str, octets: usize, most: usize) -> Result<(), StoreError> {
    if octets > most {
        return Err(StoreError::TooLarge { field, octets, most });
    }
    Ok(())
}

/// A place in the walk over all sessions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor(pub(super) i64);

impl Cursor {
    /// Before the first session.
    pub const START: Cursor = Cursor(0);
}

/// Some sessions of a walk.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order they were added.
    pub records: Vec<SessionRecord>,
    /// Where to go on, unless this was all.
    pub next: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_that_clients_are_told() {
        let mut octet = 0u8;
        let id = DurableId::random(|pool| {
            for place in pool {
                octet = octet.wrapping_add(97);
                *place = octet;
            }
        });
        assert_eq!(DurableId::parse(id.as_bytes()), Some(id));
        assert_eq!(DurableId::parse(id.as_str().as_bytes()), Some(id));
        for wrong in [&b"rIUHKccDRiUtFTATw"[..], b"rIUHKccDRiUtFTATwq7", b"rIUHKccDRiUtFTATw7", b""] {
            assert_eq!(DurableId::parse(wrong), None);
        }
        assert_eq!(DurableId::parse(b"rIUHKccDRiUtFTATwq").unwrap().to_string(), "rIUHKccDRiUtFTATwq");
    }

    #[test]
    fn octets_that_would_favour_letters_are_thrown_away() {
        let mut rounds = 0;
        let id = DurableId::random(|pool| {
            rounds += 1;
            pool.fill(if rounds == 1 { 255 } else { 51 });
        });
        assert_eq!((rounds, id.as_str()), (2, "zzzzzzzzzzzzzzzzzz"));
    }

    #[test]
    fn time_ends_where_the_database_ends() {
        assert_eq!(WallSecs(5).after(7), WallSecs(12));
        assert_eq!(WallSecs(5).after(u64::MAX).0, i64::MAX.unsigned_abs());
    }
}

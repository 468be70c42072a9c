//! The node's key, and what is sealed under it: tokens and IKE state at rest.
//!
//! Enters: the key's file, secrets. Leaves: sealed secrets (AES-256-GCM, RFC 5116) that open only under the same key, for the
//! same session and the same purpose, and only while what they are bound to is unaltered. Every session has a key of its own, derived with HMAC-SHA-256, so that the number
//! of random nonces under one key stays small (NIST SP 800-38D §8.3).

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::{Zeroize, Zeroizing};

use super::{DurableId, StoreError};

/// Octets of the key.
const KEY_OCTETS: usize = 32;
/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// What a secret is sealed for; one cannot be passed off as another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Tokens,
    IkeState,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Purpose::Tokens => b"causeway store 1 tokens ",
            Purpose::IkeState => b"causeway store 1 ike state ",
        }
    }
}

/// The sealed secret is not this session's, was altered or was sealed under another key; or no randomness was to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SealError;

/// The key under which everything is sealed.
pub(super) struct NodeKey {
    /// Derives the sessions' keys. The library wipes its context.
    derive: hmac::Key,
}

impl NodeKey {
    /// Reads the key's file.
    ///
    /// # Errors
    /// When it is no key, or others than its owner may read it. `Ok(None)` when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<NodeKey>, StoreError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(path, error.to_string())),
        };
        let mode = file.metadata().map_err(|error| wrong(path, error.to_string()))?.mode();
        if mode & OTHERS != 0 {
            let mode = mode & 0o777;
            return Err(wrong(path, format!("its mode is {mode:o}, others may use it: chmod 600 it")));
        }
        let mut octets = Zeroizing::new([0; KEY_OCTETS + 1]);
        let mut length = 0;
        loop {
            let rest = octets.get_mut(length..).unwrap_or_default();
            match file.read(rest) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(wrong(path, error.to_string())),
            }
        }
        match octets.get(..length) {
            Some(key) if length == KEY_OCTETS => Ok(Some(NodeKey::new(key))),
            _ => Err(wrong(path, format!("it must hold {KEY_OCTETS} octets"))),
        }
    }

    /// Makes a key and its file, durably.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub(super) fn create(path: &Path) -> Result<NodeKey, StoreError> {
        let mut octets = Zeroizing::new([0; KEY_OCTETS]);
        aws_lc_rs::rand::fill(octets.as_mut())
            .map_err(|_| wrong(path, "the system has no randomness".to_owned()))?;
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(octets.as_ref())?;
            file.sync_all()?;
            File::open(directory(path))?.sync_all()
        };
        write().map_err(|error| wrong(path, error.to_string()))?;
        Ok(NodeKey::new(octets.as_ref()))
    }

    fn new(octets: &[u8]) -> NodeKey {
        NodeKey { derive: hmac::Key::new(hmac::HMAC_SHA256, octets) }
    }

    /// A value by which a store recognises its key.
    pub(super) fn check_value(&self) -> [u8; 32] {
        self.derived(b"causeway store 1 check", &[])
    }

    /// What keys of tickets are derived from, and nothing else.
    pub(super) fn ticket_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.derived(b"causeway store 1 tickets", &[]))
    }

    /// `secret`, to be opened for the same session and purpose only, and only beside the same `bound` octets.
    pub(super) fn seal(
        &self,
        purpose: Purpose,
        id: &DurableId,
        bound: &[u8],
        secret: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealError)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + secret.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(secret);
        let place = sealed.get_mut(NONCE_LEN..).unwrap_or_default();
        let tag = self
            .session_key(purpose, id)?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), place)
            .map_err(|_| SealError);
        match tag {
            Ok(tag) => sealed.extend_from_slice(tag.as_ref()),
            Err(error) => {
                sealed.zeroize();
                return Err(error);
            }
        }
        Ok(sealed)
    }

    /// Opens what [`NodeKey::seal`] made.
    pub(super) fn open(
        &self,
        purpose: Purpose,
        id: &DurableId,
        bound: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
        let mut place = Zeroizing::new(sealed.to_vec());
        let length = self
            .session_key(purpose, id)?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound), place.as_mut_slice())
            .map_err(|_| SealError)?
            .len();
        place.truncate(length);
        Ok(place)
    }

    fn session_key(&self, purpose: Purpose, id: &DurableId) -> Result<LessSafeKey, SealError> {
        let octets = Zeroizing::new(self.derived(purpose.label(), id.as_bytes()));
        Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, octets.as_ref()).map_err(|_| SealError)?))
    }

    fn derived(&self, label: &[u8], id: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.derive);
        context.update(label);
        context.update(id);
        let tag = context.sign();
        let mut octets = [0; 32];
        // HMAC-SHA-256 has 32 octets.
        octets.iter_mut().zip(tag.as_ref()).for_each(|(place, octet)| *place = *octet);
        octets
    }
}

/// The directory that a file stands in.
pub(super) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn wrong(path: &Path, detail: String) -> StoreError {
    StoreError::NodeKey { path: path.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: u8) -> DurableId {
        DurableId::parse(&[letter; DurableId::LEN]).unwrap()
    }

    #[test]
    fn a_secret_opens_only_for_its_session_purpose_and_key_and_only_unaltered() {
        let key = NodeKey::new(&[7; 32]);
        let sealed = key.seal(Purpose::Tokens, &id(b'a'), b"user", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(key.open(Purpose::Tokens, &id(b'a'), b"user", &sealed).unwrap().as_slice(), b"secret");
        assert_ne!(sealed, key.seal(Purpose::Tokens, &id(b'a'), b"user", b"secret").unwrap());

        assert!(key.open(Purpose::Tokens, &id(b'b'), b"user", &sealed).is_err());
        assert!(key.open(Purpose::IkeState, &id(b'a'), b"user", &sealed).is_err());
        assert!(key.open(Purpose::Tokens, &id(b'a'), b"root", &sealed).is_err());
        assert!(NodeKey::new(&[8; 32]).open(Purpose::Tokens, &id(b'a'), b"user", &sealed).is_err());
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(key.open(Purpose::Tokens, &id(b'a'), b"user", &altered).is_err(), "octet {place}");
            assert!(
                key.open(Purpose::Tokens, &id(b'a'), b"user", &sealed[..place]).is_err(),
                "cut at {place}"
            );
        }
    }
}

//! Bearer tokens (RFC 6750): who has one may do what its role may, until it expires or is revoked.
//!
//! Enters: orders to make and revoke tokens, tokens that callers present. Leaves: whose they are. The file holds SHA-256 of
//! 256 random bits each, so that who reads it learns nothing that can be presented; they are compared in constant time.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use causeway_shared::api::{NewToken, Role, TokenInfo};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{hex, replace, sha256_hex};
use crate::driver::fill_random;

/// Name of the file.
pub const FILE: &str = "tokens.json";
/// Most tokens.
pub const MAX_TOKENS: usize = 256;
/// How a token begins, so that scanners for secrets find it where it does not belong.
const PREFIX: &str = "cway";
const ID_OCTETS: usize = 6;
const SECRET_OCTETS: usize = 32;

/// All tokens.
pub struct Tokens {
    path: PathBuf,
    all: Vec<Stored>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    info: TokenInfo,
    /// SHA-256 of the secret part, in hexadecimal.
    hash: String,
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There are [`MAX_TOKENS`].
    #[error("there are {MAX_TOKENS} tokens")]
    Full,
    /// The file cannot be written.
    #[error("the file of tokens cannot be written: {0}")]
    Unwritten(#[from] io::Error),
}

/// The caller that a token proves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bearer {
    /// The token's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// Digests of all tokens before and after a change, for the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Before.
    pub before: String,
    /// After.
    pub after: String,
}

impl Tokens {
    /// Reads the file; none if there is no file.
    ///
    /// # Errors
    /// When it cannot be read or holds something else.
    pub fn open(path: &Path) -> io::Result<Tokens> {
        let all = match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Tokens { path: path.to_owned(), all })
    }

    /// Makes one; it is durable when this returns. The text is not kept.
    ///
    /// # Errors
    /// When there are too many, or the file cannot be written; then there is no new one.
    pub fn create(
        &mut self,
        new: NewToken,
        created_by: String,
        now: u64,
    ) -> Result<(Zeroizing<String>, TokenInfo, Change), TokenError> {
        let valid: Vec<_> = self.all.iter().filter(|one| is_valid(&one.info, now)).cloned().collect();
        if valid.len() >= MAX_TOKENS {
            return Err(TokenError::Full);
        }
        let (mut id, mut secret) = ([0; ID_OCTETS], Zeroizing::new([0; SECRET_OCTETS]));
        fill_random(&mut id);
        fill_random(&mut *secret);
        let id = hex(&id);
        let secret = Zeroizing::new(hex(&*secret));
        let info = TokenInfo {
            id: id.clone(),
            name: new.name,
            role: new.role,
            created_by,
            created_at: now,
            expires_at: new.expires_in_secs.map(|secs| now.saturating_add(secs)),
        };
        let mut all = valid;
        all.push(Stored { info: info.clone(), hash: sha256_hex(secret.as_bytes()) });
        let change = self.write(all)?;
        Ok((Zeroizing::new(format!("{PREFIX}_{id}_{}", secret.as_str())), info, change))
    }

    /// Makes a token void; `None` if there is no such token.
    ///
    /// # Errors
    /// When the file cannot be written; then it is still valid.
    pub fn revoke(&mut self, id: &str, now: u64) -> Result<Option<Change>, TokenError> {
        if !self.list(now).any(|info| info.id == id) {
            return Ok(None);
        }
        let all =
            self.all.iter().filter(|one| one.info.id != id && is_valid(&one.info, now)).cloned().collect();
        Ok(Some(self.write(all)?))
    }

    /// Those that are valid, oldest first.
    pub fn list(&self, now: u64) -> impl Iterator<Item = &TokenInfo> {
        self.all.iter().map(|one| &one.info).filter(move |info| is_valid(info, now))
    }

    /// Whose token this is; `None` if it is nobody's.
    pub fn verify(&self, presented: &str, now: u64) -> Option<Bearer> {
        let (prefix, rest) = presented.split_once('_')?;
        let (id, secret) = rest.split_once('_')?;
        let mut hash = sha256_hex(secret.as_bytes());
        let found = self.all.iter().find(|one| one.info.id == id);
        let matches =
            found.is_some_and(|one| verify_slices_are_equal(one.hash.as_bytes(), hash.as_bytes()).is_ok());
        hash.zeroize();
        let info = &found?.info;
        (matches && prefix == PREFIX && is_valid(info, now)).then(|| Bearer {
            id: info.id.clone(),
            name: info.name.clone(),
            role: info.role,
        })
    }

    fn write(&mut self, all: Vec<Stored>) -> io::Result<Change> {
        let (before, after) = (serde_json::to_vec(&self.all)?, serde_json::to_vec(&all)?);
        replace(&self.path, &after)?;
        self.all = all;
        Ok(Change { before: sha256_hex(&before), after: sha256_hex(&after) })
    }
}

fn is_valid(info: &TokenInfo, now: u64) -> bool {
    info.expires_at.is_none_or(|expires_at| now < expires_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("causeway-tokens-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn order(role: Role, expires_in_secs: Option<u64>) -> NewToken {
        NewToken { name: "ops".into(), role, expires_in_secs }
    }

    #[test]
    fn a_token_is_valid_until_it_expires_or_is_revoked_also_for_the_next_run() {
        let directory = directory("life");
        let path = directory.join(FILE);
        let mut tokens = Tokens::open(&path).unwrap();
        let (forever, info, change) = tokens.create(order(Role::Admin, None), "uid 0".into(), 100).unwrap();
        let (short, _, _) = tokens.create(order(Role::Viewer, Some(10)), "uid 0".into(), 100).unwrap();
        assert_ne!(change.before, change.after);
        let written = std::fs::read_to_string(&path).unwrap();
        for token in [&forever, &short] {
            let secret = token.rsplit('_').next().unwrap();
            assert!(!written.contains(secret), "the file holds no secret");
        }
        let tokens = Tokens::open(&path).unwrap();
        let role = |tokens: &Tokens, text: &str, now| tokens.verify(text, now).map(|bearer| bearer.role);
        assert_eq!(role(&tokens, &forever, 1 << 40), Some(Role::Admin));
        assert_eq!((role(&tokens, &short, 109), role(&tokens, &short, 110)), (Some(Role::Viewer), None));
        let mut tokens = tokens;
        assert!(tokens.revoke(&info.id, 101).unwrap().is_some());
        assert!(tokens.revoke(&info.id, 101).unwrap().is_none());
        assert_eq!(role(&tokens, &forever, 101), None);
        assert_eq!(Tokens::open(&path).unwrap().list(101).count(), 1);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_no_token_proves_nobody() {
        let directory = directory("wrong");
        let mut tokens = Tokens::open(&directory.join(FILE)).unwrap();
        let (token, info, _) = tokens.create(order(Role::Admin, None), "uid 0".into(), 0).unwrap();
        assert!(tokens.verify(&token, 0).is_some());
        let secret = token.rsplit('_').next().unwrap();
        let other_id = format!("{PREFIX}_{}_{secret}", "0".repeat(12));
        for wrong in
            ["", "cway", "cway__", &token[..token.len() - 1], &other_id, &format!("x_{}_{secret}", info.id)]
        {
            assert_eq!(tokens.verify(wrong, 0), None, "{wrong}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_number_of_tokens_is_bounded_and_void_ones_do_not_count() {
        let directory = directory("full");
        let mut tokens = Tokens::open(&directory.join(FILE)).unwrap();
        let stored = |id: usize| Stored {
            info: TokenInfo {
                id: id.to_string(),
                name: "n".into(),
                role: Role::Viewer,
                created_by: String::new(),
                created_at: 0,
                expires_at: (id == 0).then_some(50),
            },
            hash: String::new(),
        };
        tokens.all = (0..MAX_TOKENS).map(stored).collect();
        assert!(matches!(tokens.create(order(Role::Viewer, None), String::new(), 49), Err(TokenError::Full)));
        assert!(tokens.create(order(Role::Viewer, None), String::new(), 50).is_ok());
        std::fs::remove_dir_all(directory).unwrap();
    }
}

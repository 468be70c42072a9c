//! Checking a clear password against what is kept of it, with the same work whether or not the user exists.
//!
//! Enters: an account's hashes, a password. Leaves: yes or no. One argon2 computation is made in every case: with the
//! account's own hash, or into the void. It takes tens of milliseconds and megabytes, so it runs beside the event loop.

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use causeway_eap::NtHash;
use causeway_shared::config::{self, PasswordHash, User};

/// Longest password that is looked at, in octets; argon2 itself takes more.
pub const MAX_PASSWORD_OCTETS: usize = 1024;

/// What is kept of a user's password. Without any hash, no password is right.
#[derive(Clone, Default)]
pub struct Account {
    argon2: Option<PasswordHash>,
    nt: Option<config::NtHash>,
}

impl Account {
    /// A user's.
    pub fn of(user: &User) -> Account {
        let clear = user.password.as_ref().and_then(|password| std::str::from_utf8(&password.0).ok());
        let of_clear = || clear.map(|password| config::NtHash(*NtHash::of_password(password).as_bytes()));
        Account { argon2: user.password_hash.clone(), nt: user.nt_hash.clone().or_else(of_clear) }
    }

    /// Whether this is the password. The argon2 hash counts if there is one, else the NT hash.
    pub fn accepts(&self, password: &str) -> bool {
        let octets = password.as_bytes();
        if octets.len() > MAX_PASSWORD_OCTETS {
            return false;
        }
        match (&self.argon2, &self.nt) {
            (Some(hash), _) => Argon2::default().verify_password(octets, hash.0.as_str()).is_ok(),
            (None, Some(hash)) => {
                work_in_vain(octets);
                let given = NtHash::of_password(password);
                verify_slices_are_equal(given.as_bytes(), &hash.0).is_ok()
            }
            (None, None) => {
                work_in_vain(octets);
                false
            }
        }
    }
}

fn work_in_vain(password: &[u8]) {
    let mut out = [0; 32];
    // Its outcome is of no interest; lengths are within argon2's bounds.
    let _ = Argon2::default().hash_password_into(password, b"no such account!", &mut out);
    std::hint::black_box(&out);
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher;

    use super::*;

    fn argon2_of(password: &str) -> PasswordHash {
        PasswordHash(Argon2::default().hash_password(password.as_bytes()).unwrap().to_string())
    }

    fn nt_of(password: &str) -> config::NtHash {
        config::NtHash(*NtHash::of_password(password).as_bytes())
    }

    #[test]
    fn only_the_password_is_right() {
        for (account, right) in [
            (Account { argon2: Some(argon2_of("secret")), nt: None }, true),
            (Account { argon2: None, nt: Some(nt_of("secret")) }, true),
            (Account { argon2: Some(argon2_of("other")), nt: Some(nt_of("secret")) }, false),
            (Account { argon2: Some(PasswordHash("$argon2id$nonsense".into())), nt: None }, false),
            (Account::default(), false),
        ] {
            assert_eq!(account.accepts("secret"), right);
            for wrong in ["", "Secret", "secret ", &"s".repeat(MAX_PASSWORD_OCTETS + 1)] {
                assert!(!account.accepts(wrong), "{wrong:.10}");
            }
        }
    }
}

//! The local users and pre-shared keys.
//!
//! Enters: the configuration. Leaves: NT hashes and keys by name. Names are compared octet by octet: two accounts that
//! differ in case are two accounts.

use std::collections::HashMap;

use causeway_eap::{Credentials, NtHash};
use causeway_shared::config::{Auth, AuthMethod, Psk, Secret, User};

/// The identity in `[[auth.psk]]` that stands for every other.
pub const ANY_IDENTITY: &str = "*";

/// Who may log in, and with what.
pub struct Directory {
    /// `None` for a user whose only hash is of no use to MSCHAPv2.
    users: HashMap<String, Option<NtHash>>,
    psks: HashMap<String, Secret>,
    any_psk: Option<Secret>,
    methods: Vec<AuthMethod>,
}

/// Why a directory cannot be made of a configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Which of the two would count?
    #[error("user `{0}` is defined twice")]
    DuplicateUser(String),
    /// Which of the two would count?
    #[error("the pre-shared key of `{0}` is defined twice")]
    DuplicatePsk(String),
}

impl Directory {
    /// Takes the configuration's users and keys.
    pub fn new(auth: &Auth, users: &[User]) -> Result<Directory, DirectoryError> {
        let mut directory = Directory {
            users: HashMap::with_capacity(users.len()),
            psks: HashMap::with_capacity(auth.psks.len()),
            any_psk: None,
            methods: auth.methods.clone(),
        };
        for user in users {
            let hash = user.nt_hash.as_ref().map(|hash| NtHash::new(hash.0));
            let known = directory.users.insert(user.name.clone(), hash);
            if known.is_some() {
                return Err(DirectoryError::DuplicateUser(user.name.clone()));
            }
        }
        for Psk { identity, secret } in &auth.psks {
            let known = match identity.as_str() {
                ANY_IDENTITY => directory.any_psk.replace(secret.clone()),
                _ => directory.psks.insert(identity.clone(), secret.clone()),
            };
            if known.is_some() {
                return Err(DirectoryError::DuplicatePsk(identity.clone()));
            }
        }
        Ok(directory)
    }

    /// Whether clients may use this method.
    pub fn allows(&self, method: AuthMethod) -> bool {
        self.methods.contains(&method)
    }

    /// The pre-shared key of an IKE identity, as text: its own, else that of [`ANY_IDENTITY`]. `None` if it has none or
    /// the method is off.
    pub fn psk(&self, identity: &str) -> Option<&Secret> {
        let allowed = self.allows(AuthMethod::Psk);
        self.psks.get(identity).or(self.any_psk.as_ref()).filter(|_| allowed)
    }
}

impl Credentials for Directory {
    fn nt_hash(&self, user: &str) -> Option<NtHash> {
        self.users.get(user).cloned().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(methods: &[AuthMethod], psks: &[(&str, &str)]) -> Auth {
        let psk = |(identity, secret): &(&str, &str)| Psk {
            identity: (*identity).into(),
            secret: Secret(secret.as_bytes().to_vec()),
        };
        Auth {
            certificate_file: None,
            private_key_file: None,
            methods: methods.to_vec(),
            client_ca_file: None,
            psks: psks.iter().map(psk).collect(),
        }
    }

    fn user(name: &str) -> User {
        let nt_hash = Some(causeway_shared::config::NtHash([7; 16]));
        User { name: name.into(), nt_hash, ..User::default() }
    }

    #[test]
    fn a_key_of_ones_own_comes_before_the_key_for_any() {
        let table = [
            (&[("a.example", "one"), ("*", "any")][..], "a.example", Some("one")),
            (&[("a.example", "one"), ("*", "any")], "b.example", Some("any")),
            (&[("a.example", "one")], "b.example", None),
            (&[("a.example", "one")], "A.example", None),
            (&[("a.example", "one")], "*", None),
            (&[("*", "any")], "", Some("any")),
        ];
        for (psks, identity, expected) in table {
            let directory = Directory::new(&auth(&[AuthMethod::Psk], psks), &[]).unwrap();
            assert_eq!(directory.psk(identity).map(|key| key.0.as_slice()), expected.map(str::as_bytes));
            let off = Directory::new(&auth(&[AuthMethod::Certificate], psks), &[]).unwrap();
            assert!(off.psk(identity).is_none());
        }
    }

    #[test]
    fn names_are_exact_and_unique() {
        let auth = auth(&[AuthMethod::EapMschapv2], &[]);
        let directory = Directory::new(&auth, &[user("ann"), user("Ann")]).unwrap();
        assert!(directory.nt_hash("ann").is_some() && directory.nt_hash("Ann").is_some());
        assert!(directory.nt_hash("ANN").is_none() && directory.nt_hash("").is_none());
        assert_eq!(
            Directory::new(&auth, &[user("ann"), user("ann")]).err(),
            Some(DirectoryError::DuplicateUser("ann".into()))
        );
    }

    #[test]
    fn a_second_key_for_one_identity_is_refused() {
        for identity in ["a.example", "*"] {
            let auth = auth(&[AuthMethod::Psk], &[(identity, "one"), (identity, "two")]);
            assert_eq!(Directory::new(&auth, &[]).err(), Some(DirectoryError::DuplicatePsk(identity.into())));
        }
    }
}

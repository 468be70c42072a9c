//! The local users, their groups, and pre-shared keys.
//!
//! Enters: the configuration. Leaves: password hashes, policies and keys by name. Names are compared octet by octet: two accounts that
//! differ in case are two accounts.

use std::collections::HashMap;

use causeway_eap::{Credentials, NtHash};
use causeway_shared::config::{Auth, AuthMethod, Group, Psk, Secret, User};

use super::password::Account;

/// The identity in `[[auth.psk]]` that stands for every other.
pub const ANY_IDENTITY: &str = "*";

/// Who may log in, and with what.
pub struct Directory {
    users: HashMap<String, User>,
    groups: HashMap<String, Group>,
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
    /// Which of the two would count?
    #[error("group `{0}` is defined twice")]
    DuplicateGroup(String),
}

impl Directory {
    /// Takes the configuration's users and keys.
    ///
    /// # Errors
    /// When a name has two meanings.
    pub fn new(auth: &Auth, users: &[User], groups: &[Group]) -> Result<Directory, DirectoryError> {
        let mut directory = Directory {
            users: HashMap::with_capacity(users.len()),
            groups: HashMap::with_capacity(groups.len()),
            psks: HashMap::with_capacity(auth.psks.len()),
            any_psk: None,
            methods: auth.methods.clone(),
        };
        for user in users {
            if directory.users.insert(user.name.clone(), user.clone()).is_some() {
                return Err(DirectoryError::DuplicateUser(user.name.clone()));
            }
        }
        for group in groups {
            if directory.groups.insert(group.name.clone(), group.clone()).is_some() {
                return Err(DirectoryError::DuplicateGroup(group.name.clone()));
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

    /// A local user.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// A group.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// What a clear password of this user is checked against; an account without hashes for one that does not exist.
    pub fn account(&self, name: &str) -> Account {
        self.users.get(name).map(Account::of).unwrap_or_default()
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
        self.users.get(user)?.nt_hash.as_ref().map(|hash| NtHash::new(hash.0))
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
            ppk_required: false,
            ppks: vec![],
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
            let directory = Directory::new(&auth(&[AuthMethod::Psk], psks), &[], &[]).unwrap();
            assert_eq!(directory.psk(identity).map(|key| key.0.as_slice()), expected.map(str::as_bytes));
            let off = Directory::new(&auth(&[AuthMethod::Certificate], psks), &[], &[]).unwrap();
            assert!(off.psk(identity).is_none());
        }
    }

    #[test]
    fn names_are_exact_and_unique() {
        let auth = auth(&[AuthMethod::EapMschapv2], &[]);
        let directory = Directory::new(&auth, &[user("ann"), user("Ann")], &[]).unwrap();
        assert!(directory.nt_hash("ann").is_some() && directory.nt_hash("Ann").is_some());
        assert!(directory.nt_hash("ANN").is_none() && directory.nt_hash("").is_none());
        assert_eq!(
            Directory::new(&auth, &[user("ann"), user("ann")], &[]).err(),
            Some(DirectoryError::DuplicateUser("ann".into()))
        );
    }

    #[test]
    fn a_group_has_one_meaning() {
        let group = |name: &str| Group { name: name.into(), ..Group::default() };
        let auth = auth(&[], &[]);
        let directory = Directory::new(&auth, &[], &[group("a"), group("b")]).unwrap();
        assert!(directory.group("a").is_some() && directory.group("c").is_none());
        assert_eq!(
            Directory::new(&auth, &[], &[group("a"), group("a")]).err(),
            Some(DirectoryError::DuplicateGroup("a".into()))
        );
    }

    #[test]
    fn a_second_key_for_one_identity_is_refused() {
        for identity in ["a.example", "*"] {
            let auth = auth(&[AuthMethod::Psk], &[(identity, "one"), (identity, "two")]);
            assert_eq!(
                Directory::new(&auth, &[], &[]).err(),
                Some(DirectoryError::DuplicatePsk(identity.into()))
            );
        }
    }
}

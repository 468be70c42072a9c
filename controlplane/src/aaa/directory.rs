//! The local users, their groups, and pre-shared keys.
//!
//! Enters: the configuration. Leaves: password hashes, policies and keys by name. Names are compared octet by octet: two accounts that
//! differ in case are two accounts.

use std::collections::HashMap;

use causeway_eap::{Credentials, NtHash};
use causeway_shared::config::{Auth, AuthMethod, CertificateUser, Group, Psk, Secret, User};
use zeroize::Zeroizing;

use super::certificate_name;
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
    certificates: CertificateNames,
}

/// Whom certificates log in that a method other than IKE's own has verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CertificateNames {
    /// What of a certificate counts.
    pub which: CertificateUser,
    /// Whether it must be the name of a local user.
    pub listed: bool,
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
            certificates: CertificateNames { which: CertificateUser::AlternativeName, listed: false },
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

    /// Has certificates name users in another way than by any alternative name.
    #[must_use]
    pub fn with_certificates(self, certificates: CertificateNames) -> Directory {
        Directory { certificates, ..self }
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
        let user = self.users.get(user)?;
        let clear = || Some(NtHash::of_password(clear(user)?));
        user.nt_hash.as_ref().map(|hash| NtHash::new(hash.0)).or_else(clear)
    }

    fn accepts_password(&self, user: &str, password: &str) -> bool {
        self.account(user).accepts(password)
    }

    fn clear_password(&self, user: &str) -> Option<Zeroizing<String>> {
        clear(self.users.get(user)?).map(|password| Zeroizing::new(password.to_owned()))
    }

    /// The name that the client gave itself if the certificate holds it, else that of a local user, else the first.
    fn certificate_user(&self, der: &[u8], identity: &[u8]) -> Option<String> {
        let names = certificate_name::names(der, self.certificates.which);
        let asked = names.iter().find(|name| name.as_bytes() == identity);
        let known = names.iter().find(|name| self.users.contains_key(*name));
        let listed = asked.filter(|name| self.users.contains_key(*name)).or(known);
        if self.certificates.listed { listed } else { asked.or(known).or(names.first()) }.cloned()
    }
}

/// The password itself, where the configuration has it.
fn clear(user: &User) -> Option<&str> {
    std::str::from_utf8(&user.password.as_ref()?.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_logs_in_whom_it_names() {
        let pem = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().der().to_vec()
        };
        for (names, identity, any, listed) in [
            (&["laptop.test", "ann.test"][..], "ann.test", Some("ann.test"), Some("ann.test")),
            (&["laptop.test", "ann.test"], "x", Some("ann.test"), Some("ann.test")),
            (&["laptop.test", "ann.test"], "laptop.test", Some("laptop.test"), Some("ann.test")),
            (&["laptop.test", "pc.test"], "pc.test", Some("pc.test"), None),
            (&["laptop.test", "pc.test"], "", Some("laptop.test"), None),
            (&[], "ann.test", None, None),
        ] {
            let der = pem(names);
            for (must_be_listed, expected) in [(false, any), (true, listed)] {
                let certificates =
                    CertificateNames { which: CertificateUser::AlternativeName, listed: must_be_listed };
                let directory = Directory::new(&auth(&[], &[]), &[user("ann.test")], &[]).unwrap();
                let directory = directory.with_certificates(certificates);
                let named = directory.certificate_user(&der, identity.as_bytes());
                assert_eq!(named.as_deref(), expected, "{names:?} {identity} {must_be_listed}");
            }
        }
    }

    #[test]
    fn a_clear_password_serves_every_method() {
        let ann = User { name: "ann".into(), password: Some(Secret(b"s3cret".to_vec())), ..User::default() };
        let directory = Directory::new(&auth(&[], &[]), &[ann, user("bob")], &[]).unwrap();
        let of_password = NtHash::of_password("s3cret");
        assert_eq!(directory.nt_hash("ann").unwrap().as_bytes(), of_password.as_bytes());
        assert!(directory.accepts_password("ann", "s3cret") && !directory.accepts_password("ann", "x"));
        assert_eq!(directory.clear_password("ann").unwrap().as_str(), "s3cret");
        assert!(directory.clear_password("bob").is_none() && directory.clear_password("eve").is_none());
    }

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
            eap_only: false,
            ppk_required: false,
            revocation: Default::default(),
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

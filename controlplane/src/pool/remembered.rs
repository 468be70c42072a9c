//! The last addresses of each user, the longest unseen user forgotten first.
//!
//! Enters: who was given what. Leaves: what to try first when the same user comes again.

use std::collections::{HashMap, VecDeque};

use super::Held;

/// Users whose last addresses are remembered.
pub const MAX_REMEMBERED_USERS: usize = 65_536;

/// By user.
#[derive(Default)]
pub(super) struct Remembered {
    addresses: HashMap<String, (Held, u64)>,
    /// Users by the time they were seen; entries older than the map's are stale.
    order: VecDeque<(String, u64)>,
    clock: u64,
}

impl Remembered {
    pub(super) fn of(&self, user: &str) -> Held {
        self.addresses.get(user).map(|&(held, _)| held).unwrap_or_default()
    }

    /// An address of a family that is not in `held` stays as it was.
    pub(super) fn remember(&mut self, user: &str, held: Held) {
        self.clock += 1;
        let before = self.of(user);
        let held = Held { v4: held.v4.or(before.v4), v6: held.v6.or(before.v6) };
        self.addresses.insert(user.to_owned(), (held, self.clock));
        self.order.push_back((user.to_owned(), self.clock));
        // Twice the bound leaves room for stale entries; each push drops at most what was pushed before it.
        while self.addresses.len() > MAX_REMEMBERED_USERS || self.order.len() > 2 * MAX_REMEMBERED_USERS {
            let Some((user, seen)) = self.order.pop_front() else { return };
            match self.addresses.get(&user) {
                Some(&(_, last)) if last != seen => {}
                Some(_) => {
                    self.addresses.remove(&user);
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn remembering_users_is_bounded() {
        let mut remembered = Remembered::default();
        let held = Held { v4: Some(Ipv4Addr::LOCALHOST), v6: None };
        for n in 0..MAX_REMEMBERED_USERS + 10 {
            remembered.remember(&format!("user{n}"), held);
        }
        assert_eq!(remembered.addresses.len(), MAX_REMEMBERED_USERS);
        assert_eq!(remembered.of("user0"), Held::default());
        for _ in 0..3 * MAX_REMEMBERED_USERS {
            remembered.remember("often", held);
        }
        assert!(remembered.order.len() <= 2 * MAX_REMEMBERED_USERS);
        assert_eq!(remembered.of("often"), held);
    }

    #[test]
    fn families_are_remembered_apart() {
        let mut remembered = Remembered::default();
        let (v4, v6) = (Some(Ipv4Addr::LOCALHOST), Some(Ipv6Addr::LOCALHOST));
        remembered.remember("ann", Held { v4, v6: None });
        remembered.remember("ann", Held { v4: None, v6 });
        assert_eq!(remembered.of("ann"), Held { v4, v6 });
    }
}

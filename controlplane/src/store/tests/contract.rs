//! The contract of [`SessionStore`], on every store there is.

use std::net::IpAddr;

use super::support::{commit, dump, id, on_each, session, token, tokens};
use crate::store::{
    Changed, Claim, Claimed, Counts, Cursor, IkeState, MAX_ATTRIBUTES_OCTETS, ParkedAll, Presented, Rotation,
    SessionStore, StoreError, StoredState, Totals, WallSecs,
};

const TOTALS: Totals = Totals { in_packets: 1, in_bytes: 20, out_packets: 3, out_bytes: 40 };

fn claim(n: u32, generation: u64, now: u64) -> Claim {
    Claim { id: id(n), generation, now: WallSecs(now), serial: 77, rotation: None }
}

fn put(store: &mut dyn SessionStore, n: u32) {
    commit(store, |store| store.put_new(&session(n), Some(&tokens(n)))).unwrap();
}

fn park(store: &mut dyn SessionStore, n: u32, since: u64, expires_at: u64) {
    let parked = commit(store, |store| store.park(&id(n), 1, WallSecs(since), WallSecs(expires_at), TOTALS));
    assert_eq!(parked, Ok(Changed::Done));
}

fn state_of(store: &dyn SessionStore, n: u32) -> StoredState {
    store.get(&id(n)).unwrap().unwrap().0.state
}

#[test]
fn a_session_is_read_as_it_was_put() {
    on_each(|store| {
        for n in [1, 2] {
            put(store, n);
            let (record, found) = store.get(&id(n)).unwrap().unwrap();
            assert_eq!(record, session(n));
            assert_eq!(found.unwrap().encode(), tokens(n).encode());
        }
        let mut untold = session(3);
        (untold.inner_v4, untold.ends_at) = (None, Some(WallSecs(900)));
        commit(store, |store| store.put_new(&untold, None)).unwrap();
        let (record, found) = store.get(&id(3)).unwrap().unwrap();
        assert!(record == untold && found.is_none());
        assert!(store.get(&id(4)).unwrap().is_none());
        assert_eq!(store.counts(), Counts { active: 3, resuming: 0, inactive: 0 });
    });
}

#[test]
fn ids_and_inner_addresses_have_one_session_each() {
    on_each(|store| {
        put(store, 2);
        let mut other = session(4);
        other.id = id(2);
        let refused = commit(store, |store| store.put_new(&other, None));
        assert_eq!(refused, Err(StoreError::IdTaken));

        let mut other = session(4);
        other.inner_v4 = session(2).inner_v4;
        let refused = commit(store, |store| store.put_new(&other, None));
        assert_eq!(refused, Err(StoreError::AddressTaken(IpAddr::V4(other.inner_v4.unwrap()))));

        let mut other = session(4);
        other.inner_v6 = session(2).inner_v6;
        let refused = commit(store, |store| store.put_new(&other, None));
        assert_eq!(refused, Err(StoreError::AddressTaken(IpAddr::V6(other.inner_v6.unwrap()))));

        for n in [5, 6] {
            let mut without = session(n);
            (without.inner_v4, without.inner_v6) = (None, None);
            commit(store, |store| store.put_new(&without, None)).unwrap();
        }
        assert_eq!(commit(store, |store| store.remove(&id(2), None)), Ok(Changed::Done));
        put(store, 2);
    });
}

#[test]
fn what_is_too_large_is_refused_before_anything_changes() {
    on_each(|store| {
        let mut large = session(1);
        large.attributes = vec![b' '; MAX_ATTRIBUTES_OCTETS + 1];
        let refused = commit(store, |store| store.put_new(&large, None));
        assert!(matches!(refused, Err(StoreError::TooLarge { field: "attributes", .. })), "{refused:?}");
        large.attributes.pop();
        commit(store, |store| store.put_new(&large, None)).unwrap();
        let refused = commit(store, |store| store.set_attributes(&id(1), 1, &[0; MAX_ATTRIBUTES_OCTETS + 1]));
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
        assert_eq!(commit(store, |store| store.set_attributes(&id(1), 1, b"{}")), Ok(Changed::Done));
        assert_eq!(store.get(&id(1)).unwrap().unwrap().0.attributes, b"{}");
    });
}

#[test]
fn a_claim_is_won_once_per_generation() {
    on_each(|store| {
        put(store, 1);
        park(store, 1, 10, 100);
        let won = commit(store, |store| store.claim(&claim(1, 1, 50))).unwrap();
        let Claimed::Won { record, tokens: Some(found), from } = won else { panic!("the claim was not won") };
        assert_eq!(from, StoredState::Inactive { since: WallSecs(10), expires_at: WallSecs(100) });
        assert_eq!((record.generation, record.serial, record.resumptions), (2, 77, 1));
        assert_eq!((record.state, record.totals), (StoredState::Resuming, TOTALS));
        assert_eq!(found.encode(), tokens(1).encode());
        assert_eq!(store.get(&id(1)).unwrap().unwrap().0, *record);
        assert_eq!(store.counts(), Counts { active: 0, resuming: 1, inactive: 0 });

        let late = commit(store, |store| store.claim(&claim(1, 1, 50))).unwrap();
        assert!(matches!(late, Claimed::Lost));
        assert_eq!(commit(store, |store| store.activate(&id(1), 1)), Ok(Changed::Lost));
        assert_eq!(commit(store, |store| store.activate(&id(1), 2)), Ok(Changed::Done));
        assert_eq!(state_of(store, 1), StoredState::Active);

        let taken_over = commit(store, |store| store.claim(&claim(1, 2, 50))).unwrap();
        assert!(matches!(taken_over, Claimed::Won { from: StoredState::Active, .. }));
        let unknown = commit(store, |store| store.claim(&claim(2, 1, 50))).unwrap();
        assert!(matches!(unknown, Claimed::Unknown));
    });
}

#[test]
fn an_expired_session_cannot_be_claimed() {
    on_each(|store| {
        put(store, 1);
        park(store, 1, 10, 100);
        let late = commit(store, |store| store.claim(&claim(1, 1, 100))).unwrap();
        assert!(matches!(late, Claimed::Expired));
        let in_time = commit(store, |store| store.claim(&claim(1, 1, 99))).unwrap();
        assert!(matches!(in_time, Claimed::Won { .. }));
    });
}

#[test]
fn a_claim_may_rotate_the_token_and_the_old_one_lives_until_confirmed() {
    on_each(|store| {
        put(store, 1);
        let rotation = Rotation {
            token: token("second"),
            presented: Presented::Current,
            previous_usable_until: WallSecs(170),
        };
        let claim = Claim { rotation: Some(rotation.clone()), ..claim(1, 1, 50) };
        assert!(matches!(commit(store, |store| store.claim(&claim)).unwrap(), Claimed::Won { .. }));
        let found = store.get(&id(1)).unwrap().unwrap().1.unwrap();
        assert!(found.current.matches(&token("second")) && found.generation == 2);
        let previous = found.previous.unwrap();
        assert!(previous.token.matches(&tokens(1).current) && previous.is_usable(WallSecs(169)));

        assert_eq!(commit(store, |store| store.confirm_token(&id(1), 1, 2)), Ok(Changed::Lost));
        assert_eq!(commit(store, |store| store.confirm_token(&id(1), 2, 1)), Ok(Changed::Done));
        let found = store.get(&id(1)).unwrap().unwrap().1.unwrap();
        assert!(found.previous.unwrap().is_usable(WallSecs(169)), "token 1 was confirmed, not token 2");
        assert_eq!(commit(store, |store| store.confirm_token(&id(1), 2, 2)), Ok(Changed::Done));
        let previous = store.get(&id(1)).unwrap().unwrap().1.unwrap().previous.unwrap();
        assert!(!previous.is_usable(WallSecs(0)) && previous.token.matches(&tokens(1).current));

        let third = Rotation { token: token("third"), ..rotation };
        assert_eq!(commit(store, |store| store.rotate(&id(1), 2, &third)), Ok(Changed::Done));
        let found = store.get(&id(1)).unwrap().unwrap().1.unwrap();
        assert!(found.current.matches(&token("third")) && found.generation == 3);
        assert!(found.previous.unwrap().token.matches(&token("second")));
        assert_eq!(commit(store, |store| store.rotate(&id(1), 1, &third)), Ok(Changed::Lost));
    });
}

#[test]
fn only_the_holder_of_the_generation_changes_a_session() {
    on_each(|store| {
        put(store, 1);
        let before = dump(store);
        let state = IkeState::new(b"keys".to_vec()).unwrap();
        for (n, generation, answer) in [(1, 2, Changed::Lost), (2, 1, Changed::Unknown)] {
            let id = id(n);
            let changes = commit(store, |store| {
                Ok([
                    store.activate(&id, generation)?,
                    store.park(&id, generation, WallSecs(1), WallSecs(2), TOTALS)?,
                    store.confirm_token(&id, generation, 1)?,
                    store.set_totals(&id, generation, TOTALS)?,
                    store.set_attributes(&id, generation, b"{}")?,
                    store.put_ike_state(&id, generation, &state)?,
                    store.delete_ike_state(&id, generation)?,
                    store.remove(&id, Some(generation))?,
                ])
            });
            assert_eq!(changes, Ok([answer; 8]));
        }
        assert_eq!(dump(store), before);
        assert_eq!(commit(store, |store| store.set_totals(&id(1), 1, TOTALS)), Ok(Changed::Done));
        assert_eq!(store.get(&id(1)).unwrap().unwrap().0.totals, TOTALS);
        assert_eq!(commit(store, |store| store.remove(&id(1), Some(1))), Ok(Changed::Done));
        assert!(dump(store).is_empty() && store.counts() == Counts::default());
    });
}

#[test]
fn ike_state_ends_with_the_ike_sas_it_belongs_to() {
    on_each(|store| {
        let keep = |store: &mut dyn SessionStore, n, generation, text: &str| {
            let state = IkeState::new(text.as_bytes().to_vec()).unwrap();
            let kept = commit(store, |store| store.put_ike_state(&id(n), generation, &state));
            assert_eq!(kept, Ok(Changed::Done));
        };
        let kept = |store: &dyn SessionStore, n| {
            store
                .ike_state(&id(n))
                .unwrap()
                .map(|state| String::from_utf8(state.as_bytes().to_vec()).unwrap())
        };
        for n in 1..=4 {
            put(store, n);
            keep(store, n, 1, "old");
            keep(store, n, 1, "new");
            assert_eq!(kept(store, n).as_deref(), Some("new"));
        }
        park(store, 1, 10, 100);
        assert_eq!(kept(store, 1), None);
        commit(store, |store| store.claim(&claim(2, 1, 50)).map(|_| ())).unwrap();
        assert_eq!(kept(store, 2), None);
        keep(store, 2, 2, "resumed");
        assert_eq!(kept(store, 2).as_deref(), Some("resumed"));
        assert_eq!(commit(store, |store| store.delete_ike_state(&id(3), 1)), Ok(Changed::Done));
        assert_eq!(kept(store, 3), None);
        assert_eq!(commit(store, |store| store.remove(&id(4), Some(1))), Ok(Changed::Done));
        put(store, 4);
        assert_eq!(kept(store, 4), None);
    });
}

#[test]
fn after_a_loss_of_power_all_sessions_wait_and_those_without_tokens_are_gone() {
    on_each(|store| {
        for n in 1..=3 {
            put(store, n);
        }
        park(store, 3, 10, 100);
        let mut ending = session(4);
        ending.ends_at = Some(WallSecs(600));
        commit(store, |store| store.put_new(&ending, Some(&tokens(4)))).unwrap();
        commit(store, |store| store.put_new(&session(5), None)).unwrap();
        let state = IkeState::new(vec![1]).unwrap();
        commit(store, |store| store.put_ike_state(&id(1), 1, &state)).map(|_| ()).unwrap();
        commit(store, |store| store.claim(&claim(2, 1, 50)).map(|_| ())).unwrap();

        let done = commit(store, |store| store.park_all(WallSecs(500), 200));
        assert_eq!(done, Ok(ParkedAll { parked: 3, removed: 1 }));
        let inactive = |since, expires_at| StoredState::Inactive {
            since: WallSecs(since),
            expires_at: WallSecs(expires_at),
        };
        assert_eq!(state_of(store, 1), inactive(500, 700));
        assert_eq!(state_of(store, 2), inactive(500, 700));
        assert_eq!(state_of(store, 3), inactive(10, 100));
        assert_eq!(state_of(store, 4), inactive(500, 600));
        assert!(store.get(&id(5)).unwrap().is_none());
        assert!(store.ike_state(&id(1)).unwrap().is_none());
        assert_eq!(store.counts(), Counts { active: 0, resuming: 0, inactive: 4 });
    });
}

#[test]
fn sessions_that_go_on_are_left_alone_by_a_start() {
    on_each(|store| {
        for n in 1..=4 {
            put(store, n);
        }
        park(store, 4, 10, 100);
        for n in [5, 6] {
            commit(store, |store| store.put_new(&session(n), None)).unwrap();
        }
        for n in [1, 2, 5, 6] {
            let state = IkeState::new(vec![1]).unwrap();
            commit(store, |store| store.put_ike_state(&id(n), 1, &state)).map(|_| ()).unwrap();
        }
        let except = [id(1), id(4), id(5)].into();
        let done = commit(store, |store| store.park_others(WallSecs(500), 200, &except));
        assert_eq!(done, Ok(ParkedAll { parked: 2, removed: 1 }));
        let kept: Vec<u32> = (1..=6).filter(|n| store.ike_state(&id(*n)).unwrap().is_some()).collect();
        assert_eq!(kept, [1, 5]);
        assert_eq!(state_of(store, 1), StoredState::Active);
        assert_eq!(store.counts(), Counts { active: 2, resuming: 0, inactive: 3 });
        let done = commit(store, |store| store.park_all(WallSecs(501), 200));
        assert_eq!(done, Ok(ParkedAll { parked: 1, removed: 1 }), "the exception was for once");
    });
}

#[test]
fn expired_sessions_are_purged_soonest_first_and_given_back() {
    on_each(|store| {
        for n in 1..=6 {
            put(store, n);
        }
        for (n, expires_at) in [(1, 300), (2, 100), (3, 200), (4, 201), (5, 100)] {
            park(store, n, 10, expires_at);
        }
        let purge = |store: &mut dyn SessionStore, limit| {
            let gone = commit(store, |store| store.purge_expired(WallSecs(200), limit)).unwrap();
            gone.iter().map(|record| record.serial).collect::<Vec<_>>()
        };
        assert_eq!(purge(store, 2), [2, 5]);
        assert_eq!(purge(store, 2), [3]);
        assert_eq!(purge(store, 2), [0u64; 0]);
        assert_eq!(store.counts(), Counts { active: 1, resuming: 0, inactive: 2 });
        put(store, 2);
    });
}

#[test]
fn whom_to_evict_is_known_for_one_user_and_for_all() {
    on_each(|store| {
        for (n, since) in [(1, 30), (2, 10), (3, 20), (4, 5), (7, 40)] {
            put(store, n);
            park(store, n, since, 1000);
        }
        put(store, 10);
        let oldest = |user, limit| {
            let found = store.oldest_inactive(user, limit).unwrap();
            found.iter().map(|record| record.serial).collect::<Vec<_>>()
        };
        assert_eq!(oldest(None, 3), [4, 2, 3]);
        assert_eq!(oldest(Some("user1"), 9), [4, 1, 7]);
        assert_eq!(oldest(Some("user2"), 9), [2]);
        assert_eq!(oldest(Some("nobody"), 9), [0u64; 0]);
        assert_eq!((store.inactive_of("user1").unwrap(), store.inactive_of("nobody").unwrap()), (3, 0));
    });
}

#[test]
fn a_walk_sees_every_session_once_whatever_goes_meanwhile() {
    on_each(|store| {
        for n in 1..=7 {
            put(store, n);
        }
        let page = store.page(Cursor::START, 3).unwrap();
        let seen: Vec<u64> = page.records.iter().map(|record| record.serial).collect();
        assert_eq!(seen, [1, 2, 3]);
        for n in [2, 3, 5] {
            assert_eq!(commit(store, |store| store.remove(&id(n), None)), Ok(Changed::Done));
        }
        let page = store.page(page.next.unwrap(), 3).unwrap();
        let seen: Vec<u64> = page.records.iter().map(|record| record.serial).collect();
        assert_eq!(seen, [4, 6, 7]);
        let page = store.page(page.next.unwrap(), 3).unwrap();
        assert!(page.records.is_empty() && page.next.is_none());
    });
}

#[test]
fn a_rollback_leaves_no_trace() {
    on_each(|store| {
        for n in 1..=3 {
            put(store, n);
        }
        park(store, 2, 10, 100);
        let (before, counts, mark) = (dump(store), store.counts(), store.mark());
        store.begin().unwrap();
        store.put_new(&session(9), None).unwrap();
        store.claim(&claim(1, 1, 50)).unwrap();
        assert_eq!(store.remove(&id(3), None), Ok(Changed::Done));
        assert_eq!(store.purge_expired(WallSecs(500), 9).unwrap().len(), 1);
        assert_eq!(store.put_ike_state(&id(1), 2, &IkeState::new(vec![1]).unwrap()), Ok(Changed::Done));
        assert_ne!(dump(store), before);
        store.rollback();
        assert_eq!((dump(store), store.counts(), store.mark()), (before, counts, mark));
    });
}

#[test]
fn store_time_does_not_go_back() {
    on_each(|store| {
        for (now, mark) in [(5000, 5000), (4000, 5000), (6000, 6000)] {
            store.begin().unwrap();
            store.commit(WallSecs(now)).unwrap();
            assert_eq!(store.mark(), WallSecs(mark));
        }
    });
}

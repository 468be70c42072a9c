//! Every store against a model that is too simple to be wrong, over random histories with rollbacks and restarts.

use proptest::prelude::*;

use super::support::{Dumped, Scratch, dump, id, session, token, tokens};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Changed, Claim, Claimed, IkeState, Presented, Rotation, SessionStore, StoreError, StoredState, Tokens,
    Totals, WallSecs,
};

/// Ids that histories use: few, so that they meet.
const IDS: u32 = 6;

#[derive(Clone, Copy, Debug)]
enum Step {
    Put { n: u32, address: u32, resumable: bool },
    Claim { n: u32, stale: bool, now: u64, rotate: Option<bool> },
    Activate { n: u32, stale: bool },
    Park { n: u32, stale: bool, since: u64, life: u64 },
    Confirm { n: u32, number: u64 },
    Totals { n: u32, figure: u64 },
    Attributes { n: u32, figure: u64 },
    KeepIke { n: u32, octet: u8 },
    Remove { n: u32, stale: bool, forced: bool },
    Purge { now: u64, limit: usize },
    ParkAll { now: u64 },
    Commit,
    Rollback,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..IDS;
    prop_oneof![
        5 => (n.clone(), 0..IDS, prop::bool::weighted(0.8))
            .prop_map(|(n, address, resumable)| Step::Put { n, address, resumable }),
        4 => (n.clone(), prop::bool::weighted(0.2), 0..60u64, any::<Option<bool>>())
            .prop_map(|(n, stale, now, rotate)| Step::Claim { n, stale, now, rotate }),
        2 => (n.clone(), prop::bool::weighted(0.2)).prop_map(|(n, stale)| Step::Activate { n, stale }),
        4 => (n.clone(), prop::bool::weighted(0.2), 0..40u64, 0..30u64)
            .prop_map(|(n, stale, since, life)| Step::Park { n, stale, since, life }),
        2 => (n.clone(), 1..4u64).prop_map(|(n, number)| Step::Confirm { n, number }),
        1 => (n.clone(), any::<u32>()).prop_map(|(n, f)| Step::Totals { n, figure: u64::from(f) }),
        1 => (n.clone(), any::<u64>()).prop_map(|(n, figure)| Step::Attributes { n, figure }),
        2 => (n.clone(), any::<u8>()).prop_map(|(n, octet)| Step::KeepIke { n, octet }),
        2 => (n, prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(n, stale, forced)| Step::Remove { n, stale, forced }),
        2 => (0..60u64, 1..4usize).prop_map(|(now, limit)| Step::Purge { now, limit }),
        1 => (0..60u64).prop_map(|now| Step::ParkAll { now }),
        4 => Just(Step::Commit),
        2 => Just(Step::Rollback),
        1 => Just(Step::Reopen),
    ]
}

/// Sessions in the order they were put.
#[derive(Clone, Default)]
struct Model(Vec<Dumped>);

impl Model {
    /// Does `step` and says what must be answered.
    fn run(&mut self, step: Step) -> String {
        match step {
            Step::Put { n, address, resumable } => {
                let (record, tokens) = put(n, address, resumable);
                if self.0.iter().any(|(other, ..)| other.id == record.id) {
                    return answer(&Err::<(), _>(StoreError::IdTaken));
                }
                for taken in record.inner_addresses() {
                    if self.0.iter().any(|(other, ..)| other.inner_addresses().any(|own| own == taken)) {
                        return answer(&Err::<(), _>(StoreError::AddressTaken(taken)));
                    }
                }
                self.0.push((record, tokens.map(|tokens| tokens.encode().to_vec()), None));
                answer(&Ok(()))
            }
            Step::Claim { n, stale, now, rotate } => {
                let Some((record, tokens, ike)) = self.0.iter_mut().find(|(record, ..)| record.id == id(n))
                else {
                    return "unknown".to_owned();
                };
                if stale {
                    return "lost".to_owned();
                }
                if matches!(record.state, StoredState::Inactive { expires_at, .. } if expires_at.0 <= now) {
                    return "expired".to_owned();
                }
                let from = record.state;
                (record.generation, record.resumptions) = (record.generation + 1, record.resumptions + 1);
                (record.state, record.serial, *ike) = (StoredState::Resuming, now, None);
                if let (Some(octets), Some(rotation)) = (tokens.as_mut(), rotation(rotate, now)) {
                    let before = Tokens::decode(octets).unwrap();
                    let held = match (rotation.presented, before.previous) {
                        (Presented::Previous, Some(previous)) => previous.token,
                        _ => before.current,
                    };
                    let previous = crate::store::PreviousToken {
                        token: held,
                        usable_until: rotation.previous_usable_until,
                    };
                    let after = Tokens {
                        current: rotation.token,
                        generation: before.generation + 1,
                        previous: Some(previous),
                    };
                    *octets = after.encode().to_vec();
                }
                format!("won from {from:?}: {record:?} {tokens:?}")
            }
            Step::Activate { n, stale } => {
                self.change(n, stale, |session| session.0.state = StoredState::Active)
            }
            Step::Park { n, stale, since, life } => self.change(n, stale, |session| {
                let (since, expires_at) = (WallSecs(since), WallSecs(since + life));
                session.0.state = StoredState::Inactive { since, expires_at };
                session.0.totals.in_bytes = since.0;
                session.2 = None;
            }),
            Step::Confirm { n, number } => self.change(n, false, |session| {
                if let Some(octets) = &mut session.1 {
                    let mut tokens = Tokens::decode(octets).unwrap();
                    if let (true, Some(previous)) = (tokens.generation == number, &mut tokens.previous) {
                        previous.usable_until = WallSecs(0);
                    }
                    *octets = tokens.encode().to_vec();
                }
            }),
            Step::Totals { n, figure } => self.change(n, false, |session| session.0.totals.in_bytes = figure),
            Step::Attributes { n, figure } => {
                self.change(n, false, |session| session.0.attributes = figure.to_be_bytes().to_vec())
            }
            Step::KeepIke { n, octet } => {
                let inactive = |(record, ..): &Dumped| record.id == id(n) && record.state.is_inactive();
                let stale = self.0.iter().any(inactive);
                self.change(n, stale, |session| session.2 = Some(vec![octet]))
            }
            Step::Remove { n, stale, forced } => {
                let Some(place) = self.0.iter().position(|(record, ..)| record.id == id(n)) else {
                    return answer(&Ok(Changed::Unknown));
                };
                if stale && !forced {
                    return answer(&Ok(Changed::Lost));
                }
                self.0.remove(place);
                answer(&Ok(Changed::Done))
            }
            Step::Purge { now, limit } => {
                let mut expired: Vec<_> = self.0.iter().map(|(record, ..)| record.clone()).collect();
                expired.retain(|record| record.is_expired(WallSecs(now)));
                // Stable: of those that expire together, the one put first goes first.
                expired.sort_by_key(|record| match record.state {
                    StoredState::Inactive { expires_at, .. } => expires_at,
                    _ => unreachable!("only inactive sessions expire"),
                });
                expired.truncate(limit);
                self.0.retain(|(record, ..)| !expired.contains(record));
                answer(&Ok(expired))
            }
            Step::ParkAll { now } => {
                let before = self.0.len();
                self.0.retain(|(record, tokens, _)| record.state.is_inactive() || tokens.is_some());
                let removed = before - self.0.len();
                let mut parked = 0;
                for (record, _, ike) in &mut self.0 {
                    if !record.state.is_inactive() {
                        let (since, expires_at) = (WallSecs(now), WallSecs(now + 20));
                        record.state = StoredState::Inactive { since, expires_at };
                        *ike = None;
                        parked += 1;
                    }
                }
                format!("{parked} parked, {removed} removed")
            }
            Step::Commit | Step::Rollback | Step::Reopen => String::new(),
        }
    }

    fn change(&mut self, n: u32, stale: bool, how: impl FnOnce(&mut Dumped)) -> String {
        let found = self.0.iter_mut().find(|(record, ..)| record.id == id(n));
        answer(&Ok(match found {
            None => Changed::Unknown,
            Some(_) if stale => Changed::Lost,
            Some(session) => {
                how(session);
                Changed::Done
            }
        }))
    }

    fn generation(&self, n: u32, stale: bool) -> u64 {
        let found = self.0.iter().find(|(record, ..)| record.id == id(n));
        found.map_or(1, |(record, ..)| record.generation) + u64::from(stale)
    }
}

/// Does `step` on a store; `model` tells generations.
fn run(store: &mut dyn SessionStore, model: &Model, step: Step) -> String {
    match step {
        Step::Put { n, address, resumable } => {
            let (record, tokens) = put(n, address, resumable);
            answer(&store.put_new(&record, tokens.as_ref()))
        }
        Step::Claim { n, stale, now, rotate } => {
            let generation = model.generation(n, stale);
            let rotation = rotation(rotate, now);
            let claim = Claim { id: id(n), generation, now: WallSecs(now), serial: now, rotation };
            match store.claim(&claim).unwrap() {
                Claimed::Unknown => "unknown".to_owned(),
                Claimed::Lost => "lost".to_owned(),
                Claimed::Expired => "expired".to_owned(),
                Claimed::Won { record, tokens, from } => {
                    let tokens = tokens.map(|tokens| tokens.encode().to_vec());
                    format!("won from {from:?}: {record:?} {tokens:?}")
                }
            }
        }
        Step::Activate { n, stale } => answer(&store.activate(&id(n), model.generation(n, stale))),
        Step::Park { n, stale, since, life } => {
            let totals = Totals { in_bytes: since, ..totals_of(store, n) };
            let generation = model.generation(n, stale);
            answer(&store.park(&id(n), generation, WallSecs(since), WallSecs(since + life), totals))
        }
        Step::Confirm { n, number } => {
            answer(&store.confirm_token(&id(n), model.generation(n, false), number))
        }
        Step::Totals { n, figure } => {
            let totals = Totals { in_bytes: figure, ..totals_of(store, n) };
            answer(&store.set_totals(&id(n), model.generation(n, false), totals))
        }
        Step::Attributes { n, figure } => {
            answer(&store.set_attributes(&id(n), model.generation(n, false), &figure.to_be_bytes()))
        }
        Step::KeepIke { n, octet } => {
            let state = IkeState::new(vec![octet]).unwrap();
            answer(&store.put_ike_state(&id(n), model.generation(n, false), &state))
        }
        Step::Remove { n, stale, forced } => {
            let generation = (!forced).then(|| model.generation(n, stale));
            answer(&store.remove(&id(n), generation))
        }
        Step::Purge { now, limit } => answer(&store.purge_expired(WallSecs(now), limit)),
        Step::ParkAll { now } => {
            let done = store.park_all(WallSecs(now), 20).unwrap();
            format!("{} parked, {} removed", done.parked, done.removed)
        }
        Step::Commit | Step::Rollback | Step::Reopen => String::new(),
    }
}

fn put(n: u32, address: u32, resumable: bool) -> (crate::store::SessionRecord, Option<Tokens>) {
    let mut record = session(n);
    (record.inner_v4, record.inner_v6) = (session(address).inner_v4, session(address).inner_v6);
    (record, resumable.then(|| tokens(n)))
}

fn rotation(rotate: Option<bool>, now: u64) -> Option<Rotation> {
    let presented = if rotate? { Presented::Current } else { Presented::Previous };
    let token = token(&format!("given at {now}"));
    Some(Rotation { token, presented, previous_usable_until: WallSecs(now + 5) })
}

fn totals_of(store: &dyn SessionStore, n: u32) -> Totals {
    store.get(&id(n)).unwrap().map_or(Totals::default(), |(record, _)| record.totals)
}

fn answer<T: std::fmt::Debug>(answer: &Result<T, StoreError>) -> String {
    format!("{answer:?}")
}

fn compare(store: &dyn SessionStore, model: &Model) {
    assert_eq!(dump(store), model.0);
    let counts = store.counts();
    let inactive = model.0.iter().filter(|(record, ..)| record.state.is_inactive()).count();
    assert_eq!(counts.inactive, inactive as u64);
    assert_eq!(counts.active + counts.resuming + counts.inactive, model.0.len() as u64);
    for user in ["user0", "user1", "user2"] {
        let mut own: Vec<_> = model.0.iter().map(|(record, ..)| record.clone()).collect();
        own.retain(|record| record.user == user && record.state.is_inactive());
        own.sort_by_key(|record| match record.state {
            StoredState::Inactive { since, .. } => since,
            _ => unreachable!("only inactive sessions are kept"),
        });
        assert_eq!(store.inactive_of(user).unwrap(), own.len() as u64);
        assert_eq!(store.oldest_inactive(Some(user), 9).unwrap(), own);
    }
}

fn live(open: impl Fn() -> Box<dyn SessionStore>, survives: bool, steps: &[Step]) {
    let mut store = Some(open());
    let (mut model, mut committed) = (Model::default(), Model::default());
    store.as_mut().unwrap().begin().unwrap();
    for step in steps {
        let open_store = store.as_mut().unwrap();
        let got = run(&mut **open_store, &model, *step);
        assert_eq!(got, model.run(*step), "{step:?}");
        compare(&**open_store, &model);
        match step {
            Step::Commit => {
                open_store.commit(WallSecs(1)).unwrap();
                committed = model.clone();
            }
            Step::Rollback => open_store.rollback(),
            // What was not committed is gone, as with the process.
            Step::Reopen if survives => {
                drop(store.take());
                store = Some(open());
            }
            _ => continue,
        }
        if !matches!(step, Step::Commit) {
            model = committed.clone();
        }
        let open_store = store.as_mut().unwrap();
        compare(&**open_store, &model);
        open_store.begin().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn memory_does_what_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        live(|| Box::new(MemoryStore::new()), false, &steps);
    }
}

proptest! {
    // Every commit waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn sqlite_does_what_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let scratch = Scratch::new("model");
        live(|| Box::new(SqliteStore::open(&scratch.database()).unwrap()), true, &steps);
    }
}

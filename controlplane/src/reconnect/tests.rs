//! The table beside a store in memory: every row of the session's states, and the cases that must not go wrong.
//!
//! Long because all of them share one small world, and are read beside one another.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use causeway_shared::config::{OnClientDelete, OnTokenReplay, ReconnectAttributes, TokenPolicy};

use super::*;
use crate::store::memory::MemoryStore;
use crate::store::{Changed, Claim, SessionStore, StoredState, Totals};

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const INNER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const START: u64 = 1_000_000;

/// The table, a store, and what was asked of the driver.
struct World {
    table: Table,
    store: MemoryStore,
    secs: u64,
    seed: u64,
    dropped: Vec<u64>,
    deleted: Vec<u64>,
    ended: Vec<PolicyEnd>,
    released: BTreeSet<u64>,
    events: Vec<Event>,
}

fn settings() -> Settings {
    Settings {
        enabled: true,
        timeout_secs: 900,
        token_policy: TokenPolicy::Rotate,
        rotate_grace_secs: 120,
        max_inactive: 100,
        per_user_max: 5,
        on_client_delete: OnClientDelete::Remove,
        on_token_replay: OnTokenReplay::Kill,
        reclaim: false,
        allow_active_takeover: true,
        dpd_interval_secs: 45,
        attributes: ReconnectAttributes::LAB,
    }
}

fn asked() -> Vec<attributes::Attribute> {
    let numbers = ReconnectAttributes::LAB;
    vec![(numbers.session_id, vec![]), (numbers.token, vec![])]
}

fn world(settings: Settings) -> World {
    World {
        table: Table::new(settings),
        store: MemoryStore::new(),
        secs: START,
        seed: 0,
        dropped: vec![],
        deleted: vec![],
        ended: vec![],
        released: BTreeSet::new(),
        events: vec![],
    }
}

impl World {
    fn wall(&self) -> WallSecs {
        WallSecs(self.secs)
    }

    fn now(&self) -> Now {
        Now { monotonic: Duration::from_secs(self.secs), wall: self.wall() }
    }

    /// Performs the effects as the driver does.
    fn settle(&mut self) {
        let now = self.wall();
        while let Some(effect) = self.table.pop() {
            match effect {
                Effect::Write(write) => self.write(write, now),
                Effect::ReleaseLease { owner } => assert!(self.released.insert(owner)),
                Effect::Drop(session) => self.dropped.push(session),
                Effect::Delete(session) => self.deleted.push(session),
                Effect::End(session, why) => {
                    self.deleted.push(session);
                    self.ended.push(why);
                }
                Effect::Event(event) => self.events.push(event),
            }
        }
    }

    fn write(&mut self, write: Write, now: WallSecs) {
        self.store.begin().unwrap();
        let changed = write.apply(&mut self.store);
        assert_eq!(changed.unwrap(), Changed::Done, "{write:?}");
        self.store.commit(now).unwrap();
    }

    /// Logs a user in. Returns id and token, as the client got them.
    fn login(&mut self, session: u64, user: &str, inner: Ipv4Addr) -> (DurableId, Token) {
        let record = SessionRecord {
            id: DurableId::parse(b"aaaaaaaaaaaaaaaaaa").unwrap(),
            generation: 0,
            serial: 0,
            state: StoredState::Active,
            user: user.to_owned(),
            group: String::new(),
            profile: "default".to_owned(),
            pool: "staff".to_owned(),
            inner_v4: Some(inner),
            inner_v6: None,
            attributes: b"{}".to_vec(),
            client: vec![],
            accounting_id: String::new(),
            created_at: self.wall(),
            ends_at: None,
            resumptions: 0,
            totals: Totals::default(),
        };
        self.login_with(session, record)
    }

    fn login_with(&mut self, session: u64, record: SessionRecord) -> (DurableId, Token) {
        let (record, tokens) = self.offer_login(session, record);
        self.table.up(session, (SOURCE, 4500));
        self.settle();
        (record.id, tokens.current)
    }

    fn offer_login(&mut self, session: u64, record: SessionRecord) -> (SessionRecord, Tokens) {
        let login = Login { session, record, method: "anyconnect-eap".to_owned(), by_ticket: false };
        let (record, tokens) = self.table.login(login, &mut filler(&mut self.seed)).unwrap();
        self.store.begin().unwrap();
        self.store.put_new(&record, Some(&tokens)).unwrap();
        self.store.commit(WallSecs(self.secs)).unwrap();
        (record, tokens)
    }

    /// The first half of an attempt: which of the offered tokens is this?
    fn present(&mut self, session: u64, id: &[u8], token: &Token) -> Option<Proof> {
        let Incoming::Fetch(id) = self.table.incoming(session, SOURCE, id, self.now()) else { return None };
        let found = self.store.get(&id);
        let offer = self.table.fetched(session, found, self.wall())?;
        if offer.current.matches(token) {
            return Some(Proof::Current);
        }
        let (previous, usable) = offer.previous?;
        let proof = if usable { Proof::Previous } else { Proof::Burnt };
        previous.matches(token).then_some(proof)
    }

    fn claim(&mut self, session: u64, proof: Proof) -> Result<Claim, Refusal> {
        let now = self.wall();
        self.table.proven(session, proof, &asked(), now, &mut filler(&mut self.seed))
    }

    fn take(&mut self, session: u64, claim: &Claim) -> Result<Resumption, Refusal> {
        self.store.begin().unwrap();
        let outcome = self.store.claim(claim);
        self.store.commit(WallSecs(self.secs)).unwrap();
        match self.table.claimed(session, outcome) {
            Ok(resumption) => Ok(resumption),
            Err(NotWon::Refused(refusal)) => Err(refusal),
            Err(NotWon::Again(id)) => {
                let (found, now) = (self.store.get(&id), self.wall());
                let mut fill = filler(&mut self.seed);
                let claim = self.table.fetched_again(session, found, &asked(), now, &mut fill)?;
                drop(fill);
                self.take(session, &claim)
            }
        }
    }

    /// A whole attempt, up to the new IKE SA. Returns the token that the client is given.
    fn resume(&mut self, session: u64, id: &DurableId, token: &Token) -> Result<Resumption, Refusal> {
        let result = match self.present(session, id.as_bytes(), token) {
            Some(proof) => self.claim(session, proof).and_then(|claim| self.take(session, &claim)),
            None => Err(Refusal::WrongToken),
        };
        match &result {
            Ok(_) => self.table.up(session, (SOURCE, 40_000)),
            Err(_) => self.table.handshake_failed(session, true, self.now()),
        }
        self.settle();
        result
    }

    fn down(&mut self, session: u64, ending: Ending) {
        self.table.lease_returned(session, self.wall());
        self.table.down(session, ending, self.wall(), Totals { in_packets: 1, ..Totals::default() });
        self.settle();
    }

    fn pass(&mut self, secs: u64) {
        self.secs += secs;
        self.table.timer(self.wall());
        self.settle();
    }

    fn refused(&self, reason: Refusal) -> u64 {
        self.table.counts().refused(reason)
    }

    /// The five figures.
    fn figures(&self) -> [u64; 5] {
        let counts = self.table.counts();
        let gauges = [self.table.active_count() as u64, self.table.inactive_count() as u64];
        [counts.incoming, counts.success, counts.failed(), gauges[0], gauges[1]]
    }

    fn stored(&self, id: &DurableId) -> Option<StoredState> {
        self.store.get(id).unwrap().map(|(record, _)| record.state)
    }
}

/// Octets that differ from call to call.
fn filler(seed: &mut u64) -> impl FnMut(&mut [u8]) + '_ {
    move |buffer| {
        for octet in buffer {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *octet = seed.to_be_bytes()[0];
        }
    }
}

fn token_of(resumption: &Resumption) -> Token {
    resumption.tokens.as_ref().unwrap().current.clone()
}

#[test]
fn tokens_are_64_letters_of_base64url() {
    let mut seed = 0;
    let token = fresh_token(&mut filler(&mut seed)).unwrap();
    assert_eq!(token.as_bytes().len(), TOKEN_LETTERS);
    assert!(token.as_bytes().iter().all(|letter| letter.is_ascii_alphanumeric() || b"-_".contains(letter)));
    assert!(!fresh_token(&mut filler(&mut seed)).unwrap().matches(&token));
}

#[test]
fn a_silent_client_comes_back_to_its_address() {
    let mut world = world(settings());
    let (id, token) = world.login(1, "ann", INNER);
    assert_eq!(world.figures(), [0, 0, 0, 1, 0]);
    world.down(1, Ending::Silent);
    assert_eq!(world.figures(), [0, 0, 0, 0, 1]);
    assert!(matches!(world.stored(&id), Some(StoredState::Inactive { .. })));
    assert!(world.released.is_empty(), "the lease is kept");
    world.pass(300);
    let resumption = world.resume(2, &id, &token).unwrap();
    assert_eq!((resumption.record.inner_v4, resumption.owner), (Some(INNER), Some(1)));
    assert_eq!(resumption.record.serial, 2, "operators see a new number");
    assert_eq!(world.figures(), [1, 1, 0, 1, 0]);
    assert_eq!(world.stored(&id), Some(StoredState::Active));
    assert!(world.events.iter().any(|event| matches!(event, Event::Resumed { taken_over: false, .. })));
    // And again, with the new token.
    world.down(2, Ending::Silent);
    assert!(world.resume(3, &id, &token_of(&resumption)).is_ok());
    assert_eq!(world.figures(), [2, 2, 0, 1, 0]);
}

#[test]
fn how_an_active_session_ends_decides_whether_it_waits() {
    let remove = OnClientDelete::Remove;
    for (ending, on_client_delete, waits) in [
        (Ending::Silent, remove, true),
        (Ending::ClientDeleted, remove, false),
        (Ending::ClientDeleted, OnClientDelete::Keep, true),
        (Ending::Final, OnClientDelete::Keep, false),
    ] {
        let mut world = world(Settings { on_client_delete, ..settings() });
        let (id, token) = world.login(1, "ann", INNER);
        world.down(1, ending);
        assert_eq!(world.table.inactive_count(), usize::from(waits), "{ending:?}");
        assert_eq!(world.released.is_empty(), waits, "{ending:?}");
        assert_eq!(world.stored(&id).is_some(), waits);
        assert!(world.deleted.is_empty(), "its IKE SA is gone already");
        assert_eq!(world.resume(2, &id, &token).is_ok(), waits);
    }
}

#[test]
fn a_session_that_policy_ends_does_not_wait() {
    for why in [PolicyEnd::Idle, PolicyEnd::Lifetime] {
        let mut world = world(settings());
        let (id, token) = world.login(1, "ann", INNER);
        assert!(world.table.end(1, why));
        world.settle();
        assert_eq!((world.deleted.as_slice(), world.ended.as_slice()), (&[1][..], &[why][..]));
        assert_eq!((world.figures(), world.stored(&id), world.released.len()), ([0; 5], None, 1));
        // The IKE SA's own end changes nothing more.
        world.down(1, Ending::Final);
        assert!(world.resume(2, &id, &token).is_err());
        assert!(!world.table.end(1, why) && !world.table.end(9, why));
    }
}

#[test]
fn a_session_that_is_still_active_is_taken_over_if_the_policy_allows() {
    for allow_active_takeover in [true, false] {
        let mut world = world(Settings { allow_active_takeover, ..settings() });
        let (id, token) = world.login(1, "ann", INNER);
        let resumed = world.resume(2, &id, &token);
        assert_eq!(resumed.is_ok(), allow_active_takeover);
        if allow_active_takeover {
            assert_eq!(world.dropped, [1], "silently");
            assert!(world.table.lease_returned(1, world.wall()), "its lease stays with the session");
            world.table.down(1, Ending::Final, world.wall(), Totals::default());
            world.settle();
            assert_eq!(world.figures(), [1, 1, 0, 1, 0], "the old IKE SA's end concerns nobody");
            assert!(
                world.events.iter().any(|event| matches!(event, Event::Resumed { taken_over: true, .. }))
            );
        } else {
            assert_eq!(world.refused(Refusal::StillActive), 1);
            assert!(world.dropped.is_empty());
        }
    }
}

#[test]
fn after_its_time_a_session_is_gone() {
    let mut world = world(settings());
    let (id, token) = world.login(1, "ann", INNER);
    world.down(1, Ending::Silent);
    assert_eq!(world.table.next_deadline(), Some(WallSecs(START + 900)));
    world.pass(899);
    assert_eq!(world.table.inactive_count(), 1);
    world.pass(1);
    assert_eq!((world.table.inactive_count(), world.table.counts().expired), (0, 1));
    assert_eq!(world.released.len(), 1);
    assert!(world.events.iter().any(|event| matches!(event, Event::Expired { .. })));
    assert!(world.resume(2, &id, &token).is_err());
    assert_eq!(world.refused(Refusal::UnknownId), 1);
    assert_eq!(world.table.next_deadline(), None);
}

#[test]
fn a_session_whose_time_is_over_is_refused_even_before_it_is_removed() {
    let mut world = world(settings());
    let (id, token) = world.login(1, "ann", INNER);
    world.down(1, Ending::Silent);
    world.secs += 900;
    assert!(world.resume(2, &id, &token).is_err());
    assert_eq!(world.refused(Refusal::Expired), 1);
}

#[test]
fn the_sessions_lifetime_caps_the_wait_and_ends_an_active_session() {
    let mut world = world(settings());
    let limited = |world: &mut World, session, inner, secs| {
        let (_, token) = world.login(session, "ann", inner);
        let id = world.table.by_session[&session];
        world.store.begin().unwrap();
        assert_eq!(world.store.remove(&id, None).unwrap(), Changed::Done);
        world.store.commit(world.wall()).unwrap();
        let mut record = world.table.of_session(session).unwrap().0.clone();
        world.table.not_stored(session);
        record.ends_at = Some(WallSecs(START + secs));
        drop(token);
        world.login_with(session, record)
    };
    limited(&mut world, 1, INNER, 300);
    limited(&mut world, 2, Ipv4Addr::new(10, 0, 0, 6), 600);
    world.down(1, Ending::Silent);
    world.pass(299);
    assert_eq!(world.figures()[3..], [1, 1]);
    world.pass(1);
    assert_eq!(world.figures()[3..], [1, 0]);
    world.pass(300);
    assert_eq!((world.figures()[3], &world.deleted[..]), (0, &[2][..]), "its client is told");
    assert!(world.table.lease_returned(2, world.wall()), "the table has released it");
    assert_eq!(world.released.len(), 2);
}

#[test]
fn an_end_that_changes_counts_for_who_is_there_who_waits_and_who_comes_back() {
    let mut world = world(settings());
    let (active, _) = world.login(1, "ann", INNER);
    let (waiting, _) = world.login(2, "bob", Ipv4Addr::new(10, 0, 0, 6));
    let (resumed, token) = world.login(3, "eve", Ipv4Addr::new(10, 0, 0, 7));
    world.down(2, Ending::Silent);
    for id in [&active, &waiting, &resumed] {
        world.table.end_at(id, WallSecs(START + 500));
        world.table.end_at(id, WallSecs(START + 300));
    }
    world.down(3, Ending::Silent);
    world.resume(4, &resumed, &token).unwrap();
    world.pass(299);
    assert_eq!(world.figures()[3..], [2, 1]);
    world.pass(1);
    assert_eq!(world.figures()[3..], [0, 0]);
    assert_eq!(world.deleted, [1, 4]);
    assert!(world.table.deadlines.is_empty(), "no deadline is left behind");
    world.table.end_at(&active, WallSecs(START));
    assert!(world.table.next_deadline().is_none(), "who is gone has no end");
}

#[test]
fn wrong_tokens_freeze_an_id_and_then_the_right_one_does_not_help() {
    let mut world = world(settings());
    let (id, token) = world.login(1, "ann", INNER);
    world.down(1, Ending::Silent);
    let wrong = Token::new(b"x".repeat(64)).unwrap();
    for attempt in 0..5 {
        assert!(world.resume(10 + attempt, &id, &wrong).is_err());
    }
    assert_eq!(world.refused(Refusal::WrongToken), 5);
    assert!(world.resume(20, &id, &token).is_err());
    assert_eq!(world.refused(Refusal::Frozen), 1);
    world.pass(61);
    assert!(world.resume(21, &id, &token).is_ok());
    assert_eq!(world.figures(), [7, 1, 6, 1, 0]);
}

#[test]
fn ids_are_no_oracle() {
    let mut world = world(settings());
    world.login(1, "ann", INNER);
    let token = Token::new(b"x".repeat(64)).unwrap();
    assert!(world.resume(2, &DurableId::parse(b"zzzzzzzzzzzzzzzzzz").unwrap(), &token).is_err());
    assert_eq!(world.refused(Refusal::UnknownId), 1);
    // The store is asked in every case, and only 18 letters are an id.
    let now = world.now();
    assert!(matches!(world.table.incoming(3, SOURCE, b"zzzzzzzzzzzzzzzzzz", now), Incoming::Fetch(_)));
    for other in [&b"laptop.example"[..], b"*$AnyConnectClient$*", b"", b"zzzzzzzzzzzzzzzzz9"] {
        assert_eq!(world.table.incoming(4, SOURCE, other, now), Incoming::NotAnId);
    }
    world.table.settings.enabled = false;
    assert_eq!(world.table.incoming(5, SOURCE, b"zzzzzzzzzzzzzzzzzz", now), Incoming::NotAnId);
}

#[test]
fn a_lost_answer_locks_nobody_out_and_a_confirmed_token_burns_the_one_before() {
    let mut world = world(settings());
    let (id, first) = world.login(1, "ann", INNER);
    world.down(1, Ending::Silent);
    let lost = token_of(&world.resume(2, &id, &first).unwrap());
    assert!(world.table.awaits_first_message(2));
    // The answer was lost: the client comes again with the old token, and takes the session over.
    let second = world.resume(3, &id, &first).unwrap();
    assert_eq!(world.dropped, [2]);
    let second = token_of(&second);
    assert!(!second.matches(&lost));
    world.table.first_message(3);
    world.settle();
    assert!(!world.table.awaits_first_message(3));
    world.down(3, Ending::Silent);
    // Now the first is burnt.
    assert!(matches!(world.resume(4, &id, &first), Err(Refusal::Replay)));
    assert_eq!((world.refused(Refusal::Replay), world.table.counts().replays), (1, 1));
    assert!(world.events.iter().any(|event| matches!(event, Event::Replay { killed: true, .. })));
    assert!(world.resume(5, &id, &second).is_err(), "the session was killed");
    assert_eq!(world.released.len(), 1);
}

#[test]
fn a_token_is_burnt_before_the_store_knows() {
    let mut world = world(settings());
    let (id, first) = world.login(1, "ann", INNER);
    let second = token_of(&world.resume(2, &id, &first).unwrap());
    world.table.first_message(2);
    assert_eq!(world.present(3, id.as_bytes(), &first), Some(Proof::Burnt));
    assert_eq!(world.present(4, id.as_bytes(), &second), Some(Proof::Current));
}

#[test]
fn the_grace_of_an_unconfirmed_token_ends_but_its_use_does_not_end_the_session() {
    for (secs, good) in [(119, true), (120, false)] {
        let mut world = world(settings());
        let (id, first) = world.login(1, "ann", INNER);
        world.down(1, Ending::Silent);
        let second = token_of(&world.resume(2, &id, &first).unwrap());
        world.pass(secs);
        assert_eq!(world.resume(3, &id, &first).is_ok(), good);
        if !good {
            assert_eq!(world.refused(Refusal::Replay), 1);
            assert!(world.events.iter().any(|event| matches!(event, Event::Replay { killed: false, .. })));
            assert!(
                world.resume(4, &id, &second).is_ok(),
                "it may be the client, which never got the answer"
            );
        }
    }
}

#[test]
fn a_burnt_token_ends_the_session_as_the_policy_says_after_a_restart_too() {
    for (on_token_replay, killed) in [(OnTokenReplay::Kill, true), (OnTokenReplay::Refuse, false)] {
        let mut before = world(Settings { on_token_replay, ..settings() });
        let (id, first) = before.login(1, "ann", INNER);
        before.resume(2, &id, &first).unwrap();
        before.table.first_message(2);
        before.settle();
        before.store.begin().unwrap();
        assert_eq!(before.store.park_all(before.wall(), 900).unwrap().parked, 1);
        before.store.commit(before.wall()).unwrap();
        let mut after = world(Settings { on_token_replay, ..settings() });
        std::mem::swap(&mut after.store, &mut before.store);
        let record = after.store.get(&id).unwrap().unwrap().0;
        after.table.restore(record);
        assert!(matches!(after.resume(1, &id, &first), Err(Refusal::Replay)));
        assert_eq!(after.stored(&id).is_none(), killed);
    }
}

#[test]
fn a_stable_token_stays_the_same() {
    let mut world = world(Settings { token_policy: TokenPolicy::Stable, ..settings() });
    let (id, token) = world.login(1, "ann", INNER);
    for session in 2..6 {
        world.down(session - 1, Ending::Silent);
        let resumption = world.resume(session, &id, &token).unwrap();
        assert!(token_of(&resumption).matches(&token));
        world.table.first_message(session);
        world.settle();
    }
}

#[test]
fn a_client_that_does_not_ask_for_a_token_keeps_the_one_it_has() {
    let mut world = world(settings());
    let (id, token) = world.login(1, "ann", INNER);
    for session in 2..5 {
        world.down(session - 1, Ending::Silent);
        assert_eq!(world.present(session, id.as_bytes(), &token), Some(Proof::Current));
        let (now, mut seed) = (world.wall(), 1);
        let claim = world.table.proven(session, Proof::Current, &[], now, &mut filler(&mut seed)).unwrap();
        assert!(claim.rotation.is_none());
        assert!(token_of(&world.take(session, &claim).unwrap()).matches(&token));
        world.table.up(session, (SOURCE, 1));
        world.settle();
    }
}

#[test]
fn of_two_attempts_at_once_the_newer_wins_whoever_claims_first() {
    for older_first in [true, false] {
        let mut world = world(settings());
        let (id, token) = world.login(1, "ann", INNER);
        world.down(1, Ending::Silent);
        let older = world.present(2, id.as_bytes(), &token).unwrap();
        let newer = world.present(3, id.as_bytes(), &token).unwrap();
        let (older, newer) = (world.claim(2, older).unwrap(), world.claim(3, newer).unwrap());
        if older_first {
            assert!(world.take(2, &older).is_ok());
            assert!(world.take(3, &newer).is_ok(), "asked again");
            world.settle();
            assert_eq!(world.dropped, [2]);
        } else {
            assert!(world.take(3, &newer).is_ok());
            assert!(matches!(world.take(2, &older), Err(Refusal::Overtaken)));
        }
        world.table.up(3, (SOURCE, 1));
        world.table.handshake_failed(2, true, world.now());
        world.settle();
        assert_eq!(world.figures(), [2, 1, 1, 1, 0], "{older_first}");
        assert_eq!(world.refused(Refusal::Overtaken), 1);
        assert_eq!(
            (world.table.phase(&id), world.stored(&id)),
            (Some(Phase::Active), Some(StoredState::Active))
        );
    }
}

#[test]
fn a_claim_that_is_heard_of_late_takes_nothing_back() {
    let mut world = world(settings());
    let (id, token) = world.login(1, "ann", INNER);
    world.down(1, Ending::Silent);
    let proof = world.present(2, id.as_bytes(), &token).unwrap();
    let older = world.claim(2, proof).unwrap();
    world.store.begin().unwrap();
    let late = world.store.claim(&older);
    world.store.commit(world.wall()).unwrap();
    let newer = world.resume(3, &id, &token).unwrap();
    assert!(matches!(world.table.claimed(2, late), Err(NotWon::Refused(Refusal::Overtaken))));
    world.table.handshake_failed(2, true, world.now());
    world.settle();
    assert_eq!(world.figures(), [2, 1, 1, 1, 0]);
    assert_eq!(world.table.of_session(3).map(|(record, _)| record.id), Some(id));
    assert!(world.dropped.is_empty() && world.resume(4, &id, &token_of(&newer)).is_ok());
}

/// What happens to one attempt, in this order; the network decides what of the other one's lies between.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    /// Its AUTH comes and the store is asked.
    Present,
    /// Its claim goes to the store.
    Claim,
    /// The store's answer comes, and the IKE SA is up unless it was lost.
    Take,
    /// The client has the answer and uses the new keys.
    Use,
}

/// Every order of the steps of an attempt that the client has given up and of the one that it waits for, which lasts as long
/// as it takes; the answer of the latter may be lost. Returns the world, the id, and the token that the client has then.
fn race(order: u32, answered: bool) -> Option<(World, DurableId, Token, Token)> {
    const OLDER: [Step; 3] = [Step::Present, Step::Claim, Step::Take];
    const NEWER: [Step; 4] = [Step::Present, Step::Claim, Step::Take, Step::Use];
    if order.count_ones() as usize != NEWER.len() {
        return None;
    }
    let mut world = world(settings());
    let (id, first) = world.login(1, "ann", INNER);
    world.down(1, Ending::Silent);
    let mut held = first.clone();
    let mut left = [OLDER.iter(), NEWER.iter()];
    let (mut proofs, mut claims) = ([None, None], [None, None]);
    for bit in 0..OLDER.len() + NEWER.len() {
        let which = usize::from(order >> bit & 1 == 1);
        let session = 2 + which as u64;
        match left[which].next().unwrap() {
            Step::Present => proofs[which] = world.present(session, id.as_bytes(), &first),
            Step::Claim => match proofs[which].take() {
                Some(Proof::Burnt) => {
                    world.table.burnt(session);
                    world.table.handshake_failed(session, true, world.now());
                }
                Some(proof) => match world.claim(session, proof) {
                    Ok(claim) => claims[which] = Some(claim),
                    Err(_) => world.table.handshake_failed(session, true, world.now()),
                },
                None => world.table.handshake_failed(session, true, world.now()),
            },
            Step::Take => {
                let Some(claim) = claims[which].take() else { continue };
                match world.take(session, &claim) {
                    Ok(resumption) => {
                        world.table.up(session, (SOURCE, 1));
                        if which == 1 && answered {
                            held = token_of(&resumption);
                        }
                    }
                    Err(_) => world.table.handshake_failed(session, true, world.now()),
                }
            }
            Step::Use if answered => world.table.first_message(session),
            Step::Use => {}
        }
        world.settle();
    }
    Some((world, id, first, held))
}

#[test]
fn an_attempt_that_the_network_kept_back_neither_ends_the_session_nor_takes_it_from_its_client() {
    let mut orders = 0;
    for (order, answered) in (0..1 << 7).flat_map(|order| [(order, true), (order, false)]) {
        let Some((mut world, id, first, held)) = race(order, answered) else { continue };
        orders += 1;
        let place = format!("order {order:07b}, answered: {answered}");
        assert_eq!(world.table.of_session(3).map(|(record, _)| record.id), Some(id), "{place}");
        assert_eq!((world.figures()[0], world.figures()[1] + world.figures()[2]), (2, 2), "{place}");
        assert_eq!(world.table.counts().replays, 0, "{place}");
        // Whatever the client holds brings it back.
        let again = world.resume(4, &id, &held).unwrap_or_else(|refusal| panic!("{place}: {refusal:?}"));
        world.table.first_message(4);
        world.settle();
        // And whoever comes with an old token after that is a thief.
        let stolen = if answered { held } else { first };
        assert!(matches!(world.resume(5, &id, &stolen), Err(Refusal::Replay)), "{place}");
        assert_eq!((world.table.counts().replays, world.stored(&id)), (1, None), "{place}");
        drop(again);
    }
    assert_eq!(orders, 2 * 35);
}

#[test]
fn whoever_was_overtaken_before_coming_up_does_not_go_on() {
    let mut world = world(settings());
    let (id, token) = world.login(1, "ann", INNER);
    world.down(1, Ending::Silent);
    let proof = world.present(2, id.as_bytes(), &token).unwrap();
    let claim = world.claim(2, proof).unwrap();
    world.take(2, &claim).unwrap();
    // The client gives up, and comes again while the first attempt waits for the data plane.
    world.resume(3, &id, &token).unwrap();
    world.dropped.clear();
    world.table.up(2, (SOURCE, 1));
    world.settle();
    assert_eq!(world.dropped, [2]);
    assert_eq!(world.figures(), [2, 1, 1, 1, 0]);
    assert!(world.table.lease_returned(2, world.wall()) && world.released.is_empty());
}

#[test]
fn a_claim_that_comes_to_nothing_leaves_the_session_waiting() {
    for childless in [true, false] {
        let mut world = world(settings());
        let (id, token) = world.login(1, "ann", INNER);
        world.down(1, Ending::Silent);
        let proof = world.present(2, id.as_bytes(), &token).unwrap();
        let claim = world.claim(2, proof).unwrap();
        world.take(2, &claim).unwrap();
        world.table.lease_returned(2, world.wall());
        match childless {
            true => world.table.up(2, (SOURCE, 1)),
            false => world.table.handshake_failed(2, false, world.now()),
        }
        world.settle();
        assert_eq!(world.figures(), [1, 0, 1, 0, 1]);
        assert!(world.dropped.is_empty());
        assert!(world.resume(3, &id, &token).is_ok(), "the old token still counts");
    }
}

#[test]
fn a_login_that_comes_to_nothing_leaves_nothing() {
    let mut world = world(settings());
    let (id, _) = world.login(1, "ann", INNER);
    let record = world.table.of_session(1).unwrap().0.clone();
    world.down(1, Ending::Final);
    world.released.clear();
    let (record, _) = world.offer_login(2, record);
    assert_ne!(record.id, id);
    assert!(world.table.lease_returned(2, world.wall()));
    world.settle();
    assert_eq!((world.stored(&record.id), world.released.len()), (None, 1));
    world.table.handshake_failed(2, false, world.now());
    world.settle();
    assert_eq!(world.figures(), [0, 0, 0, 0, 0]);
}

#[test]
fn a_session_that_could_not_be_stored_goes_on_without() {
    let mut world = world(settings());
    let (id, token) = world.login(1, "ann", INNER);
    world.table.not_stored(1);
    assert!(!world.table.lease_returned(1, world.wall()), "the lease is the caller's again");
    world.table.down(1, Ending::Silent, world.wall(), Totals::default());
    world.settle();
    assert_eq!((world.table.inactive_count(), world.table.counts().unstored), (0, 1));
    let _ = (id, token);
}

#[test]
fn who_waits_longest_makes_room() {
    let mut world = world(Settings { per_user_max: 2, max_inactive: 3, ..settings() });
    let inner = |last: u64| Ipv4Addr::new(10, 0, 0, u8::try_from(last).unwrap());
    let mut ids = vec![];
    for (session, user) in [(1, "ann"), (2, "bob"), (3, "ann"), (4, "ann"), (5, "cid"), (6, "dan")] {
        ids.push(world.login(session, user, inner(session)).0);
        world.down(session, Ending::Silent);
        world.pass(1);
    }
    let waiting: Vec<_> = world
        .table
        .inactive_page(None, None, usize::MAX)
        .0
        .into_iter()
        .map(|inactive| inactive.record.id)
        .collect();
    // ann's third displaces her first; dan's displaces the longest of all, which is bob's.
    assert_eq!(waiting, [ids[3], ids[4], ids[5]]);
    assert_eq!(world.table.counts().evicted, 3);
    assert_eq!(world.released.iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn addresses_are_reclaimed_only_if_the_policy_says_so() {
    for reclaim in [true, false] {
        let mut world = world(Settings { reclaim, ..settings() });
        world.login(1, "ann", INNER);
        world.down(1, Ending::Silent);
        assert!(!world.table.reclaim(Some("other")));
        assert_eq!(world.table.reclaim(Some("staff")), reclaim);
        world.settle();
        assert_eq!(world.released.len(), usize::from(reclaim));
    }
}

#[test]
fn operators_clear_for_good() {
    let mut world = world(settings());
    let (active, first) = world.login(1, "ann", INNER);
    let (waiting, second) = world.login(2, "bob", Ipv4Addr::new(10, 0, 0, 6));
    world.down(2, Ending::Silent);
    assert_eq!(world.table.clear_inactive(), 1);
    assert!(world.table.clear(&active) && !world.table.clear(&active));
    world.settle();
    assert_eq!((world.deleted.as_slice(), world.released.len()), (&[1][..], 2));
    assert!(world.resume(3, &active, &first).is_err() && world.resume(4, &waiting, &second).is_err());
}

#[test]
fn sessions_of_an_earlier_run_wait_with_their_leases() {
    let mut before = world(settings());
    let (id, token) = before.login(1, "ann", INNER);
    before.login(2, "bob", Ipv4Addr::new(10, 0, 0, 6));
    before.store.begin().unwrap();
    assert_eq!(before.store.park_all(before.wall(), 900).unwrap().parked, 2);
    before.store.commit(before.wall()).unwrap();

    let mut after = world(settings());
    std::mem::swap(&mut after.store, &mut before.store);
    for record in after.store.page(crate::store::Cursor::START, 10).unwrap().records {
        let (id, user) = (record.id, record.user.clone());
        let owner = after.table.restore(record).unwrap();
        if user == "bob" {
            after.table.address_is_gone(owner, &id);
        }
    }
    assert_eq!(after.figures(), [0, 0, 0, 0, 2]);
    let resumption = after.resume(1, &id, &token).unwrap();
    assert!(resumption.owner.is_some_and(|owner| owner > 1), "no IKE session's number");
    assert_eq!(resumption.record.serial, 3, "numbers go on");
    after.pass(900);
    assert!(after.released.is_empty(), "bob's address belongs to nobody");
    assert_eq!(after.figures()[3..], [1, 0]);
}

#[test]
fn a_session_without_address_in_the_pools_ends_when_it_is_resumed() {
    let mut world = world(settings());
    let (id, token) = world.login(1, "ann", INNER);
    world.down(1, Ending::Silent);
    let owner = world.table.entries[&id].owner.unwrap();
    world.table.address_is_gone(owner, &id);
    let proof = world.present(2, id.as_bytes(), &token).unwrap();
    let claim = world.claim(2, proof).unwrap();
    assert_eq!(world.take(2, &claim).unwrap().owner, None);
    world.table.address_gone(2);
    world.table.up(2, (SOURCE, 1));
    world.settle();
    assert_eq!((world.figures(), world.refused(Refusal::AddressGone)), ([1, 0, 1, 0, 0], 1));
    assert!(world.released.is_empty() && world.stored(&id).is_none());
}

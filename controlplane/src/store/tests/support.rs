//! What the tests of the stores share: directories of their own, sessions to store, and every store there is.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{
    DurableId, SessionRecord, SessionStore, StoreError, StoredState, Token, Tokens, Totals, WallSecs,
};

/// A directory that is gone when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        // Relaxed: only the numbers must differ.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let place = format!("causeway-store-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(place);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn database(&self) -> PathBuf {
        self.0.join("sessions.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `test` on an empty store of each kind.
pub fn on_each(test: impl Fn(&mut dyn SessionStore)) {
    test(&mut MemoryStore::new());
    let scratch = Scratch::new("each");
    test(&mut SqliteStore::open(&scratch.database()).unwrap());
}

/// One change in a transaction of its own.
pub fn commit<T>(
    store: &mut dyn SessionStore,
    change: impl FnOnce(&mut dyn SessionStore) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    store.begin()?;
    let done = change(store).and_then(|done| store.commit(WallSecs(1000)).map(|()| done));
    if done.is_err() {
        store.rollback();
    }
    done
}

/// The id with number `n`.
pub fn id(n: u32) -> DurableId {
    let mut letters = *b"aaaaaaaaaaaaaaaaaa";
    let mut rest = n;
    for letter in letters.iter_mut().rev() {
        *letter = b'a' + u8::try_from(rest % 26).unwrap();
        rest /= 26;
    }
    DurableId::parse(&letters).unwrap()
}

pub fn token(text: &str) -> Token {
    Token::new(text.as_bytes().to_vec()).unwrap()
}

pub fn tokens(n: u32) -> Tokens {
    Tokens::new(token(&format!("token of {n}")))
}

/// An active session with address 10.0.0.0 + `n`.
pub fn session(n: u32) -> SessionRecord {
    SessionRecord {
        id: id(n),
        generation: 1,
        serial: u64::from(n),
        state: StoredState::Active,
        user: format!("user{}", n % 3),
        group: "staff".to_owned(),
        profile: "default".to_owned(),
        pool: "inside".to_owned(),
        inner_v4: Some(Ipv4Addr::from_bits(0x0a00_0000 + n)),
        inner_v6: n.is_multiple_of(2).then(|| (0xfd00_u128 << 112 | u128::from(n)).into()),
        attributes: br#"{"banner":"welcome"}"#.to_vec(),
        client: br#"{"device":"laptop"}"#.to_vec(),
        accounting_id: format!("{n:08x}"),
        created_at: WallSecs(100),
        ends_at: None,
        resumptions: 0,
        totals: Totals::default(),
    }
}

/// A session with its encoded tokens and its IKE state.
pub type Dumped = (SessionRecord, Option<Vec<u8>>, Option<Vec<u8>>);

/// Everything of all sessions, in a form that can be compared.
pub fn dump(store: &dyn SessionStore) -> Vec<Dumped> {
    let mut cursor = Some(crate::store::Cursor::START);
    let mut all = Vec::new();
    while let Some(after) = cursor {
        let page = store.page(after, 3).unwrap();
        cursor = page.next;
        for record in page.records {
            let (same, tokens) = store.get(&record.id).unwrap().unwrap();
            assert_eq!(same, record);
            let ike_state = store.ike_state(&record.id).unwrap().map(|state| state.as_bytes().to_vec());
            all.push((record, tokens.map(|tokens| tokens.encode().to_vec()), ike_state));
        }
    }
    all
}

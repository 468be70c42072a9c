//! A session's secrets: the tokens it is resumed with, and the state of its IKE SA. Wiped when dropped, never printed.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::record::check_size;
use super::{StoreError, WallSecs};

/// Most octets of a token.
pub const MAX_TOKEN_OCTETS: usize = 1024;
/// Most octets of an IKE SA's state.
pub const MAX_IKE_STATE_OCTETS: usize = 64 * 1024;

/// Stands in sealed tokens where there is no previous one.
const NO_PREVIOUS: u64 = u64::MAX;

/// What a client proves that it holds when it resumes a session (the PSK of RFC 7296 §2.15, or a ticket's key).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token(Vec<u8>);

impl Token {
    /// Takes a token's octets; the caller must not have left copies.
    ///
    /// # Errors
    /// When there are too many.
    pub fn new(octets: Vec<u8>) -> Result<Token, StoreError> {
        let octets = Token(octets);
        check_size("token", octets.0.len(), MAX_TOKEN_OCTETS)?;
        Ok(octets)
    }

    /// The empty token, which nobody holds.
    pub fn none() -> Token {
        Token(Vec::new())
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `other` is the same, in time that depends on the lengths only.
    pub fn matches(&self, other: &Token) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// The token before the current one.
#[derive(Clone)]
pub struct PreviousToken {
    /// It.
    pub token: Token,
    /// It may be used before this moment; 0 when it was confirmed that the client holds the current one.
    pub usable_until: WallSecs,
}

impl PreviousToken {
    /// Whether a session may be resumed with it. If not, its use is a replay.
    pub fn is_usable(&self, now: WallSecs) -> bool {
        now < self.usable_until
    }

    /// Whether the client has shown that it holds the one after, and not only time has passed.
    pub fn is_burnt(&self) -> bool {
        self.usable_until == WallSecs(0)
    }
}

/// A session's tokens.
#[derive(Clone)]
pub struct Tokens {
    /// The one given last.
    pub current: Token,
    /// Its number, 1 for the first.
    pub generation: u64,
    /// The one before: usable for a while, then kept so that its use is recognised as a replay.
    pub previous: Option<PreviousToken>,
}

impl Tokens {
    /// A new session's.
    pub fn new(first: Token) -> Tokens {
        Tokens { current: first, generation: 1, previous: None }
    }

    /// What they are after `rotation`.
    pub fn rotated(&self, rotation: &Rotation) -> Tokens {
        let held = match (rotation.presented, &self.previous) {
            // The current one was never received; its number goes on, so that a late confirmation of it means nothing.
            (Presented::Previous, Some(previous)) => &previous.token,
            (Presented::Previous, None) | (Presented::Current, _) => &self.current,
        };
        Tokens {
            current: rotation.token.clone(),
            generation: self.generation.saturating_add(1),
            previous: Some(PreviousToken {
                token: held.clone(),
                usable_until: rotation.previous_usable_until,
            }),
        }
    }

    /// As they are sealed: number, end of the previous one's use (all ones for no previous one), length of the current one,
    /// current one, previous one. Integers are big-endian.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let previous = self.previous.as_ref();
        let until = previous.map_or(NO_PREVIOUS, |previous| previous.usable_until.0.min(NO_PREVIOUS - 1));
        let previous = previous.map_or(&[][..], |previous| previous.token.as_bytes());
        // The full size at once: growing would leave copies behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(18 + self.current.0.len() + previous.len()));
        octets.extend_from_slice(&self.generation.to_be_bytes());
        octets.extend_from_slice(&until.to_be_bytes());
        // At most MAX_TOKEN_OCTETS.
        octets.extend_from_slice(&u16::try_from(self.current.0.len()).unwrap_or(u16::MAX).to_be_bytes());
        octets.extend_from_slice(&self.current.0);
        octets.extend_from_slice(previous);
        octets
    }

    /// Reads what [`Tokens::encode`] wrote; `None` for anything else.
    pub(super) fn decode(octets: &[u8]) -> Option<Tokens> {
        let (generation, rest) = octets.split_first_chunk::<8>()?;
        let (until, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (current, previous) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let previous = match u64::from_be_bytes(*until) {
            NO_PREVIOUS if previous.is_empty() => None,
            NO_PREVIOUS => return None,
            until => {
                let token = Token::new(previous.to_vec()).ok()?;
                Some(PreviousToken { token, usable_until: WallSecs(until) })
            }
        };
        Some(Tokens {
            current: Token::new(current.to_vec()).ok()?,
            generation: u64::from_be_bytes(*generation),
            previous,
        })
    }

    /// What they are after the client has shown that it holds number `generation`.
    pub fn confirmed(mut self, generation: u64) -> Tokens {
        if generation == self.generation
            && let Some(previous) = &mut self.previous
        {
            previous.usable_until = WallSecs(0);
        }
        self
    }
}

/// Which token a client proved to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presented {
    /// The one given last.
    Current,
    /// The one before: the message that carried the current one was lost.
    Previous,
}

/// A new token for a session.
#[derive(Clone)]
pub struct Rotation {
    /// It.
    pub token: Token,
    /// What the client holds now. That token stays usable until the new one is confirmed …
    pub presented: Presented,
    /// … or until this moment.
    pub previous_usable_until: WallSecs,
}

/// The state of an IKE SA, as the IKE crate writes it. It holds keys.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct IkeState(Vec<u8>);

impl IkeState {
    /// Takes the octets; the caller must not have left copies.
    ///
    /// # Errors
    /// When there are too many.
    pub fn new(octets: Vec<u8>) -> Result<IkeState, StoreError> {
        let octets = IkeState(octets);
        check_size("IKE state", octets.0.len(), MAX_IKE_STATE_OCTETS)?;
        Ok(octets)
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token::new(text.as_bytes().to_vec()).unwrap()
    }

    fn rotation(text: &str, presented: Presented) -> Rotation {
        Rotation { token: token(text), presented, previous_usable_until: WallSecs(100) }
    }

    #[test]
    fn what_the_client_holds_stays_usable_until_the_new_token_is_confirmed() {
        let tokens = Tokens::new(token("a")).rotated(&rotation("b", Presented::Current));
        let previous = tokens.previous.as_ref().unwrap();
        assert!(previous.token.matches(&token("a")));
        assert!(previous.is_usable(WallSecs(99)) && !previous.is_usable(WallSecs(100)));

        // "b" was lost on its way: the client comes with "a" and is given "c".
        let tokens = tokens.rotated(&rotation("c", Presented::Previous));
        assert!(tokens.previous.as_ref().unwrap().token.matches(&token("a")));
        assert!(tokens.current.matches(&token("c")) && !tokens.current.matches(&token("b")));

        let late = tokens.clone().confirmed(2);
        assert!(late.previous.unwrap().is_usable(WallSecs(0)), "number 2 was \"b\"");
        let confirmed = tokens.confirmed(3);
        let previous = confirmed.previous.unwrap();
        assert!(!previous.is_usable(WallSecs(0)) && previous.token.matches(&token("a")));
    }

    #[test]
    fn tokens_are_read_as_they_were_written_and_nothing_else_is() {
        let first = Tokens::new(token("first"));
        let both = first.rotated(&rotation("second", Presented::Current));
        for tokens in [&first, &both, &both.clone().confirmed(2)] {
            let octets = tokens.encode();
            let read = Tokens::decode(&octets).unwrap();
            assert_eq!(read.encode(), octets);
            assert_eq!(read.generation, tokens.generation);
            assert!(read.current.matches(&tokens.current));
            for cut in 0..octets.len().min(18 + tokens.current.0.len()) {
                assert!(Tokens::decode(&octets[..cut]).is_none(), "cut at {cut}");
            }
        }
        let until = Tokens::decode(&both.encode()).unwrap().previous.unwrap();
        assert!(until.usable_until == WallSecs(100) && until.token.matches(&token("first")));
    }

    #[test]
    fn secrets_have_bounds() {
        assert!(Token::new(vec![0; MAX_TOKEN_OCTETS]).is_ok());
        assert!(Token::new(vec![0; MAX_TOKEN_OCTETS + 1]).is_err());
        assert!(IkeState::new(vec![0; MAX_IKE_STATE_OCTETS + 1]).is_err());
    }
}

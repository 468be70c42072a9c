//! Reassembly of fragmented messages (RFC 7383 §2.6): opened fragments of one message ID in, the message out.
//!
//! The state machine holds at most one [`Reassembly`] per direction of exchange and drops it with the message ID.

use super::content;
use super::message::MAX_MESSAGE;
use super::payload::parse_payloads;
use super::{Content, EncryptedFragment, Header, Message, OpenedFragment, WireError};

/// Most fragments of one message.
pub const MAX_FRAGMENTS: u16 = 128;
/// Octets of fragment number and total, behind the generic payload header.
pub const FRAGMENT_HEADER_LEN: usize = 4;

/// The fragments of one message so far.
pub struct Reassembly {
    message_id: u32,
    total: u16,
    first_inner: u8,
    pieces: Vec<Option<Vec<u8>>>,
    octets: usize,
    /// Of the first fragment: what precedes its fragment header.
    associated: Vec<u8>,
    content: Option<Content>,
}

impl Reassembly {
    /// No fragments yet, for one message ID.
    pub fn new(message_id: u32) -> Reassembly {
        let (pieces, associated) = (Vec::new(), Vec::new());
        Reassembly { message_id, total: 0, first_inner: 0, pieces, octets: 0, associated, content: None }
    }

    /// The message ID it collects.
    pub fn message_id(&self) -> u32 {
        self.message_id
    }

    /// Whether a fragment is worth opening: right message ID, not there yet, and not of a coarser splitting than
    /// what is held (a peer that lowers its fragment size raises the total and starts over).
    pub fn wants(&self, fragment: &EncryptedFragment<'_>) -> bool {
        fragment.header.message_id == self.message_id
            && (fragment.total > self.total || (fragment.total == self.total && !self.holds(fragment.number)))
    }

    /// Takes an opened fragment; returns the message when it was the last one missing. `header` is the fragment's,
    /// which the ICV covered.
    ///
    /// # Errors
    /// [`WireError`] when the whole is too long or its payloads are malformed; the reassembly is empty again then.
    pub fn push(&mut self, header: Header, fragment: OpenedFragment) -> Result<Option<Message>, WireError> {
        if fragment.total < self.total || (fragment.total == self.total && self.holds(fragment.number)) {
            return Ok(None);
        }
        if fragment.total > self.total {
            self.restart(fragment.total.min(MAX_FRAGMENTS));
        }
        self.octets = self.octets.saturating_add(fragment.plaintext.len());
        if self.octets > MAX_MESSAGE {
            self.restart(0);
            return Err(WireError::TooLong { what: "reassembled message" });
        }
        let place = usize::from(fragment.number).checked_sub(1).and_then(|at| self.pieces.get_mut(at));
        let Some(place) = place else {
            return Err(WireError::BadValue { what: "fragment number" });
        };
        *place = Some(fragment.plaintext);
        if fragment.number == 1 {
            self.first_inner = fragment.first_inner;
            self.associated = fragment.associated;
        }
        if self.pieces.iter().any(Option::is_none) {
            return Ok(None);
        }
        let chain: Vec<u8> = self.pieces.iter().flatten().flatten().copied().collect();
        let first_inner = self.first_inner;
        let associated = content::of_first_fragment(std::mem::take(&mut self.associated));
        self.restart(0);
        let payloads = parse_payloads(first_inner, &chain)?;
        self.content = Some(Content::new(associated, chain)?);
        Ok(Some(Message { header, payloads }))
    }

    /// What IKE_INTERMEDIATE authenticates of the message that [`Reassembly::push`] has returned.
    pub fn take_content(&mut self) -> Option<Content> {
        self.content.take()
    }

    fn holds(&self, number: u16) -> bool {
        let place = usize::from(number).checked_sub(1).and_then(|at| self.pieces.get(at));
        place.is_some_and(Option::is_some)
    }

    fn restart(&mut self, total: u16) {
        self.total = total;
        self.first_inner = 0;
        self.octets = 0;
        self.pieces.clear();
        self.pieces.resize_with(usize::from(total), || None);
    }
}

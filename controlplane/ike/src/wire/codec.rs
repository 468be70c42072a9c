//! Octets: a reader that cannot run past its end, a writer that patches lengths, and the macro for IANA registries.
//!
//! Enters: unchecked octets of a peer. Leaves: integers and slices, or [`WireError::Truncated`]. No RFC of its own.

use super::WireError;

/// Reads big-endian fields; every read is checked.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; errors name `what`.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Reader<'a> {
        Reader { rest: bytes, what }
    }

    pub(crate) fn take(&mut self, octets: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) =
            self.rest.split_at_checked(octets).ok_or(WireError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) =
            self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes all that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A structure whose length field counts `header` octets already read: the octets after them.
    pub(crate) fn body(&mut self, length: u16, header: usize) -> Result<&'a [u8], WireError> {
        let body = usize::from(length).checked_sub(header).ok_or(WireError::BadLength { what: self.what })?;
        self.take(body)
    }

    /// Fails unless everything was read.
    pub(crate) fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::BadLength { what: self.what }) }
    }
}

/// Appends `body` behind a two-octet length that counts the `header_len` octets from `start` as well.
///
/// `start` is where the structure begins in `out`; its length field is at `start + 2`, as everywhere in IKEv2.
pub(crate) fn patch_length(out: &mut [u8], start: usize, what: &'static str) -> Result<(), WireError> {
    let length = out.len().checked_sub(start).and_then(|l| u16::try_from(l).ok());
    let field = start.checked_add(2).and_then(|at| out.get_mut(at..)).and_then(|f| f.first_chunk_mut::<2>());
    match (length, field) {
        (Some(length), Some(field)) => {
            *field = length.to_be_bytes();
            Ok(())
        }
        _ => Err(WireError::TooLong { what }),
    }
}

/// A one-octet count or length of something we send.
pub(crate) fn count_u8(count: usize, what: &'static str) -> Result<u8, WireError> {
    u8::try_from(count).map_err(|_| WireError::TooLong { what })
}

/// Declares an IANA registry: an enum with `Unknown` for the rest, numbers both ways, names.
macro_rules! registry {
    ($(#[$meta:meta])* $name:ident: $int:ty { $($variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`, number ", stringify!($number), ".")] $variant,)+
            /// A number without a name here. Made by [`Self::from_number`] only, never for a named number.
            Unknown($int),
        }

        impl $name {
            /// Every named value, in order of its number.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The value with this number.
            pub fn from_number(number: $int) -> $name {
                match number { $($number => $name::$variant,)+ other => $name::Unknown(other) }
            }

            /// The number on the wire.
            pub fn number(self) -> $int {
                match self { $($name::$variant => $number,)+ $name::Unknown(number) => number }
            }

            /// The registered name, if it has one.
            pub fn name(self) -> Option<&'static str> {
                match self { $($name::$variant => Some($text),)+ $name::Unknown(_) => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({})", stringify!($name), self.number()),
                }
            }
        }
    };
}
pub(crate) use registry;

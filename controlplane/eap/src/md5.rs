//! EAP-MD5: CHAP with MD5 (RFC 3748 §5.4, RFC 1994 §4).
//!
//! Enters: Type-Data of the response, the credential store. Leaves: the challenge, then the verdict. It makes no key, does
//! not prove the server and needs the password itself: an operator has to want it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use md5::{Digest as _, Md5};

use crate::mschapv2::crypto::Challenge;
use crate::outcome::{Authenticated, DiscardReason, FailureReason};
use crate::packet::EapType;
use crate::server::{Credentials, MethodStep, ServerMethod, names};

const RESPONSE_OCTETS: usize = 16;

/// The server's side.
pub(crate) struct Md5Server {
    identifier: u8,
    challenge: Challenge,
    /// The peer's identity: the name field of a response is not to be relied upon.
    user: Vec<u8>,
}

impl Md5Server {
    /// Starts; `identifier` is that of the request, which enters the hash.
    pub(crate) fn start(
        identifier: u8,
        challenge: Challenge,
        identity: &[u8],
        name: &[u8],
    ) -> (Md5Server, Vec<u8>) {
        let server = Md5Server { identifier, challenge, user: identity.to_vec() };
        (server, frame(&challenge, name))
    }
}

impl ServerMethod for Md5Server {
    fn handle(&mut self, _: u8, data: &[u8], credentials: &dyn Credentials) -> MethodStep {
        let Some(given) = unframe(data).filter(|value| value.len() == RESPONSE_OCTETS) else {
            return MethodStep::Discard(DiscardReason::MalformedMethodData);
        };
        let account = names(&self.user).find_map(|name| Some((name, credentials.clear_password(name)?)));
        let password = account.as_ref().map(|(_, password)| password.as_bytes()).unwrap_or_default();
        let right = verify_slices_are_equal(&hash(self.identifier, password, &self.challenge), given).is_ok();
        match account {
            Some((user, _)) if right => {
                MethodStep::Success(Authenticated::new(user.to_owned(), EapType::MD5, None))
            }
            _ => MethodStep::Failure(FailureReason::BadCredentials),
        }
    }
}

/// The peer's answer; `None` if the challenge is malformed.
pub(crate) fn respond(identifier: u8, challenge: &[u8], password: &str, name: &str) -> Option<Vec<u8>> {
    let challenge = unframe(challenge)?;
    Some(frame(&hash(identifier, password.as_bytes(), challenge), name.as_bytes()))
}

fn hash(identifier: u8, password: &[u8], challenge: &[u8]) -> [u8; RESPONSE_OCTETS] {
    Md5::new().chain_update([identifier]).chain_update(password).chain_update(challenge).finalize().into()
}

/// Value-Size, Value, Name.
fn frame(value: &[u8], name: &[u8]) -> Vec<u8> {
    let size = value.len().min(usize::from(u8::MAX)) as u8;
    [&[size], value, name].concat()
}

fn unframe(data: &[u8]) -> Option<&[u8]> {
    let (&size, rest) = data.split_first()?;
    rest.get(..usize::from(size)).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_identifier_secret_and_challenge() {
        // RFC 1994 has no vector: this one is `printf '\x01secretchallenge-of-16b' | md5sum`.
        let digest = hash(1, b"secret", b"challenge-of-16b");
        let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, "7aa20111596c3079630a8e09edd3dcb6");
    }

    #[test]
    fn frames_are_read_as_written() {
        for (data, value) in [
            (&[][..], None),
            (&[0], None),
            (&[2, 1], None),
            (&[2, 1, 2], Some(&[1, 2][..])),
            (&[2, 1, 2, b'n'], Some(&[1, 2])),
        ] {
            assert_eq!(unframe(data), value);
        }
        assert_eq!(frame(&[7, 8], b"gw"), [2, 7, 8, b'g', b'w']);
    }
}

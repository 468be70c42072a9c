//! Attributes that are hidden from who listens: User-Password (RFC 2865 §5.2) and Microsoft's keys (RFC 2548 §2.4.2).
//!
//! Enters: password or hidden key, secret, Request Authenticator. Leaves: the hidden password, the key in clear.

use zeroize::{Zeroize, Zeroizing};

use crate::SharedSecret;
use crate::authenticator::md5;

/// Longest password (RFC 2865 §5.2).
pub const MAX_PASSWORD_OCTETS: usize = 128;
const BLOCK: usize = 16;

/// Hides a password. `None` if it is longer than [`MAX_PASSWORD_OCTETS`].
pub(crate) fn hide_password(
    password: &[u8],
    secret: &SharedSecret,
    authenticator: &[u8; 16],
) -> Option<Vec<u8>> {
    if password.len() > MAX_PASSWORD_OCTETS {
        return None;
    }
    let mut hidden = Vec::with_capacity(MAX_PASSWORD_OCTETS);
    let mut previous = *authenticator;
    let mut rest = password;
    loop {
        let (block, after) = rest.split_at(rest.len().min(BLOCK));
        let mut mask = md5(&[secret.expose(), &previous]);
        mask.iter_mut().zip(block).for_each(|(mask, clear)| *mask ^= clear);
        hidden.extend_from_slice(&mask);
        previous = mask;
        rest = after;
        if rest.is_empty() {
            return Some(hidden);
        }
    }
}

/// Opens the value of an MS-MPPE-Send-Key or MS-MPPE-Recv-Key. `None` if it is none.
pub(crate) fn open_key(
    value: &[u8],
    secret: &SharedSecret,
    authenticator: &[u8; 16],
) -> Option<Zeroizing<Vec<u8>>> {
    let (salt, hidden) = value.split_first_chunk::<2>()?;
    // RFC 2548 §2.4.2: the leftmost bit of the salt is set.
    if salt[0] & 0x80 == 0 || hidden.is_empty() || !hidden.len().is_multiple_of(BLOCK) {
        return None;
    }
    let mut clear = Zeroizing::new(Vec::with_capacity(hidden.len()));
    let mut mask = md5(&[secret.expose(), authenticator, salt]);
    for block in hidden.chunks(BLOCK) {
        clear.extend(block.iter().zip(mask).map(|(hidden, mask)| hidden ^ mask));
        mask.zeroize();
        mask = md5(&[secret.expose(), block]);
    }
    let (length, rest) = clear.split_first()?;
    let key = rest.get(..usize::from(*length))?;
    (!key.is_empty()).then(|| Zeroizing::new(key.to_vec()))
}

#[cfg(test)]
pub(crate) fn hide_key(
    key: &[u8],
    salt: [u8; 2],
    secret: &SharedSecret,
    authenticator: &[u8; 16],
) -> Vec<u8> {
    let mut clear = vec![u8::try_from(key.len()).unwrap()];
    clear.extend(key);
    clear.resize(clear.len().next_multiple_of(BLOCK), 0);
    let mut value = salt.to_vec();
    let mut mask = md5(&[secret.expose(), authenticator, &salt]);
    for block in clear.chunks(BLOCK) {
        let hidden: Vec<_> = block.iter().zip(mask).map(|(clear, mask)| clear ^ mask).collect();
        mask = md5(&[secret.expose(), &hidden]);
        value.extend(hidden);
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret() -> SharedSecret {
        SharedSecret::new(b"xyzzy5461".to_vec()).unwrap()
    }

    #[test]
    fn a_password_is_padded_to_blocks_and_bounded() {
        for (length, hidden) in [(0, 16), (1, 16), (16, 16), (17, 32), (128, 128)] {
            assert_eq!(
                hide_password(&vec![b'x'; length], &secret(), &[1; 16]).map(|h| h.len()),
                Some(hidden)
            );
        }
        assert_eq!(hide_password(&[b'x'; 129], &secret(), &[1; 16]), None);
    }

    #[test]
    fn a_key_without_salt_bit_or_of_odd_length_is_none() {
        let good = hide_key(&[7; 32], [0x80, 1], &secret(), &[1; 16]);
        assert_eq!(open_key(&good, &secret(), &[1; 16]).as_deref(), Some(&vec![7; 32]));
        let mut unsalted = good.clone();
        unsalted[0] = 0x7F;
        for bad in [&unsalted[..], &good[..good.len() - 1], &good[..2], &[]] {
            assert!(open_key(bad, &secret(), &[1; 16]).is_none());
        }
    }

    proptest! {
        #[test]
        fn keys_come_out_as_they_went_in(key in proptest::collection::vec(any::<u8>(), 1..200), salt in any::<u16>(), authenticator in any::<[u8; 16]>()) {
            let hidden = hide_key(&key, (salt | 0x8000).to_be_bytes(), &secret(), &authenticator);
            let opened = open_key(&hidden, &secret(), &authenticator).map(|key| key.to_vec());
            prop_assert_eq!(opened, Some(key));
        }

        #[test]
        fn whatever_comes_as_a_key_is_opened_or_not(value in proptest::collection::vec(any::<u8>(), 0..260)) {
            let _ = open_key(&value, &secret(), &[3; 16]);
        }
    }
}

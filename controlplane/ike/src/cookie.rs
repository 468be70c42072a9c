//! Stateless cookies against floods of IKE_SA_INIT from forged addresses (RFC 7296 §2.6).
//!
//! Enters: nonce, SPI and addresses of a first request. Leaves: a cookie, or whether a returned one is ours:
//! `version | HMAC-SHA2-256(secret of that version, Ni | IPi | port | SPIi)`.

use std::net::IpAddr;

use aws_lc_rs::hmac;

use crate::env::Env;
use crate::time::Instant;

/// Seconds after which a new secret is taken; cookies of the one before are still good.
pub(crate) const SECRET_LIFETIME_SECS: u64 = 60;

const SECRET_LEN: usize = 32;
/// Octets of a cookie: version and MAC.
pub(crate) const COOKIE_LEN: usize = 33;

/// The current secret and the one before.
pub(crate) struct CookieJar {
    current: Secret,
    previous: Option<Secret>,
}

struct Secret {
    version: u8,
    key: hmac::Key,
    made_at: Instant,
}

/// What a cookie is bound to.
pub(crate) struct CookieSubject<'a> {
    pub(crate) nonce: &'a [u8],
    pub(crate) peer: IpAddr,
    pub(crate) initiator_spi: u64,
}

impl CookieJar {
    pub(crate) fn new(now: Instant, env: &mut dyn Env) -> CookieJar {
        CookieJar { current: Secret::new(0, now, env), previous: None }
    }

    /// The cookie for this request.
    pub(crate) fn bake(&mut self, now: Instant, env: &mut dyn Env, subject: &CookieSubject<'_>) -> Vec<u8> {
        self.rotate(now, env);
        let mut cookie = vec![self.current.version];
        cookie.extend_from_slice(self.current.mac(subject).as_ref());
        cookie
    }

    /// Whether we made this cookie for this request, not long ago.
    pub(crate) fn verify(
        &mut self,
        now: Instant,
        env: &mut dyn Env,
        subject: &CookieSubject<'_>,
        cookie: &[u8],
    ) -> bool {
        self.rotate(now, env);
        let Some((version, mac)) = cookie.split_first().filter(|_| cookie.len() == COOKIE_LEN) else {
            return false;
        };
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|secret| secret.version == *version)
            .is_some_and(|secret| secret.verify(subject, mac))
    }

    fn rotate(&mut self, now: Instant, env: &mut dyn Env) {
        let age_secs = now.millis_since(self.current.made_at) / 1000;
        if age_secs < SECRET_LIFETIME_SECS {
            return;
        }
        let next = Secret::new(self.current.version.wrapping_add(1), now, env);
        let old = std::mem::replace(&mut self.current, next);
        self.previous = (age_secs < 2 * SECRET_LIFETIME_SECS).then_some(old);
    }
}

impl Secret {
    fn new(version: u8, now: Instant, env: &mut dyn Env) -> Secret {
        let mut octets = [0; SECRET_LEN];
        env.random(&mut octets);
        Secret { version, key: hmac::Key::new(hmac::HMAC_SHA256, &octets), made_at: now }
    }

    fn mac(&self, subject: &CookieSubject<'_>) -> hmac::Tag {
        hmac::sign(&self.key, &subject.octets())
    }

    fn verify(&self, subject: &CookieSubject<'_>, mac: &[u8]) -> bool {
        hmac::verify(&self.key, &subject.octets(), mac).is_ok()
    }
}

impl CookieSubject<'_> {
    fn octets(&self) -> Vec<u8> {
        let spi = self.initiator_spi.to_be_bytes();
        match self.peer {
            IpAddr::V4(peer) => [self.nonce, &peer.octets(), &spi].concat(),
            IpAddr::V6(peer) => [self.nonce, &peer.octets(), &spi].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u8);

    impl Env for Counting {
        fn random(&mut self, buffer: &mut [u8]) {
            self.0 = self.0.wrapping_add(1);
            buffer.fill(self.0);
        }
        fn allocate_spi(&mut self) -> Option<u32> {
            None
        }
        fn free_spi(&mut self, _: u32) {}
        fn last_inbound(&mut self, _: u32) -> Option<Instant> {
            None
        }
    }

    fn subject(nonce: &[u8; 16], last: u8, initiator_spi: u64) -> CookieSubject<'_> {
        CookieSubject { nonce, peer: [192, 0, 2, last].into(), initiator_spi }
    }

    #[test]
    fn a_cookie_is_bound_to_its_subject_and_ends_with_its_secret() {
        let mut env = Counting(0);
        let at = |secs| Instant::default().plus_secs(secs);
        let mut jar = CookieJar::new(at(0), &mut env);
        let cookie = jar.bake(at(1), &mut env, &subject(&[1; 16], 1, 7));
        assert_eq!(cookie.len(), COOKIE_LEN);
        for (nonce, last, spi, secs, good) in [
            ([1; 16], 1, 7, 2, true),
            ([2; 16], 1, 7, 2, false),
            ([1; 16], 2, 7, 2, false),
            ([1; 16], 1, 8, 2, false),
            ([1; 16], 1, 7, SECRET_LIFETIME_SECS + 1, true),
            ([1; 16], 1, 7, 2 * SECRET_LIFETIME_SECS + 1, false),
        ] {
            let verdict = jar.verify(at(secs), &mut env, &subject(&nonce, last, spi), &cookie);
            assert_eq!(verdict, good, "{last} {spi} {secs}");
        }
        assert!(!jar.verify(at(500), &mut env, &subject(&[1; 16], 1, 7), &[]));
    }

    #[test]
    fn after_a_long_rest_both_secrets_are_new() {
        let mut env = Counting(0);
        let mut jar = CookieJar::new(Instant::default(), &mut env);
        let subject = CookieSubject { nonce: &[1; 16], peer: [127, 0, 0, 1].into(), initiator_spi: 1 };
        let cookie = jar.bake(Instant::default(), &mut env, &subject);
        let late = Instant::default().plus_secs(2 * SECRET_LIFETIME_SECS);
        assert!(!jar.verify(late, &mut env, &subject, &cookie));
    }
}

//! The spelling of IKE proposals, e.g. `aes256gcm16-prfsha384-ecp384`: enough grammar to tell an operator what is wrong without
//! naming the protocol crate. Enters: one proposal. Leaves: nothing, or what is wrong and the remedy.

use super::suggest::nearest;

const AEADS: [&str; 2] = ["aes128gcm16", "aes256gcm16"];
const CIPHERS: [&str; 2] = ["aes128", "aes256"];
const INTEGRITY: [&str; 3] = ["sha256", "sha384", "sha512"];
const PRFS: [&str; 3] = ["prfsha256", "prfsha384", "prfsha512"];
const GROUPS: [&str; 5] = ["modp2048", "ecp256", "ecp384", "ecp521", "curve25519"];

/// Checks that the proposal names a cipher, what goes with it, and a group, each once (RFC 7296 §3.3.3, RFC 5282 §8).
pub(super) fn check(proposal: &str) -> Result<(), (String, String)> {
    let words: Vec<&str> = proposal.split('-').collect();
    let all = || [&AEADS[..], &CIPHERS, &INTEGRITY, &PRFS, &GROUPS].into_iter().flatten().copied();
    if let Some(unknown) = words.iter().find(|word| !all().any(|known| known == **word)) {
        let remedy = match nearest(unknown, all()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the names are: {}", all().collect::<Vec<_>>().join(", ")),
        };
        return Err((format!("unknown algorithm `{unknown}`"), remedy));
    }
    let count = |kind: &[&str]| words.iter().filter(|word| kind.contains(word)).count();
    let rules = [
        (count(&AEADS) + count(&CIPHERS), 1..=1, "cipher", "name one, as in aes256gcm16 or aes256"),
        (count(&PRFS), count(&AEADS)..=1, "PRF", "name one, as in prfsha384"),
        (
            count(&INTEGRITY),
            count(&CIPHERS)..=count(&CIPHERS),
            "integrity algorithm",
            "GCM has its own; the other ciphers need one, as in sha256",
        ),
        (count(&GROUPS), 1..=1, "key exchange group", "name one, as in ecp384"),
    ];
    for (found, allowed, what, remedy) in rules {
        if found < *allowed.start() {
            return Err((format!("has no {what}"), remedy.into()));
        }
        if found > *allowed.end() {
            return Err((format!("has one {what} too many"), remedy.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_checked_by_grammar() {
        for good in
            ["aes256gcm16-prfsha384-ecp384", "aes128-sha256-modp2048", "aes256-sha384-prfsha512-curve25519"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("", "unknown algorithm ``"),
            ("aes256gcm-prfsha384-ecp384", "unknown algorithm `aes256gcm`"),
            ("AES256GCM16-prfsha384-ecp384", "unknown algorithm `AES256GCM16`"),
            ("aes256gcm16-ecp384", "has no PRF"),
            ("aes256gcm16-sha384-prfsha384-ecp384", "has one integrity algorithm too many"),
            ("aes256-ecp384", "has no integrity algorithm"),
            ("aes256-sha256", "has no key exchange group"),
            ("sha256-ecp256", "has no cipher"),
            ("aes128-aes256-sha256-ecp256", "has one cipher too many"),
            ("aes128-sha256-ecp256-ecp384", "has one key exchange group too many"),
        ] {
            assert_eq!(check(bad).err().map(|(what, _)| what).as_deref(), Some(part), "{bad}");
        }
    }
}

//! The spelling of IKE proposals, e.g. `aes256gcm16-prfsha384-ecp384`: enough grammar to tell an operator what is wrong without
//! naming the protocol crate. Enters: one proposal. Leaves: nothing, or what is wrong and the remedy.

use super::suggest::nearest;

/// Every name with its kind; the first name of a kind and meaning is the one to write, the others are strongSwan's aliases.
const WORDS: [(&str, Kind); 28] = [
    ("aes256gcm16", Kind::Aead),
    ("aes128gcm16", Kind::Aead),
    ("chacha20poly1305", Kind::Aead),
    ("aes256gcm", Kind::Aead),
    ("aes128gcm", Kind::Aead),
    ("aes256gcm128", Kind::Aead),
    ("aes128gcm128", Kind::Aead),
    ("aes256", Kind::Cipher),
    ("aes192", Kind::Cipher),
    ("aes128", Kind::Cipher),
    ("sha256", Kind::Hash),
    ("sha384", Kind::Hash),
    ("sha512", Kind::Hash),
    ("sha2_256", Kind::Hash),
    ("sha2_384", Kind::Hash),
    ("sha2_512", Kind::Hash),
    ("prfsha256", Kind::Prf),
    ("prfsha384", Kind::Prf),
    ("prfsha512", Kind::Prf),
    ("modp2048", Kind::Group),
    ("ecp256", Kind::Group),
    ("ecp384", Kind::Group),
    ("ecp521", Kind::Group),
    ("curve25519", Kind::Group),
    ("x25519", Kind::Group),
    // Known words that have no place in an IKE proposal.
    ("esn", Kind::Esn),
    ("noesn", Kind::Esn),
    ("modp1024", Kind::Weak),
];

/// Additional key exchanges (RFC 9370), each behind `ke1_` to `ke7_`.
const ADDITIONAL: [&str; 3] = ["mlkem768", "mlkem1024", "none"];
/// Most additional key exchanges.
const MAX_ADDITIONAL: usize = 7;

/// What a word of a proposal names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Aead,
    Cipher,
    Hash,
    Prf,
    Group,
    Esn,
    Weak,
}

/// Checks that the proposal names ciphers of one sort, what goes with them, and a group (RFC 7296 §3.3.3, RFC 5282 §8).
/// With an AEAD a hash names the PRF.
pub(super) fn check(proposal: &str) -> Result<(), (String, String)> {
    let mut kinds = Vec::new();
    let mut additional = [false; MAX_ADDITIONAL];
    let mut seen: Vec<&str> = Vec::new();
    for word in proposal.split('-') {
        if let Some(place) = additional_place(word)? {
            if let Some(place) = additional.get_mut(place) {
                *place = true;
            }
            if seen.contains(&word) {
                return Err((format!("`{word}` stands there twice"), "remove one".into()));
            }
            seen.push(word);
            continue;
        }
        let Some((_, kind)) = WORDS.iter().find(|(known, _)| *known == word) else {
            let remedy = match nearest(word, WORDS.iter().map(|(known, _)| *known)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`causeway config example` shows the names".to_owned(),
            };
            return Err((format!("unknown algorithm `{word}`"), remedy));
        };
        if seen.contains(&word) {
            return Err((format!("`{word}` stands there twice"), "remove one".into()));
        }
        seen.push(word);
        kinds.push(*kind);
    }
    let has = |kind| kinds.contains(&kind);
    let rules = [
        (has(Kind::Weak), "modp1024 is too weak", "use modp2048 or a curve"),
        (has(Kind::Esn), "esn belongs to ESP", "remove it; esp.prefer_esn decides"),
        (!has(Kind::Aead) && !has(Kind::Cipher), "has no cipher", "name one, as in aes256gcm16 or aes256"),
        (has(Kind::Aead) && has(Kind::Cipher), "mixes AEAD and CBC ciphers", "write two proposals"),
        (has(Kind::Cipher) && !has(Kind::Hash), "has no integrity algorithm", "name one, as in sha256"),
        (!has(Kind::Hash) && !has(Kind::Prf), "has no PRF", "name one, as in prfsha384"),
        (!has(Kind::Group), "has no key exchange group", "name one, as in ecp384"),
        (
            !additional.is_sorted_by_key(|named| !named),
            "leaves out an additional key exchange before another",
            "count from ke1_ without a gap",
        ),
    ];
    match rules.into_iter().find(|(broken, _, _)| *broken) {
        Some((_, what, remedy)) => Err((what.to_owned(), remedy.to_owned())),
        None => Ok(()),
    }
}

/// The place of an additional key exchange, from zero; `None` for every other word.
fn additional_place(word: &str) -> Result<Option<usize>, (String, String)> {
    let Some((number, name)) = word.strip_prefix("ke").and_then(|rest| rest.split_once('_')) else {
        return Ok(None);
    };
    let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    match place.filter(|place| *place < MAX_ADDITIONAL) {
        Some(place) if ADDITIONAL.contains(&name) => Ok(Some(place)),
        Some(_) => {
            let remedy = format!("it has one of {}", ADDITIONAL.join(", "));
            Err((format!("unknown additional key exchange `{word}`"), remedy))
        }
        None => {
            let what = format!("`{word}` is none of ke1_ to ke{MAX_ADDITIONAL}_");
            Err((what, "begin with ke1_".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_checked_by_grammar() {
        for good in [
            "aes256gcm16-prfsha384-ecp384",
            "aes256gcm16-sha384-ecp384",
            "chacha20poly1305-aes256gcm16-prfsha256-curve25519",
            "aes128-sha256-modp2048",
            "aes256-aes128-sha384-sha256-prfsha512-curve25519-ecp256",
            "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024",
            "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_none-ke2_mlkem1024",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("", "unknown algorithm ``"),
            ("aes256gcm12-prfsha384-ecp384", "unknown algorithm `aes256gcm12`"),
            ("AES256GCM16-prfsha384-ecp384", "unknown algorithm `AES256GCM16`"),
            ("aes256gcm16-ecp384", "has no PRF"),
            ("aes256gcm16-aes256-sha256-ecp384", "mixes AEAD and CBC ciphers"),
            ("aes256-ecp384", "has no integrity algorithm"),
            ("aes256-prfsha256-ecp384", "has no integrity algorithm"),
            ("aes256-sha256", "has no key exchange group"),
            ("sha256-ecp256", "has no cipher"),
            ("aes128-sha256-aes128-ecp256", "`aes128` stands there twice"),
            ("aes128-sha256-ecp256-esn", "esn belongs to ESP"),
            ("aes128-sha256-modp1024", "modp1024 is too weak"),
            ("aes128-sha256-ecp256-ke1_kyber", "unknown additional key exchange `ke1_kyber`"),
            ("aes128-sha256-ecp256-ke8_mlkem768", "`ke8_mlkem768` is none of ke1_ to ke7_"),
            ("aes128-sha256-ecp256-ke2_mlkem768", "leaves out an additional key exchange before another"),
            ("aes128-sha256-ecp256-ke1_none-ke1_none", "`ke1_none` stands there twice"),
            ("aes128-sha256-ke1_mlkem768", "has no key exchange group"),
        ] {
            assert_eq!(check(bad).err().map(|(what, _)| what).as_deref(), Some(part), "{bad}");
        }
    }
}

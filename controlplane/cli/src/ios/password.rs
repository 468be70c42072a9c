//! Passwords of `username` commands. Enters: the words behind the name. Leaves: the clear password, or the reason why
//! there is none.

use zeroize::Zeroizing;

/// Longest password in octets.
const MAX_PASSWORD: usize = 256;
/// The fixed text behind IOS's password type 7, which hides and does not encrypt.
const TYPE_7: &[u8; 53] = b"dsfd;kfoA,.iyewrkldJKDHSUBsgvca69834ncxv9873254k;fg87";

/// Why there is no password to hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NoPassword {
    #[error("the user has no password")]
    Absent,
    #[error("the password is kept as a one-way hash of a kind that cannot be checked here")]
    Hashed,
    #[error("the password is encrypted with a key of the router")]
    Encrypted,
    #[error("the password cannot be read")]
    Unreadable,
}

/// The clear password of `[privilege N] {password|secret} [TYPE] TEXT`.
pub(super) fn clear(words: &[String]) -> Result<Zeroizing<String>, NoPassword> {
    let at = words.iter().position(|word| {
        word.len() >= 3 && ("password".starts_with(word.as_str()) || "secret".starts_with(word.as_str()))
    });
    let words = at.and_then(|at| words.get(at.saturating_add(1)..)).ok_or(NoPassword::Absent)?;
    let (kind, text) = match words {
        [] => return Err(NoPassword::Absent),
        [text] => ("0", text),
        [kind, text, ..] => (kind.as_str(), text),
    };
    let password = match kind {
        "0" => Zeroizing::new(text.clone()),
        "7" => revealed(text).ok_or(NoPassword::Unreadable)?,
        "6" => return Err(NoPassword::Encrypted),
        _ => return Err(NoPassword::Hashed),
    };
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(NoPassword::Unreadable);
    }
    Ok(password)
}

/// Type 7: two digits say where in the fixed text to start, then octets in hexadecimal.
fn revealed(text: &str) -> Option<Zeroizing<String>> {
    let start: usize = text.get(..2)?.parse().ok()?;
    let hidden = text.get(2..)?;
    let octets: Option<Vec<u8>> = (0..hidden.len())
        .step_by(2)
        .zip(start..)
        .map(|(at, key)| {
            let octet = u8::from_str_radix(hidden.get(at..at.checked_add(2)?)?, 16).ok()?;
            Some(octet ^ TYPE_7.get(key % TYPE_7.len())?)
        })
        .collect();
    String::from_utf8(octets?).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn clear_passwords_are_found() {
        for (line, expected) in [
            ("password 0 cisco", Ok("cisco")),
            ("password cisco", Ok("cisco")),
            ("privilege 15 secret 0 s3cret", Ok("s3cret")),
            ("password 7 0822455D0A16", Ok("cisco")),
            ("password 7 08224", Err(NoPassword::Unreadable)),
            ("password 7 zz", Err(NoPassword::Unreadable)),
            ("secret 9 $9$abc", Err(NoPassword::Hashed)),
            ("secret 5 $1$abc", Err(NoPassword::Hashed)),
            ("password 6 abc", Err(NoPassword::Encrypted)),
            ("privilege 15", Err(NoPassword::Absent)),
            ("password", Err(NoPassword::Absent)),
        ] {
            let found = clear(&words(line));
            assert_eq!(found.as_ref().map(|p| p.as_str()).map_err(|e| *e), expected, "{line}");
        }
    }
}

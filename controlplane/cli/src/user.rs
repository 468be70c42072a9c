//! `causeway user hash`: a password in (terminal without echo, or one line of standard input), the configuration line out.
//! The NT hash is MD4 of the password in UTF-16LE (RFC 2759 §8.3); the other one is Argon2id (RFC 9106) as a PHC string.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Read, Write};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use md4::{Digest, Md4};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};

/// Longest password in characters (RFC 2759 §8.1 allows 256).
const MAX_PASSWORD: usize = 256;
/// Most octets read from a pipe before the line's end.
const MAX_LINE: u64 = 4096;

/// Reads a password and prints its line.
pub(crate) fn hash(argon2: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let password = if std::io::stdin().is_terminal() {
        let first = prompt("Password: ")?;
        if *prompt("Again: ")? != *first {
            return Err(Failure::Input("the two passwords differ".into()));
        }
        first
    } else {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().lock().take(MAX_LINE).read_line(&mut line)?;
        Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    if password.is_empty() {
        return Err(Failure::Input("the password is empty".into()));
    }
    if password.chars().count() > MAX_PASSWORD {
        return Err(Failure::Input(format!("the password is longer than {MAX_PASSWORD} characters")));
    }
    if argon2 {
        writeln!(out, "password_hash = \"{}\"", argon2_hash(&password).map_err(Failure::Refused)?)?;
    } else {
        writeln!(out, "password_nt_hash = \"{}\"", nt_hash(&password).as_str())?;
    }
    Ok(Exit::Ok)
}

/// Argon2id with the costs that its crate recommends and a random salt, as a PHC string.
pub(crate) fn argon2_hash(password: &str) -> Result<String, String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// The NT hash of a password in hexadecimal.
pub(crate) fn nt_hash(password: &str) -> Zeroizing<String> {
    let utf16: Zeroizing<Vec<u8>> =
        Zeroizing::new(password.encode_utf16().flat_map(u16::to_le_bytes).collect());
    let digest = Zeroizing::new(<[u8; 16]>::from(Md4::digest(utf16.as_slice())));
    let mut hex = Zeroizing::new(String::with_capacity(32));
    for octet in digest.iter() {
        let _ = write!(hex, "{octet:02x}");
    }
    hex
}

/// Asks on the terminal; what is typed is not shown, and Ctrl-C leaves the terminal as it was.
pub(crate) fn prompt(question: &str) -> Result<Zeroizing<String>, Failure> {
    let quiet = Quiet::new()?;
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut typed = Zeroizing::new(Vec::with_capacity(4 * MAX_PASSWORD));
    for octet in std::io::stdin().lock().bytes() {
        match octet? {
            b'\r' | b'\n' => break,
            0x03 | 0x04 => {
                drop(quiet);
                eprintln!();
                return Err(Failure::Input("cancelled".into()));
            }
            // Backspace takes one character, which may be several octets.
            0x08 | 0x7f => while typed.pop().is_some_and(|octet| octet & 0xc0 == 0x80) {},
            octet if typed.len() < typed.capacity() => typed.push(octet),
            _ => return Err(Failure::Input("the password is too long".into())),
        }
    }
    drop(quiet);
    eprintln!();
    match std::str::from_utf8(&typed) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Failure::Input("the terminal does not send UTF-8".into())),
    }
}

/// The terminal without echo, line editing and signals, until dropped.
struct Quiet(Termios);

impl Quiet {
    fn new() -> Result<Quiet, Failure> {
        let before = tcgetattr(std::io::stdin()).map_err(std::io::Error::from)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).map_err(std::io::Error::from)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use argon2::PasswordVerifier;
    use argon2::password_hash::phc::PasswordHash;

    use super::*;

    #[test]
    fn hashes_verify_the_password_and_no_other() {
        let text = argon2_hash("cisco").unwrap();
        assert_ne!(text, argon2_hash("cisco").unwrap(), "each hash has a salt of its own");
        let hash = PasswordHash::new(&text).unwrap();
        assert!(Argon2::default().verify_password(b"cisco", &hash).is_ok());
        assert!(Argon2::default().verify_password(b"Cisco", &hash).is_err());
    }

    #[test]
    fn known_passwords_have_their_known_hashes() {
        // The first is the example of RFC 2759 §9.2; the others were made with Python's `hashlib.new("md4")`.
        for (password, hash) in [
            ("clientPass", "44ebba8d5312b8d611474411f56989ae"),
            ("password", "8846f7eaee8fb117ad06bdd830b7586c"),
        ] {
            assert_eq!(nt_hash(password).as_str(), hash, "{password}");
        }
    }
}

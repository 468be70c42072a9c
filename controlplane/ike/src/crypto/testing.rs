//! Helpers of this crate's tests: hexadecimal, repeatable randomness, and the vectors of `testdata/vectors.txt`.

use std::collections::HashMap;

use super::{CryptoError, Random};

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Reads hexadecimal, blanks and line ends ignored.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    assert!(digits.len().is_multiple_of(2));
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Gives the octets it was made with, then fails.
pub(crate) struct FixedRandom(pub(crate) Vec<u8>);

impl Random for FixedRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        if self.0.len() < out.len() {
            return Err(CryptoError::NoRandomness);
        }
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

/// One group of vectors: names to values.
pub(crate) struct Vectors(HashMap<&'static str, &'static str>);

impl Vectors {
    pub(crate) fn text(&self, name: &str) -> &'static str {
        self.0.get(name).unwrap_or_else(|| panic!("vectors.txt has no {name}"))
    }

    pub(crate) fn octets(&self, name: &str) -> Vec<u8> {
        unhex(self.text(name))
    }
}

/// The groups of `vectors.txt`, one per suite; the last one holds MODP-2048.
pub(crate) fn vectors() -> Vec<Vectors> {
    let mut groups = vec![Vectors(HashMap::new())];
    for line in include_str!("../../testdata/vectors.txt").lines() {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        if name == "end" {
            groups.push(Vectors(HashMap::new()));
        } else {
            let group = groups.last_mut().unwrap();
            assert!(group.0.insert(name, value).is_none(), "{name} twice");
        }
    }
    groups
}

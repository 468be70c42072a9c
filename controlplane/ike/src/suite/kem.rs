//! Key encapsulation beside the key exchange: the additional key exchanges of RFC 9370 that this implementation has, which are
//! ML-KEM (FIPS 203; numbers of the IANA registry "Key Exchange Method").
//!
//! Enters: words like `ke1_mlkem768`. Leaves: transforms of the types ADDKE1 to ADDKE7, and the methods that both sides agreed on,
//! in the order in which they are done.

use std::fmt;

use crate::wire::{Transform, TransformType};

/// Most additional key exchanges in one proposal: there are seven transform types for them (RFC 9370 §2.2.2).
pub const MAX_ADDITIONAL_KES: usize = 7;

/// A key encapsulation mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kem {
    /// ML-KEM-768.
    MlKem768,
    /// ML-KEM-1024.
    MlKem1024,
}

impl Kem {
    /// Every mechanism.
    pub const ALL: [Kem; 2] = [Kem::MlKem768, Kem::MlKem1024];

    /// Its IANA number.
    pub fn number(self) -> u16 {
        match self {
            Kem::MlKem768 => 36,
            Kem::MlKem1024 => 37,
        }
    }

    /// Octets of the initiator's KE data, an encapsulation key (FIPS 203 table 3).
    pub fn key_len(self) -> usize {
        match self {
            Kem::MlKem768 => 1184,
            Kem::MlKem1024 => 1568,
        }
    }

    /// Octets of the responder's KE data, a ciphertext (FIPS 203 table 3).
    pub fn ciphertext_len(self) -> usize {
        match self {
            Kem::MlKem768 => 1088,
            Kem::MlKem1024 => 1568,
        }
    }

    /// Its name in proposals, behind `ke1_` to `ke7_`.
    pub fn name(self) -> &'static str {
        match self {
            Kem::MlKem768 => "mlkem768",
            Kem::MlKem1024 => "mlkem1024",
        }
    }

    /// The mechanism of this name.
    pub fn from_name(name: &str) -> Option<Kem> {
        Kem::ALL.into_iter().find(|kem| kem.name() == name)
    }
}

/// The mechanisms agreed on, in the order in which they are done: each once at most, since no method may be chosen twice
/// (RFC 9370 §2.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Kems([Option<Kem>; Kem::ALL.len()]);

impl Kems {
    /// No additional key exchange.
    pub const NONE: Kems = Kems([None; Kem::ALL.len()]);

    /// Adds one to the end; `None` when it is there already.
    pub fn and(mut self, kem: Kem) -> Option<Kems> {
        if self.iter().any(|held| held == kem) {
            return None;
        }
        *self.0.iter_mut().find(|place| place.is_none())? = Some(kem);
        Some(self)
    }

    /// Each, in order.
    pub fn iter(self) -> impl Iterator<Item = Kem> {
        self.0.into_iter().flatten()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// The one at a place.
    pub fn get(self, index: usize) -> Option<Kem> {
        self.iter().nth(index)
    }
}

impl fmt::Display for Kems {
    /// As in a proposal: `-ke1_mlkem768-ke2_mlkem1024`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (1..).zip(self.iter()).try_for_each(|(n, kem)| write!(f, "-ke{n}_{}", kem.name()))
    }
}

/// ADDKE1 to ADDKE7.
pub(super) const ADDITIONAL: [TransformType; MAX_ADDITIONAL_KES] = [
    TransformType::AddKe1,
    TransformType::AddKe2,
    TransformType::AddKe3,
    TransformType::AddKe4,
    TransformType::AddKe5,
    TransformType::AddKe6,
    TransformType::AddKe7,
];

/// The transform of a choice; `None` is the number 0, NONE.
pub(super) fn transform(kind: TransformType, kem: Option<Kem>) -> Transform {
    Transform::new(kind, kem.map_or(super::TRANSFORM_NONE, Kem::number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kems_are_kept_in_order_and_once() {
        let one = Kems::NONE.and(Kem::MlKem1024).unwrap();
        let both = one.and(Kem::MlKem768).unwrap();
        assert_eq!(both.iter().collect::<Vec<_>>(), [Kem::MlKem1024, Kem::MlKem768]);
        assert_eq!((both.len(), both.get(1), both.get(2)), (2, Some(Kem::MlKem768), None));
        assert_eq!(both.and(Kem::MlKem768), None);
        assert_eq!(both.to_string(), "-ke1_mlkem1024-ke2_mlkem768");
        assert!(Kems::NONE.is_empty() && !one.is_empty());
    }
}

//! Which Child SA a session's packets to the client leave by, for each family of its addresses.
//!
//! Enters: Child SAs with the inner addresses that they carry. Leaves: the one for IPv4 and the one for IPv6, mostly the same; they
//! are two where a client made a Child SA for each family (RFC 7296 §2.9).

use crate::api::Inner;

/// By inbound SPI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Selected {
    pub(crate) v4: Option<u32>,
    pub(crate) v6: Option<u32>,
}

impl Selected {
    /// Packets to these addresses leave by this SA from now on. Whether that is a change.
    pub(crate) fn select(&mut self, spi: u32, inner: Inner) -> bool {
        let before = *self;
        self.v4 = inner.v4.map_or(self.v4, |_| Some(spi));
        self.v6 = inner.v6.map_or(self.v6, |_| Some(spi));
        *self != before
    }

    /// No packets leave by this SA. Whether some did.
    pub(crate) fn forget(&mut self, spi: u32) -> bool {
        let before = *self;
        self.v4 = self.v4.filter(|selected| *selected != spi);
        self.v6 = self.v6.filter(|selected| *selected != spi);
        *self != before
    }

    /// The SAs that packets to these addresses leave by.
    pub(crate) fn of(self, inner: Inner) -> impl Iterator<Item = u32> {
        let (v4, v6) = (inner.v4.and(self.v4), inner.v6.and(self.v6));
        v4.into_iter().chain(v6.filter(|v6| Some(*v6) != v4))
    }

    /// Whether packets to one of these addresses leave by no SA.
    pub(crate) fn lacks(self, inner: Inner) -> bool {
        inner.v4.is_some() && self.v4.is_none() || inner.v6.is_some() && self.v6.is_none()
    }

    /// Every SA of it.
    pub(crate) fn all(self) -> impl Iterator<Item = u32> {
        self.v4.into_iter().chain(self.v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Inner6;

    #[test]
    fn families_are_selected_apart() {
        let v4 = Inner { v4: Some([10, 0, 0, 1].into()), v6: None };
        let v6 = Inner { v4: None, v6: Some(Inner6 { address: 1.into(), prefix_len: 128 }) };
        let dual = Inner { v4: v4.v4, v6: v6.v6 };
        let mut selected = Selected::default();
        assert!(selected.lacks(v4) && selected.select(1, v4) && !selected.select(1, v4));
        assert!(!selected.lacks(v4) && selected.lacks(dual));
        assert_eq!(selected.of(v6).count(), 0);
        assert!(selected.select(2, v6));
        assert_eq!(selected.of(dual).collect::<Vec<_>>(), [1, 2]);
        assert!(selected.select(3, dual) && !selected.lacks(dual));
        assert_eq!((selected.of(dual).count(), selected.of(v6).next()), (1, Some(3)));
        assert!(!selected.forget(1) && selected.forget(3));
        assert_eq!(selected, Selected::default());
    }
}

//! RFC 2544 §26.1: the highest rate without loss (NDR), and the highest with little (PDR), by halving an interval.

use crate::Failure;

/// Loss that a PDR may have.
const PARTIAL_LOSS: f64 = 0.005;
/// The interval ends when it is this part of the rate.
const PRECISION: f64 = 0.005;

/// What was found, Mpps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rates {
    /// No packet lost.
    pub ndr: f64,
    /// At most half a percent lost.
    pub pdr: f64,
}

/// Searches below `highest` by trials that answer the part of packets that was lost.
///
/// # Errors
/// A trial's.
pub fn rates(highest: f64, mut trial: impl FnMut(f64) -> Result<f64, Failure>) -> Result<Rates, Failure> {
    let highest = highest * 1.2;
    let ndr = search(highest, 0.0, &mut trial)?;
    let pdr = search(highest, PARTIAL_LOSS, &mut trial)?;
    Ok(Rates { ndr, pdr: pdr.max(ndr) })
}

fn search(
    highest: f64,
    tolerated: f64,
    trial: &mut impl FnMut(f64) -> Result<f64, Failure>,
) -> Result<f64, Failure> {
    let (mut good, mut bad) = (0.0, highest);
    while bad - good > highest * PRECISION {
        let middle = (good + bad) / 2.0;
        if trial(middle)? <= tolerated { good = middle } else { bad = middle }
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_a_known_loss_are_found() {
        // Carries 7 Mpps; beyond that it loses the excess.
        let loss = |rate: f64| Ok(((rate - 7.0) / rate).max(0.0));
        let found = rates(8.0, loss).unwrap();
        assert!((found.ndr - 7.0).abs() < 0.06, "{found:?}");
        assert!((found.pdr - 7.035).abs() < 0.06 && found.pdr >= found.ndr, "{found:?}");
    }
}

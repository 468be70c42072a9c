//! Medians, and what they are worth.

/// The median; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => 0.0,
        (0, Some(upper)) => sorted.get(middle - 1).map_or(*upper, |lower| (lower + upper) / 2.0),
        (_, Some(value)) => *value,
    }
}

/// The smallest and the largest; zeros of nothing.
pub fn range(values: &[f64]) -> (f64, f64) {
    let first = values.first().copied().unwrap_or(0.0);
    values.iter().fold((first, first), |(low, high), value| (low.min(*value), high.max(*value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles_and_ends() {
        for (values, middle, ends) in [
            (&[][..], 0.0, (0.0, 0.0)),
            (&[3.0], 3.0, (3.0, 3.0)),
            (&[4.0, 1.0], 2.5, (1.0, 4.0)),
            (&[9.0, 1.0, 5.0], 5.0, (1.0, 9.0)),
        ] {
            assert_eq!((median(values), range(values)), (middle, ends));
        }
    }
}

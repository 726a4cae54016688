//! Statistics of a handful of repetitions.

/// What repetitions of one measurement amount to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// Of all values, unless there is none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = values.len() / 2;
        let lower = (values.len() - 1) / 2;
        Some(Self {
            median: (values[lower] + values[upper]) / 2.0,
            min,
            max,
        })
    }

    /// How far the repetitions are apart: 1 if they agree.
    pub(crate) fn spread(&self) -> f64 {
        ratio(self.max, self.min).unwrap_or(1.0)
    }
}

/// `value / reference`, unless that says nothing.
pub(crate) fn ratio(value: f64, reference: f64) -> Option<f64> {
    let ratio = value / reference;
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let summary = Summary::of([5.0, 1.0, 4.0]).unwrap();
        assert_eq!((summary.min, summary.median, summary.max), (1.0, 4.0, 5.0));
        assert_eq!(Summary::of([4.0, 1.0, 3.0, 2.0]).unwrap().median, 2.5);
        assert_eq!(Summary::of([7.0]).unwrap().median, 7.0);
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn the_spread_is_a_ratio() {
        assert_eq!(Summary::of([2.0, 3.0, 2.5]).unwrap().spread(), 1.5);
        assert_eq!(Summary::of([2.0]).unwrap().spread(), 1.0);
        assert_eq!(Summary::of([0.0, 0.0]).unwrap().spread(), 1.0);
    }

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(ratio(3.0, 2.0), Some(1.5));
        assert_eq!(ratio(0.0, 0.0), None);
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(0.0, 2.0), Some(0.0));
    }
}

//! Statistics of a handful of repetitions.

/// What repetitions of one measurement amount to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Between these is the middle half.
    quartiles: (f64, f64),
}

impl Summary {
    /// Of all values, unless there is none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let upper = values.len() / 2;
        let lower = last / 2;
        Some(Self {
            median: (values[lower] + values[upper]) / 2.0,
            min: values[0],
            max: values[last],
            quartiles: (values[last / 4], values[last - last / 4]),
        })
    }

    /// How far the middle half of the repetitions is apart: 1 if they agree. That one or two in ten fell into a disturbance is what the median is for.
    pub(crate) fn spread(&self) -> f64 {
        let (lower, upper) = self.quartiles;
        ratio(upper, lower).unwrap_or(1.0)
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
        let disturbed = |number| (0..10).map(move |i| if i < number { 9.0 } else { 2.0 });
        assert_eq!(Summary::of(disturbed(2)).unwrap().spread(), 1.0);
        assert_eq!(Summary::of(disturbed(3)).unwrap().spread(), 4.5);
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

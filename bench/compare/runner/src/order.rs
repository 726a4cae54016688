//! The order of the peers in a repetition.

/// All of `items`, beginning with another one in each repetition: who comes first, and behind whom, is nobody's for good.
pub(crate) fn rotated<T>(items: &[T], repetition: u32) -> impl Iterator<Item = &T> {
    let first = (repetition as usize).checked_rem(items.len()).unwrap_or(0);
    let (before, from) = items.split_at(first);
    from.iter().chain(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_comes_once_in_each_repetition() {
        let peers = ["a", "b", "c", "d"];
        for repetition in 0..9 {
            let mut order: Vec<_> = rotated(&peers, repetition).copied().collect();
            order.sort_unstable();
            assert_eq!(order, peers);
        }
    }

    #[test]
    fn everybody_comes_first_in_turn() {
        let peers = ["a", "b", "c"];
        let firsts: Vec<_> = (0..6)
            .filter_map(|repetition| rotated(&peers, repetition).next())
            .collect();
        assert_eq!(firsts, [&"a", &"b", &"c", &"a", &"b", &"c"]);
        let second: Vec<_> = rotated(&peers, 1).collect();
        assert_eq!(second, [&"b", &"c", &"a"]);
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(rotated(&[0; 0], 3).count(), 0);
    }
}

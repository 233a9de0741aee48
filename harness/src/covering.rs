//! Which combinations of several choices are tried, where all of them would be too many?
//!
//! A covering set of strength `t`: whichever `t` factors one looks at, every combination of their levels that is possible at
//! all is in some row. Faults that need one or two things at once, which are nearly all that were ever found in this
//! field, are so met by a few rows. Pure, and the same rows each time.

/// One choice for each factor, as the number of its level.
pub type Row = Vec<usize>;

/// Rows over factors of so many `levels` each, all of them `possible`, that cover with strength `strength`; as few as a
/// greedy search finds. With as much strength as there are factors it is every possible row.
///
/// It may go through the whole product for each row that it adds, so that should be thousands and not millions.
pub fn covering(levels: &[usize], strength: usize, possible: impl Fn(&[usize]) -> bool) -> Vec<Row> {
    let mut all: Vec<Row> = Vec::new();
    each(levels, |row| {
        if possible(row) {
            all.push(row.to_vec());
        }
    });
    let strength = strength.clamp(1, levels.len().max(1));
    if strength >= levels.len() {
        return all;
    }
    let factors = subsets(levels.len(), strength);
    // Combinations are numbered, those of each choice of factors behind those of the one before.
    let mut count = 0;
    let mut first = Vec::new();
    for of in &factors {
        first.push(count);
        count += of.iter().map(|&factor| levels[factor]).product::<usize>();
    }
    let number = |of: &[usize], row: &Row| of.iter().fold(0, |number, &factor| number * levels[factor] + row[factor]);
    let mut parts = Vec::with_capacity(all.len() * factors.len());
    for row in &all {
        parts.extend(factors.iter().zip(&first).map(|(of, first)| first + number(of, row)));
    }
    let parts_of = |row: usize| &parts[row * factors.len()..][..factors.len()];
    let mut open = vec![false; count];
    parts.iter().for_each(|&part| open[part] = true);
    let mut rows = Vec::new();
    // What each row adds never grows, so that one which added too little before need not be looked at again.
    let mut gains = vec![usize::MAX; all.len()];
    loop {
        // Of equals the first, so that nothing depends on chance.
        let (mut best, mut most) = (0, 0);
        for (n, gain) in gains.iter_mut().enumerate() {
            if *gain > most {
                *gain = parts_of(n).iter().filter(|part| open[**part]).count();
                (best, most) = if *gain > most { (n, *gain) } else { (best, most) };
            }
        }
        if most == 0 {
            return rows;
        }
        parts_of(best).iter().for_each(|&part| open[part] = false);
        rows.push(all[best].clone());
    }
}

/// Shows `see` every combination of levels, the last factor turning fastest.
fn each(levels: &[usize], mut see: impl FnMut(&[usize])) {
    if levels.contains(&0) {
        return;
    }
    let mut row = vec![0; levels.len()];
    loop {
        see(&row);
        let Some(turns) = (0..levels.len()).rev().find(|&factor| row[factor] + 1 < levels[factor]) else { return };
        row[turns] += 1;
        row[turns + 1..].fill(0);
    }
}

/// Every choice of `size` of the first `count` numbers, in order.
fn subsets(count: usize, size: usize) -> Vec<Vec<usize>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let with_last = |last: usize| subsets(last, size - 1).into_iter().map(move |some| [&some[..], &[last]].concat());
    (0..count).flat_map(with_last).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_take_about_as_many_rows_as_the_two_largest_factors_have() {
        let rows = covering(&[8, 3, 3, 2], 2, |_| true);
        assert!((24..=30).contains(&rows.len()), "{} rows", rows.len());
        assert_eq!(covering(&[8, 3, 3, 2], 1, |_| true).len(), 8);
        assert_eq!(covering(&[8, 3, 3, 2], 4, |_| true).len(), 8 * 3 * 3 * 2);
        assert_eq!(covering(&[2, 2], 2, |_| false), Vec::<Row>::new());
    }

    proptest! {
        #[test]
        fn whatever_is_possible_is_covered_by_rows_that_are_possible(
            levels in prop::collection::vec(1_usize..4, 1..5),
            strength in 1_usize..4,
            banned in 0_usize..7,
        ) {
            let possible = |row: &[usize]| row.iter().enumerate().map(|(n, level)| (n + 1) * level).sum::<usize>() % 7 != banned;
            let rows = covering(&levels, strength, possible);
            prop_assert_eq!(&rows, &covering(&levels, strength, possible));
            prop_assert!(rows.iter().all(|row| possible(row)));
            let strength = strength.min(levels.len());
            let mut all = Vec::new();
            each(&levels, |row| all.push(row.to_vec()));
            prop_assert_eq!(all.len(), levels.iter().product::<usize>());
            for row in all.iter().filter(|row| possible(row)) {
                for of in subsets(levels.len(), strength) {
                    let same = |other: &Row| of.iter().all(|&factor| other[factor] == row[factor]);
                    prop_assert!(rows.iter().any(same), "{row:?} at {of:?}");
                }
            }
        }
    }
}

//! How much memory of their devices do drivers use before a case and after it?
//!
//! They keep what was freed for a while, so more than before is no finding in one case: it is a figure of it. That each
//! `VkDeviceMemory` is freed is held by [`crate::ledger`].

use std::collections::BTreeMap;

use crate::case::{Record, Witness};
use crate::observed::Observed;

/// What each driver said at one moment, in bytes, by role.
pub(super) type HeapUse = BTreeMap<String, Observed<u64>>;

/// Notes in `record` how much more is in use `after` a case than `before`, and why that can't be told of some.
pub(super) fn note(record: &mut Record, before: &HeapUse, after: &HeapUse) {
    for (role, now) in after {
        match (before.get(role), now) {
            (Some(Ok(then)), Ok(now)) if then != now => {
                record.figures.insert(format!("{role}_heap_growth_bytes"), *now as f64 - *then as f64);
            }
            (_, Err(why)) => _ = record.unobserved.insert(Witness::DriverHeap, why.0.clone()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::NotObservable;

    #[test]
    fn growth_is_a_figure_and_silence_is_said() {
        let silent = || Err(NotObservable("it does not tell".into()));
        let told = |gpu_a, gpu_b| HeapUse::from([("gpu_a".into(), gpu_a), ("gpu_b".into(), gpu_b)]);
        let mut record = Record::default();
        note(&mut record, &told(Ok(8192), silent()), &told(Ok(4096), silent()));
        assert_eq!(record.figures, BTreeMap::from([("gpu_a_heap_growth_bytes".into(), -4096.0)]));
        assert_eq!(record.unobserved, BTreeMap::from([(Witness::DriverHeap, "it does not tell".into())]));
        let mut record = Record::default();
        note(&mut record, &told(Ok(8192), Ok(1)), &told(Ok(8192), Ok(1)));
        assert_eq!(record, Record::default(), "nothing to say");
    }
}

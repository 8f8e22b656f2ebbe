//! The latest distinct values: enough to say, exactly, whether a number of them fell into a window.

/// Holds the `max` distinct values that were seen last. At least `max` distinct values fell into a
/// window if and only if all that are held did, so no more need to be kept.
#[derive(Clone, Debug)]
pub struct Recent<T> {
    seen: Vec<(T, u64)>,
    max: usize,
}

impl<T: Copy + Eq> Recent<T> {
    /// Returns an empty memory for `max` values, at least one.
    pub fn new(max: usize) -> Self {
        Self { seen: Vec::new(), max: max.max(1) }
    }

    /// Notes that `value` was seen.
    pub fn insert(&mut self, value: T, time_ns: u64) {
        if let Some(known) = self.seen.iter_mut().find(|(held, _)| *held == value) {
            known.1 = known.1.max(time_ns);
        } else if self.seen.len() < self.max {
            self.seen.push((value, time_ns));
        } else if let Some(oldest) = self.seen.iter_mut().min_by_key(|(_, seen)| *seen)
            && oldest.1 <= time_ns
        {
            *oldest = (value, time_ns);
        }
    }

    /// Returns how many distinct values, up to `max`, were seen in the `window_ns` before `now_ns`.
    pub fn within(&self, now_ns: u64, window_ns: u64) -> usize {
        let start = now_ns.saturating_sub(window_ns);
        self.seen.iter().filter(|(_, seen)| *seen >= start).count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reaching_the_maximum_is_exact(
            mut steps in proptest::collection::vec((0u8..20, 0u64..100), 1..200),
            window in 1u64..60,
        ) {
            steps.sort_by_key(|step| step.1);
            let mut recent = Recent::new(6);
            let mut past: Vec<(u8, u64)> = Vec::new();
            for (value, time) in steps {
                recent.insert(value, time);
                past.push((value, time));
                let start = time.saturating_sub(window);
                let distinct: HashSet<u8> =
                    past.iter().filter(|(_, t)| *t >= start).map(|(v, _)| *v).collect();
                prop_assert_eq!(recent.within(time, window), distinct.len().min(6));
            }
        }
    }
}

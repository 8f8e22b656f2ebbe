//! Distinct values of the last one to two spans of time.

use super::distinct::Distinct;

/// Two counts that take turns: the current span's and the one's before.
#[derive(Clone, Debug, Default)]
pub struct Rotating {
    span: u64,
    current: Distinct,
    previous: Distinct,
}

impl Rotating {
    /// Counts `value`. A record that is late counts as of now.
    pub fn insert(&mut self, value: u128, time_ns: u64, span_ns: u64) {
        self.advance(time_ns, span_ns);
        self.current.insert(value);
    }

    /// Returns the number of distinct values in this span and the one before.
    pub fn count(&mut self, time_ns: u64, span_ns: u64) -> u64 {
        self.advance(time_ns, span_ns);
        let mut both = self.previous.clone();
        both.merge(&self.current);
        both.count()
    }

    fn advance(&mut self, time_ns: u64, span_ns: u64) {
        let span = time_ns / span_ns.max(1);
        if span > self.span {
            let current = std::mem::take(&mut self.current);
            self.previous = if span == self.span + 1 { current } else { Distinct::default() };
            self.span = span;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_leave_after_two_spans() {
        let mut rotating = Rotating::default();
        rotating.insert(1, 5, 10);
        rotating.insert(2, 15, 10);
        assert_eq!(rotating.count(19, 10), 2);
        assert_eq!(rotating.count(20, 10), 1);
        rotating.insert(3, 7, 10);
        assert_eq!(rotating.count(20, 10), 2);
        assert_eq!(rotating.count(50, 10), 0);
    }
}

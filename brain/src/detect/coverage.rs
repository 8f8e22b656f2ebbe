//! What each sensor said last about hooks and losses, so that a finding can say how much was seen.

use std::collections::BTreeMap;

use wire::batch::Batch;

use super::HOSTS_MAX;
use crate::finding::{Coverage, CoverageState};
use crate::record::HostId;
use crate::text;
use crate::window::keyed::Keyed;

/// Reasons and hooks that one sentence names; more make it unreadable.
const NAMED_MAX: usize = 4;

/// The latest coverage record of each host, in words.
#[derive(Debug)]
pub(super) struct CoverageTable(Keyed<HostId, Coverage>);

impl Default for CoverageTable {
    fn default() -> Self {
        Self(Keyed::new(HOSTS_MAX))
    }
}

impl CoverageTable {
    /// Takes over what the batch says about coverage, if anything.
    pub(super) fn note(&mut self, batch: &Batch, host: &HostId) {
        if batch.coverage.is_some() {
            *self.0.get_or(host, Coverage::default) = judge(batch);
        }
    }

    /// Returns the host's coverage.
    pub(super) fn of(&self, host: &HostId) -> Coverage {
        self.0.peek(host).cloned().unwrap_or_default()
    }
}

fn judge(batch: &Batch) -> Coverage {
    let Some(record) = &batch.coverage else { return Coverage::default() };
    let mut lost: BTreeMap<(&[u8], &[u8]), u64> = BTreeMap::new();
    for line in &record.ledger {
        let outcome = batch.strings.bytes(line.outcome);
        if outcome != b"seen" && outcome != b"delivered" && line.count > 0 {
            let entry = lost.entry((batch.strings.bytes(line.signal), outcome)).or_default();
            *entry = entry.saturating_add(line.count);
        }
    }
    let detached = record.hooks.iter().filter(|hook| batch.strings.bytes(hook.attached).is_empty());
    let mut parts: Vec<String> = detached
        .map(|hook| format!("hook {} is not attached", name(batch.strings.bytes(hook.name))))
        .collect();
    parts.extend(lost.iter().map(|((signal, reason), count)| {
        format!("{count} {} records lost: {}", name(signal), name(reason))
    }));
    if parts.is_empty() {
        let detail = "Every hook was attached and no record was lost.".to_owned();
        return Coverage { state: CoverageState::Complete, detail };
    }
    let more = parts.len().saturating_sub(NAMED_MAX);
    parts.truncate(NAMED_MAX);
    let mut detail = parts.join("; ");
    if more > 0 {
        detail += &format!("; and {more} more");
    }
    detail.push('.');
    Coverage { state: CoverageState::Partial, detail }
}

fn name(bytes: &[u8]) -> String {
    text::visible_cut(bytes, 64)
}

#[cfg(test)]
mod tests {
    use wire::record::{Coverage as Record, Hook, LedgerLine};
    use wire::text::StringTableBuilder;

    use super::*;
    use crate::detect::scenario;

    fn coverage(attached: &[u8], lost: u64) -> Coverage {
        let mut strings = StringTableBuilder::default();
        let mut add = |text: &[u8]| strings.add(text).unwrap();
        let hook = Hook { name: add(b"exec"), attached: add(attached), reason: add(b"") };
        let line = |signal, outcome, count| LedgerLine { signal, outcome, count };
        let ledger =
            vec![line(add(b"flow"), add(b"seen"), 10), line(add(b"flow"), add(b"map_full"), lost)];
        let mut batch = scenario::exits_at(&[]);
        batch.coverage = Some(Record { hooks: vec![hook], ledger, ..Record::default() });
        batch.strings = strings.finish();
        batch.check().unwrap();
        let mut table = CoverageTable::default();
        table.note(&batch, &scenario::host("a").id);
        assert_eq!(table.of(&scenario::host("b").id).state, CoverageState::Unknown);
        table.of(&scenario::host("a").id)
    }

    #[test]
    fn coverage_is_what_the_sensor_said_last() {
        assert_eq!(coverage(b"tracepoint", 0).state, CoverageState::Complete);
        let partial = coverage(b"", 3);
        assert_eq!(partial.state, CoverageState::Partial);
        assert_eq!(partial.detail, "hook exec is not attached; 3 flow records lost: map_full.");
    }
}

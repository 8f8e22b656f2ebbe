//! Watched files and counted acts.

use sensor_abi::activity::{Act, ActivityCounts, ActivityKey};
use sensor_abi::record::file::{flag, matched};
use wire::record::{Activity, File, ProcessRef, file_flag};

use crate::clock::ClockPair;
use crate::drain::FileView;
use crate::file::normal;
use crate::observation::Text;
use crate::process::Key;

/// Converts a record of a watched file. A path that a process passed is told without detours.
pub fn file(view: &FileView<'_>, clock: ClockPair) -> File<Text> {
    let record = view.fixed;
    let racy = record.flags & flag::RACY != 0;
    let path = |path: &[u8]| match racy && path.first() == Some(&b'/') {
        true => Text::from(normal(path)),
        false => Text::from(path),
    };
    File {
        time_ns: clock.unix(record.header.time_ns),
        process: ProcessRef::default(),
        action: record.action as u8,
        flags: flags(record.flags, record.matched),
        inode: record.inode,
        dev: record.dev,
        open_flags: record.open_flags,
        mode: record.mode,
        uid: record.uid,
        gid: record.gid,
        error: record.error,
        path: path(view.path),
        target: path(view.target),
    }
}

fn flags(flags: u32, why: u16) -> u32 {
    let named = [
        (flag::RACY, file_flag::RACY),
        (flag::UPPER_LAYER, file_flag::UPPER_LAYER),
        (flag::PATH_TRUNCATED, file_flag::PATH_TRUNCATED),
        (flag::RESULT_UNKNOWN, file_flag::RESULT_UNKNOWN),
    ];
    let by_inode = if why == matched::INODE { file_flag::BY_INODE } else { 0 };
    let set = named.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, flag)| flag);
    set.fold(by_inode, |all, flag| all | flag)
}

/// Converts what was counted of a process; returns the process and how many acts that are.
pub fn activity(
    key: &ActivityKey,
    counts: &ActivityCounts,
    time_ns: u64,
    window_ns: u64,
) -> (Key, u64, Activity) {
    let of = |act: Act| counts[act as usize];
    let activity = Activity {
        time_ns,
        process: ProcessRef::default(),
        window_ns,
        forks: of(Act::Fork),
        write_opens: of(Act::WriteOpen),
        creates: of(Act::Create),
        renames: of(Act::Rename),
        unlinks: of(Act::Unlink),
        links: of(Act::Link),
        attribute_changes: of(Act::Attribute),
    };
    (Key::new(key.tgid, key.start_ns), counts.iter().sum(), activity)
}

#[cfg(test)]
mod tests {
    use sensor_abi::record::file::{File as Abi, action};

    use super::*;

    #[test]
    fn a_passed_path_is_told_without_detours_a_resolved_one_as_it_is() {
        let clock = ClockPair { boot_ns: 1_000, unix_ns: 51_000 };
        let converted = |flags: u32, path: &[u8]| {
            let fixed = Abi { flags, action: action::UNLINK, ..Abi::EMPTY };
            file(&FileView { fixed: &fixed, path, target: b"" }, clock)
        };
        assert_eq!(&converted(flag::RACY, b"/tmp/x/../y").path[..], b"/tmp/y");
        assert_eq!(&converted(0, b"/tmp/x/../y").path[..], b"/tmp/x/../y");
        assert_eq!(converted(flag::RACY, b"/").flags, file_flag::RACY);
        assert_eq!(converted(0, b"/a").time_ns, 50_000);
    }

    #[test]
    fn a_file_found_under_another_name_says_so() {
        assert_eq!(flags(0, matched::INODE), file_flag::BY_INODE);
        assert_eq!(flags(flag::UPPER_LAYER, matched::INODE | matched::PREFIX), 2);
    }

    #[test]
    fn counts_keep_their_names() {
        let mut counts = [0; Act::COUNT];
        (counts[Act::Rename as usize], counts[Act::Fork as usize]) = (5, 2);
        let key = ActivityKey { start_ns: 20_000_000, tgid: 7, reserved: 0 };
        let (key, acts, activity) = activity(&key, &counts, 9, 8);
        assert_eq!((key.pid, acts), (7, 7));
        assert_eq!((activity.renames, activity.forks, activity.window_ns), (5, 2, 8));
    }
}

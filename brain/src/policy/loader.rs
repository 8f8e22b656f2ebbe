//! Loads policies, and loads them again when they have changed.
//!
//! A file that has become unusable does not take its rule away: its version of before goes on until
//! it is mended or removed. So one typing error in a commit neither stops the brain nor blinds it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::source::{self, Folders, Print, Sourced};
use super::{LoadError, Part, PolicyError, PolicySet};

/// Folders are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A look may take this part of the time: one in so many. A hundred thousand files on a slow disk
/// are looked at less often.
const LOOK_SHARE: u32 = 50;

/// Reads policy folders and remembers what was good.
#[derive(Debug)]
pub struct Loader {
    folders: Folders,
    /// Files of which the last version that can be used is in the set.
    good: BTreeMap<String, Sourced>,
    /// What the folders looked like when they were loaded.
    loaded: Option<Print>,
    /// What they looked like at the last look; loading waits until two looks agree.
    seen: Option<Print>,
    look_took: Duration,
}

impl Loader {
    /// Returns a loader that has not read anything yet.
    pub fn new(folders: Folders) -> Self {
        let look_took = Duration::ZERO;
        Self { folders, good: BTreeMap::new(), loaded: None, seen: None, look_took }
    }

    /// Returns the folders.
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Returns what a file says that is in use.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.good.get(name).map(|sourced| sourced.file.text.as_str())
    }

    /// Reads everything. What cannot be used is in [`PolicySet::errors`]; where a version of before
    /// could be, that one is in the set, and its name in [`PolicySet::kept`]. When this fails, what
    /// was loaded before goes on.
    pub fn load(&mut self) -> Result<PolicySet, LoadError> {
        let snapshot = source::read(&self.folders)?;
        let mut files = snapshot.files;
        files.sort_by(|a, b| a.file.cmp(&b.file));
        let mut set = PolicySet::build(&files);
        let kept = self.kept(&set.errors, &snapshot.errors);
        set.errors.extend(snapshot.errors);
        if !kept.is_empty() {
            set = self.build_with(&mut files, kept, set.errors);
        }
        set.errors.sort();
        let broken: BTreeSet<&str> = set.errors.iter().map(|error| error.file.as_str()).collect();
        let is_good =
            |name: &str| !broken.contains(name) || set.kept.iter().any(|kept| kept == name);
        self.good = (files.into_iter())
            .filter(|sourced| is_good(&sourced.file.name))
            .map(|sourced| (sourced.file.name.clone(), sourced))
            .collect();
        self.loaded = Some(snapshot.print);
        Ok(set)
    }

    /// Returns the names of files that are broken and of which a good version is known.
    fn kept(&self, refused: &[PolicyError], unread: &[PolicyError]) -> BTreeSet<String> {
        let mut kept = BTreeSet::new();
        // Of a feed the good lines count, and a broken sample harms nobody but its author.
        let replaceable = |name: &str| {
            self.good
                .get(name)
                .is_some_and(|good| !matches!(good.file.part(), Part::Intel | Part::Samples))
        };
        let names = refused.iter().map(|error| &error.file);
        kept.extend(names.filter(|name| replaceable(name)).cloned());
        for error in unread {
            // It may be a folder.
            let below = format!("{}/", error.file);
            let inside = self.good.range(below.clone()..);
            let inside = inside.take_while(|(name, _)| name.starts_with(&below));
            kept.extend(inside.map(|(name, _)| name.clone()));
            kept.extend(self.good.contains_key(&error.file).then(|| error.file.clone()));
        }
        kept
    }

    /// Builds the set with good versions in the place of broken ones.
    fn build_with(
        &self,
        files: &mut Vec<Sourced>,
        kept: BTreeSet<String>,
        mut errors: Vec<PolicyError>,
    ) -> PolicySet {
        files.retain(|sourced| !kept.contains(&sourced.file.name));
        files.extend(kept.iter().filter_map(|name| self.good.get(name).cloned()));
        files.sort_by(|a, b| a.file.cmp(&b.file));
        let mut set = PolicySet::build(files);
        for error in &mut errors {
            if kept.contains(&error.file) {
                error.message.push_str(" (its version of before goes on)");
            }
        }
        // What is wrong with an old version as well, such as an id that another rule has taken.
        let still: BTreeSet<&String> = set.errors.iter().map(|error| &error.file).collect();
        set.kept = kept.iter().filter(|name| !still.contains(name)).cloned().collect();
        let known: BTreeSet<&String> = errors.iter().map(|error| &error.file).collect();
        let new = set.errors.iter().filter(|error| !known.contains(&error.file)).cloned();
        let new: Vec<PolicyError> = new.collect();
        errors.extend(new);
        set.errors = errors;
        set
    }

    /// Looks whether the folders differ from what was loaded, and have come to rest. Fails while a
    /// folder cannot be read.
    pub fn is_due(&mut self) -> Result<bool, LoadError> {
        let begun = Instant::now();
        let print = self.folders.print();
        self.look_took = begun.elapsed();
        // A folder that is away for a moment, as while it is replaced, is no change. When it is
        // back, what was seen before says nothing.
        let before = self.seen.take();
        let print = print?;
        self.seen = Some(print);
        Ok(before == Some(print) && self.loaded != Some(print))
    }

    /// Takes note that what lies in the folders now could not be loaded, so that it is not tried
    /// again before it changes.
    pub fn give_up(&mut self) {
        self.loaded = self.seen;
    }

    /// Returns how long to wait before the next look.
    pub fn pause(&self) -> Duration {
        LOOK_EVERY.max(self.look_took * LOOK_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const RULE: &str = "title: T\nid: rID\nlogsource:\n    category: process_creation\n\
        detection:\n    a:\n        Image: /x\n    condition: a\n";

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn rules(set: &PolicySet) -> Vec<(&str, &str)> {
        set.rules.iter().map(|r| (r.policy.file.as_str(), &r.policy.id[1..])).collect()
    }

    fn told(set: &PolicySet) -> Vec<String> {
        set.errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_broken_file_is_named_and_its_old_version_goes_on_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "sigma/a.yml", &RULE.replace("ID", "1"));
        write(folder, "sigma/b.yml", &RULE.replace("ID", "2"));
        let mut loader = Loader::new(Folders::new(Some(folder.to_owned()), &[]));
        assert_eq!(loader.load().unwrap().rules.len(), 2);

        write(folder, "sigma/a.yml", "title: T\nid: 1\nlogsource:\n  category: [\n");
        write(folder, "sigma/c.yml", "title: [\n");
        write(folder, "sigma/b.yml", &RULE.replace("ID", "22"));
        for _ in 0..2 {
            let set = loader.load().unwrap();
            assert_eq!(rules(&set), [("sigma/a.yml", "1"), ("sigma/b.yml", "22")]);
            assert_eq!(set.kept, ["sigma/a.yml"]);
            let told = told(&set);
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(told[0].starts_with("sigma/a.yml:") && told[0].contains("goes on"), "{told:?}");
            assert!(told[1].starts_with("sigma/c.yml:") && !told[1].contains("goes on"));
        }

        fs::write(folder.join("sigma/b.yml"), vec![b' '; 10 << 20]).unwrap();
        assert_eq!(loader.load().unwrap().kept, ["sigma/a.yml", "sigma/b.yml"]);
        fs::remove_file(folder.join("sigma/a.yml")).unwrap();
        assert_eq!(rules(&loader.load().unwrap()), [("sigma/b.yml", "22")]);
        write(folder, "sigma/b.yml", &RULE.replace("ID", "3"));
        fs::remove_file(folder.join("sigma/c.yml")).unwrap();
        let set = loader.load().unwrap();
        assert_eq!((rules(&set), told(&set)), (vec![("sigma/b.yml", "3")], vec![]));
    }

    #[test]
    fn an_id_that_another_rule_has_is_refused_and_the_old_version_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "sigma/a.yml", &RULE.replace("ID", "1"));
        write(folder, "sigma/b.yml", &RULE.replace("ID", "2"));
        let mut loader = Loader::new(Folders::new(Some(folder.to_owned()), &[]));
        loader.load().unwrap();
        write(folder, "sigma/b.yml", &RULE.replace("ID", "1"));
        let set = loader.load().unwrap();
        assert_eq!(rules(&set), [("sigma/a.yml", "1"), ("sigma/b.yml", "2")]);
        assert_eq!(told(&set).len(), 1);
    }

    #[test]
    fn it_is_due_once_changes_rest_and_once_only() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "sigma/a.yml", &RULE.replace("ID", "1"));
        let mut loader = Loader::new(Folders::new(Some(folder.to_owned()), &[]));
        loader.load().unwrap();
        assert!(!loader.is_due().unwrap() && !loader.is_due().unwrap());
        write(folder, "sigma/a.yml", &RULE.replace("ID", "2"));
        assert!(!loader.is_due().unwrap(), "it may still be written");
        assert!(loader.is_due().unwrap());
        loader.load().unwrap();
        assert!(!loader.is_due().unwrap());
        let away = folder.with_extension("away");
        fs::rename(folder, &away).unwrap();
        assert!(loader.is_due().is_err() && loader.load().is_err());
        fs::rename(&away, folder).unwrap();
        assert!(!loader.is_due().unwrap() && !loader.is_due().unwrap());
    }
}

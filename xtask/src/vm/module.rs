//! Kernel modules: found by name, uncompressed, in the order in which they must be loaded.
//!
//! The package has no `modules.dep`, which Debian makes on installation; each module names what it
//! needs itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// All modules of a kernel.
#[derive(Debug)]
pub struct Modules {
    paths: BTreeMap<String, PathBuf>,
    builtin: String,
}

/// A module, ready to be loaded.
#[derive(Debug)]
pub struct Module {
    pub name: String,
    pub content: Vec<u8>,
}

impl Modules {
    /// Lists a package's modules.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut paths = BTreeMap::new();
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            let entries = fs::read_dir(&folder)
                .with_context(|| format!("failed to list {}", folder.display()))?;
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else if let Some((name, _)) =
                    entry.file_name().to_string_lossy().split_once(".ko")
                {
                    paths.insert(plain(name), entry.path());
                }
            }
        }
        // Absent where everything is a module.
        let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        Ok(Self { paths, builtin })
    }

    /// Appends a module after those that it needs, unless it is there or part of the kernel.
    pub fn add(&self, name: &str, loaded: &mut Vec<Module>) -> Result<()> {
        let name = plain(name);
        if loaded.iter().any(|module| module.name == name) || self.is_builtin(&name) {
            return Ok(());
        }
        let path = self.paths.get(&name).with_context(|| format!("no module {name}"))?;
        let content = content(path)?;
        for needed in depends(&content) {
            self.add(&needed, loaded)?;
        }
        loaded.push(Module { name, content });
        Ok(())
    }

    fn is_builtin(&self, name: &str) -> bool {
        let files = self.builtin.lines().filter_map(|line| line.rsplit('/').next());
        files.filter_map(|file| file.split_once(".ko")).any(|(module, _)| plain(module) == name)
    }
}

/// Files are named with either dash or underscore, modules only with the latter.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn content(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|end| end != "xz") {
        return fs::read(path).with_context(|| format!("failed to read {}", path.display()));
    }
    let output = Command::new("xz").args(["-dc", "--"]).arg(path).output()?;
    ensure!(output.status.success(), "xz cannot unpack {}", path.display());
    Ok(output.stdout)
}

/// What a module says that it needs: `depends=a,b` among its NUL-terminated notes.
fn depends(content: &[u8]) -> Vec<String> {
    let notes = content.split(|byte| *byte == 0);
    let list = notes.filter_map(|note| note.strip_prefix(b"depends=")).next().unwrap_or_default();
    let names = String::from_utf8_lossy(list);
    names.split(',').filter(|name| !name.is_empty()).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_from_the_notes() {
        assert_eq!(depends(b"\x7fELF\0name=a\0depends=b,c-d\0x"), ["b", "c_d"]);
        assert!(depends(b"\0depends=\0").is_empty());
        assert!(depends(b"no notes").is_empty());
    }
}

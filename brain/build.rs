//! Says aloud when the console has not been built, and has the brain built again once it is.

use std::fs;
use std::path::Path;

fn main() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("console/dist");
    // An empty folder can be watched; one that is not there would have this run at every build.
    if let Err(error) = fs::create_dir_all(&dist) {
        println!("cargo:warning=failed to create {}: {error}", dist.display());
    }
    println!("cargo:rerun-if-changed={}", dist.display());
    if !dist.join("index.html").is_file() {
        println!(
            "cargo:warning=the console is not built, so the brain shows a page that says so; \
             `cargo xtask build` builds it"
        );
    }
}

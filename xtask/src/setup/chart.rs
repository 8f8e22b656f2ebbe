//! Helm's own engine and Kubernetes' own schemas, as Python packages in a folder of their own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Helm 4's engine with a C interface, and the schemas of each Kubernetes release.
const PACKAGES: [&str; 2] = ["helm-python-sdk==0.2.2", "kubernetes-validate==1.37.0"];
/// Ends well only when both can be used.
const PROOF: &str = "import helm_python, kubernetes_validate; helm_python.helm_sdk_version()";

/// Returns the Python that has both, if there is one.
pub fn python() -> Option<PathBuf> {
    let python = folder().ok()?.join("bin/python");
    let proof = Command::new(&python).args(["-c", PROOF]).output();
    proof.is_ok_and(|output| output.status.success()).then_some(python)
}

/// Names what is missing to check the chart.
pub fn missing() -> Option<String> {
    python().is_none().then(|| format!("Python packages {}", PACKAGES.join(", ")))
}

/// Installs what is missing.
pub fn ensure() -> Result<()> {
    if python().is_some() {
        return Ok(());
    }
    let what = format!("installing {} for the chart", PACKAGES.join(", "));
    shell::step(&what, || {
        let folder = folder()?;
        shell::must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut install = Command::new(folder.join("bin/pip"));
        install.args(["install", "--quiet", "--disable-pip-version-check", "--no-compile"]);
        // Nothing is built here: what has no package for this machine is missing.
        shell::must(install.args(["--only-binary", ":all:"]).args(PACKAGES))
    })
}

fn folder() -> Result<PathBuf> {
    Ok(shell::cache()?.join("chart"))
}

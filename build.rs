//! Stamps the git commit into the binaries as `CAUSEWAY_COMMIT`; a tree without git builds too, and says `unknown`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CAUSEWAY_COMMIT");
    // Packagers who build from an archive know the commit.
    let commit = std::env::var("CAUSEWAY_COMMIT").ok().filter(|c| !c.is_empty()).or_else(commit);
    println!("cargo:rustc-env=CAUSEWAY_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn commit() -> Option<String> {
    // The commit changes when HEAD names another branch, or when the branch moves.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    for name in ["HEAD", "packed-refs", branch.as_str()] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).is_file()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

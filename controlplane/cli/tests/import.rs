//! `config import-ios` and `profile anyconnect` as an operator meets them: files, exit codes, secrets kept back.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::{Directory, causeway, stderr, stdout};

fn headend() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reconnect-headend.ios")
}

#[test]
fn an_imported_configuration_is_good_once_its_blanks_are_filled() {
    let directory = Directory::new();
    let written = directory.0.join("causeway.toml");
    let import =
        || causeway().args(["config", "import-ios", "-o"]).arg(&written).arg(headend()).output().unwrap();
    let output = import();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let told = stdout(&output);
    assert!(told.contains("line 39: reconnect timeout 900\n    became reconnect.enabled"), "{told}");
    assert!(told.contains("fill in gateway.identity") && !told.contains("password 0 cisco"), "{told}");
    assert_eq!(fs::metadata(&written).unwrap().permissions().mode() & 0o777, 0o600);
    let again = import();
    assert!(again.status.code() == Some(2) && stderr(&again).contains("remove it, or name another"));

    let check = || causeway().args(["config", "check"]).arg(&written).output().unwrap();
    let blank = stdout(&check());
    for key in ["gateway.identity: is missing", "port[1].device: is missing", "port[2].address: is missing"] {
        assert!(blank.contains(key), "{blank}");
    }
    let mut text = fs::read_to_string(&written).unwrap();
    for (name, block) in [("IKEv2-TP.pem", "CERTIFICATE"), ("IKEv2-TP.key", "PRIVATE KEY")] {
        let path = directory.0.join(name);
        fs::write(&path, format!("-----BEGIN {block}-----\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        text = text.replace(&format!("/etc/causeway/{name}"), path.to_str().unwrap());
    }
    let filled: Vec<&str> =
        text.lines().map(|l| l.strip_prefix('#').map_or(l, |l| l.trim_end_matches(" # fill in"))).collect();
    fs::write(&written, filled.join("\n")).unwrap();
    let checked = check();
    assert_eq!(checked.status.code(), Some(0), "{}", stdout(&checked));

    let xml = directory.0.join("profile.xml");
    let profile = causeway()
        .args(["profile", "anyconnect", "--config"])
        .arg(&written)
        .arg("-o")
        .arg(&xml)
        .output()
        .unwrap();
    assert_eq!(profile.status.code(), Some(0), "{}", stderr(&profile));
    let checked = causeway()
        .args(["profile", "anyconnect", "--config"])
        .arg(&written)
        .arg("--check")
        .arg(&xml)
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", stdout(&checked));
    assert!(
        stdout(&checked).contains("clients can come back") && stdout(&checked).contains("BypassDownloader")
    );
    fs::write(&xml, fs::read_to_string(&xml).unwrap().replace("IPsec", "SSL")).unwrap();
    let broken = causeway().args(["profile", "anyconnect", "--json", "--check"]).arg(&xml).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&broken.stdout).unwrap();
    assert_eq!((broken.status.code(), answer["ok"].as_bool()), (Some(1), Some(false)));
    assert!(answer["findings"][0]["remedy"].as_str().unwrap().contains("write IPsec"));
}

#[test]
fn a_refused_import_writes_nothing_and_names_the_rule() {
    let directory = Directory::new();
    let (ios, written) = (directory.0.join("router.cfg"), directory.0.join("causeway.toml"));
    let text =
        fs::read_to_string(headend()).unwrap().replace("pki trustpoint", "keyring local K\npki trustpoint");
    fs::write(&ios, text).unwrap();
    let output =
        causeway().args(["config", "import-ios", "--json", "-o"]).arg(&written).arg(&ios).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let refused: Vec<&serde_json::Value> =
        answer["lines"].as_array().unwrap().iter().filter(|line| line["outcome"] == "refused").collect();
    assert!(refused.len() == 1 && refused[0]["text"] == "keyring local K", "{refused:?}");
    assert!(refused[0]["why"].as_str().unwrap().contains("session token"));
    assert!(!written.exists() && answer["toml"] == "");

    let absent = causeway().args(["config", "import-ios"]).arg(directory.0.join("none")).output().unwrap();
    assert!(absent.status.code() == Some(2) && stderr(&absent).contains("cannot be read"));
}

/// The seeds of the fuzz target `import`.
#[test]
fn seeds_are_understood_and_what_was_once_found_is_not_found_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let understood = causeway_cli::reads_foreign_text(&fs::read(&path).unwrap());
        assert!(understood || path.to_string_lossy().contains("found-"), "{}", path.display());
    }
}

//! Sealed secrets: opened where they can be, stood in for where not, and told apart from secrets that are merely shown.

use super::*;
use crate::config::{SEALED_MARK, SHOWN_SECRET, sections};
use zeroize::Zeroizing;

/// Every declared secret, as the file has it, with this value.
fn file(value: &str) -> String {
    format!(
        "{GOOD}\n[[auth.psk]]\nidentity = \"a\"\nsecret = \"{value}\"\n[[auth.ppk]]\nid = \"p\"\nsecret = \"{value}\"\n\
         [[aaa.radius.server]]\naddress = \"10.0.0.9\"\nsecret = \"{value}\"\n\
         [[user]]\nname = \"n\"\npassword_nt_hash = \"{value}\"\n[[user]]\nname = \"h\"\npassword_hash = \"{value}\"\n\
         [[user]]\nname = \"c\"\npassword_clear = \"{value}\"\n"
    )
}

fn checked(text: &str, open: Option<crate::config::Opener<'_>>) -> Result<Config, Mistakes> {
    check_text(text, Path::new("causeway.toml"), &Checks { files: false, open, ..Checks::default() }).config
}

#[test]
fn every_secret_may_be_sealed_and_is_opened_by_who_has_the_key() {
    let text = file(&format!("{SEALED_MARK}AAAA"));
    // Who cannot open them (the data plane, a check of the file) goes on with stand-ins.
    checked(&text, None).unwrap();
    let asked = std::cell::RefCell::new(Vec::new());
    let open = |key: &str, sealed: &str| {
        assert_eq!(sealed, "sealed:v1:AAAA");
        asked.borrow_mut().push(key.to_owned());
        Ok(Zeroizing::new(match key {
            "user.password_nt_hash" => "8846f7eaee8fb117ad06bdd830b7586c".to_owned(),
            "user.password_hash" => {
                "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA".to_owned()
            }
            _ => "opened".to_owned(),
        }))
    };
    let config = checked(&text, Some(&open)).unwrap();
    assert_eq!(config.auth.psks[1].secret.0, b"opened");
    assert_eq!(config.auth.ppks[0].secret.0, b"opened");
    assert_eq!(config.radius.servers[0].secret.0, b"opened");
    assert_eq!(config.users[1].nt_hash.as_ref().unwrap().0[0], 0x88);
    assert_eq!(config.users[3].password.as_ref().unwrap().0, b"opened");
    let mut declared: Vec<String> = sections()
        .flat_map(|section| {
            let secret = section.keys.iter().filter(|key| key.secret.is_some());
            secret.map(|key| format!("{}.{}", section.path, key.name)).collect::<Vec<_>>()
        })
        .collect();
    let mut asked = asked.into_inner();
    declared.sort();
    asked.sort();
    assert_eq!(asked, declared, "the test's file has every secret that is declared");
}

#[test]
fn a_value_that_cannot_be_opened_or_only_stands_for_a_secret_is_refused_by_name() {
    let refuse = |_: &str, _: &str| Err("was sealed under another key".to_owned());
    let Mistakes(mistakes) = checked(&file(&format!("{SEALED_MARK}AAAA")), Some(&refuse)).unwrap_err();
    let keys: Vec<_> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
    assert_eq!(keys.len(), 6, "{keys:?}");
    assert!(keys.contains(&"user[3].password_hash") && mistakes[0].what.contains("another key"));
    let Mistakes(mistakes) = checked(&file(SHOWN_SECRET), None).unwrap_err();
    assert_eq!(mistakes.len(), 6, "{mistakes:?}");
    assert!(mistakes.iter().all(|mistake| mistake.what.contains("there is none")));
}

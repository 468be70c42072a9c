//! The shape of an argon2 hash in PHC string form: enough to find a wrong copy, and costs that would stop a gateway, when the
//! configuration is read. Enters: the text. Leaves: nothing, or what is wrong (never the text itself). Parameters: RFC 9106 §3.1.

/// Most memory in KiB that one check of a password may take.
const MAX_MEMORY_KIB: u32 = 1 << 20;
/// Most passes.
const MAX_PASSES: u32 = 64;
/// Most lanes.
const MAX_LANES: u32 = 64;
/// Fewest characters of unpadded base64 that hold the shortest salt (8 octets) or output (RFC 9106: 4; 10 as PHC says).
const MIN_BASE64: usize = 11;
/// Most characters of salt or output.
const MAX_BASE64: usize = 128;

/// Checks `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    let mut fields = text.split('$');
    let mut next = || fields.next().unwrap_or_default();
    if !next().is_empty() {
        return Err("it does not start with `$`");
    }
    if !matches!(next(), "argon2id" | "argon2i" | "argon2d") {
        return Err("it names another algorithm");
    }
    if next() != "v=19" {
        return Err("its version is not 19");
    }
    let mut costs = next().split(',');
    for (name, low, high) in [("m=", 8, MAX_MEMORY_KIB), ("t=", 1, MAX_PASSES), ("p=", 1, MAX_LANES)] {
        let cost = costs.next().and_then(|cost| cost.strip_prefix(name)).and_then(|cost| cost.parse().ok());
        if !cost.is_some_and(|cost: u32| (low..=high).contains(&cost)) {
            return Err("its costs are not m (KiB), t and p within bounds");
        }
    }
    if costs.next().is_some() {
        return Err("it has more parameters than m, t and p");
    }
    let base64 = |field: &str| {
        (MIN_BASE64..=MAX_BASE64).contains(&field.len())
            && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    };
    if !base64(next()) || !base64(next()) {
        return Err("its salt or hash is not there or not base64");
    }
    if fields.next().is_some() {
        return Err("something stands behind the hash");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_argon2_hashes_pass() {
        let good =
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$BQyIJVwEqKO9KuJbUEIAl8bDpM1OaOyLfZdTFNBcRI8";
        assert_eq!(check(good), Ok(()));
        for (from, to) in [
            ("$argon2id", "argon2id"),
            ("argon2id", "scrypt"),
            ("v=19", "v=16"),
            ("m=19456", "m=4000000000"),
            ("m=19456,", ""),
            ("t=2", "t=0"),
            ("p=1", "p=1,keyid=x"),
            ("$c29tZXNhbHRzb21l", ""),
            ("c29tZXNhbHRzb21l", "c29t"),
            ("BQyI", "BQ=I"),
            ("cRI8", "cRI8$x"),
        ] {
            assert!(check(&good.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
        assert!(check("").is_err() && check("$$$$$").is_err());
    }
}

//! Keys in the rows that Wireshark reads: its tables `ikev2_decryption_table` and `esp_sa`.
//!
//! Enters: keys of an IKE SA or of a Child SA. Leaves: one row for each IKE SA, two for each Child SA. Only the API's guarded
//! path asks for them.

use std::fmt::Write as _;

use causeway_ike::api::IkeSpis;
use causeway_ike::crypto::{IkeKeys, Secret};
use causeway_ike::suite::{Cipher, Integ};
use causeway_shared::sa::{EspKeys, EspSuite, SaPair};

/// A row of `ikev2_decryption_table`; none for a cipher that Wireshark does not open.
pub(crate) fn ike_row(spis: IkeSpis, keys: &IkeKeys) -> Option<String> {
    let cipher = ike_cipher(keys.suite.cipher)?;
    let hex = |secret: &Secret| hex(secret.as_bytes());
    Some(format!(
        "{:016x},{:016x},{},{},\"{}\",{},{},\"{}\"",
        spis.initiator,
        spis.responder,
        hex(&keys.sk_ei),
        hex(&keys.sk_er),
        cipher,
        hex(&keys.sk_ai),
        hex(&keys.sk_ar),
        ike_integrity(keys.suite.integ),
    ))
}

/// The rows of `esp_sa` for both directions; none for a suite that Wireshark does not open.
pub(crate) fn esp_rows(pair: &SaPair) -> Vec<String> {
    let row = |source, destination, spi: u32, keys: &EspKeys| {
        let (cipher, cipher_key, integrity, integrity_key) = esp_algorithms(pair.suite, keys)?;
        Some(format!(
            "\"IPv4\",\"{source}\",\"{destination}\",\"0x{spi:08x}\",\"{cipher}\",\"{cipher_key}\",\"{integrity}\",\"{integrity_key}\""
        ))
    };
    let rows = [
        row(pair.peer_outer, pair.local_outer, pair.inbound_spi, &pair.inbound_keys),
        row(pair.local_outer, pair.peer_outer, pair.outbound_spi, &pair.outbound_keys),
    ];
    rows.into_iter().flatten().collect()
}

fn ike_cipher(cipher: Cipher) -> Option<&'static str> {
    Some(match cipher {
        Cipher::AesCbc128 => "AES-CBC-128 [RFC3602]",
        Cipher::AesCbc192 => "AES-CBC-192 [RFC3602]",
        Cipher::AesCbc256 => "AES-CBC-256 [RFC3602]",
        Cipher::AesGcm16_128 => "AES-GCM-128 with 16 octet ICV [RFC5282]",
        Cipher::AesGcm16_256 => "AES-GCM-256 with 16 octet ICV [RFC5282]",
        // Wireshark 4.0 has no word for it.
        Cipher::ChaCha20Poly1305 => return None,
    })
}

fn ike_integrity(integ: Option<Integ>) -> &'static str {
    match integ {
        None => "NONE [RFC4306]",
        Some(Integ::HmacSha2_256_128) => "HMAC_SHA2_256_128 [RFC4868]",
        Some(Integ::HmacSha2_384_192) => "HMAC_SHA2_384_192 [RFC4868]",
        Some(Integ::HmacSha2_512_256) => "HMAC_SHA2_512_256 [RFC4868]",
    }
}

/// Names and keys of cipher and integrity. Wireshark wants the salt behind an AEAD's key, and no integrity beside it.
fn esp_algorithms(suite: EspSuite, keys: &EspKeys) -> Option<(&'static str, String, &'static str, String)> {
    let cut = |octets: &[u8], len: usize| format!("0x{}", hex(octets.get(..len).unwrap_or(octets)));
    let cipher_key = cut(&keys.cipher, suite.cipher_key_len());
    if suite == EspSuite::ChaCha20Poly1305 {
        return None;
    }
    if suite.is_aead() {
        let key = format!("{cipher_key}{}", hex(&keys.salt));
        return Some(("AES-GCM with 16 octet ICV [RFC4106]", key, "NULL", String::new()));
    }
    let integrity = match suite.integrity_key_len() {
        32 => "HMAC-SHA-256-128 [RFC4868]",
        48 => "HMAC-SHA-384-192 [RFC4868]",
        _ => "HMAC-SHA-512-256 [RFC4868]",
    };
    Some(("AES-CBC [RFC3602]", cipher_key, integrity, cut(&keys.integrity, suite.integrity_key_len())))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::Ipv4Addr;
    use std::path::Path;
    use std::process::Command;

    use causeway_ike::crypto::{Role, SystemRandom};
    use causeway_ike::suite::{Group, IkeSuite, Kems, Prf};
    use causeway_ike::wire::{ExchangeType, Header, IkeSpi, Message, Notify, NotifyType, Payload};

    use super::*;

    const SPIS: IkeSpis = IkeSpis { initiator: 0x0011_2233_4455_6677, responder: 0x8899_aabb_ccdd_eeff };

    fn keys(cipher: Cipher, integ: Option<Integ>) -> IkeKeys {
        let secret =
            |seed: u8, len: usize| Secret::new((0..len).map(|i| seed.wrapping_add(i as u8)).collect());
        let integ_len = integ.map_or(0, Integ::key_len);
        IkeKeys {
            suite: IkeSuite { cipher, integ, prf: Prf::HmacSha2_256, group: Group::Ecp256, kems: Kems::NONE },
            sk_d: secret(1, 32),
            sk_ai: secret(2, integ_len),
            sk_ar: secret(3, integ_len),
            sk_ei: secret(4, cipher.keymat_len()),
            sk_er: secret(5, cipher.keymat_len()),
            sk_pi: secret(6, 32),
            sk_pr: secret(7, 32),
        }
    }

    /// An INFORMATIONAL request with one notify, as IPv4 over UDP 500 in a capture file of raw IP packets.
    fn capture(keys: &IkeKeys) -> Vec<u8> {
        let (initiator, responder) = (IkeSpi(SPIS.initiator), IkeSpi(SPIS.responder));
        let header = Header::new(initiator, responder, ExchangeType::Informational, true, false, 2);
        let message = Message::new(header, vec![Payload::Notify(Notify::new(NotifyType::InitialContact))]);
        let (mut sealer, _) = keys.ends(Role::Initiator).unwrap();
        let ike = message.seal(&mut sealer, &mut SystemRandom).unwrap();
        let (udp_len, ip_len) = (ike.len() as u16 + 8, ike.len() as u16 + 28);
        let mut packet = vec![0x45, 0];
        packet.extend(ip_len.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(Ipv4Addr::new(192, 0, 2, 1).octets());
        packet.extend(Ipv4Addr::new(192, 0, 2, 2).octets());
        packet.extend([1, 0xf4, 1, 0xf4]);
        packet.extend(udp_len.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(ike);
        let mut file = Vec::new();
        // Magic, version 2.4, zone, accuracy, snapshot length, LINKTYPE_RAW; then time and lengths of the one packet.
        for word in [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, 101, 0, 0] {
            file.extend(u32::to_be_bytes(word));
        }
        for _ in 0..2 {
            file.extend((packet.len() as u32).to_be_bytes());
        }
        file.extend(packet);
        file
    }

    /// What tshark makes of the capture with these rows.
    fn dissect(directory: &Path, row: &str, capture: &[u8]) -> Option<String> {
        std::fs::create_dir_all(directory).unwrap();
        let mut table = std::fs::File::create(directory.join("ikev2_decryption_table")).unwrap();
        writeln!(table, "{row}").unwrap();
        std::fs::write(directory.join("one.pcap"), capture).unwrap();
        let output = Command::new("tshark")
            .env("WIRESHARK_CONFIG_DIR", directory)
            .arg("-r")
            .arg(directory.join("one.pcap"))
            .arg("-V")
            .output();
        std::fs::remove_dir_all(directory).unwrap();
        Some(String::from_utf8_lossy(&output.ok()?.stdout).into_owned())
    }

    #[test]
    fn wireshark_opens_messages_with_these_rows() {
        for (number, (cipher, integ)) in [
            (Cipher::AesGcm16_256, None),
            (Cipher::AesGcm16_128, None),
            (Cipher::AesCbc256, Some(Integ::HmacSha2_512_256)),
            (Cipher::AesCbc192, Some(Integ::HmacSha2_384_192)),
            (Cipher::AesCbc128, Some(Integ::HmacSha2_256_128)),
        ]
        .into_iter()
        .enumerate()
        {
            let keys = keys(cipher, integ);
            let directory =
                std::env::temp_dir().join(format!("causeway-wireshark-{}-{number}", std::process::id()));
            let Some(text) = dissect(&directory, &ike_row(SPIS, &keys).unwrap(), &capture(&keys)) else {
                eprintln!("not compared: there is no tshark");
                return;
            };
            assert!(text.contains("INITIAL_CONTACT"), "{cipher:?}: {text}");
            // An AEAD's tag Wireshark checks while it decrypts.
            assert!(integ.is_none() || text.contains("[correct]"), "{cipher:?}: {text}");
        }
    }

    #[test]
    fn esp_rows_have_the_names_that_wireshark_knows() {
        let keys = EspKeys { cipher: [0xaa; 32], salt: [0xbb; 4], integrity: [0xcc; 64] };
        for (suite, expected) in [
            (EspSuite::Aes128Gcm16, ("AES-GCM with 16 octet ICV [RFC4106]", 2 + 40, "NULL", 0)),
            (EspSuite::Aes256Gcm16, ("AES-GCM with 16 octet ICV [RFC4106]", 2 + 72, "NULL", 0)),
            (EspSuite::Aes128CbcSha256, ("AES-CBC [RFC3602]", 2 + 32, "HMAC-SHA-256-128 [RFC4868]", 2 + 64)),
            (EspSuite::Aes192CbcSha384, ("AES-CBC [RFC3602]", 2 + 48, "HMAC-SHA-384-192 [RFC4868]", 2 + 96)),
            (EspSuite::Aes256CbcSha512, ("AES-CBC [RFC3602]", 2 + 64, "HMAC-SHA-512-256 [RFC4868]", 2 + 128)),
        ] {
            let (cipher, cipher_key, integrity, integrity_key) = esp_algorithms(suite, &keys).unwrap();
            assert_eq!((cipher, cipher_key.len(), integrity, integrity_key.len()), expected, "{suite}");
        }
        let (_, key, _, _) = esp_algorithms(EspSuite::Aes128Gcm16, &keys).unwrap();
        assert_eq!(key, format!("0x{}{}", "aa".repeat(16), "bb".repeat(4)), "the salt stands behind the key");
        assert_eq!(esp_algorithms(EspSuite::ChaCha20Poly1305, &keys), None);
    }
}

//! Published test vectors through every engine: packets that none of our libraries made.
//!
//! AES-GCM: draft-mcgrew-gcm-test-01 §4, the test cases of RFC 4106's author for ESP, all with 128- and 256-bit keys.
//! ChaCha20-Poly1305: RFC 7634 appendix A. AES-CBC: NIST SP 800-38A F.2.1, F.2.3 and F.2.5; the ICV around them, of which NIST knows
//! nothing, is RustCrypto's. An IV of a vector is not the sequence number, so they show opening; sealing is in `self_test.rs`.

use causeway_shared::sa::{EspKeys, EspSuite};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{AwsLc, ESP_HEADER_LEN, Engine, EspEngine, OpenJob, Portable, Wide};

/// A packet as its vector has it.
struct Vector {
    name: &'static str,
    suite: EspSuite,
    key: &'static str,
    /// Salt and IV of an AEAD, the IV of CBC.
    nonce: &'static str,
    plaintext: &'static str,
    /// SPI and sequence number; of 12 octets with extended sequence numbers.
    aad: &'static str,
    ciphertext: &'static str,
    /// Empty where the vector has none.
    tag: &'static str,
}

const INTEGRITY_KEY: [u8; 32] = [0x0b; 32];

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

impl Vector {
    fn keys(&self) -> EspKeys {
        let material = match self.suite.is_aead() {
            true => [octets(self.key), octets(&self.nonce[..8])].concat(),
            false => [octets(self.key), INTEGRITY_KEY.to_vec()].concat(),
        };
        EspKeys::from_keymat(self.suite, &material).unwrap()
    }

    fn esn(&self) -> bool {
        self.aad.len() == 24
    }

    fn sequence(&self) -> u64 {
        octets(&self.aad[8..]).iter().fold(0, |sequence, octet| sequence << 8 | u64::from(*octet))
    }

    fn packet(&self) -> Vec<u8> {
        let iv = if self.suite.is_aead() { &self.nonce[8..] } else { self.nonce };
        let low = &self.aad[self.aad.len() - 8..];
        let mut packet = octets(&[&self.aad[..8], low, iv, self.ciphertext].concat());
        if self.suite.is_aead() {
            packet.extend(octets(self.tag));
        } else {
            let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&INTEGRITY_KEY).unwrap();
            mac.update(&packet);
            packet.extend(&mac.finalize().into_bytes()[..self.suite.icv_len()]);
        }
        packet
    }

    /// Opens; and what has one wrong bit in its first or last octet, or at the seam of text and ICV, does not.
    fn check<E: EspEngine>(&self, engine: &mut E, who: &str) {
        let key = E::setup_inbound(self.suite, self.esn(), &self.keys()).unwrap();
        let good = self.packet();
        let seam = good.len() - self.suite.icv_len();
        let mut open = |mut packet: Vec<u8>| {
            let job = OpenJob { key: &key, packet: &mut packet, sequence: self.sequence(), opened: false };
            let mut jobs = [job];
            engine.open_burst(&mut jobs);
            let opened = jobs[0].opened;
            (opened, packet)
        };
        let (opened, packet) = open(good.clone());
        assert!(opened, "{who} refuses {}", self.name);
        let text = &packet[ESP_HEADER_LEN + self.suite.iv_len()..seam];
        assert_eq!(text, octets(self.plaintext), "{who}: {}", self.name);
        for at in [0, ESP_HEADER_LEN, seam - 1, seam, good.len() - 1] {
            let mut forged = good.clone();
            forged[at] ^= 1;
            assert!(!open(forged).0, "{who} takes {} with a wrong octet {at}", self.name);
        }
    }
}

#[test]
fn every_engine_opens_the_published_packets() {
    for vector in VECTORS {
        vector.check(&mut AwsLc, "aws-lc");
        vector.check(&mut Portable, "portable");
        vector.check(&mut Engine::default(), "the chosen engine");
        Wide::new().iter_mut().for_each(|wide| vector.check(wide, "wide"));
    }
}

const VECTORS: &[Vector] = &[
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 00004321, 72 octets",
        suite: EspSuite::Aes128Gcm16,
        key: "4c80cdefbb5d10da906ac73c3613a634",
        nonce: "2e443b684956ed7e3b244cfe",
        plaintext: "45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f75\
            6470037369700963796265726369747902646b000021000101020201",
        aad: "000043218765432100000000",
        ciphertext: "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1\
            f4a13c5d15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732",
        tag: "459018148f6cbe722fd04796562dfdb4",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 0000a5f8, 64 octets",
        suite: EspSuite::Aes128Gcm16,
        key: "feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        plaintext: "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100000100000000000003736970\
            0963796265726369747902646b00000100010001",
        aad: "0000a5f80000000a",
        ciphertext: "deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0e\
            ec416642cfbb85a5b47e48a4ec3b9ba95d918bd1",
        tag: "83b70d3aa8bc6ee4c309e9d85a41ad4a",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 4a2cbfe3, 52 octets",
        suite: EspSuite::Aes256Gcm16,
        key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
        nonce: "112233440102030405060708",
        plaintext: "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b4\
            0101040201020201",
        aad: "4a2cbfe300000002",
        ciphertext: "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f054565\
            9f14e99def842d8e",
        tag: "b335f4eecfdbf831824b4c4915956c96",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 00000000, 64 octets",
        suite: EspSuite::Aes128Gcm16,
        key: "00000000000000000000000000000000",
        nonce: "000000000000000000000000",
        plaintext: "4500003c99c500008001cb7a40679318010101010800075c020044006162636465666768696a6b6c6d6e6f70\
            7172737475767761626364656667686901020201",
        aad: "0000000000000001",
        ciphertext: "4688daf2f973a392732909c331d56d60f694abaa414b5e7ff5fdcdfff5e9a284456476492719ffb64de7d9dc\
            a1e1d894bc3bd57873ed4d181d19d4d5c8c18af3",
        tag: "f821d496eeb096e98ad2b69e4799c71d",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 42f67e3f, 64 octets",
        suite: EspSuite::Aes128Gcm16,
        key: "3de09874b388e6491988d0c3607eae1f",
        nonce: "57690e434e280000a2fca1a3",
        plaintext: "4500003c99c300008001cb7c40679318010101010800085c020043006162636465666768696a6b6c6d6e6f70\
            7172737475767761626364656667686901020201",
        aad: "42f67e3f1010101010101010",
        ciphertext: "fba2caa4853cf9f0f22cb10d86dd83b0fec75691cf1a04b00d1138ec9c35791765acbd8701ad79845bf9fe3f\
            ba487bc91755e6662b4c8d0d1f5e22739530320a",
        tag: "e0d731cc978ecafaeae88f00e80d6e48",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 42f67e3f, 28 octets",
        suite: EspSuite::Aes128Gcm16,
        key: "3de09874b388e6491988d0c3607eae1f",
        nonce: "57690e434e280000a2fca1a3",
        plaintext: "4500001c42a200008001441f406793b6e00000020a00f5ff01020201",
        aad: "42f67e3f1010101010101010",
        ciphertext: "fba2ca845e5df9f0f22c3e6e86dd831e1fc65792cd1af9130e1379ed",
        tag: "369f071f35e034be95f112e4e7d05d35",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 00000100, 76 octets",
        suite: EspSuite::Aes128Gcm16,
        key: "abbccddef00112233445566778899aab",
        nonce: "decaf888cafedebaceface74",
        plaintext: "4500004933ba00007f119106c3fb1d10c2b1d326c02831ce0035dd7b800302d500004e20001e8c18d75b81dc\
            91baa0476b91b924b280389d92c963bac046ec959b6266c04722b14923010101",
        aad: "000001000000000000000001",
        ciphertext: "18a6fd42f72cbf4ab2a2ea901f73d814e3e7f243d95412e1c349c1d2fbec168f9190feebaf2cb01984e65863\
            965d7472b79da345e0e780191f0d2f0e0f496c226f2127b27db35724e7845d68",
        tag: "651f57e65f354f75ff17015769623436",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 17405e67, 40 octets",
        suite: EspSuite::Aes256Gcm16,
        key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
        nonce: "73616c74616e640169766563",
        plaintext: "45080028732c00004006e9f90a0106120a01038f06b88023dd6bafbecb71260250101f646d540001",
        aad: "17405e67156f3126dd0db99b",
        ciphertext: "f2d69ecdbd5a0d5b8d5ef38bad4da58d1f278fde98ef67549d524a3018d9a57ff4d3a31ce673119e",
        tag: "451626c2415771e3b7eebca614c89b35",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 42f67e3f, 76 octets",
        suite: EspSuite::Aes128Gcm16,
        key: "3de09874b388e6491988d0c3607eae1f",
        nonce: "57690e434e280000a2fca1a3",
        plaintext: "45000049333e00007f119182c3fb1d10c2b1d326c02831ce0035cb458003025b000001e0001e8c18d65759d5\
            2284a0352c71475c8880391c764d6e5ee0496b325ae270c03899493915010101",
        aad: "42f67e3f1010101010101010",
        ciphertext: "fba2cad12fc1f9f00d3cebf305410db83d7784b607323d220f24b0a97d54182800cadb0f68d99ef0e0c0c89a\
            e9bea8884e52d65bc1afd0740f742444747b5b39ab533163aad4550ee5160975",
        tag: "cdb608c5769189609763b8e18caa81e2",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 17405e67, 72 octets",
        suite: EspSuite::Aes256Gcm16,
        key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
        nonce: "73616c74616e640169766563",
        plaintext: "636973636f0172756c657301746865016e6574776501646566696e6501746865746563686e6f6c6f67696573\
            017468617477696c6c01646566696e65746f6d6f72726f7701020201",
        aad: "17405e67156f3126dd0db99b",
        ciphertext: "d4b7ed86a1777f2ea13d6973d324c69e7b43f826fb56831226508bebd2dceb18d0a6df10e5487df074113e14\
            c641024e3e6773d91a62ee429b043a10e3efe6b012a49363412364f8",
        tag: "c0cac587f249e56b11e24f30e44ccc76",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 335467ae, 4 octets",
        suite: EspSuite::Aes128Gcm16,
        key: "7d773d00c144c525ac619d18c84a3f47",
        nonce: "d966426743457e9182443bc6",
        plaintext: "01020201",
        aad: "335467aeffffffff",
        ciphertext: "437f866b",
        tag: "cb3f699fe9b0822bac961c4504bef270",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 00000100, 20 octets",
        suite: EspSuite::Aes128Gcm16,
        key: "abbccddef00112233445566778899aab",
        nonce: "decaf888cafedebaceface74",
        plaintext: "746f016265016f72016e6f7401746f0162650001",
        aad: "000001000000000000000001",
        ciphertext: "29c9fc69a197d038ccdd14e2ddfcaa0543332164",
        tag: "412503524303ed3c6c5f283843af8c3e",
    },
    Vector {
        name: "draft-mcgrew-gcm-test-01, SPI 796b6963, 52 octets",
        suite: EspSuite::Aes256Gcm16,
        key: "6c6567616c697a656d6172696a75616e61616e64646f69746265666f72656961",
        nonce: "7475726e333021696765746d",
        plaintext: "45000030da3a00008001df3bc0a80005c0a800010800c6cd020007006162636465666768696a6b6c6d6e6f70\
            7172737401020201",
        aad: "796b6963ffffffffffffffff",
        ciphertext: "f97ab2aa356d8edce17644ac8c78e25dd24dedbb29ebf1b64a274b39b49c3a864cd3d78ca4ae68a32b42458f\
            b57dbe821dcc63b9",
        tag: "d0937ba2945f669368661a329fb4c053",
    },
    Vector {
        name: "RFC 7634 appendix A",
        suite: EspSuite::ChaCha20Poly1305,
        key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        nonce: "a0a1a2a31011121314151617",
        plaintext: "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f\
            101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363701020204",
        aad: "0102030400000005",
        ciphertext: "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95df\
            ab4c02f72aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0",
        tag: "76aaa8266b7fb0f7b11b369907e1ad43",
    },
    Vector {
        name: "NIST SP 800-38A F.2.1",
        suite: EspSuite::Aes128CbcSha256,
        key: "2b7e151628aed2a6abf7158809cf4f3c",
        nonce: "000102030405060708090a0b0c0d0e0f",
        plaintext: "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc119\
            1a0a52eff69f2445df4f9b17ad2b417be66c3710",
        aad: "0102030400000005",
        ciphertext: "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e\
            222295163ff1caa1681fac09120eca307586e1a7",
        tag: "",
    },
    Vector {
        name: "NIST SP 800-38A F.2.3",
        suite: EspSuite::Aes192CbcSha256,
        key: "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        nonce: "000102030405060708090a0b0c0d0e0f",
        plaintext: "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc119\
            1a0a52eff69f2445df4f9b17ad2b417be66c3710",
        aad: "0102030400000005",
        ciphertext: "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a571b242012fb7ae07fa9baac\
            3df102e008b0e27988598881d920a9e64f5615cd",
        tag: "",
    },
    Vector {
        name: "NIST SP 800-38A F.2.5",
        suite: EspSuite::Aes256CbcSha256,
        key: "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        nonce: "000102030405060708090a0b0c0d0e0f",
        plaintext: "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc119\
            1a0a52eff69f2445df4f9b17ad2b417be66c3710",
        aad: "0102030400000005",
        ciphertext: "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e263\
            04231461b2eb05e2c39be9fcda6c19078c6a9d1b",
        tag: "",
    },
];

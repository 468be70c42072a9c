#!/usr/bin/env python3
"""Makes vectors.txt: the key schedule of RFC 7296, sealed messages and MODP-2048, computed with Python's hmac and pow and
the `cryptography` package. Run it without arguments to write the file again; its inputs are derived from labels, so the
output never changes."""
import hashlib
import hmac
import pathlib
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HASH = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
SUITES = [  # IKE suite, cipher key octets, AEAD, hash of the integrity algorithm, hash of the PRF, ESP suite
    ("aes128gcm16-prfsha256-curve25519", 16, True, None, "256", "aes128gcm16", 20, 0),
    ("aes256gcm16-prfsha384-ecp384", 32, True, None, "384", "aes256gcm16", 36, 0),
    ("aes128-sha256-modp2048", 16, False, "256", "256", "aes128-sha256", 16, 32),
    ("aes192-sha384-ecp256", 24, False, "384", "384", "aes192-sha384", 24, 48),
    ("aes256-sha512-ecp521", 32, False, "512", "512", "aes256-sha512", 32, 64),
    ("aes256-sha256-prfsha512-ecp256", 32, False, "256", "512", "aes256-sha256", 32, 32),
]
P = int(
    """FFFFFFFF FFFFFFFF C90FDAA2 2168C234 C4C6628B 80DC1CD1 29024E08 8A67CC74 020BBEA6 3B139B22 514A0879 8E3404DD
    EF9519B3 CD3A431B 302B0A6D F25F1437 4FE1356D 6D51C245 E485B576 625E7EC6 F44C42E9 A637ED6B 0BFF5CB6 F406B7ED
    EE386BFB 5A899FA5 AE9F2411 7C4B1FE6 49286651 ECE45B3D C2007CB8 A163BF05 98DA4836 1C55D39A 69163FA8 FD24CF5F
    83655D23 DCA3AD96 1C62F356 208552BB 9ED52907 7096966D 670C354E 4ABC9804 F1746C08 CA18217C 32905E46 2E36CE3B
    E39E772C 180E8603 9B2783A2 EC07A28F B5C55DF0 6F4C52C9 DE2BCBF6 95581718 3995497C EA956AE5 15D22618 98FA0510
    15728E5A 8AACAA68 FFFFFFFF FFFFFFFF""".replace(" ", "").replace("\n", ""),
    16,
)
lines = []


def octets(label, n):
    return hashlib.shake_256(label.encode()).digest(n)


def say(name, value):
    lines.append(f"{name} {value.hex() if isinstance(value, bytes) else value}")


def prf(h, key, data):
    return hmac.new(key, data, HASH[h]).digest()


def prf_plus(h, key, seed, n):
    out, block, i = b"", b"", 1
    while len(out) < n:
        block = prf(h, key, block + seed + bytes([i]))
        out, i = out + block, i + 1
    return out[:n]


def cut(data, *lengths):
    parts = []
    for n in lengths:
        parts.append(data[:n])
        data = data[n:]
    return parts


def expand(prefix, skeyseed, h, a, e, seed):
    p = HASH[h]().digest_size
    names = ["sk_d", "sk_ai", "sk_ar", "sk_ei", "sk_er", "sk_pi", "sk_pr"]
    keys = dict(zip(names, cut(prf_plus(h, skeyseed, seed, 3 * p + 2 * a + 2 * e), p, a, a, e, e, p, p)))
    for name in names:
        say(prefix + name, keys[name])
    return keys


def seal(aead, integ, sk_e, sk_a, iv, header, plaintext):
    """One message: IKE header with one SK payload, whose first inner payload is a Nonce (40)."""
    if aead:
        body = len(iv) + len(plaintext) + 1 + 16
    else:
        pad = -(len(plaintext) + 1) % 16
        body = 16 + len(plaintext) + pad + 1 + HASH[integ]().digest_size // 2
    message = header + struct.pack(">I", 28 + 4 + body) + bytes([40, 0]) + struct.pack(">H", 4 + body)
    if aead:
        sealed = AESGCM(sk_e[:-4]).encrypt(sk_e[-4:] + iv, plaintext + b"\0", message)
        return message + iv + sealed
    cbc = Cipher(algorithms.AES(sk_e), modes.CBC(iv)).encryptor()
    message += iv + cbc.update(plaintext + bytes(pad) + bytes([pad])) + cbc.finalize()
    return message + hmac.new(sk_a, message, HASH[integ]).digest()[: HASH[integ]().digest_size // 2]


for suite, key, aead, integ, h, esp, esp_cipher, esp_integ in SUITES:
    say("suite", suite)
    a = 0 if aead else HASH[integ]().digest_size
    e = key + (4 if aead else 0)
    ni, nr, gir = (octets(suite + x, n) for x, n in (("ni", 32), ("nr", 48), ("gir", 66)))
    spi_i, spi_r = octets(suite + "spii", 8), octets(suite + "spir", 8)
    for name, value in (("ni", ni), ("nr", nr), ("gir", gir), ("spi_i", spi_i), ("spi_r", spi_r)):
        say(name, value)
    keys = expand("", prf(h, ni + nr, gir), h, a, e, ni + nr + spi_i + spi_r)
    ni2, nr2, gir2 = (octets(suite + x, n) for x, n in (("ni2", 16), ("nr2", 256), ("gir2", 256)))
    spi_i2, spi_r2 = octets(suite + "spii2", 8), octets(suite + "spir2", 8)
    for name, value in (("ni2", ni2), ("nr2", nr2), ("gir2", gir2), ("spi_i2", spi_i2), ("spi_r2", spi_r2)):
        say(name, value)
    expand("rekeyed_", prf(h, keys["sk_d"], gir2 + ni2 + nr2), h, a, e, ni2 + nr2 + spi_i2 + spi_r2)
    n = esp_cipher + esp_integ
    say("esp", esp)
    for name, seed in (("child", ni + nr), ("child_pfs", gir2 + ni2 + nr2)):
        to_responder, to_initiator = cut(prf_plus(h, keys["sk_d"], seed, 2 * n), n, n)
        say(name + "_i", to_responder)
        say(name + "_r", to_initiator)
    id_body, message, psk = b"\x02\0\0\0gw.example.test", octets(suite + "msg", 400), b"a shared secret"
    signed = message + ni + prf(h, keys["sk_pr"], id_body)
    for name, value in (("id_body", id_body), ("message", message), ("signed", signed), ("psk", psk)):
        say(name, value)
    say("auth", prf(h, prf(h, psk, b"Key Pad for IKEv2"), signed))
    iv = (1).to_bytes(8, "big") if aead else octets(suite + "iv", 16)
    nonce = octets(suite + "inner", 32)
    plaintext = bytes([0, 0]) + struct.pack(">H", 4 + len(nonce)) + nonce
    header = spi_i + spi_r + bytes([46, 0x20, 37, 0x08]) + struct.pack(">I", 7)
    say("iv", iv)
    say("inner_nonce", nonce)
    say("sealed", seal(aead, integ, keys["sk_ei"], keys["sk_ai"], iv, header, plaintext))
    say("end", suite)

say("prime", P.to_bytes(256, "big"))
x = int.from_bytes(octets("modp x", 32), "big") | 1 << 255
y = int.from_bytes(octets("modp y", 32), "big") | 1 << 255
say("modp_x", x.to_bytes(32, "big"))
say("modp_gx", pow(2, x, P).to_bytes(256, "big"))
say("modp_gy", pow(2, y, P).to_bytes(256, "big"))
say("modp_gxy", pow(2, x * y, P).to_bytes(256, "big"))
pathlib.Path(__file__).with_name("vectors.txt").write_text("\n".join(lines) + "\n")

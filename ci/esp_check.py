#!/usr/bin/env python3
"""An independent ESP implementation (RFC 4303, 4106, 7634, 3602, 4868) over Python's `cryptography`.

    esp_check.py open < sets     opens every packet of every set and compares the inner packet; exit status 1 on a mismatch
    esp_check.py seal < inner    seals a list of inner packets under fresh keys, for every suite with ESN and without

Sets are JSON as in dataplane/src/path_tests/python.rs, which runs this script. Debian package: python3-cryptography.
"""
import hashlib
import hmac
import json
import os
import struct
import sys

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
except ImportError:
    sys.exit("esp_check.py: Python's `cryptography` is missing; install the Debian package python3-cryptography")

# name: octets of cipher key, hash
SUITES = {"aes128gcm16": (16, None), "aes256gcm16": (32, None), "chacha20poly1305": (32, None)}
SUITES.update({f"aes{8 * key}-{name}": (key, name) for name in ("sha256", "sha384", "sha512") for key in (16, 24, 32)})


class Sa:
    def __init__(self, suite, esn, spi, cipher_key, salt, integrity_key):
        self.key_len, self.hash = SUITES[suite]
        self.aead = ChaCha20Poly1305 if suite == "chacha20poly1305" else AESGCM
        self.esn, self.spi = esn, spi
        self.cipher_key, self.salt, self.integrity_key = cipher_key, salt, integrity_key
        assert len(cipher_key) == self.key_len, suite
        assert len(salt) == (0 if self.hash else 4), suite
        assert len(integrity_key) == (hashlib.new(self.hash).digest_size if self.hash else 0), suite

    def aad(self, sequence):
        return struct.pack(">IQ" if self.esn else ">II", self.spi, sequence)

    def tag(self, covered, sequence):
        high = struct.pack(">I", sequence >> 32) if self.esn else b""
        digest = hmac.new(self.integrity_key, covered + high, self.hash).digest()
        return digest[: len(digest) // 2]

    def cbc(self, iv):
        return Cipher(algorithms.AES(self.cipher_key), modes.CBC(iv))

    def open(self, sequence, packet):
        """The plaintext with its trailer, or None."""
        spi, low = struct.unpack(">II", packet[:8])
        if spi != self.spi or low != sequence & 0xFFFFFFFF:
            return None
        if self.hash is None:
            try:
                return self.aead(self.cipher_key).decrypt(self.salt + packet[8:16], packet[16:], self.aad(sequence))
            except InvalidTag:
                return None
        size = hashlib.new(self.hash).digest_size // 2
        covered, icv = packet[:-size], packet[-size:]
        if not hmac.compare_digest(self.tag(covered, sequence), icv):
            return None
        decryptor = self.cbc(packet[8:24]).decryptor()
        return decryptor.update(covered[24:]) + decryptor.finalize()

    def seal(self, sequence, inner):
        align = 16 if self.hash else 4
        pad = -(len(inner) + 2) % align
        plaintext = inner + bytes(range(1, pad + 1)) + bytes([pad, 4])
        head = struct.pack(">II", self.spi, sequence & 0xFFFFFFFF)
        if self.hash is None:
            iv = os.urandom(8)
            return head + iv + self.aead(self.cipher_key).encrypt(self.salt + iv, plaintext, self.aad(sequence))
        iv = os.urandom(16)
        encryptor = self.cbc(iv).encryptor()
        covered = head + iv + encryptor.update(plaintext) + encryptor.finalize()
        return covered + self.tag(covered, sequence)


def inner_of(plaintext):
    """What lies before a right trailer, or None."""
    pad, next_header = plaintext[-2], plaintext[-1]
    end = len(plaintext) - 2 - pad
    if next_header != 4 or end < 0 or plaintext[end:-2] != bytes(range(1, pad + 1)):
        return None
    return plaintext[:end]


def check_open(sets):
    wrong = opened = 0
    for entry in sets:
        sa = Sa(entry["suite"], entry["esn"], entry["spi"],
                *(bytes.fromhex(entry[key]) for key in ("cipher_key", "salt", "integrity_key")))
        ivs = set()
        for packet in entry["packets"]:
            esp = bytes.fromhex(packet["esp"])
            plaintext = sa.open(packet["sequence"], esp)
            inner = plaintext and inner_of(plaintext)
            iv = esp[8 : 24 if sa.hash else 16]
            if inner != bytes.fromhex(packet["inner"]) or iv in ivs:
                print(f"esp_check.py: {entry['suite']} esn={entry['esn']} packet {packet['sequence']}: "
                      f"{'ICV or header' if plaintext is None else 'content, padding or repeated IV'} wrong", file=sys.stderr)
                wrong += 1
            ivs.add(iv)
            opened += 1
    if wrong or not opened:
        sys.exit(f"esp_check.py: {wrong} of {opened} packets wrong")


def make_sealed(inner):
    sets = []
    for suite, (key_len, name) in SUITES.items():
        for esn in (False, True):
            keys = {"cipher_key": os.urandom(key_len), "salt": b"" if name else os.urandom(4),
                    "integrity_key": os.urandom(hashlib.new(name).digest_size) if name else b""}
            spi, first = 0x00C0FFEE, (1 << 32) - 2 if esn else 1
            sa = Sa(suite, esn, spi, **keys)
            packets = [{"sequence": first + index, "inner": text, "esp": sa.seal(first + index, bytes.fromhex(text)).hex()}
                       for index, text in enumerate(inner)]
            sets.append({"suite": suite, "esn": esn, "spi": spi, "packets": packets,
                         **{name: value.hex() for name, value in keys.items()}})
    return sets


if __name__ == "__main__":
    if sys.argv[1:] == ["open"]:
        check_open(json.load(sys.stdin))
    elif sys.argv[1:] == ["seal"]:
        json.dump(make_sealed(json.load(sys.stdin)), sys.stdout)
    else:
        sys.exit(__doc__)

"""A throw-away certificate authority, made with strongSwan's `pki`: gateway (ECDSA, RSA and Ed25519), client, expired client."""
import os

from shell import run
from world import GATEWAY_OUTSIDE

GATEWAY_NAME = "vpn.example.test"
USER = "carol@example.test"
# Where certificates of these names say that lists and OCSP responders are: in the gateway's namespace.
LIST_PORT, OCSP_PORT = 8881, 8882


def make(directory):
    """Writes the PEM files of one authority per key type into `directory`."""
    os.makedirs(directory, exist_ok=True)
    config = os.path.join(directory, "strongswan.conf")
    with open(config, "w", encoding="utf-8") as file:
        file.write("pki { load = random openssl x509 pem pkcs1 pkcs8 pubkey nonce drbg sha2 curve25519 }\n")
    os.environ["STRONGSWAN_CONF"] = config
    _authority(directory, "ca", "ecdsa", "256")
    _authority(directory, "ca-rsa", "rsa", "2048")
    gateway = ["--san", GATEWAY_NAME, "--san", GATEWAY_OUTSIDE, "--flag", "serverAuth", "--flag", "ikeIntermediate"]
    client = ["--san", USER, "--flag", "clientAuth"]
    _leaf(directory, "gateway", "ca", "ecdsa", "256", GATEWAY_NAME, gateway)
    _leaf(directory, "gateway-rsa", "ca-rsa", "rsa", "3072", GATEWAY_NAME, gateway)
    _leaf(directory, "radius", "ca-rsa", "rsa", "2048", "radius.example.test",
          ["--san", "radius.example.test", "--flag", "serverAuth"])
    _leaf(directory, "client", "ca", "ecdsa", "256", USER, client)
    _leaf(directory, "client-rsa", "ca-rsa", "rsa", "2048", USER, client)
    _leaf(directory, "gateway-ed25519", "ca", "ed25519", None, GATEWAY_NAME, gateway)
    _leaf(directory, "client-ed25519", "ca", "ed25519", None, USER, client)
    _leaf(directory, "client-expired", "ca", "ecdsa", "256", USER, client,
          lifetime=["--not-before", "01.01.20 00:00:00", "--not-after", "01.01.21 00:00:00"])
    _leaf(directory, "client-listed", "ca", "ecdsa", "256", USER, [*client, "--crl", f"http://127.0.0.1:{LIST_PORT}/ca.crl"])
    for name in ("client-ocsp", "client-ocsp-revoked"):
        _leaf(directory, name, "ca", "ecdsa", "256", USER, [*client, "--ocsp", f"http://127.0.0.1:{OCSP_PORT}/"])
    with open(os.path.join(directory, "cas.pem"), "w", encoding="utf-8") as both:
        for name in ("ca", "ca-rsa"):
            with open(os.path.join(directory, f"{name}.pem"), encoding="utf-8") as one:
                both.write(one.read())
    return directory


def revocation_list(directory, authority, path, revoked, updates=None):
    """Writes the list of `authority` with these certificates, valid for a day; `updates` is when it was made and when the next one
    was due."""
    ca = os.path.join(directory, authority)
    when = ["--this-update", updates[0], "--next-update", updates[1]] if updates else ["--lifetime", "1"]
    certificates = [part for name in revoked for part in ("--reason", "key-compromise", "--cert", os.path.join(directory, f"{name}.pem"))]
    _write(path, _pki("--signcrl", "--cacert", f"{ca}.pem", "--cakey", f"{ca}.key", "--digest", "sha256", *when, *certificates,
                      "--outform", "pem"), 0o644)


def _pki(*args):
    return run(["pki", *args]).stdout


def _write(path, text, mode=0o600):
    with open(path, "w", encoding="utf-8") as file:
        os.chmod(path, mode)
        file.write(text)


def _authority(directory, name, kind, size):
    base = os.path.join(directory, name)
    _write(f"{base}.key", _pki("--gen", "--type", kind, "--size", size, "--outform", "pem"))
    _write(f"{base}.pem", _pki("--self", "--ca", "--lifetime", "3650", "--in", f"{base}.key", "--type", kind,
                               "--digest", "sha256", "--dn", f"O=Causeway test, CN={name}", "--outform", "pem"), 0o644)


def _leaf(directory, name, authority, kind, size, common_name, extra, lifetime=("--lifetime", "365")):
    base, ca = os.path.join(directory, name), os.path.join(directory, authority)
    _write(f"{base}.key", _pki("--gen", "--type", kind, *(["--size", size] if size else []), "--outform", "pem"))
    _write(f"{base}.pem", _pki("--issue", *lifetime, "--digest", "sha256", "--cacert", f"{ca}.pem", "--cakey",
                               f"{ca}.key", "--in", f"{base}.key", "--type", "priv", "--dn",
                               f"O=Causeway test, CN={common_name}", *extra, "--outform", "pem"), 0o644)

"""libreswan in a guest kernel: one pluto with one connection, driven by `whack`.

Debian's package conflicts with strongSwan's, so it is unpacked beside the system (`unpack_libreswan` in `ci/lib/install.sh`) and
put in its place inside of the guest only.
"""
import glob
import os
import re
import subprocess

from pki import GATEWAY_NAME, USER
from shell import Failure, run, tail
from swan import PSK
from world import GATEWAY_OUTSIDE, LAN6_NET, LAN_NET

UNPACKED = os.environ.get("CAUSEWAY_LIBRESWAN", "/var/tmp/causeway-peers/libreswan")
BIN = "/usr/libexec/ipsec"
SIGNATURES = {"client": "ecdsa-sha2", "client-rsa": "rsasig"}
AUTHORITIES = {"client": "ca", "client-rsa": "ca-rsa"}


class Libreswan:
    """One pluto. `certificate` is the name of a client certificate, or nothing for a pre-shared key; `ike` and `esp` are proposals
    in this product's names. `family` is the one inside of the tunnel."""

    def __init__(self, guest, pki, name, certificate=None, ike="", esp="", gateway=GATEWAY_OUTSIDE, family=4):
        self.guest, self.pki, self.certificate, self.gateway, self.family = guest, pki, certificate, gateway, family
        self.directory = os.path.join(guest.directory, name)
        self.log_path = os.path.join(self.directory, "log")
        for folder in ("nss", "ipsec.d/policies", "dump"):
            os.makedirs(os.path.join(self.directory, folder))
        self._write("ipsec.secrets", f'{USER} @{GATEWAY_NAME} : PSK "{PSK}"\n')
        self._certificates()
        self.configure(ike, esp)

    def _write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
            os.chmod(file.name, 0o600)
            file.write(text)

    def _certificates(self):
        store = f"sql:{self.directory}/nss"
        run(["certutil", "-N", "-d", store, "--empty-password"])
        if not self.certificate:
            return
        base, authority = os.path.join(self.pki, self.certificate), os.path.join(self.pki, AUTHORITIES[self.certificate])
        run(["certutil", "-A", "-n", "ca", "-t", "CT,,", "-d", store, "-i", f"{authority}.pem"])
        bundle = os.path.join(self.directory, "client.p12")
        run(["openssl", "pkcs12", "-export", "-inkey", f"{base}.key", "-in", f"{base}.pem", "-name", "client",
             "-passout", "pass:x", "-out", bundle])
        run(["pk12util", "-i", bundle, "-d", store, "-W", "x", "-K", ""])

    def configure(self, ike, esp):
        """Writes the connection; a running pluto loads it."""
        auth = "authby=secret"
        if self.certificate:
            auth = f"authby={SIGNATURES[self.certificate]}\n  leftcert=client\n  leftsendcert=always\n  rightca=%same"
        self._write("ipsec.conf", f"""config setup
  dnssec-enable=no
conn home
  ikev2=insist
  left={self.guest.address6 if ":" in self.gateway else self.guest.address}
  leftid={USER}
  leftmodecfgclient=yes
  modecfgpull=yes
  leftsubnet={"::/0" if self.family == 6 else "0.0.0.0/0"}
  right={self.gateway}
  rightid=@{GATEWAY_NAME}
  rightsubnet={LAN6_NET if self.family == 6 else LAN_NET}
  narrowing=yes
  ike={ike_name(ike) if ike else "aes256-sha2_256-dh19"}
  esp={esp_name(esp) if esp else "aes_gcm256-null"}
  esn={"yes" if esp.endswith("-esn") else "no"}
  encapsulation=auto
  mobike=yes
  ignore-peer-dns=yes
  retransmit-timeout=10
  leftupdown={BIN}/_updown
  auto=ignore
  {auth}
""")

    def start(self):
        """Starts pluto and loads the connection."""
        if not os.path.exists(f"{UNPACKED}{BIN}/pluto"):
            raise Failure(f"libreswan is not unpacked in {UNPACKED}; `ci/interop` does that")
        at = self.directory
        self.guest.run(f"""set -e
if [ ! -e {BIN}/pluto ]; then
  mount -t tmpfs tmpfs /usr/libexec
  cp -a {UNPACKED}/usr/libexec/ipsec /usr/libexec/
fi
export PATH={BIN}:$PATH
{BIN}/pluto --config {at}/ipsec.conf --nofork --logfile {at}/log --rundir {at} --secretsfile {at}/ipsec.secrets \\
  --ipsecdir {at}/ipsec.d --nssdir {at}/nss --dumpdir {at}/dump --no-dnssec > {at}/out 2>&1 < /dev/null &
for i in $(seq 400); do {BIN}/whack --rundir {at} --status > /dev/null 2>&1 && exit 0; sleep 0.05; done
exit 1""")
        self.load()
        return self

    def load(self):
        """Loads the connection anew."""
        at = self.directory
        self.guest.run(f"export PATH={BIN}:$PATH; {BIN}/whack --rundir {at} --delete --name home > /dev/null 2>&1; "
                       f"{BIN}/addconn --config {at}/ipsec.conf --ctlsocket {at}/pluto.ctl home && {BIN}/whack --rundir {at} --listen")

    def reload(self, ike, esp):
        """Takes another connection."""
        self.configure(ike, esp)
        self.load()

    def whack(self, *words, check=True, timeout=30):
        """One command to pluto."""
        return self.guest.run(f"timeout {timeout} {BIN}/whack --rundir {self.directory} {' '.join(words)} --name home", check, timeout + 10)

    def connect(self):
        """Logs in; fails with pluto's last lines when that does not work."""
        done = self.whack("--initiate", check=False)
        if done.returncode != 0 or "established" not in done.stdout:
            raise Failure(f"libreswan could not connect: {_why(done)}\n{tail(self.log_path)}")
        return self

    def stop(self):
        """Ends pluto politely."""
        self.guest.run(f"{BIN}/whack --rundir {self.directory} --shutdown; for i in $(seq 200); do pidof pluto > /dev/null || break; "
                       "sleep 0.05; done; ! pidof pluto && ip xfrm state flush && ip xfrm policy flush")


def _why(done: subprocess.CompletedProcess):
    return "; ".join(done.stdout.strip().splitlines()[-2:])


GROUPS = {"modp2048": "dh14", "ecp256": "dh19", "ecp384": "dh20", "ecp521": "dh21", "curve25519": "dh31"}


def ike_name(proposal):
    """Libreswan's name of an IKE proposal: cipher, PRF (which is the integrity too), group."""
    *algorithms, group = proposal.split("-")
    return f"{_cipher(algorithms[0])}-sha2_{re.search(r'[0-9]+$', algorithms[-1]).group()}-{GROUPS[group]}"


def esp_name(suite):
    """Libreswan's name of a Child SA's algorithms."""
    cipher, *rest = suite.removesuffix("-esn").split("-")
    return f"{_cipher(cipher)}-sha2_{rest[0].removeprefix('sha')}" if rest else f"{_cipher(cipher)}-null"


def _cipher(name):
    if name.startswith("chacha20"):
        return "chacha20_poly1305"
    bits = re.match(r"aes(\d+)", name).group(1)
    return f"aes_gcm{bits}" if "gcm" in name else f"aes{bits}"


def version():
    """The version of what is unpacked, from its list of changes' package name."""
    packages = glob.glob(f"{UNPACKED}/../libreswan_*.deb")
    return re.search(r"libreswan_([^_]+)_", packages[0]).group(1) if packages else "unknown"

"""What the interop matrix is: its dimensions, the cells that cannot be, and the subsets of `--quick` and `--brief`. Nothing runs here."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """Algorithms of the IKE SA and of the Child SA, as this product names them."""
    ike: str
    esp: str

    @property
    def esn(self):
        """Whether the Child SA has extended sequence numbers."""
        return self.esp.endswith("-esn")


@dataclass(frozen=True)
class Network:
    """How the client reaches the gateway."""
    nat: bool
    family: int


@dataclass(frozen=True)
class Cell:
    """One login of one kind."""
    client: str
    auth: str
    suite: str
    network: str

    def __str__(self):
        return f"{self.client} / {self.auth} / {self.suite} / {self.network}"


CLIENTS = {
    "strongswan-user": "strongSwan with ESP in user space (kernel-libipsec): always UDP encapsulation",
    "strongswan-kernel": "strongSwan with the ESP of a Linux kernel in User-Mode Linux",
    "libreswan-kernel": "libreswan with the ESP of a Linux kernel in User-Mode Linux",
}

AUTHS = {
    "psk": "pre-shared key",
    "certificate-ecdsa": "certificates of both sides, ECDSA P-256",
    "certificate-rsa": "certificates of both sides, RSA (gateway 3072 bits, client 2048)",
    "certificate-ed25519": "certificates of both sides, Ed25519",
    "eap-mschapv2": "EAP-MSCHAPv2, gateway certificate ECDSA (as below)",
    "eap-tls": "EAP-TLS, client certificate ECDSA",
    "eap-ttls": "EAP-TTLS with EAP-MSCHAPv2 inside",
    "eap-peap": "PEAPv0 with EAP-MSCHAPv2 inside",
    "eap-gtc": "EAP-GTC",
    "eap-md5": "EAP-MD5",
}

SUITES = {
    "gcm-256": Suite("aes256gcm16-prfsha384-ecp384", "aes256gcm16"),
    "gcm-256-esn": Suite("aes256gcm16-prfsha256-ecp256", "aes256gcm16-esn"),
    "gcm-128": Suite("aes128gcm16-prfsha256-curve25519", "aes128gcm16"),
    "cbc-128-sha-256": Suite("aes128-sha256-modp2048", "aes128-sha256"),
    "cbc-256-sha-256": Suite("aes256-sha256-ecp256", "aes256-sha256"),
    "cbc-256-sha-512-esn": Suite("aes256-sha512-ecp521", "aes256-sha512-esn"),
    "chacha20": Suite("chacha20poly1305-prfsha256-curve25519", "chacha20poly1305"),
}

NETWORKS = {
    "ipv4": Network(nat=False, family=4),
    "ipv4-nat": Network(nat=True, family=4),
    "ipv6": Network(nat=False, family=6),
    "ipv6-nat": Network(nat=True, family=6),
}


def impossible(cell):
    """Why this cell cannot be, or nothing."""
    if cell.client == "libreswan-kernel":
        if cell.auth.startswith("eap-"):
            return "libreswan 4.10 has no EAP"
        if cell.auth == "certificate-ed25519":
            return "libreswan 4.10 has no Ed25519"
    if cell.client.startswith("strongswan") and cell.auth == "eap-peap":
        return "Debian builds strongSwan without eap-peap"
    if cell.client == "strongswan-user" and SUITES[cell.suite].esn:
        return "kernel-libipsec refuses extended sequence numbers"
    return None


def cells():
    """Every cell. Neighbours share what is dear to set up: client and network, then the authentication."""
    return [Cell(client, auth, suite, network) for client in CLIENTS for network in NETWORKS for auth in AUTHS for suite in SUITES]


def pairs(cell):
    """The pairs of values that `--quick` wants to see: all but authentication with suite, which share no code."""
    return {(cell.client, cell.auth), (cell.client, cell.suite), (cell.client, cell.network), (cell.auth, cell.network),
            (cell.suite, cell.network)}


def singles(cell):
    """What `--brief` wants to see: every client on every network, every authentication and every suite."""
    return {(cell.client, cell.network), cell.auth, cell.suite}


def subset(wanted):
    """A subset in which everything that `wanted` says of a cell that can be is seen at least once. The same one each time: always
    the first cell that brings most of what is missing."""
    candidates = [cell for cell in cells() if not impossible(cell)]
    missing = set().union(*map(wanted, candidates))
    chosen = set()
    while missing:
        best = max(candidates, key=lambda cell: len(wanted(cell) & missing))
        chosen.add(best)
        missing -= wanted(best)
    return [cell for cell in candidates if cell in chosen]


def quick():
    """The pairwise subset."""
    return subset(pairs)


def brief():
    """The subset for every run of the tests."""
    return subset(singles)

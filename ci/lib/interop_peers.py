"""Sites of the interop matrix: a network with one appliance and one kind of client, kept for as many cells as fit on it."""
import json
import os
import re

from appliance import Appliance
from interop_matrix import NETWORKS, SUITES, AUTHS
from libreswan import Libreswan, version
from pki import USER
from shell import Failure, expect, run, tail
from swan import PASSWORD, Client
from traffic import PINGER
from uml import Guest, KernelClient
from world import GATEWAY6_OUTSIDE, GATEWAY_OUTSIDE, LAN6_HOST, LAN6_NET, LAN_HOST, LAN_NET, POOL6_NET, World

CERTIFICATES = {"certificate-rsa": "-rsa", "certificate-ed25519": "-ed25519"}
METHODS = ["eap-mschapv2", "eap-tls", "eap-ttls", "eap-peap", "eap-gtc", "eap-md5", "certificate", "psk"]
SIZES = (56, 1200)
# libreswan 4.10 takes one address, that of IPv4 if there is one, and then cannot set it up over IPv6.
ONLY_IPV6 = {"pool": [{"name": "staff", "range6": POOL6_NET, "subnets": [LAN6_NET, POOL6_NET]}]}
PINGS = 2


def site_key(cell):
    """Cells with the same key share a site: client, network, and the gateway's certificate."""
    return cell.client, cell.network, CERTIFICATES.get(cell.auth, "")


def families(cell):
    """The families inside of the tunnel: over IPv6 both, where the client can."""
    if NETWORKS[cell.network].family == 4:
        return (4,)
    return (6,) if cell.client.startswith("libreswan") else (4, 6)


class Site:
    """One network, appliance and client. `take` makes client and gateway ready for a cell."""

    def __init__(self, cell, directory, pki, binaries):
        self.client_name, _, suffix = site_key(cell)
        self.network, self.pki = NETWORKS[cell.network], pki
        self.auth, self.suite, self.peer, self.guest, self.count, self.repeated = None, None, None, None, 0, 0
        self.world = World(directory, nat_clients=int(self.network.nat), ipv6=self.network.family == 6)
        self.gateway = GATEWAY6_OUTSIDE if self.network.family == 6 else GATEWAY_OUTSIDE
        self.families = families(cell)
        try:
            self.appliance = Appliance(
                self.world, pki, binaries, certificate=f"gateway{suffix}", lists=None if 4 in self.families else ONLY_IPV6,
                users={USER: {"name": USER, "password_clear": PASSWORD}},
                extra={"auth": {"methods": METHODS}, "ike": {"proposals": [suite.ike for suite in SUITES.values()]},
                       "esp": {"suites": sorted({suite.esp.removesuffix("-esn") for suite in SUITES.values()})}}).start()
            if self.client_name != "strongswan-user":
                self.guest = Guest(self.world, behind_nat=self.network.nat)
        except BaseException:
            self.world.close()
            raise

    def take(self, cell):
        """Client and suite of this cell; nothing is connected yet."""
        suite, self.repeated = SUITES[cell.suite], 0
        if self.auth != cell.auth:
            if self.peer:
                self.peer.stop()
            self.count += 1
            self.peer = self._peer(cell.auth, suite).start()
        elif self.suite != cell.suite:
            if isinstance(self.peer, Libreswan):
                self.peer.reload(suite.ike, suite.esp)
            else:
                self.peer.reload(proposals=suite.ike, esp_proposals=suite.esp)
        self.auth, self.suite = cell.auth, cell.suite

    def _peer(self, auth, suite):
        certificate = f"client{CERTIFICATES.get(auth, '')}"
        by_certificate = auth.startswith("certificate-")
        if self.client_name == "libreswan-kernel":
            return Libreswan(self.guest, self.pki, f"pluto{self.count}", certificate if by_certificate else None, suite.ike, suite.esp,
                             gateway=self.gateway, family=self.families[0])
        nets = ", ".join({4: LAN_NET, 6: LAN6_NET}[family] for family in self.families)
        options = {"gateway": self.gateway, "families": self.families, "remote_ts": nets, "auth": "cert" if by_certificate else auth, "certificate": certificate, "ike": suite.ike, "esp": suite.esp,
                   "connection": "encap = no", "plugins": "eap-ttls {\nphase2_method = mschapv2\n}"}
        if self.guest:
            return KernelClient(self.guest, self.pki, str(self.count), **options)
        add = self.world.add_nat_client if self.network.nat else self.world.add_direct_client
        return Client(self.world, add(self.count + 1), self.pki, **options)

    def pings(self, session):
        """Pings of several sizes from the client to the LAN host, and from there to the client, in each family that the client has
        inside, all answered. A busy machine may lose one, which is sent again and told in `self.repeated`."""
        namespace = None if self.guest else self.peer.namespace
        inside = {4: session["inner_address"], 6: (session["inner_prefix6"] or "").split("/")[0]}
        for family in self.families:
            expect(inside[family], f"the client has an inner IPv{family} address")
            for source, target in ((namespace, {4: LAN_HOST, 6: LAN6_HOST}[family]), ("lan", inside[family])):
                if not self._answered(source, target):
                    self.repeated += 1
                    expect(self._answered(source, target),
                           f"pings from {source or 'the client'} to {target} were not answered, twice")

    def _answered(self, namespace, target):
        """Whether each ping was answered; from the guest if there is no namespace."""
        if not namespace:
            # One request each: `ping -c 1 -W` waits as long as it says, and a guest starts it sooner than Python.
            return self.guest.run(f"for size in {' '.join(map(str, SIZES))}; do ping -n -q -c 1 -W 5 -s $size {target} || exit 1; done",
                                  check=False).returncode == 0
        done = self.world.exec(namespace, "python3", PINGER, target, str(PINGS), "0.02", "5", *map(str, SIZES))
        return all(count == PINGS for count in json.loads(done.stdout).values())

    def rekey(self, what):
        """The client rekeys its `child` or `ike` SA."""
        if isinstance(self.peer, Libreswan):
            self.peer.whack("--rekey-ipsec" if what == "child" else "--rekey-ike")
        else:
            self.peer.control("--rekey", *(("--child", "net") if what == "child" else ("--ike", "home")))

    def leave(self):
        """The client deletes its IKE SA."""
        if isinstance(self.peer, Libreswan):
            self.peer.whack("--terminate")
        else:
            self.peer.control("--terminate", "--ike", "home")

    def method(self, auth):
        """What the gateway calls the method of such a login."""
        assert auth in AUTHS
        if auth.startswith("certificate-"):
            return "certificate"
        return f"{auth}/eap-mschapv2" if auth in ("eap-ttls", "eap-peap") else auth

    def evidence(self):
        """What gateway and kernel say, and the logs' ends, for a failed cell."""
        try:
            seen = json.dumps([self.appliance.sessions(), self.appliance.drops()], indent=1)
            if self.guest:
                seen += self.guest.run("ip -s xfrm state; ip xfrm policy; ip route; ip neigh; cat /proc/net/xfrm_stat", check=False, timeout=20).stdout
        except (Failure, OSError, ValueError) as gone:
            seen = f"(nothing is to be had of the gateway or the kernel: {gone})"
        return seen + "\n" + "\n".join(f"--- {path}\n{tail(path, 60)}" for path in (
            self.appliance.log_path, self.peer.log_path if self.peer else "", os.path.join(self.world.directory, "uml-console.log")))

    def close(self):
        """Ends everything."""
        self.world.close()


def versions(binaries):
    """What took part, in words."""
    packages = run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", "charon-systemd", "user-mode-linux"]).stdout.split()
    ours = run([os.path.join(binaries, "causeway"), "--version"]).stdout.strip()
    return {"causeway": re.sub("^causeway ", "", ours), "strongswan": packages[1], "user-mode-linux": packages[3], "libreswan": version()}


def why(failure: Failure):
    """A failure's reason in one line for a table."""
    return re.sub(r"\s+", " ", str(failure).splitlines()[0]).replace("|", "/")[:200]

"""The test network, all of it in namespaces made here.

    c1, c2 … 192.168.77.11…  ── nat 192.168.77.1 │ 10.99.1.3 ──┐
    d1, d2 … 10.99.1.101…  ───────────────────────────────────┤ wan (bridge) ── gw 10.99.1.1 │ 10.99.10.1 ── lan 10.99.10.2
    uml guests 10.99.1.30… ────────────────────────────────────┘

With `ipv6` every link has both families, with the same last number: 2001:db8:77::/64 behind the NAT (which translates IPv6 too),
2001:db8:1::/64 outside, 2001:db8:10::/64 inside.

The gateway's two links have no kernel address: their DPDK ports own them. Checksum and segmentation offloads are off
everywhere, because a packet socket would see unfinished checksums and packets larger than the MTU.
"""
import itertools
import os
import signal
import subprocess

from shell import die_with_parent, end, run, wait_until

GATEWAY_OUTSIDE = "10.99.1.1"
GATEWAY_INSIDE = "10.99.10.1"
LAN_HOST = "10.99.10.2"
LAN_NET = "10.99.10.0/24"
POOL_NET = "10.99.20.0/24"
GATEWAY6_OUTSIDE = "2001:db8:1::1"
GATEWAY6_INSIDE = "2001:db8:10::1"
LAN6_HOST = "2001:db8:10::2"
LAN6_NET = "2001:db8:10::/64"
POOL6_NET = "2001:db8:20::/64"
NAT6_INSIDE = "2001:db8:77::1"
NAT6_OUTSIDE = "2001:db8:1::3"
NAT_OUTSIDE = "10.99.1.3"
NAT_OUTSIDE_MOVED = "10.99.1.4"

_serial = itertools.count()


class World:
    """One set of namespaces and the processes in them. `close()` removes both."""

    def __init__(self, directory, nat_clients=1, direct_clients=0, ipv6=False):
        self.directory, self.ipv6 = directory, ipv6
        os.makedirs(directory, exist_ok=True)
        self.prefix = f"cw{os.getpid()}-{next(_serial)}"
        self.namespaces = []
        self.processes = []
        self.closed = False
        try:
            self._build(nat_clients, direct_clients)
        except BaseException:
            self.close()
            raise

    def ns(self, name):
        """The full name of a namespace."""
        return f"{self.prefix}-{name}"

    def exec(self, name, *args, **options):
        """Runs a command in a namespace to its end."""
        return run(["ip", "netns", "exec", self.ns(name), *args], **options)

    def spawn(self, name, args, log, env=None, typed=os.devnull):
        """Starts a process in a namespace that reads the file `typed`; it ends with the world at the latest."""
        with open(os.path.join(self.directory, log), "ab") as output, open(typed, "rb") as lines:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.ns(name), *args], stdin=lines, stdout=output,
                stderr=output, env={**os.environ, **(env or {})}, preexec_fn=die_with_parent)
        self.processes.append(process)
        return process

    def close(self):
        """Ends our processes and removes our namespaces."""
        if self.closed:
            return
        self.closed = True
        for process in reversed(self.processes):
            end(process)
        for full in self.namespaces:
            for pid in self._pids(full):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            wait_until(f"no process is left in {full}", 10, lambda full=full: not self._pids(full))
            run(["ip", "netns", "del", full], check=False)
        self.namespaces = []

    @staticmethod
    def _pids(full):
        return [int(pid) for pid in run(["ip", "netns", "pids", full], check=False).stdout.split()]

    def add_namespace(self, name):
        """A new namespace with loopback up."""
        run(["ip", "netns", "add", self.ns(name)])
        self.namespaces.append(self.ns(name))
        self.exec(name, "ip", "link", "set", "lo", "up")
        # The gateway's links are its data plane's alone.
        off = 0 if self.ipv6 and name not in ("gw", "wan") else 1
        # Without duplicate address detection an address can be used at once, and without router solicitations the links are quiet.
        self.exec(name, "sysctl", "-qw", f"net.ipv6.conf.all.disable_ipv6={off}", f"net.ipv6.conf.default.disable_ipv6={off}",
                  "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0",
                  "net.ipv6.conf.default.router_solicitations=0", "net.ipv6.conf.default.accept_ra=0",
                  "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")

    def link(self, left, left_interface, right, right_interface):
        """A veth pair between two namespaces, up, offloads off."""
        run(["ip", "link", "add", left_interface, "netns", self.ns(left), "type", "veth",
             "peer", "name", right_interface, "netns", self.ns(right)])
        for name, interface in ((left, left_interface), (right, right_interface)):
            self.exec(name, "ethtool", "-K", interface, "tx", "off", "sg", "off", "tso", "off", "gso", "off",
                      "gro", "off", check=False)
            self.exec(name, "ip", "link", "set", interface, "up")

    def add_address6(self, name, address, interface, via=None):
        """An IPv6 address of a /64, and the way to everywhere else."""
        if self.ipv6:
            self.exec(name, "ip", "addr", "add", f"{address}/64", "dev", interface, "nodad")
            if via:
                self.exec(name, "ip", "-6", "route", "add", "default", "via", via)

    def add_nat_client(self, number):
        """A client namespace behind the NAT box."""
        name = f"c{number}"
        self.add_namespace(name)
        self.link(name, "eth0", "nat", f"p-{name}")
        self.exec("nat", "ip", "link", "set", f"p-{name}", "master", "in0")
        self.exec(name, "ip", "addr", "add", f"192.168.77.{10 + number}/24", "dev", "eth0")
        self.exec(name, "ip", "route", "add", "default", "via", "192.168.77.1")
        self.add_address6(name, f"2001:db8:77::{10 + number}", "eth0", NAT6_INSIDE)
        return name

    def add_direct_client(self, number):
        """A client namespace on the outside network itself."""
        name = f"d{number}"
        self.add_namespace(name)
        self.link(name, "eth0", "wan", f"p-{name}")
        self.exec("wan", "ip", "link", "set", f"p-{name}", "master", "br0")
        self.exec(name, "ip", "addr", "add", f"10.99.1.{100 + number}/24", "dev", "eth0")
        self.add_address6(name, f"2001:db8:1::{100 + number}", "eth0")
        return name

    def rebind_nat(self):
        """The NAT box gets another outside address and forgets every mapping."""
        self.exec("nat", "ip", "addr", "add", f"{NAT_OUTSIDE_MOVED}/24", "dev", "wan0")
        self.exec("nat", "ip", "addr", "del", f"{NAT_OUTSIDE}/24", "dev", "wan0")
        self.exec("nat", "ip", "addr", "replace", f"{NAT_OUTSIDE_MOVED}/24", "dev", "wan0")
        self.exec("nat", "conntrack", "-F", check=False)

    def _build(self, nat_clients, direct_clients):
        for name in ("wan", "gw", "lan"):
            self.add_namespace(name)
        self.exec("wan", "ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        self.exec("wan", "ip", "link", "set", "br0", "up")
        self.link("gw", "wan0", "wan", "p-gw")
        self.exec("wan", "ip", "link", "set", "p-gw", "master", "br0")
        self.link("gw", "lan0", "lan", "eth0")
        self.exec("lan", "ip", "addr", "add", f"{LAN_HOST}/24", "dev", "eth0")
        self.exec("lan", "ip", "route", "add", "default", "via", GATEWAY_INSIDE)
        self.add_address6("lan", LAN6_HOST, "eth0", GATEWAY6_INSIDE)
        if nat_clients:
            self.add_namespace("nat")
            self.link("nat", "wan0", "wan", "p-nat")
            self.exec("wan", "ip", "link", "set", "p-nat", "master", "br0")
            self.exec("nat", "ip", "addr", "add", f"{NAT_OUTSIDE}/24", "dev", "wan0")
            # An address of its own: else the bridge takes its lowest port's, and a client that joins late makes it another one
            # under the neighbours' feet.
            self.exec("nat", "ip", "link", "add", "in0", "address", "02:00:00:4d:00:01", "type", "bridge", "mcast_snooping", "0")
            self.exec("nat", "ip", "addr", "add", "192.168.77.1/24", "dev", "in0")
            self.exec("nat", "ip", "link", "set", "in0", "up")
            self.exec("nat", "sysctl", "-qw", "net.ipv4.ip_forward=1")
            self.add_address6("nat", NAT6_OUTSIDE, "wan0")
            self.add_address6("nat", NAT6_INSIDE, "in0")
            for family in ("ip", "ip6") if self.ipv6 else ("ip",):
                self.exec("nat", "nft", "-f", "-", stdin=f"""table {family} nat {{
  chain post {{
    type nat hook postrouting priority 100;
    oifname "wan0" masquerade random
  }}
}}
""")
            if self.ipv6:
                self.exec("nat", "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        for number in range(1, nat_clients + 1):
            self.add_nat_client(number)
        for number in range(1, direct_clients + 1):
            self.add_direct_client(number)

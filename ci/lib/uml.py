"""A User-Mode Linux guest on the outside network: a peer with a Linux kernel's own ESP (ESN, protocol 50)."""
import json
import os
import shlex
import shutil
import subprocess

from shell import Failure, read, run, tail, wait_until
from swan import Client
from traffic import PINGER
from world import NAT6_INSIDE

GUEST_ADDRESS = "10.99.1.30"
GUEST_ADDRESS_BEHIND_NAT = "192.168.77.30"
GUEST6_ADDRESS = "2001:db8:1::30"
GUEST6_ADDRESS_BEHIND_NAT = "2001:db8:77::30"


class Guest:
    """One guest kernel, on the outside network or behind the NAT box. Commands go in and come out through files in a folder
    that both sides see."""

    def __init__(self, world, name="uml", behind_nat=False):
        self.world, self.directory = world, os.path.join(world.directory, name)
        self.address = GUEST_ADDRESS_BEHIND_NAT if behind_nat else GUEST_ADDRESS
        self.address6 = GUEST6_ADDRESS_BEHIND_NAT if behind_nat else GUEST6_ADDRESS
        os.makedirs(self.directory)
        self.count = 0
        # The guest hides some folders of the host, so what it needs lies in its exchange folder.
        init = os.path.join(self.directory, "init.sh")
        shutil.copy(os.path.join(os.path.dirname(__file__), "uml-init.sh"), init)
        shutil.copy(PINGER, self.directory)
        shim = os.path.join(self.directory, "xstate.so")
        run(["gcc", "-shared", "-fPIC", "-O1", "-o", shim, os.path.join(os.path.dirname(__file__), "uml-xstate.c")])
        tap = "t-uml"
        namespace, bridge, route = ("nat", "in0", "192.168.77.1") if behind_nat else ("wan", "br0", "")
        world.exec(namespace, "ip", "tuntap", "add", tap, "mode", "tap")
        world.exec(namespace, "ip", "link", "set", tap, "up", "master", bridge)
        self.process = world.spawn(namespace, [
            "linux.uml", "mem=256M", "umid=guest", f"uml_dir={self.directory}/", "root=/dev/root", "rootfstype=hostfs",
            "rootflags=/", "ro", "quiet", "con=null", "con0=null,fd:1", "ssl=null",
            f"vec0:transport=tap,ifname={tap},depth=128,gro=0", f"init={init}", f"cw.dir={self.directory}",
            f"cw.ip={self.address}/24", f"cw.via={route}",
            *([f"cw.ip6={self.address6}/64", f"cw.via6={NAT6_INSIDE if behind_nat else ''}"] if world.ipv6 else [])], "uml-console.log", env={"LD_PRELOAD": shim})
        wait_until(f"the guest booted (console: {world.directory}/uml-console.log)", 90,
                   lambda: os.path.exists(os.path.join(self.directory, "ready")))

    def ping(self, target, sizes, count=2):
        """Echo requests of several sizes from the guest; returns {size: replies}."""
        done = self.run(f"/usr/bin/python3 {self.directory}/pinger.py {target} {count} 0.02 5 {' '.join(map(str, sizes))}")
        return json.loads(done.stdout)

    def run(self, command, check=True, timeout=60):
        """Runs a shell command in the guest; returns a completed process."""
        number, self.count = self.count, self.count + 1
        path = os.path.join(self.directory, "command")
        with open(f"{path}.tmp", "w", encoding="utf-8") as file:
            file.write(command + "\n")
        os.rename(f"{path}.tmp", f"{path}.{number}")
        status = os.path.join(self.directory, f"status.{number}")
        wait_until(f"the guest ended `{command[:120]}`", timeout, lambda: os.path.exists(status), poll=0.02)
        code, output = int(read(status) or 255), read(os.path.join(self.directory, f"output.{number}"))
        if check and code != 0:
            raise Failure(f"in the guest `{command[:200]}` ended with {code}:\n{output[-800:]}")
        return subprocess.CompletedProcess(command, code, output, "")


class KernelClient(Client):
    """strongSwan in a guest, with the guest kernel's ESP."""

    def __init__(self, guest, pki, name, **options):
        self.guest = guest
        super().__init__(_Folder(guest), name, pki, **options)

    def _strongswan_conf(self, kernel="kernel-netlink"):
        return super()._strongswan_conf(kernel)

    def start(self):
        environment = {"STRONGSWAN_CONF": os.path.join(self.run_directory, "strongswan.conf"),
                       "SWANCTL_DIR": os.path.join(self.run_directory, "swanctl")}
        self.environment = environment
        exports = " ".join(f"{key}={shlex.quote(value)}" for key, value in environment.items())
        self.guest.run(f"{exports} /usr/sbin/charon-systemd > {self.run_directory}/out 2>&1 < /dev/null & "
                       f"for i in $(seq 400); do [ -S {self.vici} ] && exit 0; sleep 0.05; done; exit 1")
        self.control("--load-all")
        return self

    def control(self, *args, check=True, timeout=60):
        exports = " ".join(f"{key}={shlex.quote(value)}" for key, value in self.environment.items())
        words = " ".join(shlex.quote(word) for word in args)
        return self.guest.run(f"{exports} timeout {timeout} swanctl {words} --uri unix://{self.vici}", check, timeout + 10)

    def stop(self):
        """Ends charon in the guest politely, and what it may have left in the guest's kernel."""
        self.guest.run("kill $(pidof charon-systemd); for i in $(seq 200); do pidof charon-systemd > /dev/null || break; sleep 0.05; "
                       "done; ! pidof charon-systemd && ip xfrm state flush && ip xfrm policy flush")

    def last_log(self):
        """The end of charon's log."""
        return tail(self.log_path)


class _Folder:
    """What `Client` needs of a world: a directory."""

    def __init__(self, guest):
        self.directory = guest.directory

"""The appliance under test: its configuration, `causeway run` in the gateway namespace, and its API."""
import hashlib
import http.client
import json
import os
import signal
import socket
import uuid

from pki import GATEWAY_NAME, USER
from shell import Failure, end, expect_equal, read, run, tail, wait_until
from swan import PASSWORD, PSK
from world import (GATEWAY6_INSIDE, GATEWAY6_OUTSIDE, GATEWAY_INSIDE, GATEWAY_OUTSIDE, LAN6_NET, LAN_NET, POOL6_NET,
                   POOL_NET)

IKE = ["aes256gcm16-prfsha384-ecp384", "aes256-sha256-ecp256", "aes256gcm16-prfsha256-x25519",
       "aes128-sha256-modp2048", "aes256-sha512-ecp521"]
ESP = ["aes256gcm16", "aes128gcm16", "aes256-sha256", "aes128-sha256", "aes192-sha256", "aes128-sha384",
       "aes192-sha384", "aes256-sha384", "aes128-sha512", "aes192-sha512", "aes256-sha512"]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


class Appliance:
    """One `causeway run`. `extra` holds TOML per section that replaces or adds keys, e.g. {"ike": {"cookie_threshold": 0}};
    `groups` is a list of [[group]], `lists` holds lists of other sections, e.g. {"auth.ppk": [{"id": "a", "secret": "b"}]}. A user's
    password may be a whole [[user]] instead."""

    def __init__(self, world, pki, binaries, certificate="gateway", users=None, psks=None, extra=None, groups=(),
                 radius_servers=(), lists=None):
        self.world, self.binaries = world, binaries
        self.run_directory = os.path.join(world.directory, "causeway")
        os.makedirs(self.run_directory, exist_ok=True)
        self.socket = os.path.join(self.run_directory, "api.sock")
        self.config_path = os.path.join(world.directory, "causeway.toml")
        self.log_path = os.path.join(world.directory, "causeway.log")
        self.process = None
        sections = {
            "gateway": {"identity": GATEWAY_NAME, "run_directory": self.run_directory},
            "dataplane": {"cores": [os.cpu_count() - 1], "hugepages": "never", "memory_mib": 256, "buffers": 16384,
                          "sa_capacity": 1024, "idle_sleep_usecs": 50},
            "ike": {"proposals": IKE, "dpd_interval_secs": 30, "retransmit_base_ms": 500, "retransmit_tries": 4,
                    "half_open_secs": 15},
            "esp": {"suites": ESP},
            "auth": {"certificate_file": os.path.join(pki, f"{certificate}.pem"),
                     "private_key_file": os.path.join(pki, f"{certificate}.key"),
                     "methods": ["eap-mschapv2", "certificate", "psk"], "client_ca_file": os.path.join(pki, "cas.pem")},
            "management": {"socket": self.socket},
            "log": {"filter": os.environ.get("CAUSEWAY_LOG", "info")},
        }
        for section, keys in (extra or {}).items():
            sections[section] = {**sections.get(section, {}), **keys}
        pool = {"name": "staff", "range": POOL_NET, "dns": ["10.99.10.53"], "subnets": [LAN_NET, POOL_NET]}
        outside6, inside6 = {}, {}
        if world.ipv6:
            outside6, inside6 = {"address6": f"{GATEWAY6_OUTSIDE}/64"}, {"address6": f"{GATEWAY6_INSIDE}/64"}
            pool = {**pool, "range6": POOL6_NET, "subnets": [LAN_NET, POOL_NET, LAN6_NET, POOL6_NET]}
        lists = {
            "port": [{"name": "wan", "device": "net_af_packet0,iface=wan0", "role": "outside", "address": f"{GATEWAY_OUTSIDE}/24",
                      **outside6},
                     {"name": "lan", "device": "net_af_packet1,iface=lan0", "role": "inside", "address": f"{GATEWAY_INSIDE}/24",
                      **inside6}],
            "pool": [pool],
            "user": [password if isinstance(password, dict) else {"name": name, "password_nt_hash": nt_hash(password)}
                     for name, password in (users or {USER: PASSWORD}).items()],
            "group": groups,
            "aaa.radius.server": radius_servers,
            "auth.psk": [{"identity": "*", "secret": PSK}] if psks is None else psks,
            **(lists or {}),
        }
        with open(self.config_path, "w", encoding="utf-8") as file:
            os.chmod(self.config_path, 0o600)
            for section, keys in sections.items():
                file.write(f"[{section}]\n" + _keys(keys) + "\n")
            for name, items in lists.items():
                for item in items:
                    file.write(f"[[{name}]]\n" + _keys(item) + "\n")

    def start(self, seconds=30, reboot=False):
        """Starts both daemons and waits until the API says they are well; with `reboot`, in what looks like another run of
        the machine."""
        command = os.path.join(self.binaries, "causeway")
        checked = run([command, "config", "check", self.config_path], check=False)
        if checked.returncode != 0:
            raise Failure(f"`causeway config check` refuses the test configuration:\n{checked.stdout}{checked.stderr}")
        arguments = [command, "run", "--config", self.config_path]
        if reboot:
            boot_id = os.path.join(self.world.directory, "boot_id")
            with open(boot_id, "w", encoding="utf-8") as file:
                file.write(f"{uuid.uuid4()}\n")
            # `ip netns exec` gives it mounts of its own.
            script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
            arguments = ["sh", "-c", script, boot_id, *arguments]
        self.process = self.world.spawn("gw", arguments, "causeway.log")

        def healthy():
            if self.process.poll() is not None:
                raise Failure(f"`causeway run` ended with {self.process.returncode}:\n{tail(self.log_path)}")
            try:
                return self.health()["status"] == "ok"
            except (OSError, Failure, http.client.HTTPException):
                return False
        try:
            wait_until("the appliance is well", seconds, healthy)
        except Failure as late:
            raise Failure(f"{late}; its log ends with:\n{tail(self.log_path)}") from late
        return self

    def stop(self):
        """SIGTERM, as an operator would; returns the exit code."""
        return end(self.process, 30)

    def request(self, method, path, body=None, want=(200, 202, 204)):
        """One API call; returns the decoded body."""
        connection = UnixConnection(self.socket)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status not in want:
            raise Failure(f"{method} {path} answered {response.status}: {text}")
        return json.loads(text) if text else None

    def health(self):
        """GET /v1/health."""
        return self.request("GET", "/v1/health")

    def sessions(self):
        """GET /v1/sessions, the sessions."""
        return self.request("GET", "/v1/sessions")["sessions"]

    def counters(self):
        """GET /v1/counters as {group: {name: value}}."""
        body = self.request("GET", "/v1/counters")
        return {group: {one["name"]: one["value"] for one in body[group]} for group in ("flow", "drops", "ike")}

    def drops(self):
        """Drop counters that are not zero."""
        return {name: value for name, value in self.counters()["drops"].items() if value}

    def show(self, *args):
        """What the operator's command prints."""
        return run([os.path.join(self.binaries, "causeway"), "show", *args, "--socket", self.socket]).stdout

    def clear(self, *args):
        """`causeway clear …`."""
        return run([os.path.join(self.binaries, "causeway"), "clear", *args, "--socket", self.socket]).stdout

    def only_session(self):
        """The one active session there must be."""
        active = [one for one in self.sessions() if one["state"] == "active"]
        expect_equal(len(active), 1, "active sessions")
        return active[0]

    def expect_empty(self, seconds=20):
        """No session, half-open SA or lease is left."""
        def empty():
            health = self.health()
            return (health["sessions"], health["half_open"], sum(pool["used"] for pool in health["pools"].values())) == (0, 0, 0)
        try:
            wait_until("the appliance holds no session, half-open SA or lease", seconds, empty)
        except Failure as late:
            raise Failure(f"{late}: {json.dumps(self.health())}") from late

    def daemon_pid(self, name):
        """The process id of `causeway-dataplane` or `causeway-controlplane`."""
        wanted = os.path.join(self.binaries, name)
        for pid in self.world._pids(self.world.ns("gw")):
            try:
                if os.readlink(f"/proc/{pid}/exe") == os.path.realpath(wanted):
                    return pid
            except OSError:
                continue
        raise Failure(f"{name} does not run; log:\n{tail(self.log_path)}")

    def kill_daemon(self, name):
        """SIGKILL to one daemon; returns its old pid."""
        pid = self.daemon_pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def log(self):
        """Everything both daemons and the supervisor logged."""
        return read(self.log_path)


def nt_hash(password):
    """MD4 of the UTF-16LE password, hex; OpenSSL 3 keeps MD4 in its legacy provider, so it is computed here."""
    try:
        return hashlib.new("md4", password.encode("utf-16-le")).hexdigest()
    except ValueError:
        return _md4(password.encode("utf-16-le")).hex()


def _md4(data):
    mask = 0xFFFFFFFF
    rotate = lambda x, n: ((x << n) | (x >> (32 - n))) & mask
    length = len(data) * 8
    data += b"\x80" + b"\0" * ((55 - len(data)) % 64) + length.to_bytes(8, "little")
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    rounds = ((lambda x, y, z: (x & y) | (~x & z), 0, (3, 7, 11, 19), list(range(16))),
              (lambda x, y, z: (x & y) | (x & z) | (y & z), 0x5A827999, (3, 5, 9, 13),
               [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]),
              (lambda x, y, z: x ^ y ^ z, 0x6ED9EBA1, (3, 9, 11, 15),
               [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15]))
    for start in range(0, len(data), 64):
        words = [int.from_bytes(data[start + 4 * i:start + 4 * i + 4], "little") for i in range(16)]
        a, b, c, d = state
        for function, constant, shifts, order in rounds:
            for step, index in enumerate(order):
                a, b, c, d = d, rotate((a + function(b, c, d) + words[index] + constant) & mask, shifts[step % 4]), b, c
        state = [(old + new) & mask for old, new in zip(state, (a, b, c, d))]
    return b"".join(word.to_bytes(4, "little") for word in state)


def _keys(keys):
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())

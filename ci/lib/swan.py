"""A stock strongSwan client (Debian's charon-systemd and swanctl, ESP in user space) in one namespace of a world."""
import os
import re
import shutil
import signal

from pki import GATEWAY_NAME, USER
from shell import Failure, end, expect_equal, read, run, tail, wait_until
from world import GATEWAY_OUTSIDE, LAN_NET

DEFAULT_IKE = "aes256gcm16-prfsha384-ecp384,aes256-sha256-ecp256,aes128-sha256-modp2048"
PASSWORD = "carol-secret"
PSK = "a shared key of the test network"

PLUGINS = ("random nonce drbg openssl md4 des aes sha1 sha2 md5 mgf1 hmac kdf gcm chapoly curve25519 x509 revocation "
           "constraints pubkey pkcs1 pkcs8 pem {kernel} socket-default vici updown resolve eap-identity eap-mschapv2 eap-md5 "
           "eap-gtc eap-tls eap-ttls")


class Client:
    """One charon. `auth` is an EAP method, `eap` for any of them, `cert` or `psk`; `aaa_id` names the server of EAP methods that
    use TLS; `plugins` and `options` are more of strongswan.conf; `families` are those of which it asks for an inner address."""

    def __init__(self, world, namespace, pki, auth="eap-mschapv2", user=USER, password=PASSWORD, psk=PSK,
                 certificate="client", ike=DEFAULT_IKE, esp="aes256gcm16", remote_ts=LAN_NET, dpd="30s",
                 connection="", child="", signature_authentication=True, rsa_pss=False, fragment_size=1280,
                 gateway_auth=None, aaa_id=None, ppk=None, plugins="", options="", gateway=GATEWAY_OUTSIDE, families=(4,)):
        self.world, self.namespace = world, namespace
        self.run_directory = os.path.join(world.directory, f"swan-{namespace}")
        self.log_path = os.path.join(self.run_directory, "charon.log")
        self.vici = os.path.join(self.run_directory, "vici")
        self.process = None
        self.plugins, self.options = plugins, options
        self.signature_authentication, self.rsa_pss, self.fragment_size = signature_authentication, rsa_pss, fragment_size
        os.makedirs(self.run_directory)
        for folder in ("x509", "x509ca", "private", "conf.d"):
            os.makedirs(os.path.join(self.run_directory, "swanctl", folder))
        for authority in ("ca.pem", "ca-rsa.pem"):
            shutil.copy(os.path.join(pki, authority), os.path.join(self.run_directory, "swanctl/x509ca"))
        local, remote = f"auth = {auth}", "auth = pubkey"
        if aaa_id:
            local += f"\naaa_id = {aaa_id}"
        if auth in ("cert", "eap", "eap-tls"):
            shutil.copy(os.path.join(pki, f"{certificate}.pem"), os.path.join(self.run_directory, "swanctl/x509"))
            shutil.copy(os.path.join(pki, f"{certificate}.key"), os.path.join(self.run_directory, "swanctl/private"))
            local = f"auth = pubkey\ncerts = {certificate}.pem" if auth == "cert" else f"{local}\ncerts = {certificate}.pem"
        if auth == "psk":
            remote = "auth = psk"
        if gateway_auth:
            remote = f"auth = {gateway_auth}"
        # A post-quantum pre-shared key: its id and the key.
        own_ppk = f"""  ppk-1 {{
    id = {ppk[0]}
    secret = "{ppk[1]}"
  }}
""" if ppk else ""
        connection += f"\n    ppk_id = {ppk[0]}" if ppk else ""
        self._write("strongswan.conf", self._strongswan_conf())
        self._write("swanctl/swanctl.conf", f"""connections {{
  home {{
    version = 2
    remote_addrs = {gateway}
    proposals = {ike}
    vips = {", ".join({4: "0.0.0.0", 6: "::"}[family] for family in families)}
    dpd_delay = {dpd}
    rekey_time = 4h
    keyingtries = 1
    {connection}
    local {{
      {local}
      id = "{user}"
    }}
    remote {{
      {remote}
      id = {GATEWAY_NAME}
    }}
    children {{
      net {{
        remote_ts = {remote_ts}
        esp_proposals = {esp}
        rekey_time = 1h
        {child}
      }}
    }}
  }}
}}
secrets {{
  eap-1 {{
    id = {user}
    secret = "{password}"
  }}
  ike-1 {{
    id-1 = {GATEWAY_NAME}
    id-2 = "{user}"
    secret = "{psk}"
  }}
{own_ppk}}}
""")

    def _write(self, name, text):
        path = os.path.join(self.run_directory, name)
        with open(path, "w", encoding="utf-8") as file:
            os.chmod(path, 0o600)
            file.write(text)

    def _strongswan_conf(self, kernel="kernel-libipsec kernel-netlink"):
        # Sixteen threads: kernel-libipsec keeps about six busy for ever, and with eight none is left for vici.
        return f"""charon-systemd {{
  load = {PLUGINS.format(kernel=kernel)}
  threads = 16
  retransmit_tries = 6
  retransmit_timeout = 1
  retransmit_base = 1.2
  signature_authentication = {"yes" if self.signature_authentication else "no"}
  rsa_pss = {"yes" if self.rsa_pss else "no"}
  fragment_size = {self.fragment_size}
  {self.options}
  plugins {{
    vici {{
      socket = unix://{self.vici}
    }}
    kernel-netlink {{
      fwmark = !0x42
    }}
    socket-default {{
      fwmark = 0x42
    }}
    kernel-libipsec {{
      allow_peer_ts = yes
    }}
    resolve {{
      file = {self.run_directory}/resolv.conf
    }}
    {self.plugins}
  }}
  filelog {{
    f {{
      path = {self.log_path}
      flush_line = yes
      time_format = %H:%M:%S
      default = 1
      ike = 2
      cfg = 2
    }}
  }}
  syslog {{
  }}
}}
swanctl {{
  load = random openssl x509 pem pkcs1 pkcs8 pubkey
}}
"""

    def start(self):
        """Starts charon and loads the connection."""
        open(os.path.join(self.run_directory, "resolv.conf"), "w", encoding="utf-8").close()
        environment = {"STRONGSWAN_CONF": os.path.join(self.run_directory, "strongswan.conf"),
                       "SWANCTL_DIR": os.path.join(self.run_directory, "swanctl")}
        self.environment = environment
        self.process = self.world.spawn(self.namespace, ["/usr/sbin/charon-systemd"], f"swan-{self.namespace}/out",
                                        env=environment)
        wait_until(f"charon of {self.namespace} opened its control socket ({self.log_path})", 20,
                   lambda: os.path.exists(self.vici))
        self.control("--load-all")
        return self

    def control(self, *args, check=True, timeout=60):
        """Runs a swanctl command against this charon."""
        command = ["ip", "netns", "exec", self.world.ns(self.namespace), "env",
                   *(f"{key}={value}" for key, value in self.environment.items()),
                   "swanctl", *args, "--uri", f"unix://{self.vici}"]
        return run(command, check=check, timeout=timeout)

    def reload(self, **replacements):
        """Replaces settings of `swanctl.conf` (key = value lines) and loads it again."""
        path = os.path.join(self.run_directory, "swanctl/swanctl.conf")
        text = read(path)
        for key, value in replacements.items():
            lines = [f"{line[:len(line) - len(line.lstrip())]}{key} = {value}" if line.strip().startswith(f"{key} =") else line
                     for line in text.splitlines()]
            text = "\n".join(lines) + "\n"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.control("--load-all")

    def connect(self, seconds=20):
        """Logs in; fails with charon's last lines when that does not work."""
        done = self.control("--initiate", "--child", "net", "--timeout", str(seconds), check=False, timeout=seconds + 20)
        if done.returncode != 0:
            raise Failure(f"the client {self.namespace} could not connect:\n{tail(self.log_path)}")
        return self

    def try_connect(self, seconds=20):
        """Tries to log in; returns whether it worked and charon's log."""
        done = self.control("--initiate", "--child", "net", "--timeout", str(seconds), check=False, timeout=seconds + 20)
        return done.returncode == 0, read(self.log_path)

    def inner_address(self, family=4):
        """The address of this family that we were given."""
        found = [address for address in re.findall(r"installing new virtual IP (\S+)", read(self.log_path))
                 if (":" in address) == (family == 6)]
        if not found:
            raise Failure(f"charon of {self.namespace} got no virtual IP of IPv{family}; see {self.log_path}")
        return found[-1]

    def sas(self):
        """The text of `swanctl --list-sas`."""
        return self.control("--list-sas").stdout

    def rekey(self, kind, name, seconds=20):
        """Rekeys an IKE SA ("ike") or a Child SA ("child") and waits until its successor has its place. swanctl ends when the
        rekey is queued; while an IKE SA is rekeyed its Child SAs are moved, and a `--rekey --child` that looks at that moment
        finds none and fails."""
        pattern = {"ike": rf"^{name}: #(\d+), ESTABLISHED", "child": rf"^\s+{name}: #(\d+), reqid \d+, INSTALLED"}[kind]

        def current():
            return re.findall(pattern, self.sas(), re.MULTILINE)
        before = current()
        expect_equal(len(before), 1, f"{kind} SAs called {name} before their rekey: {self.log_path}")
        self.control("--rekey", f"--{kind}", name)
        wait_until(f"{kind} SA {name} is rekeyed: {self.log_path}", seconds,
                   lambda: len(current()) == 1 and current() != before)

    def log(self):
        """All of charon's log."""
        return read(self.log_path)

    def kill(self):
        """Ends charon without a word to the gateway."""
        pids = [pid for pid in self.world._pids(self.world.ns(self.namespace))
                if read(f"/proc/{pid}/comm").startswith("charon")]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def stop(self):
        """Ends charon politely."""
        if self.process:
            end(self.process)

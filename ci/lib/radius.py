"""RADIUS servers for the tests: Debian's FreeRADIUS, and a Python one between it and the gateway that delays or lies.

They run in the gateway's namespace on loopback addresses, where the control plane's own sockets reach them: in the lab the
management network is the loopback interface.
"""
import os
import re
import signal
import time

from pki import USER
from shell import Failure, end, read, run, tail, wait_until
from swan import PASSWORD

SECRET = "a shared secret of the test network"
SERVER_NAME = "radius.example.test"
DYNAMIC_PORT = 3799
# Reply-Message stays out: FreeRADIUS puts it into the EAP-TTLS tunnel, and strongSwan's client then gives up.
GRANT = {"Framed-IP-Address": "10.99.20.77", "Class": '"staff"', "Filter-Id": '"staff-acl"', "Session-Timeout": "3600",
         "Idle-Timeout": "600", "Acct-Interim-Interval": "60"}

CONFIGURATION = """prefix = /usr
sysconfdir = /etc
localstatedir = @RUN@
logdir = @RUN@
raddbdir = @RUN@
libdir = /usr/lib/freeradius
run_dir = @RUN@
db_dir = @RUN@
certdir = @PKI@
pidfile = @RUN@/radiusd.pid
max_request_time = 30
cleanup_delay = 5
max_requests = 16384
hostname_lookups = no
log {
  destination = files
  file = @RUN@/radius.log
  auth = yes
}
security {
  max_attributes = 200
  reject_delay = 0
  status_server = yes
  allow_core_dumps = no
}
thread pool {
  start_servers = 2
  max_servers = 8
  min_spare_servers = 1
  max_spare_servers = 4
  max_requests_per_server = 0
}
client gateway {
  ipaddr = 127.0.0.0/8
  secret = "@SECRET@"
  require_message_authenticator = yes
}
modules {
  files {
    filename = @RUN@/users
  }
  pap {
    normalise = yes
  }
  mschap {
    use_mppe = yes
    require_encryption = yes
    require_strong = yes
  }
  eap {
    default_eap_type = mschapv2
    timer_expire = 60
    ignore_unknown_eap_types = no
    max_sessions = 16384
    md5 {
    }
    gtc {
      auth_type = PAP
    }
    mschapv2 {
      send_error = yes
    }
    tls-config tls-common {
      private_key_file = @PKI@/radius.key
      certificate_file = @PKI@/radius.pem
      ca_file = @PKI@/cas.pem
      cipher_list = "DEFAULT"
      tls_min_version = "1.2"
      tls_max_version = "1.2"
      ecdh_curve = ""
      cache {
        enable = no
      }
    }
    tls {
      tls = tls-common
    }
    ttls {
      tls = tls-common
      default_eap_type = mschapv2
      copy_request_to_tunnel = yes
      use_tunneled_reply = yes
      virtual_server = inner
    }
    peap {
      tls = tls-common
      default_eap_type = mschapv2
      copy_request_to_tunnel = yes
      use_tunneled_reply = yes
      virtual_server = inner
    }
  }
  detail {
    filename = @RUN@/detail
    permissions = 0600
  }
  always ok {
    rcode = ok
  }
}
server default {
  listen {
    type = auth
    ipaddr = @ADDRESS@
    port = 1812
  }
  listen {
    type = acct
    ipaddr = @ADDRESS@
    port = 1813
  }
  authorize {
    eap {
      ok = return
    }
    files
    mschap
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
    Auth-Type MS-CHAP {
      mschap
    }
    eap
  }
  preacct {
    ok
  }
  accounting {
    detail
    ok
  }
}
server inner {
  authorize {
    eap {
      ok = return
    }
    files
    mschap
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
    Auth-Type MS-CHAP {
      mschap
    }
    eap
  }
}
"""


class Radius:
    """One FreeRADIUS. `users`: {name: (password, {attribute: value})}; whoever proves itself otherwise (EAP-TLS) gets `GRANT`."""

    def __init__(self, world, pki, address="127.0.0.1", users=None, secret=SECRET):
        self.world, self.address, self.secret = world, address, secret
        self.directory = os.path.join(world.directory, f"radius-{address}")
        self.process = None
        os.makedirs(self.directory)
        users = users or {USER: (PASSWORD, GRANT)}
        lines = [f'{name}  Cleartext-Password := "{password}"\n' + _pairs(pairs) for name, (password, pairs) in users.items()]
        lines.append("DEFAULT\n" + _pairs(GRANT))
        text = CONFIGURATION
        for key, value in {"RUN": self.directory, "PKI": pki, "SECRET": secret, "ADDRESS": address}.items():
            text = text.replace(f"@{key}@", value)
        for name, content in {"causeway.conf": text, "users": "\n".join(lines), "detail": "",
                              "dictionary": "$INCLUDE /usr/share/freeradius/dictionary\n"}.items():
            with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
                file.write(content)

    def server(self, **keys):
        """The [[aaa.radius.server]] of this one."""
        return {"address": self.address, "secret": self.secret, **keys}

    def start(self):
        """Starts it and waits until it takes requests."""
        log = os.path.join(self.directory, "radius.log")
        begins = len(read(log)) if os.path.exists(log) else 0
        command = ["freeradius", "-f", "-d", self.directory, "-n", "causeway", "-D", "/usr/share/freeradius"]
        self.process = self.world.spawn("gw", command, f"radius-{self.address}/out")

        def ready():
            if self.process.poll() is not None:
                raise Failure(f"freeradius ended:\n{tail(log)}\n{tail(os.path.join(self.directory, 'out'))}")
            return os.path.exists(log) and "Ready to process" in read(log)[begins:]
        wait_until(f"FreeRADIUS on {self.address} is ready", 20, ready)
        return self

    def kill(self):
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self):
        """SIGTERM."""
        end(self.process)

    def log(self):
        """What it logged."""
        return read(os.path.join(self.directory, "radius.log"))

    def records(self):
        """Accounting records in the order of their coming, as {attribute: value}; of several values the last."""
        records = []
        for block in read(os.path.join(self.directory, "detail")).split("\n\n"):
            pairs = re.findall(r"^\t(\S+) = (.*)$", block, re.MULTILINE)
            if pairs:
                records.append({name: value.strip('"') for name, value in pairs})
        return records

    def wait_for(self, status, count=1, seconds=15):
        """Waits for so many records of a status and returns them."""
        def there():
            found = [one for one in self.records() if one["Acct-Status-Type"] == status]
            return found if len(found) >= count else None
        return wait_until(f"{count} accounting records {status}, there are {[one.get('Acct-Status-Type') for one in self.records()]}",
                          seconds, there)


def ask(world, kind, attributes, secret=SECRET, dated=True, signed=True, port=DYNAMIC_PORT):
    """Sends the gateway a `disconnect` or `coa` by radclient; returns what it printed. No answer is no failure."""
    lines = list(attributes)
    if dated:
        lines.append(f'Event-Timestamp = {int(time.time())}')
    if signed:
        lines.append("Message-Authenticator = 0x00")
    command = ["ip", "netns", "exec", world.ns("gw"), "radclient", "-x", "-r", "1", "-t", "2", f"127.0.0.1:{port}", kind, secret]
    done = run(command, check=False, stdin=", ".join(lines) + "\n")
    return done.stdout + done.stderr


def _pairs(pairs):
    return ",\n".join(f"    {name} = {value}" for name, value in pairs.items()) + "\n"

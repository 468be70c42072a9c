"""Causeway's own client (`causeway client`) in one namespace of a world: login, suspend, resume."""
import json
import os
import re

from pki import GATEWAY_NAME
from shell import Failure, end, read, run, tail, wait_until
from world import GATEWAY_OUTSIDE


class VpnClient:
    """One `causeway client connect` with a TUN device. Logs in with AnyConnect-EAP unless `login` says otherwise."""

    def __init__(self, world, namespace, pki, binaries, user="user1", password="cisco", login=None, ike=None,
                 reconnect=None, gateway=None, tunnel=None, typed=()):
        self.world, self.namespace, self.binaries = world, namespace, binaries
        self.directory = os.path.join(world.directory, f"client-{namespace}")
        os.makedirs(self.directory)
        self.config_path = os.path.join(self.directory, "client.toml")
        self.log = f"client-{namespace}/out"
        password_file = os.path.join(self.directory, "password")
        with open(password_file, "w", encoding="utf-8") as file:
            os.chmod(password_file, 0o600)
            file.write(password + "\n")
        # What the user types when the form asks again.
        self.typed = os.path.join(self.directory, "typed")
        with open(self.typed, "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in typed)
        sections = {
            "": {"directory": os.path.join(self.directory, "state")},
            "gateway": {"address": GATEWAY_OUTSIDE, "name": GATEWAY_NAME, "display_name": "IKEv2_Gateway",
                        "ca_file": os.path.join(pki, "cas.pem"), **(gateway or {})},
            "login": {"method": "anyconnect-eap", "user": user, "password_file": password_file, **(login or {})},
            "ike": {"proposals": ["aes256-sha512-ecp256"], "esp": ["aes256-sha384"], "dpd_interval_secs": 2, **(ike or {})},
            "reconnect": {"enabled": True, "retry_secs": 2, **(reconnect or {})},
            "tunnel": tunnel or {},
        }
        with open(self.config_path, "w", encoding="utf-8") as file:
            for section, keys in sections.items():
                file.write((f"[{section}]\n" if section else "")
                           + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) + "\n")
        self.process = None

    def start(self, seconds=30):
        """Connects and waits until the session is up."""
        self.process = self.world.spawn(self.namespace, [os.path.join(self.binaries, "causeway"), "client", "--config",
                                                         self.config_path, "connect"], self.log, typed=self.typed)

        def connected():
            if self.process.poll() is not None:
                raise Failure(f"the client ended with {self.process.returncode}:\n{self.output()}")
            status = self.status(check=False)
            return status if status and status["state"] == "connected" else None
        wait_until("the client is connected", seconds, connected)
        return self

    def fails(self, seconds=30):
        """Connects; whether the client ended without a connection."""
        try:
            self.start(seconds)
        except Failure:
            return self.process.poll() is not None
        return False

    def output(self):
        """What the client printed."""
        return tail(os.path.join(self.world.directory, self.log), 20)

    def ask(self, what, check=True, timeout=120):
        """A command to the running client."""
        return run(["ip", "netns", "exec", self.world.ns(self.namespace), os.path.join(self.binaries, "causeway"), "client",
                    "--config", self.config_path, *what], check=check, timeout=timeout)

    def status(self, check=True):
        """The client's view, decoded."""
        done = self.ask(["status", "--json"], check=check)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def suspend(self):
        """The laptop is closed."""
        self.ask(["suspend"])

    def resume(self, seconds=60):
        """The laptop is opened again; returns once the session is up."""
        self.ask(["resume"], timeout=seconds)
        return self.status()

    def events(self):
        """The event log."""
        return read(os.path.join(self.directory, "state", "events.log"))

    def reconnect_ids(self):
        """Session ids that the event log says were used as IKE ID."""
        return re.findall(r"Using IKE ID '(\w+)' for reconnect", self.events())

    def kill(self):
        """Ends the client without a word."""
        for pid in self.world._pids(self.world.ns(self.namespace)):
            if "client" in read(f"/proc/{pid}/cmdline") and read(f"/proc/{pid}/comm").startswith("causeway"):
                os.kill(pid, 9)

    def stop(self):
        """Ends the client politely."""
        if self.process:
            end(self.process)

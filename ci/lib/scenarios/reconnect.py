"""Auto Reconnect: a client that slept or moved is back in its own session, without a password."""
import json
import os
import time

from e2e import scenario
from shell import Failure, expect, expect_equal, read, wait_until
from swan import Client
from traffic import PingStream, expect_ping
from vpn_client import VpnClient
from world import LAN_HOST

USERS = {"user1": "cisco", "user2": "second"}
RECONNECT = {
    "gateway": {"profile": "AnyConnect-EAP"},
    "auth": {"methods": ["anyconnect-eap", "eap-mschapv2"]},
    "ike": {"proposals": ["aes256-sha512-ecp256"]},
    "reconnect": {"enabled": True, "timeout_secs": 600, "dpd_interval_secs": 10, "dpd_retry_secs": 1, "dpd_tries": 2},
}

# A line-by-line echo server on the LAN host, and a client that keeps one connection open and sends what it is told.
ECHO_SERVER = """
import socket
listener = socket.create_server(("0.0.0.0", 7777))
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    for line in connection.makefile("rb"):
        connection.sendall(line)
"""
ECHO_CLIENT = """
import os, socket, sys, time
connection = socket.create_connection((sys.argv[1], 7777), 20)
connection.settimeout(90)
lines, number = connection.makefile("rb"), 0
print("connected", flush=True)
while True:
    ask = os.path.join(sys.argv[2], "say.%d" % number)
    while not os.path.exists(ask):
        time.sleep(0.05)
    connection.sendall(b"line %d\\n" % number)
    print("echo", lines.readline().decode().strip(), flush=True)
    number += 1
"""


def gateway(context, world, groups=(), **extra):
    """An appliance with reconnect, two users and no pre-shared keys."""
    sections = {name: {**RECONNECT.get(name, {}), **extra.get(name, {})} for name in {*RECONNECT, *extra}}
    return context.appliance(world, users=USERS, psks=[], extra=sections, groups=groups)


def client(context, world, namespace="c1", **options):
    """Our client, connected."""
    return VpnClient(world, namespace, context.certificates, context.binaries, **options).start()


def statistics(appliance):
    """The five counters, in the document's order."""
    body = appliance.request("GET", "/v1/stats/reconnect")
    return [body[name] for name in ("total_incoming", "success", "failed", "active_capable", "inactive_capable")]


def wait_inactive(appliance, count=1, seconds=40):
    """Waits until the gateway has given the client up and keeps its session."""
    wait_until(f"{count} inactive session(s)", seconds, lambda: statistics(appliance)[4] == count)


class Echo:
    """One TCP connection through the tunnel that lives as long as the scenario."""

    def __init__(self, world, namespace="c1", target=LAN_HOST):
        self.world, self.count = world, 0
        world.spawn("lan", ["python3", "-c", ECHO_SERVER], "echo-server.log")
        wait_until("the echo server listens", 10, lambda: "listening" in read(os.path.join(world.directory, "echo-server.log")))
        self.log = os.path.join(world.directory, "echo-client.log")
        world.spawn(namespace, ["python3", "-c", ECHO_CLIENT, target, world.directory], "echo-client.log")
        wait_until("the TCP connection is open", 20, lambda: "connected" in read(self.log))

    def check(self, seconds=60):
        """One line there and back."""
        number, self.count = self.count, self.count + 1
        open(os.path.join(self.world.directory, f"say.{number}"), "w", encoding="utf-8").close()
        wait_until(f"line {number} came back over the same TCP connection ({read(self.log)[-300:]})", seconds,
                   lambda: f"echo line {number}" in read(self.log))


@scenario("reconnect", "login with AnyConnect-EAP, sleep past DPD, wake behind another address: same session, address and TCP connection")
def reconnect(context):
    world = context.world()
    appliance = gateway(context, world)
    user = client(context, world)
    address = user.status()["address"]
    expect_ping(world, "c1")
    echo = Echo(world)
    echo.check()
    expect_equal(statistics(appliance), [0, 0, 0, 1, 0], "reconnect statistics after the login")
    before = appliance.only_session()
    expect_equal((before["user"], before["auth_method"]), ("user1", "anyconnect-eap"), "user and method")
    user.suspend()
    wait_inactive(appliance)
    expect_equal(statistics(appliance), [0, 0, 0, 0, 1], "reconnect statistics while the client sleeps")
    expect_equal(appliance.health()["pools"]["staff"]["used"], 1, "leases while the client sleeps")
    world.rebind_nat()
    status = user.resume()
    expect_equal(status["address"], address, "inner address after the resume")
    expect_equal((status["resumes"], status["logins"]), (1, 1), "resumes and logins of the client")
    expect_equal(statistics(appliance), [1, 1, 0, 1, 0], "reconnect statistics after the resume")
    after = appliance.only_session()
    expect(after["peer"] != before["peer"], f"another outer address: {after['peer']}")
    expect_equal(after["inner_address"], address, "inner address at the gateway")
    expect_ping(world, "c1")
    expect_ping(world, "lan", target=address)
    echo.check()
    used = user.reconnect_ids()
    expect(len(used) >= 1 and len(used[-1]) == 18, f"the event log names the IKE ID: {used}")
    shown = appliance.show("crypto", "session", "detail")
    expect(used[-1].encode().hex().upper() in shown, f"`show crypto session detail` names the session id in hex:\n{shown}")
    expect("Capabilities:DNRF" in shown, f"capability R:\n{shown}")
    # Again: a resumed session can be resumed.
    user.suspend()
    wait_inactive(appliance)
    expect_equal(user.resume()["address"], address, "inner address after the second resume")
    echo.check()
    expect_equal(statistics(appliance), [2, 2, 0, 1, 0], "reconnect statistics after the second resume")


@scenario("reconnect-before-dpd", "the client is back before the gateway noticed: it takes its session over")
def before_dpd(context):
    world = context.world()
    appliance = gateway(context, world, reconnect={"dpd_interval_secs": 3600})
    user = client(context, world)
    address = user.status()["address"]
    user.suspend()
    world.rebind_nat()
    expect_equal(user.resume()["address"], address, "inner address")
    wait_until("one session is left", 10, lambda: len(appliance.sessions()) == 1)
    expect_ping(world, "c1")
    expect_equal(statistics(appliance), [1, 1, 0, 1, 0], "reconnect statistics")


@scenario("reconnect-after-reboot", "the machine loses its power and starts again: sessions wait and resume by token")
def after_reboot(context):
    world = context.world()
    appliance = gateway(context, world)
    user = client(context, world)
    address = user.status()["address"]
    user.suspend()
    for name in ("causeway-controlplane", "causeway-dataplane"):
        appliance.kill_daemon(name)
    appliance.process.kill()
    appliance.process.wait()
    wait_until("the appliance is gone", 10, lambda: not [
        pid for pid in world._pids(world.ns("gw")) if read(f"/proc/{pid}/comm").startswith("causeway")])
    appliance.start(reboot=True)
    expect_equal(statistics(appliance)[4], 1, "inactive sessions after the start")
    expect_equal(user.resume()["address"], address, "inner address")
    expect_ping(world, "c1")


@scenario("reconnect-by-strongswan", "stock strongSwan with the session id as key-id and the token as PSK resumes the session")
def by_strongswan(context):
    world = context.world(nat_clients=2)
    appliance = gateway(context, world, reconnect={"token_policy": "stable"})
    user = client(context, world)
    address = user.status()["address"]
    with open(os.path.join(user.directory, "state", "session.json"), encoding="utf-8") as file:
        kept = json.load(file)
    user.kill()
    wait_inactive(appliance)
    session_id, token = _find(kept, "session_id"), _find(kept, "token")
    swan = Client(world, "c2", context.certificates, auth="psk", user=f"@#{session_id.encode().hex()}", psk=token,
                  ike="aes256-sha512-ecp256", esp="aes256-sha384", gateway_auth="pubkey").start().connect()
    expect_equal(swan.inner_address(), address, "inner address that strongSwan was given")
    expect_ping(world, "c2")
    expect_equal(statistics(appliance)[:3], [1, 1, 0], "reconnect statistics")


@scenario("reconnect-wrong-token", "a wrong token and an unknown session id fail alike; the session stays for its owner")
def wrong_token(context):
    world = context.world(nat_clients=2)
    appliance = gateway(context, world)
    user = client(context, world)
    address, session_id = user.status()["address"], user.status()["session_id"]
    user.suspend()
    wait_inactive(appliance)
    for identity in (session_id, "A" * 18):
        world.directory += "x"
        os.makedirs(world.directory)
        swan = Client(world, "c2", context.certificates, auth="psk", user=f"@#{identity.encode().hex()}", psk="B" * 64,
                      ike="aes256-sha512-ecp256", esp="aes256-sha384", gateway_auth="pubkey").start()
        worked, log = swan.try_connect()
        expect(not worked and "AUTH_FAILED" in log, f"AUTHENTICATION_FAILED for {identity}: {log[-500:]}")
        swan.kill()
    expect_equal(statistics(appliance)[1], 0, "successful reconnects")
    expect_equal(user.resume()["address"], address, "inner address of the owner")


@scenario("reconnect-deleted", "a client that says goodbye, and one whom the operator cleared, cannot resume")
def deleted(context):
    world = context.world()
    appliance = gateway(context, world)
    user = client(context, world)
    user.suspend()
    wait_inactive(appliance)
    appliance.clear("crypto", "session", "--inactive")
    wait_until("no session is kept", 10, lambda: statistics(appliance)[3:] == [0, 0])
    expect_equal(appliance.health()["pools"]["staff"]["used"], 0, "leases after the clear")
    status = user.resume()
    expect_equal((status["resumes_refused"], status["logins"]), (1, 2), "the resume is refused and the client logs in anew")
    expect(statistics(appliance)[2] >= 1, "the failed reconnect is counted")
    user.ask(["disconnect"])
    wait_until("the session is gone", 10, lambda: statistics(appliance)[3:] == [0, 0])


@scenario("idle-session", "who carries nothing for the group's idle_secs is ended and told, and cannot resume; who carries stays")
def idle_session(context):
    world = context.world(nat_clients=2)
    appliance = gateway(context, world, groups=[{"name": "staff", "idle_secs": 60}], aaa={"authorize_group": "staff"})
    busy = client(context, world)
    stream = PingStream(world, "c1", interval=0.5)
    # It is not silent: it asks every two seconds whether the gateway lives. That is no traffic.
    idle = client(context, world, "c2", user="user2", password="second")
    expect_ping(world, "c2")
    expect_equal(statistics(appliance), [0, 0, 0, 2, 0], "reconnect statistics with both clients")
    ended = time.monotonic()
    wait_until("the idle session is gone", 80, lambda: len(appliance.sessions()) == 1)
    lasted = time.monotonic() - ended
    expect(55 < lasted < 75, f"60 seconds, and at most an eighth more: {lasted:.0f}")
    expect_equal(appliance.only_session()["user"], "user1", "who is left")
    expect_equal(statistics(appliance), [0, 0, 0, 1, 0], "reconnect statistics: removed, not inactive")
    expect("idle-timeout" in appliance.log(), "the log gives the reason")
    expect_equal(appliance.counters()["ike"]["sessions_ended_idle_timeout"], 1, "sessions ended because idle")
    wait_until("the client was told and has ended", 10, lambda: idle.process.poll() is not None)
    sent, answered = stream.finish()
    expect_equal(answered, sent, "pings of the busy client that were answered")
    expect_equal(busy.status()["state"], "connected", "the busy client")


@scenario("anyconnect-wrong-password", "AnyConnect-EAP: the form comes back with an error, then the login fails; no state is left")
def anyconnect_wrong_password(context):
    world = context.world()
    appliance = gateway(context, world)
    user = VpnClient(world, "c1", context.certificates, context.binaries, password="not it")
    try:
        user.start(20)
        raise AssertionError("the client must not get in")
    except Failure:
        pass
    user.kill()
    wait_until("nothing is left", 40, lambda: appliance.health()["sessions"] == 0 and appliance.health()["half_open"] == 0
               and appliance.health()["pools"]["staff"]["used"] == 0)


@scenario("plain-client-on-reconnect-gateway", "a client that is not AnyConnect logs in, and gets no Cisco attribute")
def plain_client(context):
    world = context.world()
    appliance = gateway(context, world, ike={"proposals": ["aes256-sha512-ecp256"]})
    swan = Client(world, "c1", context.certificates, user="user2", password="second", ike="aes256-sha512-ecp256").start().connect()
    expect_ping(world, "c1")
    expect_equal(statistics(appliance), [0, 0, 0, 0, 0], "reconnect statistics")
    swan.control("--terminate", "--ike", "home")
    wait_until("nothing is kept", 10, lambda: appliance.health()["pools"]["staff"]["used"] == 0)


def _find(value, key):
    """The first value under `key`, however deep."""
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    for one in value if isinstance(value, list) else []:
        found = _find(one, key)
        if found is not None:
            return found
    return None

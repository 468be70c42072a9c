"""Logins, accounting and orders of RADIUS servers, with Debian's FreeRADIUS."""
import os
import sys

from e2e import scenario
from pki import USER
from radius import GRANT, SECRET, SERVER_NAME, Radius, ask
from shell import expect, expect_equal, wait_until
from swan import PASSWORD
from traffic import expect_ping

RADIUS = {"auth": {"methods": ["eap-radius"]}, "aaa.radius": {"timeout_ms": 300, "tries": 2, "dead_secs": 30}}
BETWEEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "radius_between.py")


def gateway(context, world, servers, extra=None, **options):
    """An appliance whose users are those of these servers."""
    sections = {**RADIUS, **(extra or {})}
    return context.appliance(world, users={"nobody": "at all"}, extra=sections, radius_servers=servers, **options)


def radius_counters(appliance):
    """Counters of RADIUS that are not zero."""
    return {name: value for name, value in appliance.counters()["ike"].items() if name.startswith("radius_") and value}


@scenario("radius-eap-methods", "EAP-MSCHAPv2, MD5, GTC, TLS and TTLS between strongSwan and FreeRADIUS, relayed by the gateway")
def eap_methods(context):
    world = context.world()
    radius = Radius(world, context.certificates).start()
    appliance = gateway(context, world, [radius.server()])
    methods = {"eap-mschapv2": None, "eap-md5": None, "eap-gtc": None, "eap-tls": SERVER_NAME, "eap-ttls": SERVER_NAME}
    for number, (auth, aaa_id) in enumerate(methods.items(), start=10):
        name = world.add_nat_client(number)
        client = context.client(world, name, auth=auth, aaa_id=aaa_id).connect()
        session = appliance.only_session()
        expect_equal((session["auth_method"], session["user"]), ("eap-radius", USER), f"method and user of {auth}")
        expect_equal(session["inner_address"], GRANT["Framed-IP-Address"], f"Framed-IP-Address with {auth}")
        expect_ping(world, name, count=3)
        client.control("--terminate", "--ike", "home")
        client.stop()
        wait_until(f"the session of {auth} is gone", 10, lambda: not appliance.sessions())
    appliance.expect_empty()


@scenario("radius-accounting", "start, interims and stop with the data plane's figures and the Class of the login")
def accounting(context):
    world = context.world()
    grant = {**GRANT, "Acct-Interim-Interval": "2"}
    radius = Radius(world, context.certificates, users={USER: (PASSWORD, grant)}).start()
    appliance = gateway(context, world, [radius.server()])
    client = context.client(world).connect()
    start = radius.wait_for("Start")[0]
    expect_equal(start["User-Name"], USER, "User-Name")
    expect_equal(bytes.fromhex(start["Class"].removeprefix("0x")), b"staff", "Class")
    expect_equal((start["Framed-IP-Address"], start["Acct-Authentic"]), (GRANT["Framed-IP-Address"], "RADIUS"), "start")
    expect_ping(world, "c1", size=1000, count=20)
    expect_ping(world, "lan", target=client.inner_address(), size=300, count=7)
    traffic = appliance.only_session()["traffic"]
    expect(traffic["in_bytes"] > 20 * 1000 and traffic["out_packets"] >= 27, f"packets were carried: {traffic}")

    def told(record):
        names = ("Acct-Input-Octets", "Acct-Output-Octets", "Acct-Input-Packets", "Acct-Output-Packets")
        return tuple(int(record[name]) for name in names)
    carried = tuple(traffic[name] for name in ("in_bytes", "out_bytes", "in_packets", "out_packets"))
    wait_until(f"an interim record tells {carried}", 10,
               lambda: any(told(one) == carried for one in radius.wait_for("Interim-Update", 2)))
    client.control("--terminate", "--ike", "home")
    stop = radius.wait_for("Stop")[0]
    expect_equal(told(stop), carried, "the stop's figures against the data plane's")
    expect_equal(stop["Acct-Terminate-Cause"], "User-Request", "cause")
    expect_equal(stop["Acct-Session-Id"], start["Acct-Session-Id"], "Acct-Session-Id from start to stop")
    expect(1 <= int(stop["Acct-Session-Time"]) < 60, f"session time: {stop['Acct-Session-Time']}")
    wait_until("nothing waits to be told", 10, lambda: radius_counters(appliance).get("radius_accounting_waiting", 0) == 0)


@scenario("radius-accounting-outage", "no server for accounting: sessions go on, and no stop is lost, not even with the process")
def accounting_outage(context):
    world = context.world()
    radius = Radius(world, context.certificates).start()
    appliance = gateway(context, world, [radius.server()])
    client = context.client(world).connect()
    begun = radius.wait_for("Start")[0]
    radius.kill()
    client.control("--terminate", "--ike", "home")
    wait_until("the session is gone", 10, lambda: not appliance.sessions())
    wait_until("its stop waits", 5, lambda: radius_counters(appliance).get("radius_accounting_waiting") == 1)
    appliance.kill_daemon("causeway-controlplane")
    appliance.stop()
    appliance.start()
    expect_equal([one["Acct-Status-Type"] for one in radius.records() if one["Acct-Status-Type"] == "Stop"], [], "stops so far")
    radius.start()
    stop = radius.wait_for("Stop", seconds=40)[0]
    expect_equal((stop["Acct-Session-Id"], stop["User-Name"]), (begun["Acct-Session-Id"], USER), "the stop that waited")
    expect(int(stop["Acct-Delay-Time"]) >= 1, f"it tells how long it waited: {stop['Acct-Delay-Time']}")


@scenario("radius-failover", "the first server is killed: logins go to the second; when the first is back they go there again")
def failover(context):
    world = context.world(nat_clients=2)
    first, second = (Radius(world, context.certificates, address).start() for address in ("127.0.0.1", "127.0.0.2"))
    appliance = gateway(context, world, [first.server(), second.server()])
    one = context.client(world).connect()
    expect("Login OK" in first.log() and "Login OK" not in second.log(), "the first server is asked first")
    one.control("--terminate", "--ike", "home")
    first.kill()
    other = context.client(world, "c2").connect()
    expect("Login OK" in second.log(), "the second server let the user in")
    counters = radius_counters(appliance)
    expect(counters.get("radius_failovers", 0) >= 1 and counters.get("radius_unanswered", 0) == 0, f"counters: {counters}")
    problems = appliance.health()["problems"]
    expect(any("127.0.0.1:1812 does not answer" in problem for problem in problems), f"health names the dead server: {problems}")
    other.control("--terminate", "--ike", "home")
    first.start()
    wait_until("the probe finds the first server alive", 20, lambda: appliance.health()["status"] == "ok")
    before = first.log().count("Login OK")
    one.connect()
    expect_equal(first.log().count("Login OK"), before + 1, "logins of the first server")


@scenario("radius-wrong-secret", "server and gateway disagree on the secret: nobody gets in, and the counters say why")
def wrong_secret(context):
    world = context.world()
    radius = Radius(world, context.certificates).start()
    appliance = gateway(context, world, [radius.server(secret="quite another shared secret")])
    good, log = context.client(world).try_connect(15)
    expect(not good and not appliance.sessions(), "the login fails")
    # FreeRADIUS answers nothing that is signed with another secret.
    counters = radius_counters(appliance)
    expect(counters.get("radius_unanswered", 0) >= 1 and not counters.get("radius_answered"), f"counters: {counters}; {log[-300:]}")


@scenario("radius-slow", "every answer comes a second late: the login takes longer and works")
def slow(context):
    world = context.world()
    radius = Radius(world, context.certificates, "127.0.0.2").start()
    world.spawn("gw", [sys.executable, BETWEEN, "delay", "127.0.0.1", "1812", "127.0.0.2", "0.8"], "between.log")
    appliance = gateway(context, world, [radius.server(address="127.0.0.1", accounting_port=0)],
                        extra={"aaa.radius": {"timeout_ms": 300, "tries": 4}})
    context.client(world).connect(40)
    counters = radius_counters(appliance)
    expect(counters.get("radius_retransmitted", 0) >= 3, f"requests were repeated: {counters}")
    expect_equal(counters.get("radius_unanswered", 0), 0, "unanswered requests")
    expect_ping(world, "c1", count=3)


@scenario("radius-unsigned", "answers without Message-Authenticator (CVE-2024-3596) let nobody in, with the right secret or a wrong one")
def unsigned(context):
    for secret, counter in ((SECRET, "radius_unsigned"), ("quite another shared secret", "radius_forged")):
        world = context.world()
        world.spawn("gw", [sys.executable, BETWEEN, "forge", "127.0.0.1", "1812", secret], "between.log")
        appliance = gateway(context, world, [{"address": "127.0.0.1", "secret": SECRET, "accounting_port": 0}])
        good, _ = context.client(world).try_connect(15)
        expect(not good and not appliance.sessions(), "a forged Access-Accept lets nobody in")
        counters = radius_counters(appliance)
        expect(counters.get(counter, 0) >= 1 and not counters.get("radius_answered"), f"{counter} in {counters}")
        world.close()


@scenario("radius-refused", "a wrong password is refused by the server; health and other users are as before")
def refused(context):
    world = context.world(nat_clients=2)
    radius = Radius(world, context.certificates).start()
    appliance = gateway(context, world, [radius.server()])
    good, log = context.client(world, password="wrong").try_connect()
    expect(not good and "EAP-MS-CHAPv2 failed with error" in log, f"the client is told: {log[-400:]}")
    expect(not appliance.sessions(), "no session")
    context.client(world, "c2").connect()
    expect_equal(appliance.health()["status"], "ok", "health")


def error_cause(printed):
    """The Error-Cause of an answer that radclient printed."""
    return next((line.split("=")[1].strip() for line in printed.splitlines() if "Error-Cause" in line), None)


@scenario("radius-disconnect", "Disconnect-Request by every name of a session; what is not believed or means nobody changes nothing")
def disconnect(context):
    world = context.world()
    radius = Radius(world, context.certificates).start()
    appliance = gateway(context, world, [radius.server()], extra={"aaa.radius.dynamic": {"listen": "127.0.0.1"}})
    client = context.client(world)
    for number, name in enumerate(("User-Name", "Framed-IP-Address", "Acct-Session-Id", "Class"), start=1):
        client.connect()
        start = radius.wait_for("Start", number)[-1]
        value = start[name] if name in ("Framed-IP-Address", "Class") else f'"{start[name]}"'
        ours = f"{name} = {value}"
        if number == 1:
            for what, printed in {
                    "another secret": ask(world, "disconnect", [ours], secret="quite another shared secret"),
                    "no Message-Authenticator": ask(world, "disconnect", [ours], signed=False),
                    "no Event-Timestamp": ask(world, "disconnect", [ours], dated=False),
                    "an old Event-Timestamp": ask(world, "disconnect", [ours, "Event-Timestamp = 1700000000"], dated=False)}.items():
                expect("Disconnect-ACK" not in printed and "Disconnect-NAK" not in printed, f"{what}: no answer, got {printed}")
            for pairs, cause in ((['User-Name = "nobody@example.test"'], "Session-Context-Not-Found"), ([], "Missing-Attribute"),
                                 ([ours, "NAS-IP-Address = 192.0.2.99"], "NAS-Identification-Mismatch"),
                                 ([ours, "Session-Timeout = 9"], "Unsupported-Attribute")):
                printed = ask(world, "disconnect", pairs)
                expect("Disconnect-NAK" in printed, f"{pairs}: refused, got {printed}")
                expect_equal(error_cause(printed), cause, f"Error-Cause of {pairs}")
            appliance.only_session()
        printed = ask(world, "disconnect", [ours])
        expect("Disconnect-ACK" in printed, f"{ours}: done, got {printed}")
        stop = radius.wait_for("Stop", number)[-1]
        expect_equal((stop["Acct-Terminate-Cause"], stop["Acct-Session-Id"]), ("Admin-Reset", start["Acct-Session-Id"]), "stop")
        wait_until("the session is gone", 10, lambda: not appliance.sessions())
        wait_until("the client knows", 10, lambda: "ESTABLISHED" not in client.sas())
    counters = radius_counters(appliance)
    for name, least in (("acknowledged", 4), ("refused", 4), ("forged", 1), ("unsigned", 1), ("stale", 2)):
        expect(counters.get(f"radius_dynamic_{name}", 0) >= least, f"radius_dynamic_{name}: {counters}")
    # From an address that is no server's.
    world.exec("gw", "ip", "addr", "add", "127.7.7.7/32", "dev", "lo")
    printed = ask(world, "disconnect", [f'User-Name = "{USER}"', "Packet-Src-IP-Address = 127.7.7.7"])
    expect("Disconnect-" not in printed.split("Sent")[-1].replace("Disconnect-Request", ""), f"a stranger is not answered: {printed}")
    expect(radius_counters(appliance).get("radius_dynamic_strangers", 0) >= 1, "strangers are counted")


@scenario("radius-coa", "CoA-Request: a new Session-Timeout ends the session then; what cannot be changed is refused with its reason")
def coa(context):
    world = context.world()
    radius = Radius(world, context.certificates).start()
    appliance = gateway(context, world, [radius.server()], extra={"aaa.radius.dynamic": {"listen": "127.0.0.1"}})
    context.client(world).connect()
    radius.wait_for("Start")
    name = f'User-Name = "{USER}"'
    for pairs, cause in (([name, 'Filter-Id = "other"'], "Unsupported-Attribute"), ([name], "Missing-Attribute"),
                         ([name, "NAS-Identifier = \"another gateway\"", "Session-Timeout = 5"], "NAS-Identification-Mismatch")):
        printed = ask(world, "coa", pairs)
        expect("CoA-NAK" in printed, f"{pairs}: refused, got {printed}")
        expect_equal(error_cause(printed), cause, f"Error-Cause of {pairs}")
    appliance.only_session()
    printed = ask(world, "coa", [name, "Acct-Interim-Interval = 1", "Session-Timeout = 4", "Idle-Timeout = 900"])
    expect("CoA-ACK" in printed, f"changed, got {printed}")
    radius.wait_for("Interim-Update", 2)
    appliance.only_session()
    stop = radius.wait_for("Stop", seconds=10)[0]
    expect_equal(stop["Acct-Terminate-Cause"], "Session-Timeout", "cause")
    expect(4 <= int(stop["Acct-Session-Time"]) < 15, f"session time {stop['Acct-Session-Time']}")
    expect(not appliance.sessions(), "the session is gone")


@scenario("aaa-lockout", "a name that fails too often is locked, with the right password too, and unlocked after its time; others get in")
def lockout(context):
    world = context.world(nat_clients=3)
    dave = "dave@example.test"
    appliance = context.appliance(world, users={USER: PASSWORD, dave: PASSWORD},
                                  extra={"aaa.lockout": {"user_failures": 3, "window_secs": 60, "lock_secs": 8}})
    wrong = context.client(world, password="wrong")
    for _ in range(3):
        expect(not wrong.try_connect()[0], "a wrong password is refused")
    right = context.client(world, "c2")
    expect(not right.try_connect()[0], "the right password is refused while the name is locked")
    context.client(world, "c3", user=dave).connect()
    counters = appliance.counters()["ike"]
    expect_equal((counters["aaa_locks"], counters["aaa_logins_locked"]), (1, 1), "locks, and logins refused unseen")
    wait_until("the name is unlocked", 20, lambda: right.try_connect()[0])
    expect_equal(sorted(one["user"] for one in appliance.sessions()), [USER, dave], "who is in")


@scenario("aaa-session-limit", "one session per user: a second login is refused, or takes the first one's place, as configured")
def session_limit(context):
    for policy in ("refuse", "replace"):
        world = context.world(nat_clients=2)
        radius = Radius(world, context.certificates, users={USER: (PASSWORD, {"Class": '"staff"'})}).start()
        appliance = gateway(context, world, [radius.server()],
                            extra={"aaa": {"max_sessions_per_user": 1, "on_session_limit": policy}})
        # Without INITIAL_CONTACT, by which the second would end the first one's session itself.
        first, second = (context.client(world, name, connection="unique = never") for name in ("c1", "c2"))
        first.connect()
        begun = radius.wait_for("Start")[0]
        good, _ = second.try_connect()
        expect_equal(good, policy == "replace", f"the second login with {policy}")
        if policy == "replace":
            stop = radius.wait_for("Stop")[0]
            expect_equal((stop["Acct-Session-Id"], stop["Acct-Terminate-Cause"]), (begun["Acct-Session-Id"], "Port-Preempted"), "stop")
            wait_until("one session is left", 10, lambda: len(appliance.sessions()) == 1)
            expect_equal(appliance.only_session()["inner_address"], second.inner_address(), "whose")
        else:
            expect_equal(appliance.only_session()["inner_address"], first.inner_address(), "whose")
        world.close()

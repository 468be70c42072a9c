"""How sessions end, and what stays when a part of the appliance ends."""
import os
import signal
import threading
import time

from appliance import IKE
from e2e import scenario
from pki import USER
from shell import expect, expect_equal, read, wait_until
from swan import PASSWORD
from traffic import PingStream, expect_ping, ping
from vpn_client import VpnClient


@scenario("client-killed", "a client that vanishes: session and lease are gone after dead-peer detection")
def client_killed(context):
    world = context.world()
    appliance = context.appliance(world, extra={"ike": {"dpd_interval_secs": 2, "retransmit_base_ms": 300, "retransmit_tries": 3}})
    client = context.client(world).connect()
    expect_ping(world, "c1")
    # As long as it lives it must not be given up, however long nothing but liveness checks flow.
    expect_equal(appliance.health()["sessions"], 1, "sessions while the client lives")
    client.kill()
    appliance.expect_empty(30)


@scenario("delete-by-client", "the client says goodbye")
def delete_by_client(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world).connect()
    client.control("--terminate", "--ike", "home")
    appliance.expect_empty(5)
    # It may come again at once.
    client.connect()
    expect_ping(world, "c1")


def check_ports(appliance):
    """`show ports` and the API name both ports as configured, with link, driver, queues and the engine that the log names."""
    answer = appliance.request("GET", "/v1/ports")
    ports = answer["ports"]
    expect(answer["dataplane_attached"], f"a data plane is attached: {answer}")
    expect_equal([(port["name"], port["role"], port["driver"]) for port in ports],
                 [("wan", "outside", "net_af_packet"), ("lan", "inside", "net_af_packet")], "the ports")
    shown = appliance.show("ports")
    rows = {line.split()[0]: line.split() for line in shown.splitlines()[1:3]}
    for port in ports:
        expect(port["link"]["up"] and port["rx_queues"] >= 1 and port["polled_by"], f"it is up and polled: {port}")
        expect(rows[port["name"]][1] == port["role"] and rows[port["name"]][2].startswith("up"), f"the table has it:\n{shown}")
        expect(port["esp"]["engine"] in ("wide", "aws-lc", "portable"), f"an engine is chosen: {port}")
        expect(f"ESP engine  {port['esp']['engine']}: {port['esp']['reason']}" in shown, f"the engine and why:\n{shown}")


@scenario("delete-by-gateway", "the operator sees the ports and ends a session; the client is told")
def delete_by_gateway(context):
    world = context.world()
    appliance = context.appliance(world)
    check_ports(appliance)
    client = context.client(world).connect()
    appliance.request("DELETE", f"/v1/sessions/{appliance.only_session()['id']}")
    appliance.expect_empty(10)
    wait_until("the client dropped the IKE SA", 10, lambda: "home" not in client.sas())
    expect("received DELETE for IKE_SA" in client.log(), "the client got our DELETE")


@scenario("reconnect-replaces", "a client killed and started again gets in at once; INITIAL_CONTACT removes the old session")
def reconnect_replaces(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world).connect()
    client.kill()
    world.directory += "-again"
    os.makedirs(world.directory, exist_ok=True)
    again = context.client(world).connect()
    wait_until("one session is left", 10, lambda: len(appliance.sessions()) == 1)
    expect_equal(appliance.only_session()["inner_address"], again.inner_address(), "inner address")
    expect_ping(world, "c1")


@scenario("supervisor-stop", "SIGTERM to `causeway run`: the clients get a DELETE, no process is left")
def supervisor_stop(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world).connect()
    pids = [appliance.daemon_pid("causeway-dataplane"), appliance.daemon_pid("causeway-controlplane")]
    expect_equal(appliance.stop(), 0, "exit code of causeway run")
    wait_until("the client got our DELETE", 10, lambda: "received DELETE for IKE_SA" in client.log())
    for pid in pids:
        expect(not read(f"/proc/{pid}/comm").startswith("causeway"), f"process {pid} is gone")


@scenario("dataplane-killed", "kill -9 of the data plane: it comes back with every SA; no client logs in again")
def dataplane_killed(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world).connect()
    expect_ping(world, "c1", count=20, interval=0.02)
    session = appliance.only_session()
    epoch = appliance.health()["dataplane_epoch"]
    appliance.kill_daemon("causeway-dataplane")
    wait_until("a new data plane is attached", 30, lambda: appliance.health()["status"] == "ok"
               and appliance.health()["dataplane_epoch"] != epoch)
    wait_until("pings are answered again", 15, lambda: ping(world, "c1", count=1)[1] == 1)
    expect_ping(world, "c1", count=20, interval=0.02)
    expect_ping(world, "lan", target=client.inner_address(), count=5)
    expect_equal(appliance.only_session()["id"], session["id"], "session")
    expect_equal(client.log().count("installing new virtual IP"), 1, "logins of the client")


@scenario("controlplane-killed", "kill -9 of the control plane: no packet is lost, no client logs in again, and all of IKE works on")
def controlplane_killed(context):
    world = context.world(nat_clients=2)
    appliance = context.appliance(world, psks=[], extra={**RECONNECT, "log": {"filter": "info"}})
    stock = context.client(world, dpd="2s", child="dpd_action = restart", connection="").connect()
    own = VpnClient(world, "c2", context.certificates, context.binaries, user=USER, password=PASSWORD).start()
    before = _sessions(appliance)
    streams = [PingStream(world, name) for name in ("c1", "c2")]
    for _ in range(2):
        pid = appliance.kill_daemon("causeway-controlplane")
        wait_until("the control plane is back", 30,
                   lambda: _well(appliance) and appliance.daemon_pid("causeway-controlplane") != pid)
        expect_equal(_identity(_sessions(appliance), 3), _identity(before, 3), "sessions after the restart")
        for stream in streams:
            stream.wait_more(25)
    # Our client asks for life every two seconds, whatever flows.
    wait_until("its liveness checks are answered", 20, lambda: _requests(appliance, "1") > before["1"][-1] + 1)
    # One after the other: rekeys that cross are put off for half a minute.
    stock_rekeys = {"child": ["--child", "net"], "ike": ["--ike", "home"]}
    for what, names in stock_rekeys.items():
        _expect_rekey(appliance, "0", what, lambda names=names: stock.control("--rekey", *names))
    for session in before:
        for what in stock_rekeys:
            order = {"what": what}
            _expect_rekey(appliance, session, what, lambda path=f"/v1/sessions/{session}/rekey", order=order:
                          appliance.request("POST", path, order))
    appliance.kill_daemon("causeway-controlplane")
    wait_until("the control plane is back", 30, lambda: _well(appliance) and len(appliance.sessions()) == 2)
    for stream in streams:
        stream.wait_more(25)
        sent, received = stream.finish()
        expect_equal(received, sent, "echo replies through three deaths of the control plane")
    # strongSwan asks once nothing flows.
    asked = _requests(appliance, "0")
    wait_until("liveness checks of strongSwan are answered", 20, lambda: _requests(appliance, "0") > asked + 1)
    expect_equal(appliance.log().count("session up"), 2, "logins")
    expect_equal(stock.log().count("installing new virtual IP"), 1, "logins of strongSwan")
    expect_equal(own.reconnect_ids(), [], "reconnects of our client")
    own.stop()
    stock.control("--terminate", "--ike", "home")
    appliance.expect_empty(10)


@scenario("both-killed", "kill -9 of both daemons: every session goes on with new Child SAs; no client logs in again")
def both_killed(context):
    world = context.world(nat_clients=2)
    appliance = context.appliance(world, psks=[], extra={**RECONNECT, "log": {"filter": "info"}})
    stock = context.client(world).connect()
    own = VpnClient(world, "c2", context.certificates, context.binaries, user=USER, password=PASSWORD).start()
    expect_ping(world, "c1", count=20, interval=0.02)
    expect_ping(world, "c2", count=20, interval=0.02)
    before, epoch = _sessions(appliance), appliance.health()["dataplane_epoch"]
    pids = [appliance.daemon_pid(name) for name in ("causeway-controlplane", "causeway-dataplane")]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until("both are back", 30, lambda: _well(appliance) and appliance.health()["dataplane_epoch"] != epoch)
    # The stored numbers leave no room for a replay, so every Child SA is rekeyed at once.
    wait_until("Child SAs are new", 20, lambda: all(
        after[2] != before[session][2] for session, after in _sessions(appliance).items()))
    for name in ("c1", "c2"):
        wait_until(f"pings of {name} are answered again", 15, lambda name=name: ping(world, name, count=1)[1] == 1)
        expect_ping(world, name, count=20, interval=0.02)
    expect_equal(_identity(_sessions(appliance), 2), _identity(before, 2), "sessions")
    expect_equal(appliance.log().count("session up"), 2, "logins")
    expect_equal(stock.log().count("installing new virtual IP"), 1, "logins of strongSwan")
    expect_equal(own.reconnect_ids(), [], "reconnects of our client")


@scenario("killed-in-a-login", "kill -9 of the control plane while a client logs in: whoever was told that it is in is in")
def killed_in_a_login(context):
    world = context.world()
    appliance = context.appliance(world, extra={"ike": {"half_open_secs": 5}})
    client = context.client(world)
    in_time = 0
    for delay in (0.02, 0.05, 0.1, 0.2, 0.4):
        outcome = []
        login = threading.Thread(target=lambda: outcome.append(client.try_connect()[0]))
        login.start()
        # The delay is the fault: no condition names the message at which the daemon is to die.
        time.sleep(delay)
        appliance.kill_daemon("causeway-controlplane")
        login.join()
        wait_until("the control plane is back", 30, lambda: _well(appliance))
        if outcome == [True]:
            in_time += 1
            expect_ping(world, "c1", count=5)
            expect_equal(appliance.only_session()["inner_address"], client.inner_address(), "inner address")
            client.control("--terminate", "--ike", "home")
        appliance.expect_empty(60)
    # And it is none the worse for it.
    client.connect()
    expect_ping(world, "c1", count=5)
    expect(in_time > 0, "some logins survived the death of the control plane")


RECONNECT = {"reconnect": {"enabled": True}, "auth": {"methods": ["anyconnect-eap", "eap-mschapv2"]},
             "ike": {"proposals": ["aes256-sha512-ecp256", *IKE]}}


def _sessions(appliance):
    """What must not change, per session: user and address, IKE SPIs, Child SAs, messages of the client so far."""
    return {one["id"]: [[one["user"], one["inner_address"], one["ike"]["serial"], one["ike"]["tunnel_id"]], one["ike_spis"],
                        [child["inbound_spi"] for child in one["child_sas"]], one["ike"]["messages"]["remote_request"]]
            for one in appliance.sessions()}


def _identity(sessions, places):
    return {session: one[:places] for session, one in sessions.items()}


def _requests(appliance, session):
    return _sessions(appliance)[session][-1]


def _expect_rekey(appliance, session, what, begin):
    """The session has other SPIs in the end, and no more Child SAs than before."""
    place = 2 if what == "child" else 1
    old = _sessions(appliance)[session]
    begin()
    wait_until(f"session {session} is rekeyed ({what})", 20, lambda: _sessions(appliance)[session][place] != old[place]
               and len(_sessions(appliance)[session][2]) == len(old[2]))


def _well(appliance):
    try:
        return appliance.health()["status"] == "ok"
    except OSError:
        return False


@scenario("nat-rebinding", "the NAT box gets another address: the gateway follows authenticated packets")
def nat_rebinding(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world, connection="mobike = no").connect()
    expect_ping(world, "c1")
    before = appliance.only_session()["peer"]
    world.rebind_nat()
    wait_until("pings are answered from the new address", 20, lambda: ping(world, "c1", count=2)[1] == 2)
    expect_ping(world, "lan", target=client.inner_address(), count=3)
    wait_until("the session shows the new address", 10, lambda: appliance.only_session()["peer"] != before)

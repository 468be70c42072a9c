"""How sessions end, and what stays when a part of the appliance ends."""
from e2e import scenario
from shell import expect, expect_equal, read, wait_until
from traffic import PingStream, expect_ping, ping


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


@scenario("delete-by-gateway", "the operator ends a session; the client is told")
def delete_by_gateway(context):
    world = context.world()
    appliance = context.appliance(world)
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
    import os
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


@scenario("controlplane-killed", "kill -9 of the control plane: packets keep flowing until it starts again; then the client comes back by itself")
def controlplane_killed(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world, dpd="2s", child="dpd_action = restart", connection="").connect()
    stream = PingStream(world, "c1")
    pid = appliance.daemon_pid("causeway-controlplane")
    # Stopped, not killed, first: nobody starts it again while we look.
    import os
    import signal
    os.kill(pid, signal.SIGSTOP)
    stream.wait_more(50)
    sent, received = stream.finish()
    expect_equal(received, sent, "echo replies while the control plane stood still")
    os.kill(pid, signal.SIGKILL)
    wait_until("the control plane is back", 30, lambda: _well(appliance) and appliance.daemon_pid("causeway-controlplane") != pid)
    wait_until("the client is back", 60, lambda: ping(world, "c1", count=1)[1] == 1)
    expect(client.log().count("installing new virtual IP") >= 2, "the client logged in again by itself")


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

"""Extensions of IKEv2 with strongSwan: redirects (RFC 5685), logins without a Child SA (RFC 6023), AUTH_LIFETIME (RFC 4478)."""
from e2e import scenario
from shell import expect, expect_equal, wait_until
from traffic import expect_ping

# Nobody has it.
OTHER_GATEWAY = "10.99.1.99"


@scenario("redirect-new", "a new client is sent to another gateway, and served again after `redirect stop`")
def redirect_new(context):
    world = context.world(nat_clients=0, direct_clients=1)
    appliance = context.appliance(world)
    appliance.request("POST", "/v1/redirect", {"to": OTHER_GATEWAY})
    client = context.client(world, "d1")
    worked, log = client.try_connect(seconds=6)
    expect(not worked, "there is no gateway where the client is sent")
    expect(f"to {OTHER_GATEWAY}[500]" in log, f"the client asks the other gateway: {client.log_path}")
    expect_equal(appliance.sessions(), [], "sessions")
    client.control("--terminate", "--ike", "home", "--force", check=False)
    appliance.request("DELETE", "/v1/redirect")
    client.connect()
    expect_ping(world, "d1")


@scenario("redirect-session", "a session's client is told to go to another gateway and goes")
def redirect_session(context):
    world = context.world(nat_clients=0, direct_clients=1)
    appliance = context.appliance(world)
    client = context.client(world, "d1").connect()
    expect_ping(world, "d1")
    appliance.request("POST", f"/v1/sessions/{appliance.only_session()['id']}/redirect", {"to": OTHER_GATEWAY})
    wait_until("the client asks the other gateway", 20, lambda: f"to {OTHER_GATEWAY}[500]" in client.log())
    wait_until("the session is gone", 70, lambda: not appliance.sessions())
    expect_equal(appliance.counters()["ike"]["ike_redirects"], 1, "redirects")


@scenario("childless", "a client logs in without a Child SA and makes one when it needs it")
def childless(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world, connection="childless = force").connect()
    expect("N(CHDLESS_SUP)" in client.log(), "we announce childless logins")
    expect_ping(world, "c1")
    expect_equal(len(appliance.only_session()["child_sas"]), 1, "Child SAs")


@scenario("auth-lifetime", "a client is told the lifetime of its group's sessions and plans to log in anew in time")
def auth_lifetime(context):
    world = context.world()
    # strongSwan begins anew a tenth of its own rekey_time (4 h) before; with less it would begin at once.
    groups = [{"name": "brief", "session_lifetime_secs": 7200}]
    appliance = context.appliance(world, extra={"aaa": {"authorize_group": "brief"}}, groups=groups)
    client = context.client(world).connect()
    expect_ping(world, "c1")
    expect("N(AUTH_LFT)" in client.log(), f"AUTH_LIFETIME in {client.log_path}")
    expect("received AUTH_LIFETIME of 7200s, scheduling reauthentication" in client.log(), f"what the client makes of it: {client.log_path}")
    expect_equal(len(appliance.sessions()), 1, "sessions")

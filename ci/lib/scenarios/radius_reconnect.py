"""Accounting of a session whose client goes away and comes back, and of one that outlives the control plane."""
import http.client

from e2e import scenario
from radius import Radius
from shell import expect, expect_equal, wait_until
from traffic import expect_ping
from vpn_client import VpnClient

USERS = {"user1": "cisco"}
SECTIONS = {
    "auth": {"methods": ["anyconnect-eap"]},
    "ike": {"proposals": ["aes256-sha512-ecp256"]},
    "reconnect": {"enabled": True, "timeout_secs": 600, "dpd_interval_secs": 10, "dpd_retry_secs": 1, "dpd_tries": 2},
    "aaa.radius": {"interim_secs": 0},
}


@scenario("radius-accounting-reconnect", "one Acct-Session-Id through sleep, return and a killed control plane; what was carried adds up")
def accounting_reconnect(context):
    world = context.world()
    radius = Radius(world, context.certificates).start()
    appliance = context.appliance(world, users=USERS, psks=[], extra=SECTIONS, radius_servers=[radius.server()])
    client = VpnClient(world, "c1", context.certificates, context.binaries).start()
    start = radius.wait_for("Start")[0]
    expect_equal((start["User-Name"], start["Acct-Authentic"]), ("user1", "Local"), "start")
    expect_ping(world, "c1", size=500, count=10)
    client.suspend()
    away = radius.wait_for("Interim-Update", seconds=60)[0]
    expect("inactive" in away["Cisco-AVPair"], f"the wait is told: {away}")
    expect(int(away["Acct-Input-Packets"]) >= 10, f"what was carried: {away}")
    client.resume()
    back = radius.wait_for("Interim-Update", 2, seconds=60)[1]
    expect("resumed" in back["Cisco-AVPair"], f"the return is told: {back}")
    expect_equal(back["Acct-Input-Octets"], away["Acct-Input-Octets"], "octets at the return")
    expect_ping(world, "c1", size=500, count=10)
    appliance.kill_daemon("causeway-controlplane")

    def goes_on():
        try:
            return appliance.health()["sessions"] == 1
        except (OSError, http.client.HTTPException):
            return False
    wait_until("the session goes on in the next control plane", 30, goes_on)
    expect_ping(world, "c1", size=500, count=5)
    appliance.request("DELETE", f"/v1/sessions/{appliance.only_session()['id']}")
    stop = radius.wait_for("Stop", seconds=30)[0]
    expect_equal({one["Acct-Session-Id"] for one in radius.records() if one.get("User-Name") == "user1"},
                 {start["Acct-Session-Id"]}, "one Acct-Session-Id")
    expect_equal([one["Acct-Status-Type"] for one in radius.records() if one.get("User-Name") == "user1"],
                 ["Start", "Interim-Update", "Interim-Update", "Stop"], "records")
    expect(int(stop["Acct-Input-Packets"]) >= 25, f"the stop tells all that was carried: {stop}")
    expect_equal(stop["Acct-Terminate-Cause"], "Admin-Reset", "cause")

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

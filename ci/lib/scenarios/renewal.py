"""Renewed certificates of the gateway: new logins see them, sessions go on, and files that do not fit change nothing."""
import os
import shutil

from e2e import scenario
from scenarios.revocation import read_again
from shell import expect, expect_equal, wait_until
from traffic import expect_ping


def deploy(context, live, name):
    """What a deploy hook does: chain and key into the places that the configuration names, each by a rename."""
    for kind in ("key", "pem"):
        new = f"{live}.{kind}.new"
        shutil.copy(os.path.join(context.certificates, f"{name}.{kind}"), new)
        os.replace(new, f"{live}.{kind}")


@scenario("certificate-renewed", "a renewed server certificate is shown to new logins by IKE and by EAP-TLS, and no session notices")
def certificate_renewed(context):
    world = context.world(nat_clients=2)
    live = os.path.join(world.directory, "live")
    deploy(context, live, "gateway")
    auth = {"methods": ["eap-tls", "eap-mschapv2"], "certificate_file": f"{live}.pem", "private_key_file": f"{live}.key"}
    appliance = context.appliance(world, psks=[], extra={"auth": auth})
    first = context.client(world, "c1", auth="eap-tls").connect()
    session = appliance.only_session()
    before = appliance.counters()["ike"]["driver_certificates_read"]
    deploy(context, live, "gateway-rsa")
    read_again(appliance, before)
    expect_equal(appliance.only_session()["id"], session["id"], "the session after the renewal")
    expect_ping(world, "c1")
    # EAP-TLS and then IKE show the new certificate, which another authority has signed.
    second = context.client(world, "c2", auth="eap-tls", certificate="client-rsa", connection="unique = never")
    second.connect()
    subject = 'using trusted ca certificate "O=Causeway test, CN=ca-rsa"'
    expect(subject in second.log() and subject not in first.log(), f"only the new login sees the new chain:\n{second.log()[-3000:]}")
    expect_ping(world, "c2")
    expect_equal(len(appliance.sessions()), 2, "sessions")
    # A key that is another's: health says so, and logins go on with what there was.
    shutil.copy(os.path.join(context.certificates, "gateway.key"), f"{live}.key.new")
    os.replace(f"{live}.key.new", f"{live}.key")
    wait_until("health names the mistake", 20, lambda: any("old certificates stay in use" in one for one in appliance.health()["problems"]))
    second.control("--terminate", "--ike", "home")
    second.stop()
    third = context.client(world, world.add_nat_client(9), auth="eap-tls", certificate="client-rsa", connection="unique = never").connect()
    expect(subject in third.log(), "a login with what there was")
    deploy(context, live, "gateway-rsa")
    wait_until("health is good again", 20, lambda: not appliance.health()["problems"])
    expect_ping(world, "c1")

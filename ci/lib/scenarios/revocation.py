"""Revoked client certificates: lists on disk, lists by HTTP, OCSP by OpenSSL's responder, with each method that has certificates."""
import os
import sys

import pki
from appliance import IKE
from e2e import scenario
from pki import USER
from shell import expect, expect_equal, read, run, wait_until
from vpn_client import VpnClient

PAST = ("01.01.20 00:00:00", "01.01.21 00:00:00")


def gateway(context, world, methods=("certificate",), **auth):
    """A gateway with these keys of [auth]."""
    auth = {"methods": list(methods), **auth}
    return context.appliance(world, psks=[], extra={"auth": auth, "ike": {"proposals": [*IKE, "aes256-sha512-ecp256"]}, "anyconnect": {"certificate": "instead"}})


def attempt(context, world, number, auth="cert", **client):
    """Whether a new client gets in; it is gone afterwards."""
    name = world.add_nat_client(number)
    peer = context.client(world, name, auth=auth, **client)
    good, _ = peer.try_connect()
    if good:
        peer.control("--terminate", "--ike", "home")
    peer.stop()
    return good


def read_again(appliance, before):
    """Waits until the gateway has read its files once more."""
    wait_until("the files are read again", 20, lambda: appliance.counters()["ike"]["driver_certificates_read"] > before)


@scenario("revocation-file", "a list on disk: certificate login, EAP-TLS and AnyConnect-EAP are refused; a new list counts without a restart")
def revocation_file(context):
    world = context.world(nat_clients=1)
    path = os.path.join(world.directory, "clients.crl")
    pki.revocation_list(context.certificates, "ca", path, ["client"])
    appliance = gateway(context, world, ["certificate", "eap-tls", "anyconnect-eap"], crl_files=[path], revocation="hard")
    for number, auth in enumerate(("cert", "eap-tls"), start=10):
        expect(not attempt(context, world, number, auth), f"a revoked certificate is refused with {auth}")
    base = os.path.join(context.certificates, "client")
    login = {"certificate_file": f"{base}.pem", "private_key_file": f"{base}.key"}
    user = VpnClient(world, "c1", context.certificates, context.binaries, user=USER, login=login)
    expect(user.fails(), f"a revoked certificate is refused with AnyConnect-EAP:\n{user.output()}")
    expect(appliance.log().count("a client's certificate is revoked") >= 3, "the log says so")
    expect(attempt(context, world, 12, certificate="client-ed25519"), "its neighbour is not refused")
    expect(not attempt(context, world, 13, certificate="client-rsa"), "hard: an authority without a list logs nobody in")
    # In place of the old one, as jobs that fetch lists do it.
    read_before = appliance.counters()["ike"]["driver_certificates_read"]
    pki.revocation_list(context.certificates, "ca", f"{path}.new", ["client-ed25519"])
    os.replace(f"{path}.new", path)
    read_again(appliance, read_before)
    expect(attempt(context, world, 14), "who is no longer on it gets in")
    expect(not attempt(context, world, 15, certificate="client-ed25519"), "who is on it now does not")
    appliance.expect_empty()


@scenario("revocation-expired", "a list past its next update: nobody on it gets in; others do under soft, and do not under hard")
def revocation_expired(context):
    for policy in ("soft", "hard"):
        world = context.world(nat_clients=0)
        path = os.path.join(world.directory, "clients.crl")
        pki.revocation_list(context.certificates, "ca", path, ["client"])
        appliance = gateway(context, world, crl_files=[path], revocation=policy)
        pki.revocation_list(context.certificates, "ca", f"{path}.new", ["client"], updates=PAST)
        os.replace(f"{path}.new", path)
        wait_until("health names it", 20, lambda: any("have expired" in one for one in appliance.health()["problems"]))
        world.add_direct_client(1)
        expect(not attempt_direct(context, world, 2), f"{policy}: who is on it")
        expect_equal(attempt_direct(context, world, 3, certificate="client-ed25519"), policy == "soft", f"{policy}: who is not")
        world.close()


def attempt_direct(context, world, number, **client):
    """As `attempt`, without NAT."""
    peer = context.client(world, world.add_direct_client(number), auth="cert", **client)
    good, _ = peer.try_connect()
    peer.stop()
    return good


@scenario("revocation-fetched", "a list from the certificate's distribution point: fetched once, revokes, and silence as the policy says")
def revocation_fetched(context):
    for policy in ("soft", "hard"):
        world = context.world()
        web = os.path.join(world.directory, "web")
        os.makedirs(web)
        appliance = gateway(context, world, revocation=policy)
        expect_equal(attempt(context, world, 10, certificate="client-listed"), policy == "soft", f"{policy}: nobody answers")
        expect("cannot connect" in appliance.log(), "the log says why")
        world.close()
        world = context.world()
        web = os.path.join(world.directory, "web")
        os.makedirs(web)
        pki.revocation_list(context.certificates, "ca", os.path.join(web, "ca.crl"), ["client-listed"])
        log = "web.log"
        world.spawn("gw", [sys.executable, "-u", "-m", "http.server", str(pki.LIST_PORT), "--bind", "127.0.0.1", "-d", web], log)
        log = os.path.join(world.directory, log)
        wait_until("the web server listens", 10, lambda: "Serving HTTP" in read(log))
        appliance = gateway(context, world, revocation=policy)
        for number in (10, 11):
            expect(not attempt(context, world, number, certificate="client-listed"), f"{policy}: the list revokes")
        expect_equal(read(log).count("GET /ca.crl"), 1, f"how often the list was fetched:\n{read(log)}")
        # The same list speaks of its issuer's other certificates.
        expect(attempt(context, world, 12), f"{policy}: another certificate")
        appliance.expect_empty()
        world.close()


@scenario("revocation-ocsp", "OCSP by OpenSSL's responder: good, revoked, asked once an hour; silence as the policy says")
def revocation_ocsp(context):
    world = context.world()
    index = os.path.join(world.directory, "index.txt")
    good, bad = (run(["openssl", "x509", "-in", os.path.join(context.certificates, f"{name}.pem"), "-noout", "-serial"]).stdout
                 .strip().split("=")[1] for name in ("client-ocsp", "client-ocsp-revoked"))
    with open(index, "w", encoding="utf-8") as file:
        file.write(f"V\t360101000000Z\t\t{good}\tunknown\t/CN=good\nR\t360101000000Z\t250101000000Z\t{bad}\tunknown\t/CN=bad\n")
    ca = os.path.join(context.certificates, "ca")
    command = ["openssl", "ocsp", "-index", index, "-port", str(pki.OCSP_PORT), "-rsigner", f"{ca}.pem", "-rkey", f"{ca}.key",
               "-CA", f"{ca}.pem", "-ndays", "1"]
    appliance = gateway(context, world, revocation="hard")
    expect(not attempt(context, world, 10, certificate="client-ocsp"), "hard: nobody answers")
    world.close()
    for policy in ("soft", "hard"):
        world = context.world()
        responder = world.spawn("gw", command, "ocsp.log")
        log = os.path.join(world.directory, "ocsp.log")
        wait_until("the responder listens", 10, lambda: "waiting for OCSP client" in read(log))
        appliance = gateway(context, world, revocation=policy)
        for number in (10, 11):
            expect(attempt(context, world, number, certificate="client-ocsp"), f"{policy}: a good certificate")
        expect_equal(read(log).count("Received request"), 1, "how often the responder was asked")
        expect(not attempt(context, world, 12, certificate="client-ocsp-revoked"), f"{policy}: a revoked certificate")
        responder.kill()
        responder.wait(10)
        expect(attempt(context, world, 13, certificate="client-ocsp"), f"{policy}: a good one while the answer counts")
        expect(not attempt(context, world, 14, certificate="client-ocsp-revoked"), f"{policy}: a revoked one with the responder dead")
        appliance.expect_empty()
        world.close()

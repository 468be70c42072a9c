"""The demo: one strongSwan client behind a NAT, through the appliance, to a host on the LAN. Started by `ci/demo`."""
import argparse
import atexit
import json
import os
import signal
import sys
import tempfile

import pki
from appliance import Appliance
from shell import Failure, say
from swan import Client
from traffic import Iperf, ping
from world import LAN_HOST, World

NORMAL, GREEN, RED = "\033[0m", "\033[32m", "\033[31m"


def main():
    parser = argparse.ArgumentParser(prog="ci/demo")
    parser.add_argument("--bin", required=True)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="causeway-demo-", dir="/var/tmp")
    os.chmod(directory, 0o755)
    result = {"established": False, "ping_sent": 0, "ping_received": 0, "iperf3_up_mbps": 0.0, "iperf3_down_mbps": 0.0,
              "ike_suite": None, "esp_suite": None, "nat_detected": None, "inner_address": None, "set_up_ms": None}
    state = {"world": None}

    def close():
        if state["world"]:
            state["world"].close()
    atexit.register(close)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(130))

    def report(failure):
        if options.json:
            print(json.dumps({**result, **({"error": str(failure)} if failure else {})}))
        if failure:
            print(f"{RED}failed:{NORMAL} {failure}\nLogs: {directory}", file=sys.stderr)

    try:
        demo(options, directory, result, state)
    except Failure as failure:
        report(failure)
        return 1
    report(None)
    if options.keep:
        return keep(state["world"], directory)
    say("cleaning up")
    return 0


def demo(options, directory, result, state):
    say("making certificates")
    certificates = pki.make(os.path.join(directory, "pki"))
    say("making namespaces: client, NAT box, outside network, gateway, LAN host")
    world = state["world"] = World(directory, nat_clients=1)
    say("starting the appliance on net_af_packet ports")
    appliance = state["appliance"] = Appliance(world, certificates, options.bin).start()
    say("starting the strongSwan client; it logs in with user name and password")
    client = Client(world, "c1", certificates).start().connect()
    result["established"] = True
    result["inner_address"] = client.inner_address()
    session = appliance.only_session()
    result.update(ike_suite=session["ike_suite"], esp_suite=session["child_sas"][0]["esp_suite"],
                  nat_detected=session["nat_detected"], set_up_ms=session["set_up_ms"])
    say(f"{GREEN}tunnel up{NORMAL}: the client has {result['inner_address']}")
    say(f"pinging {LAN_HOST} through the tunnel")
    result["ping_sent"], result["ping_received"] = ping(world, "c1", count=10)
    say(f"{result['ping_received']} of {result['ping_sent']} answered")
    if result["ping_received"] == 0:
        raise Failure(f"no ping was answered; drops: {json.dumps(appliance.drops())}")
    iperf = Iperf(world)
    say("iperf3 from the client to the LAN host")
    result["iperf3_up_mbps"] = round(iperf.run("c1"), 1)
    say(f"{result['iperf3_up_mbps']} Mbit/s")
    say("iperf3 from the LAN host to the client")
    result["iperf3_down_mbps"] = round(iperf.run("c1", down=True), 1)
    say(f"{result['iperf3_down_mbps']} Mbit/s")
    say("the session, as an operator sees it (`causeway show sessions`, `causeway show counters`):")
    print(appliance.show("sessions"), file=sys.stderr)
    print(appliance.show("counters"), file=sys.stderr)


def keep(world, directory):
    socket = os.path.join(directory, "causeway", "api.sock")
    print(f"""
The demo keeps running. Look around:
  causeway show sessions --socket {socket}        (the binary is in target/release)
  causeway show counters --socket {socket}
  ip netns exec {world.ns('c1')} ping {LAN_HOST}
  ip netns exec {world.ns('c1')} iperf3 -c {LAN_HOST}
  logs and configuration: {directory}
Stop it with Ctrl-C, or: kill {os.getpid()}""", file=sys.stderr)
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())

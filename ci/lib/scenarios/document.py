"""The published example of Auto Reconnect, replayed: its configuration imported, its show commands compared line by line (published.py)."""
import os

from e2e import scenario
from published import Published
from scenarios.reconnect import Echo, wait_inactive
from shell import expect, expect_equal, run
from traffic import expect_ping
from vpn_client import VpnClient
from world import GATEWAY_OUTSIDE, NAT_OUTSIDE, NAT_OUTSIDE_MOVED

def compare(appliance, published, when, facts):
    """All show commands of the example against its text; `when` is `login` or `reconnect`."""
    detail = published.text(f"session-detail-{when}")
    published.compare(appliance.show("crypto", "session", "detail"), detail, facts, "show crypto session detail")
    detailed = published.text(f"ikev2-session-detailed-{when}")
    published.compare(appliance.show("crypto", "ikev2", "session", "detailed"), detailed, facts, "show crypto ikev2 session detailed")
    # The example does not show this one: it is the IKE SA's part of the session.
    title, child = ["IPv4 Crypto IKEv2 SA"], next(at for at, line in enumerate(detailed) if line.startswith("Child sa:"))
    published.compare(appliance.show("crypto", "ikev2", "sa", "detailed"), title + detailed[2:child], facts, "show crypto ikev2 sa detailed")
    published.compare(appliance.show("crypto", "ikev2", "sa"), title + detailed[2:6], facts, "show crypto ikev2 sa")
    statistics = published.text(f"stats-reconnect-{when}")
    published.compare(appliance.show("crypto", "ikev2", "stats", "reconnect"), statistics, facts, "show crypto ikev2 stats reconnect")


def imported(context, world):
    """The document's configuration, imported and its blanks filled in, written to the appliance's place."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[".."] * 3, "controlplane/cli/tests/data")
    with open(os.path.join(here, "reconnect-headend.ios"), encoding="utf-8") as file:
        text = file.read() + "\nusername user1 password 0 cisco\n"
    source, target = os.path.join(world.directory, "headend.ios"), os.path.join(world.directory, "imported.toml")
    with open(source, "w", encoding="utf-8") as file:
        file.write(text)
    explained = run([os.path.join(context.binaries, "causeway"), "config", "import-ios", source, "-o", target])
    expect("reconnect timeout 900" in explained.stdout, f"the import explains each line:\n{explained.stdout[-2000:]}")
    with open(target, encoding="utf-8") as file:
        toml = file.read()
    # Without `identity local`, IOS goes by its address.
    fills = {"#identity = ": f'identity = "{GATEWAY_OUTSIDE}"', "certificate_file = ":
             f'certificate_file = "{context.certificates}/gateway-rsa.pem"',
             "private_key_file = ": f'private_key_file = "{context.certificates}/gateway-rsa.key"'}
    lines, ports = [], iter([("net_af_packet0,iface=wan0", "10.99.1.1/24"), ("net_af_packet1,iface=lan0", "192.168.10.1/24")])
    port = None
    for line in toml.splitlines():
        if line == "[[port]]":
            port = next(ports)
        for start, value in fills.items():
            if line.startswith(start):
                line = value
        if line.startswith("#device = "):
            line = f'device = "{port[0]}"'
        if line.startswith("#address = ") and port:
            line = f'address = "{port[1]}"'
        lines.append(line)
    return "\n".join(lines) + "\n"


@scenario("document-replay", "the published example: imported configuration, login of user1, both show outputs, sleep past DPD, resume elsewhere")
def document_replay(context):
    world = context.world()
    # The document's LAN behind the gateway.
    world.exec("lan", "ip", "addr", "add", "192.168.10.2/24", "dev", "eth0")
    world.exec("lan", "ip", "route", "replace", "default", "via", "192.168.10.1")
    appliance = context.appliance(world, start=False)
    toml = imported(context, world).replace("[gateway]\n", f'[gateway]\nrun_directory = "{appliance.run_directory}"\n', 1)
    with open(appliance.config_path, "w", encoding="utf-8") as file:
        file.write(toml + f"""
[dataplane]
cores = [{os.cpu_count() - 1}]
hugepages = "never"
memory_mib = 256
buffers = 16384
sa_capacity = 1024
idle_sleep_usecs = 50

[management]
socket = "{appliance.socket}"
""")
    appliance.start()
    user = VpnClient(world, "c1", context.certificates, context.binaries, ike={"fragmentation": False, "cisco_fragmentation": False},
                     gateway={"name": GATEWAY_OUTSIDE}).start()
    expect_equal(user.status()["address"], "192.168.20.5", "the first address of the document's pool")
    expect_ping(world, "c1", target="192.168.10.2")
    echo = Echo(world, "c1", "192.168.10.2")
    echo.check()
    published = Published()
    facts = {"gateway": GATEWAY_OUTSIDE, "peer": NAT_OUTSIDE, "serial": 1, "ce": 1001}
    compare(appliance, published, "login", facts)
    user.suspend()
    wait_inactive(appliance, seconds=120)
    world.rebind_nat()
    expect_equal(user.resume()["address"], "192.168.20.5", "inner address after the resume")
    session_id = user.reconnect_ids()[-1].encode().hex().upper()
    facts = {**facts, "peer": NAT_OUTSIDE_MOVED, "serial": 2, "ce": 1002, "session_id": session_id}
    compare(appliance, published, "reconnect", facts)
    published.nothing_left_over()
    expect_ping(world, "c1", target="192.168.10.2")
    echo.check()

"""Packets that an SA refuses are counted at that SA, as an operator of IOS expects of `drop`."""
import os

from e2e import scenario
from shell import expect, expect_equal, read, wait_until
from traffic import expect_ping

REPLAYS = 7
# Takes one UDP-encapsulated ESP packet that leaves by wan0 and sends it again; it says what it does.
REPLAYER = """
import socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind(("wan0", 0))
link.settimeout(30)
print("listening", flush=True)
while True:
    frame = link.recv(4096)
    ip = frame[14:]
    if len(ip) > 60 and ip[9] == 17 and ip[16:20] == socket.inet_aton(sys.argv[1]) and ip[22:24] == b"\\x11\\x94" and ip[28:32] != bytes(4):
        break
for _ in range(int(sys.argv[2])):
    link.send(frame)
print("sent", flush=True)
"""


@scenario("drops-per-sa", "replayed packets and packets too big to seal are counted at their SA, and at no other")
def drops_per_sa(context):
    users = {f"{name}@example.test": f"secret of {name}" for name in ("c1", "c2")}
    world = context.world(nat_clients=2)
    appliance = context.appliance(world, users=users)
    clients = [context.client(world, name, user=f"{name}@example.test", password=f"secret of {name}").connect() for name in ("c1", "c2")]
    addresses = [client.inner_address() for client in clients]
    expect_ping(world, "c2")

    def figures():
        """(packets in, refused in, refused out) of each client's SA."""
        found = {one["inner_address"]: one["child_sas"][0] for one in appliance.sessions()}
        return [(sa["in_packets"], sa["esp"]["in_drops"], sa["esp"]["out_drops"]) for sa in (found[address] for address in addresses)]

    (_, *first), (packets, *second) = figures()
    expect_equal((first, second), ([0, 0], [0, 0]), "packets refused before anything is wrong")
    log = os.path.join(world.directory, "replayer.log")
    world.spawn("nat", ["python3", "-c", REPLAYER, "10.99.1.1", str(REPLAYS)], "replayer.log")
    wait_until("the replayer listens", 10, lambda: "listening" in read(log))
    expect_ping(world, "c1")
    wait_until("the packet was sent again", 30, lambda: "sent" in read(log))
    wait_until("the replays are counted at the SA", 10, lambda: figures()[0][1] == REPLAYS)
    expect_equal(figures()[0][2], 0, "nothing outbound was refused")
    # Does not fit the path once it is sealed, and must not be cut.
    world.exec("lan", "ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1472", addresses[0], check=False)
    wait_until("the packet that is too big is counted at the SA", 10, lambda: figures()[0][2] >= 1)
    expect_equal(figures()[0][1], REPLAYS, "packets refused inbound")
    expect_equal(figures()[1], (packets, 0, 0), "figures of the other client")
    shown = appliance.show("crypto", "session", "detail")
    expect(f" drop {REPLAYS} life" in shown, f"`show crypto session detail` has it:\n{shown}")

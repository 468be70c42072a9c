"""Many clients at once, and clients among themselves."""
from concurrent.futures import ThreadPoolExecutor

from e2e import scenario
from pki import USER
from shell import expect_equal, wait_until
from swan import PASSWORD
from traffic import Iperf, expect_ping
from world import POOL_NET


@scenario("twenty-clients-one-nat", "20 clients log in at once behind one NAT address; each has its own address and traffic")
def twenty_clients(context):
    count = 20
    users = {f"user{number}@example.test": f"secret-{number}" for number in range(1, count + 1)}
    world = context.world(nat_clients=count)
    appliance = context.appliance(world, users=users)
    clients = [context.client(world, f"c{number}", user=f"user{number}@example.test", password=f"secret-{number}")
               for number in range(1, count + 1)]
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda client: client.connect(60), clients))
    sessions = appliance.sessions()
    expect_equal(len(sessions), count, "sessions")
    addresses = [client.inner_address() for client in clients]
    expect_equal(len(set(addresses)), count, "different inner addresses")
    expect_equal(sorted(one["inner_address"] for one in sessions), sorted(addresses), "addresses at the gateway")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda client: expect_ping(world, client.namespace, count=5), clients))
        list(pool.map(lambda client: expect_ping(world, "lan", target=client.inner_address(), count=3), clients))
        list(pool.map(lambda client: client.control("--terminate", "--ike", "home"), clients))
    appliance.expect_empty()


@scenario("client-to-client", "two clients talk to each other through the gateway")
def client_to_client(context):
    world = context.world(nat_clients=2)
    appliance = context.appliance(world, users={USER: PASSWORD, "dave@example.test": "dave-secret"})
    ts = f"10.99.10.0/24,{POOL_NET}"
    carol = context.client(world, "c1", remote_ts=ts).connect()
    dave = context.client(world, "c2", remote_ts=ts, user="dave@example.test", password="dave-secret").connect()
    expect_ping(world, "c1", target=dave.inner_address())
    expect_ping(world, "c2", target=carol.inner_address(), size=1300)
    wait_until("20 packets are counted as hairpinned", 5, lambda: appliance.counters()["flow"]["hairpinned"] >= 20)


@scenario("large-packets", "full-size packets from the LAN: fragmented or answered with the right MTU, never lost silently")
def large_packets(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world).connect()
    done = world.exec("lan", "ping", "-n", "-c", "3", "-M", "dont", "-s", "1472", "-W", "5", client.inner_address(), check=False)
    expect_equal(" 3 received" in done.stdout, True, f"full-size pings that may be fragmented: {done.stdout}")
    sent = world.exec("lan", "ping", "-n", "-c", "2", "-M", "do", "-s", "1472", "-W", "2", client.inner_address(), check=False)
    expect_equal("mtu" in (sent.stdout + sent.stderr).lower(), True, f"ICMP `fragmentation needed`: {sent.stdout}{sent.stderr}")
    expect_ping(world, "c1", size=1372, count=3)
    Iperf(world).run("c1", 2, down=True)

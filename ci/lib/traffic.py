"""Traffic between clients and the LAN host: pings that count losses, iperf3 that counts bits."""
import json
import os
import re

from shell import Failure, expect_equal, read, tail, wait_until
from world import LAN_HOST


PINGER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pinger.py")
PATIENCE_SECS = 5


def ping(world, namespace, target=LAN_HOST, count=5, size=56, interval=0.05):
    """Sends `count` echo requests; returns (sent, received)."""
    done = world.exec(namespace, "python3", PINGER, target, str(count), str(interval), str(PATIENCE_SECS), str(size),
                      timeout=count * interval + PATIENCE_SECS + 30)
    return count, json.loads(done.stdout)[str(size)]


def expect_ping(world, namespace, target=LAN_HOST, **options):
    """Every ping must be answered."""
    sent, received = ping(world, namespace, target, **options)
    expect_equal(received, sent, f"echo replies from {target} to {namespace}")


class PingStream:
    """50 pings a second until `finish()`, which returns (sent, received)."""

    def __init__(self, world, namespace, target=LAN_HOST, interval=0.02):
        self.world, self.log = world, f"ping-{namespace}-{len(world.processes)}.log"
        self.process = world.spawn(namespace, ["ping", "-n", "-O", "-D", "-i", str(interval), target], self.log)
        self.path = os.path.join(world.directory, self.log)
        wait_until("the ping stream gets answers", 10, lambda: self.received() > 5)

    def received(self):
        """Replies so far."""
        return len(re.findall(r"bytes from", read(self.path)))

    def wait_more(self, count, seconds=20):
        """Waits for `count` more replies."""
        start = self.received()
        wait_until(f"{count} more pings are answered", seconds, lambda: self.received() >= start + count)

    def finish(self):
        """Ends the stream; returns how many were sent up to the last one that was answered, and how many of those were.
        (A request that is under way when the stream ends is nobody's loss.)"""
        self.process.send_signal(2)
        self.process.wait(20)
        answered = {int(number) for number in re.findall(r"bytes from .*icmp_seq=(\d+)", read(self.path))}
        if not answered:
            raise Failure(f"no ping of the stream was answered:\n{tail(self.path)}")
        return max(answered), len(answered)

    def missing(self):
        """The sequence numbers that got no answer in time."""
        return re.findall(r"no answer yet for icmp_seq=(\d+)", read(self.path))


class Iperf:
    """An iperf3 server on the LAN host; `run` measures TCP up or down from a client."""

    def __init__(self, world):
        self.world, self.runs = world, 0
        self.server = world.spawn("lan", ["iperf3", "-s", "--forceflush"], "iperf3-server.log")
        self._wait_for_server()

    def _wait_for_server(self):
        """The server closes its socket after each test and opens it anew; who comes between is reset."""
        log = os.path.join(self.world.directory, "iperf3-server.log")
        wait_until("iperf3 listens on the LAN host", 10, lambda: read(log).count("Server listening") > self.runs)

    def run(self, namespace, seconds=4, down=False, target=LAN_HOST):
        """Megabits per second that arrived."""
        self._wait_for_server()
        self.runs += 1
        done = self.world.exec(namespace, "iperf3", "-J", "-c", target, "-t", str(seconds), "--connect-timeout", "5000",
                               *(["-R"] if down else []), check=False, timeout=seconds + 40)
        try:
            result = json.loads(done.stdout)
        except ValueError as bad:
            raise Failure(f"iperf3 printed no JSON: {done.stdout[-300:]}{done.stderr[-300:]}") from bad
        if "error" in result:
            raise Failure(f"iperf3 {'down' if down else 'up'}: {result['error']}")
        return result["end"]["sum_received"]["bits_per_second"] / 1e6

    def start(self, namespace, seconds=120, down=False, rate="20M"):
        """A run in the background, to be ended with the world. Its rate is bounded: a TCP stream that fills the link
        loses packets to full queues, and those losses would hide the ones that a test looks for."""
        self._wait_for_server()
        self.runs += 1
        return self.world.spawn(namespace, ["iperf3", "-c", LAN_HOST, "-t", str(seconds), "-i", "1", "-b", rate, "--forceflush",
                                            *(["-R"] if down else [])], f"iperf3-{namespace}.log")

    def log(self, namespace):
        """What the background run printed so far."""
        return read(os.path.join(self.world.directory, f"iperf3-{namespace}.log"))

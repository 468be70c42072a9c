"""ICMP and ICMPv6 echo with a patient end: `pinger.py TARGET COUNT INTERVAL WAIT SIZE…` prints {"SIZE": replies, …} as JSON.

`ping -c` gives the last replies only twice the round trip seen so far, which a busy machine exceeds; a reply that is late
would count as a loss. This waits WAIT seconds for whatever is missing, and no longer than it is missing.
"""
import json
import os
import select
import socket
import struct
import sys
import time


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[:len(data) & ~1])) + (data[-1] << 8 if len(data) & 1 else 0)
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def request(kind, identifier, sequence, size):
    payload = bytes(octet & 0xFF for octet in range(size))
    header = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence)
    # That of ICMPv6 covers addresses, too; the kernel puts it in.
    return struct.pack("!BBHHH", kind, 0, checksum(header + payload), identifier, sequence) + payload


def main():
    target, count, interval, wait = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    sizes = [int(size) for size in sys.argv[5:]]
    six = ":" in target
    icmp = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW,
                         socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
    ask, reply = (128, 129) if six else (8, 0)
    identifier = os.getpid() & 0xFFFF
    waiting, received = {}, {size: 0 for size in sizes}

    def listen(until):
        while (left := until - time.monotonic()) > 0 and (waiting or until < end_of_sending):
            if not select.select([icmp], [], [], left)[0]:
                return
            packet = icmp.recv(65535)
            # A raw socket of IPv6 gives no header of IP.
            answer = packet if six else packet[(packet[0] & 15) * 4:]
            kind, _, _, theirs, sequence = struct.unpack_from("!BBHHH", answer)
            size = waiting.get(sequence)
            if (kind == reply and theirs == identifier and size is not None
                    and answer[8:] == request(ask, identifier, sequence, size)[8:]):
                del waiting[sequence]
                received[size] += 1

    probes = [size for size in sizes for _ in range(count)]
    end_of_sending = time.monotonic() + interval * len(probes)
    for sequence, size in enumerate(probes):
        waiting[sequence] = size
        icmp.sendto(request(ask, identifier, sequence, size), (target, 0))
        listen(time.monotonic() + interval)
    end_of_sending = 0
    listen(time.monotonic() + wait)
    print(json.dumps(received))


if __name__ == "__main__":
    main()

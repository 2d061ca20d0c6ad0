"""Hostile peers, for chaos.py: slow, endless, silent, garbage, and encoders whose bytes are damaged."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from tests.support import media_flv as flv
from tests.support.rtmp_client import RtmpClient, chunked
from tests.support.spoil import in_heads, in_sets

PAUSE_S = 3.0


@dataclass
class Peers:
    """Runs each peer in a thread, repeatedly, until `stop`; counts the runs."""

    http: list[int]
    rtmp: list[int]
    srt: list[int]
    key: str
    stream: bytes
    seed: str
    stop: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        peers = (self.trailers, self.pipeline, self.drip, self.silent, self.garbage, self.datagrams, self.damaged)
        for peer in peers:
            thread = threading.Thread(target=self._again, args=(peer,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def _again(self, peer: Callable[[random.Random], None]) -> None:
        number = 0
        while not self.stop.wait(PAUSE_S):
            number += 1
            with contextlib.suppress(OSError, AssertionError):  # refused, cut off, or too much for the server
                peer(random.Random(f"{self.seed} {peer.__name__} {number}"))
            self.done[peer.__name__] += 1

    def _connect(self, ports: list[int], dice: random.Random) -> socket.socket:
        return socket.create_connection(("127.0.0.1", dice.choice(ports)), timeout=5)

    def trailers(self, dice: random.Random) -> None:
        """Send trailers without end after a chunked body."""
        with self._connect(self.http, dice) as line:
            line.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
            for number in range(200):
                line.sendall(b"".join(b"a%05x:b\r\n" % (number * 1000 + i) for i in range(1000)))

    def pipeline(self, dice: random.Random) -> None:
        """Send many requests at once, and read no answer."""
        with self._connect(self.http, dice) as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 8000)
            self.stop.wait(2)

    def drip(self, dice: random.Random) -> None:
        """Send a body byte by byte, even after the answer."""
        with self._connect(self.http, dice) as line:
            line.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n")
            for _ in range(30):
                line.sendall(b"x")
                if self.stop.wait(0.5):
                    return

    def silent(self, dice: random.Random) -> None:
        """Open many connections, and send nothing."""
        with contextlib.ExitStack() as stack:
            for _ in range(80):
                stack.enter_context(self._connect(dice.choice((self.rtmp, self.http)), dice))
            self.stop.wait(5)

    def garbage(self, dice: random.Random) -> None:
        """Send noise to the RTMP port, with or without a handshake."""
        with self._connect(self.rtmp, dice) as line:
            line.sendall(b"\3" * dice.randrange(2) + dice.randbytes(200_000))

    def datagrams(self, dice: random.Random) -> None:
        """Send noise to the SRT port, with invalid handshakes (control packets of type 0) among it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            for _ in range(400):
                data = dice.randbytes(dice.randrange(1, 1400))
                head = dice.choice((b"", b"\x80\0\0\0", b"\x80\0\0\0" + bytes(8)))
                line.sendto(head + data, ("127.0.0.1", dice.choice(self.srt)))
                time.sleep(0.002)

    def damaged(self, dice: random.Random) -> None:
        """Publish with a valid key, but with damaged bytes, in real time."""
        data = dice.choice((in_heads, in_sets))(self.stream, dice)
        with RtmpClient(dice.choice(self.rtmp), timeout=timedelta(seconds=5)) as client:
            client.publish(self.key)
            began = time.monotonic()
            for tag in flv.split(data):
                if tag.kind == flv.SCRIPT:
                    continue
                while time.monotonic() - began < tag.time / 1000:
                    if self.stop.wait(0.02):
                        return
                client.send(chunked(tag.kind, tag.time, tag.body))

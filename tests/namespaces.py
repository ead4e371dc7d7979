"""Machines of a network of their own: network namespaces that a bridge joins, whose cables can be cut. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


class Network:
    """`count` namespaces beside this machine, which is `address`; theirs are in `addresses`."""

    def __init__(self, count: int) -> None:
        self.name = f"sl{os.getpid() % 10_000}"
        net = 100 + os.getpid() % 100
        self.address = f"10.77.{net}.1"
        self.addresses = [f"10.77.{net}.{number + 2}" for number in range(count)]

    def inside(self, number: int) -> list[str]:
        """What stands before a command that is to run on a machine."""
        return ["ip", "netns", "exec", f"{self.name}-{number}"]

    def cut(self, number: int) -> None:
        """Nothing passes to or from a machine any more."""
        _ip("link", "set", f"{self.name}h{number}", "down")

    def mend(self, number: int) -> None:
        _ip("link", "set", f"{self.name}h{number}", "up")

    def open(self) -> None:
        bridge = f"{self.name}b"
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number, address in enumerate(self.addresses):
            space, here, there = f"{self.name}-{number}", f"{self.name}h{number}", f"{self.name}n{number}"
            _ip("netns", "add", space)
            _ip("link", "add", here, "type", "veth", "peer", "name", there)
            _ip("link", "set", there, "netns", space)
            _ip("link", "set", here, "master", bridge)
            _ip("link", "set", here, "up")
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", there)
            _ip("-n", space, "link", "set", there, "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def close(self) -> None:
        for number in range(len(self.addresses)):
            subprocess.run(["ip", "netns", "del", f"{self.name}-{number}"], check=False)
        subprocess.run(["ip", "link", "del", f"{self.name}b"], check=False)


@contextmanager
def network(count: int) -> Iterator[Network]:
    made = Network(count)
    try:
        made.open()
        yield made
    finally:
        made.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)

"""Which hosts the pages of a task may reach."""

from __future__ import annotations

from urllib.parse import urlsplit

from stepladder.types import Task


def task_hosts(task: Task) -> tuple[str, ...]:
    """The host names that `task` may reach; their subdomains are meant too."""
    return tuple(task.setup.get("network", ()))


def reaches(url: str, hosts: tuple[str, ...]) -> bool:
    """Whether `url` is a web address at one of `hosts` or below it."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https", "ws", "wss") or address.hostname is None:
        return False
    return any(address.hostname == host or address.hostname.endswith(f".{host}") for host in hosts)

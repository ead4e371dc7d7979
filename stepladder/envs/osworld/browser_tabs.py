"""Tabs of the browser of a machine, opened and closed through its debugging port, which is asked from inside the machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, unquote, urlsplit

from stepladder.envs.osworld.machine import Machine
from stepladder.interfaces import EnvironmentFailure

#: The ports at which the browser listens: its own, and the one that OSWorld's machine shows to others.
PORTS = (1337, 9222)
#: Seconds within which a browser that has just been started must listen, and pages must have come.
SECONDS, PAGE_SECONDS = 60, 15
#: Asks for the list of tabs, then for what it was told to: lines "PUT new?address", "GET close/identifier".
_ASK = """
import json, sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def ask(method, port, path):
    request = urllib.request.Request("http://127.0.0.1:%s/json/%s" % (port, path), method=method)
    return opener.open(request, timeout=10).read().decode()
until, ports, wanted = time.time() + float(sys.argv[1]), sys.argv[2].split(","), json.loads(sys.argv[3])
while True:
    for port in ports:
        try:
            found = json.loads(ask("GET", port, "list"))
        except (OSError, ValueError):
            continue
        for method, path in wanted:
            ask(method, port, path)
        print(json.dumps(found))
        sys.exit()
    if time.time() > until:
        sys.exit("no browser listens at the ports " + sys.argv[2])
    time.sleep(0.2)
"""


async def open_tabs(machine: Machine, addresses: Sequence[str]) -> None:
    """A tab for each address, the last one in front, in the place of the first tab that there was. Raises EnvironmentFailure."""
    if not addresses:
        return
    before = await _ask(machine, [("PUT", f"new?{quote(address, safe='')}") for address in addresses])
    if before:
        # Of the tabs that the browser tells, the one that was used last comes first.
        await _ask(machine, [("GET", f"close/{before[-1]['id']}")])


async def close_tabs(machine: Machine, addresses: Sequence[str]) -> None:
    """Close the tabs with these addresses; one that is not open is passed over. Raises EnvironmentFailure."""
    unwanted = {_plain(address) for address in addresses}
    found = [tab for tab in await _ask(machine, []) if _plain(tab["url"]) in unwanted]
    await _ask(machine, [("GET", f"close/{tab['id']}") for tab in found])


def _plain(address: str) -> str:
    """An address as it is compared: without what stands for the protocol, "www." and a slash at the end."""
    parts = urlsplit(address if "://" in address else f"https://{address}")
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.netloc.removeprefix('www.')}{unquote(parts.path).rstrip('/')}{query}".lower()


async def _ask(machine: Machine, wanted: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """The tabs that were open before what is wanted was done, the one used last first. Raises EnvironmentFailure."""
    ports = ",".join(map(str, PORTS))
    ran = await machine.execute(["python3", "-I", "-c", _ASK, str(SECONDS), ports, json.dumps(wanted)], False)
    if ran.returncode != 0:
        last = (ran.error.strip().splitlines() or ["no reason given"])[-1]
        raise EnvironmentFailure(f"the browser's tabs cannot be changed: {last}")
    try:
        return [tab for tab in json.loads(ran.output) if tab.get("type") == "page"]
    except (ValueError, AttributeError, TypeError) as error:
        raise EnvironmentFailure(f"the browser tells its tabs as nobody can read: {ran.output[:200]!r}") from error

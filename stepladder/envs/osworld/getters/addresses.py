"""Getters of the browser's tabs: the address in front, its parts, all that is open."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from stepladder.envs.osworld.getters.state import State
from stepladder.interfaces import EnvironmentFailure

#: What the browser is called in the accessibility tree, and its bar of addresses.
_BROWSERS, _BAR = ("Google Chrome", "Chromium"), "Address and search bar"
#: The ports at which the browser tells its tabs: its own, and the one that OSWorld's machine shows.
_PORTS = (1337, 9222)
_TABS = (
    "import sys, urllib.request\n"
    "open_ = urllib.request.build_opener(urllib.request.ProxyHandler({})).open\n"
    "for port in sys.argv[1:]:\n"
    "    try:\n"
    "        print(open_('http://127.0.0.1:' + port + '/json/list', timeout=10).read().decode())\n"
    "        break\n"
    "    except OSError:\n"
    "        pass\n"
)
#: The ranges of discounts of a shop, and the only one that a task wants.
_DISCOUNT, _OTHERS = "50_PERCENT_ off & more", ("30_PERCENT_ off & more", "20_PERCENT_ off & more")


async def active_url_from_accessTree(state: State, described: Mapping[str, Any]) -> str | None:
    """The address in the bar of the browser, with `goto_prefix` ("https://") before one that the bar shows without. None when
    there is no browser, or its bar is empty."""
    try:
        root = ElementTree.fromstring(await state.machine.accessibility())
    except ElementTree.ParseError as error:
        raise EnvironmentFailure(f"the accessibility tree cannot be read: {error}") from error
    programs = [one for one in root.iter("application") if one.get("name") in _BROWSERS]
    bars = [one for program in programs for one in program.iter("entry") if one.get("name") == _BAR]
    text = (bars[0].text or "").strip() if bars else ""
    if not text:
        return None
    return text if "://" in text.partition("?")[0] else f"{described.get('goto_prefix', 'https://')}{text}"


async def active_tab_url_parse(state: State, described: Mapping[str, Any]) -> dict[str, Any] | None:
    """`parse_keys` of the query of the address in front, "" for one that is not there; `replace` renames them, `split_list`
    makes lists of what commas separate."""
    url = await active_url_from_accessTree(state, described)
    if url is None:
        return None
    query, names = parse_qs(urlsplit(url).query), described.get("replace", {})
    found = {names.get(key, key): query.get(key, [""])[0] for key in described["parse_keys"]}
    return {key: value.split(",") for key, value in found.items()} if described.get("split_list", False) else found


async def url_dashPart(state: State, described: Mapping[str, Any]) -> Any:
    """The part `partIndex` of the address in front, slashes between; `needDeleteId` without a query. As a text, or under `key` in
    an object, as `returnType` (string, json) says."""
    url = await active_url_from_accessTree(state, described)
    parts, place = [] if url is None else url.split("/"), int(described["partIndex"])
    if not -len(parts) <= place < len(parts):
        return None
    part = parts[place].split("?")[0] if described.get("needDeleteId", False) else parts[place]
    if described["returnType"] not in ("string", "json"):
        raise EnvironmentFailure(f"returnType is {described['returnType']!r}; it must be 'string' or 'json'")
    return part if described["returnType"] == "string" else {described["key"]: part}


async def macys_product_url_parse(state: State, described: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an address of one shop's says of the goods it lists; a thing of which it says nothing is None."""
    url = await active_url_from_accessTree(state, described)
    if url is None:
        return None
    path = unquote(urlsplit(url).path)
    filters = _filters(path.strip("/").split("/"))
    department, sleeves = filters.get("Product_department"), filters.get("Sleeve_length")
    shirts = "shirts" in path or department in ("shirts", "Shirts", "Shirt")
    short = "short-sleeve" in path or sleeves in ("short-sleeve", "Short Sleeve")
    found: dict[str, Any] = {"mens_clothing": True if "mens-clothing" in path else None}
    found |= {"shirts": True if shirts else None, "short_sleeve": True if short else None}
    for key in described["parse_keys"]:
        if key == "Price_discount_range":
            ranges = [one.strip() for one in (filters.get(key) or "").split("|")]
            found[key] = _DISCOUNT if _DISCOUNT in ranges and not set(_OTHERS) & set(ranges) else f"not_{_DISCOUNT}"
        elif key in filters or key == "Men_regular_size_t":
            found[key] = filters.get(key)
    return found


async def url_path_parse(state: State, described: Mapping[str, Any]) -> dict[str, Any] | None:
    """What macys_product_url_parse was called."""
    return await macys_product_url_parse(state, described)


async def open_tabs_info(state: State, _: Mapping[str, Any]) -> list[dict[str, str]]:
    """Title and address of every tab, as a browser that was started with a port for it says; none without such a browser."""
    ran = await state.machine.execute(["python3", "-I", "-c", _TABS, *map(str, _PORTS)], False)
    try:
        tabs = json.loads(ran.output or "[]")
    except ValueError as error:
        raise EnvironmentFailure(f"the browser's list of tabs cannot be read: {error}") from error
    return [{"title": tab.get("title", ""), "url": tab.get("url", "")} for tab in tabs if tab.get("type") == "page"]


def _filters(parts: list[str]) -> dict[str, str | None]:
    """Names and values of filters: two parts of a path that follow each other, commas between."""
    for names, values in itertools.pairwise(parts):
        if "," in names and "," in values:
            pairs = zip(names.split(","), values.split(","), strict=False)
            return {name.strip(): value.strip() or None for name, value in pairs}
    return {}

"""Metrics of the browser: tabs, addresses, bookmarks, cookies, history, shortcuts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

#: Names under which the web store has offered one extension.
_SAME_EXTENSION = ({"Zoom Chrome Extension", "Zoom for Google Chrome"},)
#: Second-level names below which others register: `bbc.co.uk` is the site `bbc`.
_REGISTRIES = frozenset(["ac", "co", "com", "edu", "gov", "net", "or", "org"])


def is_expected_active_tab(result: Any, rules: Mapping[str, Any]) -> float:
    """The address of the tab in front: the same but for `www`, the country of the site and an empty path."""
    url = _url(result, rules)
    return float(url is not None and same_address(rules["url"], url))


def is_expected_active_tab_approximate(result: Any, rules: Mapping[str, Any]) -> float:
    """The address of the tab in front, whatever its query."""
    url = _url(result, rules)
    return float(url is not None and urlsplit(url)._replace(query="") == urlsplit(rules["url"])._replace(query=""))


def is_expected_url_pattern_match(result: Any, rules: Mapping[str, Any]) -> float:
    """Every pattern is somewhere in the address."""
    url = result.get("url") if isinstance(result, dict) else result
    return float(isinstance(url, str) and url != "" and all(re.search(one, url) for one in rules["expected"]))


def is_expected_search_query(result: Mapping[str, Any] | None, rules: Mapping[str, Any]) -> float:
    return float(bool(result) and re.search(rules["expect"]["pattern"], (result or {})["url"]) is not None)


def is_expected_tabs(result: Sequence[Mapping[str, Any]] | None, rules: Mapping[str, Any]) -> float:
    """As many tabs as are expected, and each of these among them."""
    _of_type(rules, "url")
    urls = [tab["url"] for tab in result or ()]
    same = len(urls) == len(rules["urls"]) and all(any(same_address(one, url) for url in urls) for one in rules["urls"])
    return float(bool(urls) and same)


def is_expected_installed_extensions(result: Sequence[str] | None, rules: Mapping[str, Any]) -> float:
    """Every expected extension, and maybe others."""
    return float(bool(result) and {_extension(one) for one in rules["expected"]} <= {_extension(one) for one in result or ()})


def is_expected_bookmarks(result: Any, rules: Mapping[str, Any]) -> float:
    """Names of folders or of pages on the bookmark bar, or what one of its folders holds."""
    if not result:
        return 0.0
    bar = result.get("bookmark_bar", {}).get("children", [])
    kind = rules["type"]
    if kind == "bookmark_bar_folders_names":
        return float({one["name"] for one in bar if one["type"] == "folder"} == set(rules["names"]))
    if kind == "bookmark_bar_websites_urls":
        return float({one["url"] for one in bar if one["type"] == "url"} == set(rules["urls"]))
    if kind == "liked_authors_websites_urls":
        folder = next((one for one in bar if one["type"] == "folder" and one["name"] == "Liked Authors"), None)
        if folder is None:
            return 0.0
        found = {one["url"] for one in folder["children"] if one["type"] == "url"}
        wanted = [one if isinstance(one, list) else [one] for one in rules["urls"]]
        chosen = {url for choices in wanted for url in choices if url in found}
        return float(found == chosen and all(any(url in found for url in choices) for choices in wanted))
    raise ValueError(f"bookmarks of the type {kind!r} are not known")


def is_cookie_deleted(result: Sequence[Sequence[Any]] | None, rules: Mapping[str, Any]) -> float:
    """No cookie of these domains is left; `result` has the rows of the browser's table, whose second column is the domain."""
    _of_type(rules, "domains")
    return float(not any(same_address(domain, row[1]) for domain in rules["domains"] for row in result or ()))


def check_history_deleted(result: Sequence[Sequence[Any]] | None, rules: Mapping[str, Any]) -> float:
    """No address of the history has one of these words; `result` has rows of address, title, time."""
    _of_type(rules, "keywords")
    return float(not any(word in row[0] for word in rules["keywords"] for row in result or ()))


def check_enabled_experiments(result: Sequence[str], rules: Mapping[str, Any]) -> float:
    _of_type(rules, "names")
    return float([one.split("@")[0] for one in result] == rules["names"])


def check_font_size(result: Mapping[str, Any], rules: Mapping[str, Any]) -> float:
    _of_type(rules, "value", "range")
    size = result["default_font_size"]
    if rules["type"] == "value":
        return float(size == rules["value"])
    return float(rules["min"] < size < rules["max"])


def is_shortcut_on_desktop(result: Mapping[str, str] | None, rules: Mapping[str, Any]) -> float:
    """Whether a desktop entry has this name, in any case, or runs this command: the one within the other is enough."""
    _of_type(rules, "name", "exec")
    key, wanted = ("Name=", rules["name"].lower()) if rules["type"] == "name" else ("Exec=", rules["exec"])
    for content in (result or {}).values():
        for line in content.split("\n"):
            found = line.removeprefix(key).strip()
            if line.startswith(key) and found:
                found = found.lower() if key == "Name=" else found
                if wanted in found or found in wanted:
                    return 1.0
    return 0.0


def is_added_to_steam_cart(result: Mapping[str, Any] | None, rules: Mapping[str, Any]) -> float:
    content = (result or {}).get("content", "")
    return float(bool(content) and all(one in content for one in rules["items"]))


def same_address(first: str | None, second: str | None) -> bool:
    """Whether two addresses are the same: whatever `www` and country the site has, with or without an empty path."""
    if first is None or second is None:
        return first is second
    return _plain(first) == _plain(second)


def _plain(address: str) -> str:
    if not re.match(r"[a-zA-Z][a-zA-Z0-9+\-.]*://", address):
        address = f"http://{address}"
    parts = urlsplit(address)
    path = "" if parts.path == "/" else parts.path
    return urlunsplit((parts.scheme.lower(), _site(parts.netloc.lower()), path, parts.query, parts.fragment))


def _site(host: str) -> str:
    """A host without its port, `www` and registry: `www.airbnb.com.sg` is `airbnb`, `maps.google.com` is `maps.google`."""
    names = host.rpartition("@")[2].partition(":")[0].strip(".").split(".")
    if len(names) < 2 or all(one.isdigit() for one in names):
        return ".".join(names)
    names.pop()
    if len(names) > 1 and names[-1] in _REGISTRIES:
        names.pop()
    return names[1] if names[0] == "www" and len(names) == 2 else ".".join(names)


def _extension(name: str) -> str:
    return next((min(names) for names in _SAME_EXTENSION if name in names), name)


def _url(result: Any, rules: Mapping[str, Any]) -> str | None:
    _of_type(rules, "url")
    url = result.get("url") if isinstance(result, dict) else result
    return url if isinstance(url, str) and url else None


def _of_type(rules: Mapping[str, Any], *known: str) -> None:
    if rules["type"] not in known:
        raise ValueError(f"a rule of the type {rules['type']!r} is not known here; known: {', '.join(known)}")

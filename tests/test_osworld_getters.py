"""OSWorld's getters on a machine in memory: files, slides, days, the browser's profile and tabs, windows."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import office_files as office
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_osworld import Machine

from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.getters import Got, State, get
from stepladder.envs.osworld.getters.days import day_of, written
from stepladder.envs.osworld.machine import Executed
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Action

PROFILE = "/home/user/.config/google-chrome/Default"


class Told(Machine):
    """A machine in memory that answers commands by what they begin with, and has a tree."""

    def __init__(
        self, files: dict[str, bytes] | None = None, answers: dict[str, Executed] | None = None, tree: str = "<a/>"
    ) -> None:
        super().__init__(files, answers)
        self.tree = tree

    async def execute(self, command: Any, shell: bool, seconds: float = 120.0) -> Executed:
        text = command if isinstance(command, str) else " ".join(command)
        self.done.append(text)
        return next((answer for start, answer in self.answers.items() if start in text), Executed("", "not found", 127))

    async def accessibility(self) -> str:
        return self.tree


def found(machine: Machine, kind: str, cache: FileCache | None = None, **described: Any) -> Any:
    return asyncio.run(get(State(machine, cache or FileCache(None, "t")), {"type": kind, **described}))


def says(output: str) -> Executed:
    return Executed(output, "", 0)


# -------------------------------------------------------------------------------------------------------------------- files


def test_several_files_know_each_other(tmp_path: Path) -> None:
    machine = Told({"/a.xlsx": b"book", "/a-Sheet1.csv": b"lines"})
    described: dict[str, Any] = {
        "path": ["/a.xlsx", "/a-Sheet1.csv", "/none"],
        "dest": ["a.xlsx", "a-Sheet1.csv", "n"],
        "multi": True,
    }
    one = found(machine, "vm_file", **described)
    assert (one.name, one.content) == ("a.xlsx", b"book")
    assert one.beside == {"a.xlsx": b"book", "a-Sheet1.csv": b"lines"}
    two = found(machine, "vm_file", gives=[1, 2], **described)
    assert [None if file is None else file.name for file in two] == ["a-Sheet1.csv", None]
    (tmp_path / "t").mkdir()
    for name in ("x", "y"):
        (tmp_path / "t" / name).write_bytes(name.encode())
    cloud = {"path": ["u", "v"], "dest": ["x", "y"], "multi": True}
    assert found(machine, "cloud_file", FileCache(tmp_path, "t"), **cloud).beside == {"x": b"x", "y": b"y"}
    assert [file.content for file in found(machine, "cloud_file", FileCache(tmp_path, "t"), gives=[0, 1], **cloud)] == [b"x", b"y"]


def test_the_last_row_of_a_spreadsheet() -> None:
    described = {"path": "/a.xlsx", "file_type": "xlsx", "file_content": "last_row"}
    assert found(Told({"/a.xlsx": office.xlsx().content}), "content_from_vm_file", **described) == ["Oslo", "2"]
    assert found(Told({"/a.xlsx": b"PK"}), "content_from_vm_file", **described) is None
    assert found(Told(), "content_from_vm_file", **described) is None
    with pytest.raises(EnvironmentFailure, match="content_from_vm_file for pdf None"):
        found(Told(), "content_from_vm_file", path="/a", file_type="pdf")


def test_a_file_of_vs_code_is_written_by_its_extension_where_one_is_named() -> None:
    described = {"path": "/o.txt", "dest": "o.txt", "vscode_extension_command": "OpenProject"}
    machine = Told({"/o.txt": b"project"})
    assert found(machine, "vscode_config", **described) == Got("o.txt", b"project")
    assert Action("key", keys=("ctrl", "shift", "p")) in machine.done
    assert Action("type", text="OpenProject") in machine.done
    noted = Told(answers={"workspaceStorage": says('{"folder": "file:///home/user/project"}')})
    assert found(noted, "vscode_config", **described).text() == '{"folder": "file:///home/user/project"}'
    assert found(Told(), "vscode_config", **described) is None
    plain = Told({"/s.json": b"{}"})
    assert found(plain, "vscode_config", path="/s.json", dest="s.json") == Got("s.json", b"{}")
    assert plain.done == []


# ------------------------------------------------------------------------------------------------------------------- slides

RELATIONS = "ppt/slides/_rels/slide1.xml.rels"


def linked(kind: str, target: str) -> Got:
    """A presentation whose first slide has a relation of this kind."""
    types = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relation = f'<Relationship Id="rId9" Type="{types}/{kind}" Target="{target}"/>'
    return office.with_part(
        office.pptx_file(), RELATIONS, lambda xml: xml.replace("</Relationships>", f"{relation}</Relationships>")
    )


def test_a_sound_of_a_slide_is_in_the_presentation_or_linked() -> None:
    described = {"ppt_file_path": "/a.pptx", "slide_index": 0, "dest": "s.mp3"}
    inside = linked("audio", "../slideLayouts/slideLayout1.xml")
    sound = found(Told({"/a.pptx": inside.content}), "audio_in_slide", **described)
    assert sound.name == "s.mp3"
    assert b"sldLayout" in sound.content
    outside = Told({"/a.pptx": linked("audio", "file:///home/user/my%20song.mp3").content, "/home/user/my song.mp3": b"la"})
    assert found(outside, "audio_in_slide", **described) == Got("s.mp3", b"la")
    for content in (office.pptx_file().content, b"PK", linked("image", "../x.png").content, linked("audio", "../none").content):
        assert found(Told({"/a.pptx": content}), "audio_in_slide", **described) is None
    assert found(Told({"/a.pptx": inside.content}), "audio_in_slide", **{**described, "slide_index": 7}) is None
    assert found(Told(), "audio_in_slide", **described) is None


def test_the_image_behind_a_slide() -> None:
    described = {"ppt_file_path": "/a.pptx", "slide_index": "0", "dest": "b.png"}
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    background = (
        f'<p:bg><p:bgPr><a:blipFill xmlns:a="{drawing}" xmlns:r="{relations}"><a:blip r:embed="rId9"/></a:blipFill></p:bgPr></p:bg>'
    )
    image = linked("image", "../slideLayouts/slideLayout1.xml")
    shown = office.with_part(image, "ppt/slides/slide1.xml", lambda xml: xml.replace("<p:spTree>", f"{background}<p:spTree>", 1))
    assert b"sldLayout" in found(Told({"/a.pptx": shown.content}), "background_image_in_slide", **described).content
    assert found(Told({"/a.pptx": image.content}), "background_image_in_slide", **described) is None


# --------------------------------------------------------------------------------------------------------------------- days

WEDNESDAY, SUNDAY = date(2024, 12, 11), date(2024, 12, 15)


@pytest.mark.parametrize(
    ("name", "today", "expected"),
    [
        ("tomorrow", WEDNESDAY, date(2024, 12, 12)),
        ("5th next month", WEDNESDAY, date(2025, 1, 5)),
        ("11th next month", date(2024, 1, 31), date(2024, 2, 11)),
        ("this month", WEDNESDAY, WEDNESDAY),
        ("this Saturday", WEDNESDAY, date(2024, 12, 14)),
        ("this Saturday", SUNDAY, date(2024, 12, 14)),
        ("next Monday", WEDNESDAY, date(2024, 12, 16)),
        ("next Monday split", date(2024, 12, 16), date(2024, 12, 23)),
        ("next Friday", WEDNESDAY, date(2024, 12, 13)),
        ("next Friday", date(2024, 12, 13), date(2024, 12, 20)),
        ("next Saturday", SUNDAY, date(2024, 12, 21)),
        ("next Sunday", SUNDAY, date(2024, 12, 22)),
        ("next week Friday", WEDNESDAY, date(2024, 12, 20)),
        ("next week Sunday", SUNDAY, date(2024, 12, 22)),
        ("first monday four months later", date(2024, 8, 5), date(2024, 12, 2)),
        ("first monday eight months later", WEDNESDAY, date(2025, 8, 4)),
    ],
)
def test_days_by_their_names(name: str, today: date, expected: date) -> None:
    assert day_of(name, today) == expected


def test_a_range_of_days_is_of_one_week() -> None:
    monday = day_of("next Monday", WEDNESDAY)
    assert day_of("next Friday", WEDNESDAY, "next Monday split", monday) == date(2024, 12, 20)
    friday = day_of("next Friday", date(2024, 12, 13))
    assert day_of("next Sunday", date(2024, 12, 13), "next Friday", friday) == date(2024, 12, 22)
    with pytest.raises(EnvironmentFailure, match="the day 'last Monday' is not known"):
        day_of("last Monday", WEDNESDAY)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.sampled_from(["Monday", "Friday", "Saturday", "Sunday"]))
def test_a_next_day_is_one_of_the_seven_to_come(today: date, day: str) -> None:
    after = day_of(f"next {day}", today)
    assert 1 <= (after - today).days <= 7
    assert after.strftime("%A") == day
    first = day_of("first monday four months later", today)
    assert first.weekday() == 0
    assert first.day <= 7
    assert (first.year * 12 + first.month) - (today.year * 12 + today.month) == 4


def test_days_are_written_into_the_rules() -> None:
    text = "{DoW}, {Month} {Day0D} {DayD} {Year} {Month0D} {MonthD} {month} {MonthFull} {Other}"
    assert written(text, date(2024, 3, 5)) == "Tue, Mar 05 5 2024 03 3 march March {Other}"
    clock = {"date": says("1733918400 +0100\n")}  # the 11th of December 2024, 12:00 in London
    rules = {
        "relativeTime": {"from": "tomorrow"},
        "expected": {"time": ["{DayD}", "{DoW}"], "city": "Rome"},
        "expect_in_result": True,
    }
    assert found(Told(answers=clock), "rule_relativeTime", rules=rules) == {
        **rules,
        "expected": {"time": ["12", "Thu"], "city": "Rome"},
    }
    assert rules["expected"]["time"] == ["{DayD}", "{DoW}"]  # type: ignore[index]
    pair = {"relativeTime": {"from": "10th next month", "to": "11th next month"}, "expected": {"from": "{DayD}", "to": "{DayD}"}}
    assert found(Told(answers=clock), "rule_relativeTime", rules=pair)["expected"] == {"from": "10", "to": "11"}
    fields = {
        name: "{" + {"Day": "DayD", "Month": "MonthD", "Year": "Year"}[name[2:]] + "}"
        for name in ("puDay", "puMonth", "puYear", "doDay", "doMonth", "doYear")
    }
    split = {"relativeTime": {"from": "next Monday split", "to": "next Friday split"}, "expected": fields}
    assert list(found(Told(answers=clock), "rule_relativeTime", rules=split)["expected"].values()) == [
        "16",
        "12",
        "2024",
        "20",
        "12",
        "2024",
    ]


def test_today_is_that_of_the_machine_or_of_the_zone_of_the_task() -> None:
    late = {"date": says("1733958000 +0000\n")}  # 23:00 in London
    rules = {"relativeTime": {"from": "tomorrow"}, "expected": {"time": "{DayD}"}}
    assert found(Told(answers=late), "rule_relativeTime", rules=rules)["expected"]["time"] == "12"
    assert found(Told(answers=late), "rule_relativeTime", rules={**rules, "timezone": "Europe/Zurich"})["expected"]["time"] == "13"
    with pytest.raises(EnvironmentFailure, match="time zone 'Mars/Base' of the task is not known"):
        found(Told(answers=late), "rule_relativeTime", rules={**rules, "timezone": "Mars/Base"})
    with pytest.raises(EnvironmentFailure, match="does not tell its time"):
        found(Told(), "rule_relativeTime", rules=rules)
    assert found(Told(), "time_diff_range", diff_range_in_minutes="60") == "60"


# ------------------------------------------------------------------------------------------------------------------ browser


def database(path: Path, *statements: str) -> bytes:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


def test_cookies_and_history_are_rows(tmp_path: Path) -> None:
    cookies = database(tmp_path / "c", "CREATE TABLE cookies (a, host_key)", "INSERT INTO cookies VALUES (1, '.a.org')")
    pages = database(
        tmp_path / "h", "CREATE TABLE urls (id, url, title, last_visit_time)", "INSERT INTO urls VALUES (1, 'u', 't', 2)"
    )
    machine = Told({f"{PROFILE}/Cookies": cookies, f"{PROFILE}/History": pages})
    assert found(machine, "cookie_data", dest="c") == [(1, ".a.org")]
    assert found(machine, "history", dest="h") == [("u", "t", 2)]
    assert found(Told(), "history", dest="h") == []
    with pytest.raises(EnvironmentFailure, match="file History cannot be read"):
        found(Told({f"{PROFILE}/History": b"no database"}), "history", dest="h")


def preferences(**fields: Any) -> Machine:
    return Told({f"{PROFILE}/Preferences": json.dumps(fields).encode()})


@pytest.mark.parametrize(
    ("theme", "expected"),
    [
        ({"color_scheme2": 1}, "light"),
        ({"color_scheme": 2}, "dark"),
        ({"color_scheme": 2, "color_scheme2": 0}, "system"),
        ({}, "system"),
    ],
)
def test_the_looks_of_the_browser(theme: dict[str, int], expected: str) -> None:
    assert found(preferences(browser={"theme": theme}), "chrome_color_scheme") == expected
    assert found(preferences(browser={"theme": theme}), "chrome_appearance_mode_ui") == expected
    assert found(preferences(browser={"theme": theme}, extensions={"theme": {"system_theme": 0}}), "chrome_color_scheme") == "light"


def test_extensions_experiments_and_sizes() -> None:
    held = {"x": {"path": "/home/user/ext", "manifest": {"name": "Zoom"}}, "y": {"path": "/z"}}
    machine = preferences(extensions={"settings": {"x": held["x"]}}, webkit={"webprefs": {"default_font_size": 20}})
    machine.files[f"{PROFILE}/Secure Preferences"] = json.dumps({"extensions": {"settings": {"y": held["y"]}}}).encode()
    assert found(machine, "find_unpacked_extension_path") == ["/home/user/ext", "/z"]
    assert found(machine, "find_installed_extension_name") == ["Zoom"]
    assert found(machine, "chrome_font_size") == {"default_fixed_font_size": 13, "default_font_size": 20}
    state = json.dumps({"browser": {"enabled_labs_experiments": ["dark@1"]}, "intl": {"app_locale": "xh"}}).encode()
    assert found(Told({"/home/user/.config/google-chrome/Local State": state}), "enabled_experiments") == ["dark@1"]
    assert found(Told({"/home/user/.config/google-chrome/Local State": state}), "chrome_language") == "xh"
    assert found(Told(), "enabled_experiments") == found(Told(), "find_installed_extension_name") == []


def test_shortcuts_on_the_desktop() -> None:
    machine = Told(
        {"/home/user/Desktop/a.desktop": b"Name=A\n"}, {"find /home/user/Desktop": says("/home/user/Desktop/a.desktop\n")}
    )
    assert found(machine, "shortcuts_on_desktop") == {"a.desktop": "Name=A\n"}
    assert found(Told(), "shortcuts_on_desktop") == {}


def browser(address: str, name: str = "Chromium") -> Machine:
    return Told(tree=f'<d><application name="{name}"><entry name="Address and search bar">{address}</entry></application></d>')


def test_the_address_in_front() -> None:
    prefix = {"goto_prefix": "https://www."}
    assert found(browser("a.org/x"), "active_url_from_accessTree", **prefix) == "https://www.a.org/x"
    assert found(browser("a.org/x", "Google Chrome"), "active_url_from_accessTree") == "https://a.org/x"
    assert found(browser("chrome://settings"), "active_url_from_accessTree", **prefix) == "chrome://settings"
    assert found(browser("a.org?u=https://b"), "active_url_from_accessTree") == "https://a.org?u=https://b"
    assert found(browser(""), "active_url_from_accessTree") is None
    assert found(browser("a.org", "Firefox"), "active_url_from_accessTree") is None
    with pytest.raises(EnvironmentFailure, match="accessibility tree cannot be read"):
        found(Told(tree="<"), "active_url_from_accessTree")


def test_parts_of_the_address_in_front() -> None:
    query = browser("a.org/b?from=BOM&amp;day=2&amp;list=x,y")
    assert found(query, "active_tab_url_parse", parse_keys=["from", "day", "none"], replace={"day": "time"}) == {
        **{"from": "BOM", "time": "2", "none": ""}
    }
    assert found(query, "active_tab_url_parse", parse_keys=["list"], split_list=True) == {"list": ["x", "y"]}
    path = browser("a.org/uk/january-weather/1?id=2")
    part = {"partIndex": -2, "returnType": "json", "key": "time"}
    assert found(path, "url_dashPart", **part) == {"time": "january-weather"}
    assert found(path, "url_dashPart", partIndex=-1, returnType="string", needDeleteId=True) == "1"
    assert found(path, "url_dashPart", partIndex=99, returnType="string") is None
    assert found(browser(""), "url_dashPart", **part) is found(browser(""), "active_tab_url_parse", parse_keys=[]) is None
    with pytest.raises(EnvironmentFailure, match="returnType is 'tree'"):
        found(path, "url_dashPart", partIndex=0, returnType="tree")


def test_what_a_shop_lists() -> None:
    filters = "Men_regular_size_t,Price_discount_range,Sleeve_length/L,50_PERCENT_ off %26 more,Short Sleeve"
    address = f"www.shop.com/shop/mens-clothing/shirts/{filters}"
    keys = ["mens_clothing", "shirts", "Men_regular_size_t", "Price_discount_range", "short_sleeve"]
    expected = {
        "mens_clothing": True,
        "shirts": True,
        "short_sleeve": True,
        "Men_regular_size_t": "L",
        "Price_discount_range": "50_PERCENT_ off & more",
    }
    for kind in ("url_path_parse", "macys_product_url_parse"):
        assert found(browser(address), kind, parse_keys=keys) == expected
    assert found(browser("www.shop.com/x"), "url_path_parse", parse_keys=keys) == {
        **{"mens_clothing": None, "shirts": None, "short_sleeve": None, "Men_regular_size_t": None},
        "Price_discount_range": "not_50_PERCENT_ off & more",
    }


def test_open_tabs() -> None:
    tabs = [
        {"type": "page", "title": "a", "url": "https://a.org", "id": "1"},
        {"type": "iframe", "title": "b", "url": "https://b.org"},
    ]
    assert found(Told(answers={"/json/list": says(json.dumps(tabs))}), "open_tabs_info") == [{"title": "a", "url": "https://a.org"}]
    assert found(Told(), "open_tabs_info") == []
    with pytest.raises(EnvironmentFailure, match="list of tabs cannot be read"):
        found(Told(answers={"/json/list": says("<html>")}), "open_tabs_info")


# ------------------------------------------------------------------------------------------------------------------ machine


def test_sizes_of_windows() -> None:
    lines = "0x01  0 10 20 640 480 xterm.XTerm host A b\n0x02  0 0 0 1920 1080 vlc.vlc host A title\n"
    machine = Told(answers={"wmctrl": says(lines)})
    assert found(machine, "vm_window_size", app_class_name="VLC") == {"width": 1920, "height": 1080}
    assert found(machine, "vm_window_size", app_class_name="gimp") is None
    with pytest.raises(EnvironmentFailure, match="windows cannot be listed: wmctrl says not found"):
        found(Told(), "vm_window_size", app_class_name="vlc")


def test_the_wallpaper() -> None:
    answers = {"gsettings": says("'file:///home/user/my%20sea.png'\n")}
    assert found(Told({"/home/user/my sea.png": b"png"}, answers), "vm_wallpaper", dest="w.png") == Got("w.png", b"png")
    assert found(Told(answers=answers), "vm_wallpaper", dest="w.png") is None
    with pytest.raises(EnvironmentFailure, match="the wallpaper is not known"):
        found(Told(), "vm_wallpaper", dest="w.png")


def test_the_text_of_the_terminal() -> None:
    focused = 'xmlns:st="https://accessibility.ubuntu.example.org/ns/state" st:focused="true"'
    two = f"<d><terminal>one</terminal><terminal {focused}>two  \n</terminal></d>"
    assert found(Told(tree=two), "vm_terminal_output") == "two"
    assert found(Told(tree="<d><terminal>one</terminal></d>"), "vm_terminal_output") == "one"
    assert found(Told(tree="<d><terminal>one</terminal><terminal>two</terminal></d>"), "vm_terminal_output") is None
    assert found(Told(tree="<d/>"), "vm_terminal_output") is None

"""OSWorld's metrics of texts, settings, mail, the browser, images, PDF, archives and music; the table of what there is."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import numpy
import office_files as office
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from stepladder.envs.osworld import metrics
from stepladder.envs.osworld.getters import GETTERS, Got
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.metrics import METRICS, metric
from stepladder.envs.osworld.metrics.browser import same_address
from stepladder.envs.osworld.metrics.rules import holds
from stepladder.envs.osworld.metrics.similarity import ciede2000, color_difference, perceptual_hash, structural_similarity

ROOT = Path(__file__).parent.parent
#: No second argument.
NONE = object()
RNG = numpy.random.default_rng(0)


def got(text: str | bytes, name: str = "file") -> Got:
    return Got(name, text if isinstance(text, bytes) else text.encode())


BROKEN = got(b"\xff\xfe\x00no such file")


# -------------------------------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("value", "method", "ref", "expected"),
    [
        (1, "eq", 1.0, True),
        ("a", "ne", "a", False),
        (3, "ge", 3, True),
        ("3", "ge", 3, False),
        (None, "lt", 3, False),
        (True, "lt", 3, False),
        ("Anonym\nXYZ", "re", "m.X", False),
        ("Anonym\nXYZ", "re.S", "m.X", True),
        ("Dark", "re.I.S", "^dark$", True),
        (5, "re", "5", False),
        ("2.05", "approx:0.1", 2, True),
        ("two", "approx:0.1", 2, False),
        (2, "range.te", [0, 2], True),
        (0, "range.te", [0, 2], False),
        ("'a,b'", "str_list_eq", ["a", "b"], True),
        ("b,a", "str_list_eq", ["a", "b"], False),
        ("b,a", "str_set_eq", ["a", "b"], True),
        ("a", "in", ["a", "b"], True),
        ("A1", "spreadsheet_range", ["A1", "A1:B2"], False),
    ],
)
def test_rules(value: Any, method: str, ref: Any, expected: bool) -> None:
    assert holds(value, {"method": method, "ref": ref}) is expected


def test_a_rule_of_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="'near' of a rule is not known"):
        holds(1, {"method": "near", "ref": 1})


# -------------------------------------------------------------------------------------------------------------------- texts

CLOCK = "12:03:11 all\nno time\n23:59:60 all\n25:00:00 x\n"
FILTER = (
    'name="Sale"\nenabled="yes"\ntype="17"\naction="Move to folder"\nactionValue="mailbox://nobody@Local%20Folders/Promotions"\n'
    'condition="AND (subject,contains,discount) OR (from,is,\\"a (b)\\")"\nname="Rest"\nenabled="no"\ncondition="ALL"\n'
)
MAIL = "From - Thu\nX-Mozilla-Status: 0001\nSubject: a\n\nBody\n\nFrom - Fri\nX-Mozilla-Status: 0000\nSubject: b\n\nBody\n"


@pytest.mark.parametrize(
    ("name", "result", "rules", "expected"),
    [
        ("compare_answer", "a", {"expected": "a"}, 1),
        ("compare_answer", "", {"expected": ""}, 0),
        ("fuzzy_match", "Romes", {"expected": "Rome"}, 8 / 9),
        ("fuzzy_match", None, {"expected": "Rome"}, 0),
        ("is_in_list", ["a"], {"expected": "a"}, 1),
        ("is_in_list", None, {"expected": "a"}, 0),
        ("is_in_vm_clickboard", {"expected": ["a", "b"]}, "b a", 1),
        ("is_in_vm_clickboard", {"expected": "c"}, "b a", 0),
        ("is_in_vm_clickboard", {"expected": "c"}, None, 0),
        ("check_gnome_favorite_apps", "['b.desktop', 'a.desktop']", {"expected": ["a.desktop", "b.desktop"]}, 1),
        ("check_gnome_favorite_apps", "['b.desktop']", {"expected": ["a.desktop", "b.desktop"]}, 0),
        ("check_gnome_favorite_apps", "@as []", {"expected": []}, 1),
        ("check_moved_jpgs", {"children": [{"name": "a.jpg"}]}, {"expected": ["a.jpg"]}, 1),
        ("check_moved_jpgs", {"children": [{"name": "a.jpg"}, {"name": "b.jpg"}]}, {"expected": ["a.jpg"]}, 0),
        ("check_moved_jpgs", None, {"expected": []}, 0),
        ("check_line_number", got(CLOCK), {"expected": "2"}, 1),
        ("check_line_number", got(CLOCK), {"expected": "3"}, 0),
        ("file_contains", got("alpha beta"), {"expected": ["beta", "alpha"]}, 1),
        ("file_contains", got("alpha"), {"expected": ["beta", "alpha"]}, 0),
        ("compare_result_files", got("C++: 17.5 s\n"), got("17.5"), 1),
        ("compare_result_files", got("17.50001"), got("17.5"), 1),
        ("compare_result_files", got("18"), got("17.5"), 0),
        ("compare_result_files", got(" a\n"), got("a"), 1),
        ("compare_result_files", got("ab"), got("a"), 0),
        ("compare_terminal_and_txt", got("a\n"), "a\n", 1),
        ("compare_terminal_and_txt", got("a"), "b", 0),
        ("diff_text_file", got("a\nb\nc"), got("a\nb\nx"), 2 / 3),
        ("diff_text_file", None, got("a"), 0),
        ("compare_python_pure_text", got("#!/bin/x\n\nif a:\n\tb  \n"), got("if a:\n    b"), 1),
        ("compare_python_pure_text", got("if a:\n  b"), got("if a:\n    b"), 0),
        ("compare_csv", got("a,b\n1,2\n"), got("a,b\r\n1,2"), 1),
        ("compare_csv", got("a,b\n1,3\n"), [got("a,b"), got("a,b\n1,3")], 1),
        ("compare_csv", got("a,b\n1,3\n"), got("a,b"), 0),
        ("compare_csv", got("é".encode("latin-1")), got("é"), 1),
        ("check_csv", got("url,user\nx,ada\n"), {"expect": [{"user": "ada"}], "unexpect": [{"user": "bob"}]}, 1),
        ("check_csv", got("url,user\nx,ada\n"), {"unexpect": [{"url": "x", "user": "ada"}]}, 0),
        ("check_csv", got("url,user\nx,ada\n"), {"expect": [{"url": "y", "user": "ada"}]}, 0),
        ("check_direct_json_object", {"a": ["x", "y"]}, {"expected": {"a": ["y"]}, "expect_in_result": True}, 1),
        ("check_direct_json_object", {"a": "Big x"}, {"expected": {"a": "x"}, "expect_in_result": True}, 1),
        ("check_direct_json_object", {"a": None}, {"expected": {"a": "x"}, "expect_in_result": True}, 0),
        ("check_direct_json_object", {"a": ["y", "x"]}, {"expected": {"a": ["x", "y"]}}, 0),
        ("check_direct_json_object", "[1]", {"expected": {"a": 1}}, 0),
        ("check_text_enlarged", "1.25\n", NONE, 1),
        ("check_text_enlarged", "1.0", NONE, 0),
        ("check_text_enlarged", "none", NONE, 0),
        ("check_json", got("a:\n  b: [1, x]"), {"expect": [{"key": ["a", "b", 1], "method": "eq", "ref": "x"}]}, 0),
        ("check_json_keybindings", got('[{"key": "a"}]'), {"expected": {"key": "a"}}, 1),
        ("check_json_keybindings", got('// mine\n[{"key": "a"}]'), {"expected": {"key": "a"}}, 1),
        ("check_json_keybindings", got('[{"key": "b"}]'), {"expected": {"key": "a"}}, 0),
        ("check_json_keybindings", got('{"key": "a"}'), {"expected": {"key": "a"}}, 0),
        ("compare_config", got('{"a": {"b": 1, "c": 2}}'), {"expected": '{"a": {"b": 1}}'}, 1),
        ("compare_config", got('{"a": {"b": 2}}'), {"expected": '{"a": {"b": 1}}'}, 0),
        ("compare_config", got("my project\n"), {"expected": "project"}, 1),
        ("compare_config", None, {"expected": "project"}, 0),
        ("is_extension_installed", "undershell.autodocstring\n", {"type": "contain", "expected": "autodocstring"}, 1),
        ("is_extension_installed", "other", {"type": "contain", "expected": "autodocstring"}, 0),
        ("is_extension_installed", "other", {"type": "not_contain", "expected": "autodocstring"}, 1),
        ("is_included_all_json_objects", got('{"a": 1}'), got('{"a": 1, "b": 2}'), 1),
        ("is_included_all_json_objects", got('{"a": 1}'), got('{"b": 2}'), 0),
        ("check_thunderbird_prefs", got('user_pref("a.b", false);\n'), {"expect": {"a.b": {"method": "eq", "ref": False}}}, 1),
        ("check_thunderbird_prefs", got('user_pref("a.b", "x\\"y");\n'), {"unexpect": {"a.b": {"method": "re", "ref": "y"}}}, 0),
        ("check_thunderbird_prefs", got("// none\n"), {"expect": {"a.b": {"method": "eq", "ref": False}}}, 0),
        ("check_thunderbird_prefs", got("// none\n"), {"unexpect": {"a.b": {"method": "eq", "ref": False}}}, 1),
        (
            "check_thunderbird_filter",
            got(FILTER),
            {"expect": [{"enabled": "yes", "condition": ["AND (subject,contains,discount)", 'OR (from,is,"a (b)")']}]},
            1,
        ),
        ("check_thunderbird_filter", got(FILTER), {"expect": [{"name": "Rest", "condition": ["ALL"]}]}, 1),
        ("check_thunderbird_filter", got(FILTER), {"unexpect": [{"action": "Move to folder"}]}, 0),
        ("check_thunderbird_filter", got(""), {"expect": [{"name": "Rest"}]}, 0),
    ],
)
def test_metrics_of_texts(name: str, result: Any, rules: Any, expected: float) -> None:
    assert metric(name)(result, *([] if rules is NONE else [rules])) == pytest.approx(expected)


def test_options_of_texts() -> None:
    assert metric("literal_match")("Ada", "ada", ignore_case=True) == metric("literal_match")(1, "1") == 1
    assert metric("literal_match")("Ada", "ada") == metric("literal_match")(["a"], ["a", "b"], type="list") == 0
    assert metric("literal_match")(["A", 1], ["a", "1"], type="list", ignore_case=True) == 1
    assert metric("literal_match")("A", ["A"], type="list") == 0
    with pytest.raises(ValueError, match="type 'set' is not known"):
        metric("literal_match")(1, 1, type="set")
    assert metric("compare_csv")(got(" A \n"), got("a"), strict=False, ignore_case=True) == 1
    assert metric("compare_csv")(got(" a \n"), got("a")) == 0
    rules = {"expect": [{"key": ["a", "b", 1], "method": "eq", "ref": "x"}]}
    assert metric("check_json")(got("a:\n  b: [1, x]"), rules, is_yaml=True) == 1
    assert metric("check_json")(got("a: !!python/object/apply:os.getcwd []"), {"expect": []}, is_yaml=True) == 0
    assert metric("compare_config")(got('{"a":1}'), {"expected": '{"a": 1}'}, containment_ok=False) == 1
    assert metric("compare_config")(got('{"a": 1, "b": 2}'), {"expected": '{"a": 1}'}, containment_ok=False) == 0


def test_questions_to_a_database(tmp_path: Path) -> None:
    scores = []
    for journal in ("delete", "wal"):
        connection = sqlite3.connect(tmp_path / f"{journal}.sqlite")
        connection.execute(f"PRAGMA journal_mode={journal}")
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint")
        connection.close()
        file = got((tmp_path / f"{journal}.sqlite").read_bytes())
        scores += [metric("run_sqlite3")(file, {"sql": f"SELECT COUNT(*) = {count} FROM t"}) for count in (2, 3)]
    assert scores == [1, 0, 1, 0]
    assert metric("run_sqlite3")(BROKEN, {"sql": "SELECT 1 FROM t"}) == metric("run_sqlite3")(None, {"sql": "SELECT 1"}) == 0


XCU = (
    '<oor:items xmlns:oor="http://openoffice.org/2001/registry">'
    '<item oor:path="/org.openoffice.Office.Impress/Misc/Start"><prop oor:name="EnablePresenterScreen">'
    "<value>{}</value></prop></item>"
    '<item oor:path="/org.openoffice.Office.Writer/DefaultFont"><prop oor:name="Standard"><value>{}</value></prop></item>'
    '<item oor:path="/org.openoffice.Setup/L10N"><prop oor:name="ooLocale"><value>{}</value></prop></item></oor:items>'
)


def test_settings_of_libreoffice() -> None:
    right, wrong = got(XCU.format("false", "Times", "en-US")), got(XCU.format("true", "Arial", "de"))
    checks = [("check_presenter_console_disable", []), ("find_default_font", [{"font_name": "Times"}])]
    for name, rules in (*checks, ("check_libre_locale", [{"locale_set": ["en-*"]}])):
        assert [metric(name)(one, *rules) for one in (right, wrong, None, BROKEN)] == [1, 0, 0, 0]


def test_folders_of_messages() -> None:
    check = metric("check_thunderbird_folder")
    other = MAIL.replace("Thu", "Mon").replace("0001", "0003")
    assert check(got(MAIL), got(other)) == check([got(MAIL), got("")], [got(other), got("")]) == 1
    assert check(got(MAIL), got(MAIL + MAIL)) == 1
    assert check(got(MAIL), got(MAIL + MAIL), remove_duplicate=False) == 0
    assert check(got(MAIL), got(MAIL.replace("Subject: b", "Subject: c"))) == 0
    assert check(got(MAIL.replace("0001", "0008")), got("From - Fri\nSubject: b\n\nBody")) == 1
    assert check(got(MAIL.replace("0001", "0008")), got(MAIL), remove_deleted=False) == 1
    assert check(None, got(MAIL)) == check([None, None], [got(MAIL), got(MAIL)]) == 0


# ------------------------------------------------------------------------------------------------------------------ browser


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("https://www.airbnb.com", "https://airbnb.com.sg/", True),
        ("https://www.airbnb.com/x", "https://airbnb.com", False),
        ("example.org", "http://www.example.org", True),
        ("http://example.org", "https://example.org", False),
        ("https://maps.google.com", "https://google.com", False),
        ("https://a.org/?q=1", "https://a.org/?q=2", False),
        (".amazon.com", "www.amazon.co.uk", True),
        (".amazon.com", "www.amazonas.com", False),
        ("file:///home/user/a.html", "file:///home/user/b.html", False),
        ("chrome://settings/", "chrome://settings", True),
        (None, None, True),
        (None, "a.org", False),
    ],
)
def test_addresses(first: str | None, second: str | None, same: bool) -> None:
    assert same_address(first, second) is same_address(second, first) is same


TABS = [{"title": "a", "url": "https://www.a.org/"}, {"title": "b", "url": "https://b.org/x"}]


@pytest.mark.parametrize(
    ("name", "result", "rules", "expected"),
    [
        ("is_expected_active_tab", "https://a.org", {"type": "url", "url": "https://www.a.org/"}, 1),
        ("is_expected_active_tab", {"url": "https://b.org"}, {"type": "url", "url": "https://www.a.org/"}, 0),
        ("is_expected_active_tab", None, {"type": "url", "url": "https://www.a.org/"}, 0),
        ("is_expected_active_tab_approximate", "https://a.org/x?q=1", {"type": "url", "url": "https://a.org/x"}, 1),
        ("is_expected_active_tab_approximate", "https://a.org/y", {"type": "url", "url": "https://a.org/x"}, 0),
        ("is_expected_url_pattern_match", "https://a.org/x", {"expected": [r"a\.org", "/x$"]}, 1),
        ("is_expected_url_pattern_match", {"url": "https://a.org/y"}, {"expected": [r"a\.org", "/x$"]}, 0),
        ("is_expected_url_pattern_match", None, {"expected": ["x"]}, 0),
        ("is_expected_search_query", {"url": "https://a.org?q=b"}, {"expect": {"pattern": "q=b"}}, 1),
        ("is_expected_search_query", {"url": "https://a.org"}, {"expect": {"pattern": "q=b"}}, 0),
        ("is_expected_tabs", TABS, {"type": "url", "urls": ["https://b.org/x", "https://a.org"]}, 1),
        ("is_expected_tabs", TABS, {"type": "url", "urls": ["https://a.org"]}, 0),
        ("is_expected_tabs", [], {"type": "url", "urls": []}, 0),
        ("is_expected_installed_extensions", ["Zoom Chrome Extension", "b"], {"expected": ["Zoom for Google Chrome"]}, 1),
        ("is_expected_installed_extensions", ["b"], {"expected": ["a"]}, 0),
        ("is_cookie_deleted", [(1, ".b.org", "x")], {"type": "domains", "domains": [".a.org"]}, 1),
        ("is_cookie_deleted", [(1, "www.a.org", "x")], {"type": "domains", "domains": [".a.org"]}, 0),
        ("check_history_deleted", [("https://b.org", "b", 1)], {"type": "keywords", "keywords": ["youtube"]}, 1),
        ("check_history_deleted", [("https://youtube.com", "y", 1)], {"type": "keywords", "keywords": ["youtube"]}, 0),
        ("check_enabled_experiments", ["dark@1"], {"type": "names", "names": ["dark"]}, 1),
        ("check_enabled_experiments", [], {"type": "names", "names": ["dark"]}, 0),
        ("check_font_size", {"default_font_size": 16}, {"type": "value", "value": 16}, 1),
        ("check_font_size", {"default_font_size": 16}, {"type": "range", "min": 16, "max": 99}, 0),
        ("is_shortcut_on_desktop", {"a": "[Desktop Entry]\nName=play 2048\n"}, {"type": "name", "name": "Play 2048"}, 1),
        ("is_shortcut_on_desktop", {"a": "Name=\nExec=x\n"}, {"type": "name", "name": "Play 2048"}, 0),
        ("is_shortcut_on_desktop", {"a": "Exec=chrome --app-id=1\n"}, {"type": "exec", "exec": "--app-id=1"}, 1),
        ("is_added_to_steam_cart", {"content": "<p>The Soundtrack</p>"}, {"items": ["The Soundtrack"]}, 1),
        ("is_added_to_steam_cart", None, {"items": []}, 0),
    ],
)
def test_metrics_of_the_browser(name: str, result: Any, rules: Any, expected: float) -> None:
    assert metric(name)(result, rules) == expected


def test_rules_of_unknown_types_are_named() -> None:
    for name in (
        "is_expected_active_tab",
        "is_expected_tabs",
        "is_cookie_deleted",
        "check_history_deleted",
        "is_shortcut_on_desktop",
    ):
        with pytest.raises(ValueError, match="a rule of the type 'taste' is not known here"):
            metric(name)([], {"type": "taste"})


TREE = (
    '<desktop-frame xmlns:attr="https://accessibility.ubuntu.example.org/ns/attributes"><application name="Thunderbird">'
    '<page-tab-list attr:id="tabmail-tabs"><page-tab name="About Profiles">One</page-tab></page-tab-list></application>'
    '<document-frame name="{}"/></desktop-frame>'
)


def test_accessibility_trees() -> None:
    check, tree = metric("check_accessibility_tree"), TREE.format("Slides View")
    selector = 'application[name=Thunderbird] page-tab-list[attr|id="tabmail-tabs"]>page-tab[name="About Profiles"]'
    assert check(tree, [{"selectors": [selector]}, {"xpath": "//page-tab[contains(@name, 'About')]"}]) == 1
    assert check(tree, [{"selectors": [selector]}, {"xpath": "//page-tab[@name='Other']"}]) == 0
    assert check(tree, [{"selectors": [selector], "text": "One", "exact": True}]) == 1
    assert check(tree, [{"selectors": [selector], "text": "Ones", "exact": True}]) == 0
    assert check(tree, [{"selectors": [selector], "text": "Ones", "exact": False}]) == pytest.approx(6 / 7)
    assert metric("check_left_panel")(tree) == 1
    assert metric("check_left_panel")(TREE.format("Other")) == 0


def test_web_pages() -> None:
    compare = metric("compare_htmls")
    first, second = "<p sdnum='1'>a <b>b</b></p>", "<p sdnum='2'>a <b>b</b></p>"
    assert compare(got(first), got(first)) == compare(got(first), got(second), ignore_sdnum=True) == 1
    assert compare(got(first), got(second)) == compare(got("<p>a <i>b</i></p>"), got("<p>a <b>b</b></p>")) == 0
    assert compare(got("<p>a</p>"), got("<p>b</p>")) == compare(None, got(first)) == compare(BROKEN, got(first)) == 0


STATUS = '<root><state>{}</state><information><category name="meta"><info name="filename">{}</info></category></information></root>'


def test_what_vlc_plays() -> None:
    check, file = metric("is_vlc_playing"), {"type": "file_name", "file_name": "a.mp4"}
    assert [check(got(STATUS.format(state, "a.mp4")), file) for state in ("playing", "paused")] == [1, 0]
    assert check(got(STATUS.format("playing", "b.mp4")), file) == check(None, file) == check(BROKEN, file) == 0
    url = {"type": "url", "url": "https://example.org/a/master.m3u8"}
    assert check(got(STATUS.format("playing", "master.m3u8")), url) == 1
    assert check(got(STATUS.format("playing", "https://example.org/x/a/master.m3u8/1")), url) == 1
    assert check(got(STATUS.format("playing", "https://other.org/a/master.m3u8")), url) == 0
    full = metric("is_vlc_fullscreen")
    assert full({"width": 1, "height": 2}, {"width": 1, "height": 2}) == 1
    assert full({"width": 1, "height": 1}, {"width": 1, "height": 2}) == full({"width": 1, "height": 2}, None) == 0


# ------------------------------------------------------------------------------------------------------------------- images


def test_structural_similarity_is_that_of_the_paper() -> None:
    first = RNG.integers(0, 256, (20, 30), dtype=numpy.uint8)
    second = numpy.clip(first + RNG.normal(0, 20, first.shape), 0, 255).astype(numpy.uint8)
    scores = []
    for row in range(20 - 6):
        for column in range(30 - 6):
            x, y = (one[row : row + 7, column : column + 7].astype(float).ravel() for one in (first, second))
            covariance = numpy.cov(x, y)
            upper = (2 * x.mean() * y.mean() + 6.5025) * (2 * covariance[0, 1] + 58.5225)
            scores.append(upper / ((x.mean() ** 2 + y.mean() ** 2 + 6.5025) * (covariance[0, 0] + covariance[1, 1] + 58.5225)))
    assert structural_similarity(first, second) == pytest.approx(numpy.mean(scores))
    with pytest.raises(ValueError, match="need one size"):
        structural_similarity(first, first[1:])
    with pytest.raises(ValueError, match="smaller than the window"):
        structural_similarity(first[:5], first[:5])


@settings(max_examples=20, deadline=None)
@given(st.integers(7, 20), st.integers(7, 20), st.integers(0, 2**31))
def test_an_image_is_as_alike_to_itself_as_can_be(width: int, height: int, seed: int) -> None:
    pixels = numpy.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=numpy.uint8)
    picture = office.image(Image.fromarray(pixels))
    assert structural_similarity(pixels, pixels) == pytest.approx(1)
    assert metric("compare_images")(picture, picture) == pytest.approx(1)
    for name in ("compare_image_list", "check_structure_sim", "check_structure_sim_resized", "check_file_exists_and_structure_sim"):
        assert metric(name)(picture, picture) == 1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_differences_of_colours_are_those_of_the_paper(first: Any, second: Any, expected: float) -> None:
    assert ciede2000(first, second) == pytest.approx(expected, abs=1e-4)
    assert ciede2000(second, first) == pytest.approx(expected, abs=1e-4)


def test_differences_of_red_green_and_blue() -> None:
    assert color_difference((9, 99, 199), (9, 99, 199)) == 0
    assert color_difference((0, 0, 0), (255, 255, 255)) == pytest.approx(100, abs=0.01)
    assert color_difference((255, 0, 0), (0, 0, 255)) == pytest.approx(52.88, abs=0.01)


def test_perceptual_hashes_stay_where_images_look_the_same() -> None:
    plain = Image.fromarray(RNG.integers(0, 256, (6, 6), dtype=numpy.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    softer, other = plain.resize((80, 80)), plain.rotate(90)
    differing = [int((perceptual_hash(plain) != perceptual_hash(one)).sum()) for one in (plain, softer, other)]
    assert differing[0] == 0
    assert differing[1] <= 5 < differing[2]


SCENE = office.scene()
GREY = SCENE.convert("L").convert("RGB")
NOISE = Image.fromarray(RNG.integers(0, 256, (48, 64, 3), dtype=numpy.uint8))


def contrasted(factor: float) -> Image.Image:
    return ImageEnhance.Contrast(SCENE).enhance(factor)


def saturated(factor: float) -> Image.Image:
    return ImageEnhance.Color(SCENE).enhance(factor)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "before"),
    [
        ("check_brightness_decrease_and_structure_sim", office.scene(strength=0.6), office.scene(strength=1.1), SCENE),
        ("check_brightness_decrease_and_structure_sim", office.scene(strength=0.6), Image.new("RGB", SCENE.size, (9, 9, 9)), NOISE),
        ("check_contrast_increase_and_structure_sim", contrasted(1.4), contrasted(0.6), SCENE),
        ("check_contrast_increase_and_structure_sim", contrasted(1.4), NOISE, SCENE),
        ("check_structure_sim", SCENE, NOISE, SCENE),
        ("check_structure_sim", SCENE, SCENE.resize((32, 24)), SCENE),
        ("check_file_exists_and_structure_sim", SCENE, NOISE, SCENE),
        ("check_structure_sim_with_threshold", SCENE.resize((128, 96)), NOISE, SCENE),
        ("check_structure_sim_resized", SCENE.resize((128, 96)), NOISE, SCENE),
        ("check_palette_and_structure_sim", SCENE.quantize(200), SCENE, SCENE),
        ("check_palette_and_structure_sim", SCENE.quantize(200), NOISE.quantize(200), SCENE),
        ("check_image_mirror", SCENE.transpose(Image.Transpose.FLIP_LEFT_RIGHT), SCENE, SCENE),
        ("compare_image_list", SCENE, NOISE, SCENE),
        ("compare_image_list", SCENE.convert("RGBA"), NOISE.convert("RGBA"), SCENE.convert("RGBA")),
        ("check_sharper", SCENE, SCENE.filter(ImageFilter.GaussianBlur(3)), SCENE.filter(ImageFilter.GaussianBlur(1))),
    ],
)
def test_changes_of_images(name: str, right: Image.Image, wrong: Image.Image, before: Image.Image) -> None:
    if name == "check_brightness_decrease_and_structure_sim" and before is NOISE:
        before, right = SCENE, office.scene(strength=0.6)
        wrong = ImageEnhance.Brightness(NOISE).enhance(0.3)
    found = [metric(name)(office.image(one), office.image(before)) for one in (right, wrong)]
    assert found == [1, 0]
    assert metric(name)(None, office.image(before)) == metric(name)(BROKEN, office.image(before)) == 0
    with pytest.raises(ValueError, match="to compare with cannot be read"):
        metric(name)(office.image(right), BROKEN)


def test_saturation_may_rise_and_hue_may_not_change() -> None:
    check = metric("check_saturation_increase_and_structure_sim")
    picture = Image.new("RGB", (64, 48))
    draw = ImageDraw.Draw(picture)
    for place in range(8):
        draw.rectangle((place * 8, 0, place * 8 + 7, 47), (200, 140 - 4 * place, 120))
    stronger = picture.convert("HSV")
    hue, saturation, value = stronger.split()
    stronger = Image.merge("HSV", (hue, saturation.point([min(255, int(one * 1.5)) for one in range(256)]), value)).convert("RGB")
    assert check(office.image(stronger), office.image(picture)) == 1
    assert check(office.image(picture), office.image(stronger)) == check(office.image(NOISE), office.image(picture)) == 0
    assert metric("increase_saturation")(office.image(picture), office.image(stronger)) == 1
    assert metric("increase_saturation")(office.image(stronger), office.image(picture)) == 0
    assert metric("decrease_brightness")(office.image(SCENE), office.image(office.scene(strength=0.5))) == 1
    assert metric("decrease_brightness")(office.image(office.scene(strength=0.5)), office.image(SCENE)) == 0


def test_images_are_as_much_the_same_as_they_are_alike() -> None:
    compare = metric("compare_images")
    score = compare(office.image(contrasted(1.3)), office.image(SCENE))
    assert 0.5 < score < 1
    assert compare(office.image(contrasted(1.3)), office.image(SCENE), reference_base_result=0.5) == pytest.approx(
        (score - 0.5) / 0.5
    )
    assert compare(office.image(NOISE), office.image(SCENE), reference_base_result=0.5) == 0
    assert compare(office.image(SCENE.resize((128, 96))), office.image(SCENE)) > 0.9
    assert compare(None, office.image(SCENE)) == compare(office.image(SCENE.resize((3, 3))), office.image(SCENE)) == 0


def test_lists_of_images() -> None:
    compare, one, other = metric("compare_image_list"), office.image(SCENE), office.image(NOISE)
    assert compare([one, other], [one, other]) == 1
    assert compare([other, one], [one, other]) == compare([one], [one, other]) == compare([one, None], [one, other]) == 0


def framed(width: int = 40, height: int = 30) -> Image.Image:
    """The scene within a transparent frame."""
    picture = Image.new("RGBA", (80, 60), (0, 0, 0, 0))
    picture.paste(SCENE.resize((width, height)).convert("RGBA"), (9, 9))
    return picture


def test_sizes_of_images() -> None:
    check = metric("check_image_size")
    assert check(office.image(SCENE), {"width": 64, "height": 48}) == check(office.image(SCENE), {"height": 48}) == 1
    assert check(office.image(SCENE), {"width": 63}) == check(None, {"width": 64}) == check(BROKEN, {"width": 64}) == 0
    assert check(office.image(framed()), {"height": 30, "ignore_transparent": True}) == 1
    assert check(office.image(framed()), {"height": 30}) == 0
    assert check(office.image(Image.new("RGBA", (8, 8))), {"height": 8, "ignore_transparent": True}) == 0
    assert metric("check_image_file_size")(office.image(SCENE), {"max_size": 99_999}) == 1
    assert metric("check_image_file_size")(office.image(SCENE), {"max_size": 9}) == 0
    assert metric("check_structure_sim_resized")(office.image(framed(64, 48)), office.image(SCENE)) == 1
    assert metric("check_structure_sim_resized")(office.image(Image.new("RGBA", (64, 48))), office.image(SCENE)) == 0


def triangle(left: int) -> Image.Image:
    picture = Image.new("RGB", (100, 100), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    draw.polygon([(left, 60), (left + 20, 60), (left + 10, 40)], (255, 255, 0))
    draw.point([(0, 0), (1, 1)], (0, 0, 0))
    return picture


def test_what_is_where_in_an_image() -> None:
    check = metric("check_triangle_position")
    assert [check(office.image(triangle(left))) for left in (40, 5)] == [1, 0]
    assert check(office.image(Image.new("RGB", (9, 9)))) == check(None) == check(BROKEN) == 0
    left = metric("check_textbox_on_leftside")

    def text(place: int) -> Got:
        picture = Image.new("RGB", (100, 20), "white")
        ImageDraw.Draw(picture).rectangle((place, 5, place + 20, 9), "black")
        return office.image(picture)

    assert [left(one) for one in (text(3), text(20), office.image(Image.new("RGB", (9, 9), "white")), None)] == [1, 0, 0, 0]
    green, wanted = Image.new("RGB", (20, 10), (0, 200, 0)), Image.new("RGB", (20, 10), "white")
    ImageDraw.Draw(green).rectangle((5, 2, 9, 6), (200, 0, 0))
    ImageDraw.Draw(wanted).rectangle((5, 2, 9, 6), (0, 0, 0))
    background = metric("check_green_background")
    assert background(office.image(green), office.image(wanted)) == 1
    assert background(office.image(Image.new("RGB", (20, 10), "white")), office.image(wanted)) == 0
    assert background(office.image(green.resize((10, 10))), office.image(wanted)) == background(None, office.image(wanted)) == 0


# --------------------------------------------------------------------------------------------------- PDF, archives, music


def test_texts_of_pdf() -> None:
    compare = metric("compare_pdfs")
    assert compare(office.pdf("Hello world"), office.pdf("Hello world")) == 1
    assert compare(office.pdf("Hello"), office.pdf("Hello world")) == pytest.approx(10 / 16)
    assert compare([office.pdf("a b"), None], [office.pdf("a b"), office.pdf("c d")]) == 0.5
    assert compare(None, office.pdf("a")) == compare(BROKEN, office.pdf("a")) == compare(office.pdf("a"), None) == 0
    pages = metric("check_pdf_pages")
    assert (
        pages(office.pdf("a", "b"), {"relation": "eq", "ref_value": 2})
        == pages(office.pdf("a"), {"relation": "lt", "ref_value": 2})
        == 1
    )
    assert pages(office.pdf("a"), {"relation": "eq", "ref_value": 2}) == pages(BROKEN, {"relation": "lt", "ref_value": 2}) == 0
    with pytest.raises(ValueError, match="relation 'near' is not known"):
        pages(office.pdf("a"), {"relation": "near", "ref_value": 2})
    included = metric("is_gold_text_included_in_pdf")
    assert included(office.pdf("Hello world"), got(json.dumps({"a": "Hello", "b": "world"}))) == 1
    assert included(office.pdf("Hello"), got(json.dumps({"a": "Hello", "b": "world"}))) == 0


def test_images_of_pdf() -> None:
    compare, one, other = metric("compare_pdf_images"), office.scene(96, 96), office.scene(96, 96).rotate(90)
    assert compare(office.image(one, "PDF"), office.image(one, "PDF")) == 1
    assert compare(office.image(other, "PDF"), office.image(one, "PDF")) == compare(office.pdf("a"), office.image(one, "PDF")) == 0
    assert compare(office.pdf("a"), office.pdf("b")) == 1
    assert compare(None, office.pdf("b")) == compare(BROKEN, office.pdf("b")) == 0


def tar(files: dict[str, bytes]) -> Got:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return Got("a.tar.gz", file.getvalue())


def test_archives_are_compared_file_by_file() -> None:
    compare = metric("compare_archive")
    first, second = {"d/a.txt": b"one", "d/b.txt": b"two"}, {"d/a.txt": b"one", "d/b.txt": b"six"}
    assert compare(office.zip_file(first), tar(first), file_path="d") == 1  # type: ignore[arg-type]
    assert compare(office.zip_file(second), tar(first), file_path="d") == 0.5  # type: ignore[arg-type]
    assert compare(tar({"d/a.txt": b"one"}), tar(first), file_path="d") == compare(tar(first), tar(first)) == 0
    assert compare(tar({"a.txt": b"A"}), tar({"a.txt": b"a"}), file_type="text", ignore_case=True) == 1
    assert compare(tar({"a.pdf": office.pdf("x y").content}), tar({"a.pdf": office.pdf("x y").content}), file_type="pdf") == 1
    assert compare(None, tar(first)) == compare(BROKEN, tar(first)) == 0
    with pytest.raises(ValueError, match="type 'dream' are not compared here"):
        compare(tar(first), tar(first), file_type="dream")


def test_an_archive_that_grows_without_end_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepladder.envs.osworld.metrics.archives.LARGEST", 1000)
    big = {"a.txt": b"0" * 2000}
    for made in (office.zip_file(big), tar(big)):  # type: ignore[arg-type]
        assert metric("compare_archive")(made, tar({"a.txt": b"0"})) == 0
    assert metric("compare_zip_files")(office.zip_file(big), office.zip_file({"a.txt": b"0"})) == 0  # type: ignore[arg-type]


def test_zip_files() -> None:
    compare, plain = metric("compare_zip_files"), office.zip_file({"a.txt": "x", "b.pdf": office.pdf("Hello world").content})
    assert compare(plain, plain) == 1
    retold = office.zip_file({"a.txt": "x", "b.pdf": office.pdf("Hello world").content + b"\n"})
    assert compare(retold, plain) == 1
    assert compare(office.zip_file({"a.txt": "y", "b.pdf": office.pdf("Hello world").content}), plain) == 0
    assert compare(office.zip_file({"a.txt": "x", "b.pdf": office.pdf("Bye").content}), plain) == 0
    assert compare(office.zip_file({"a.txt": "x"}), plain) == compare(None, plain) == compare(BROKEN, plain) == 0


def test_books() -> None:
    def book(text: str, identifier: str = "1") -> Got:
        page = f"<html><body><p>{text}</p><p>Same</p></body></html>"
        return office.zip_file(
            {"content.opf": f"<dc:identifier>{identifier}\n<a/>", "toc.ncx": "<x/>", "1.html": page, "i.png": "x"}
        )

    compare = metric("compare_epub")
    assert compare(book("One", "1"), book("One", "2")) == 1
    assert 0.5 < compare(book("One"), book("Two")) < 1
    assert compare(None, book("a")) == compare(BROKEN, book("a")) == compare(office.zip_file({"i.png": "x"}), book("a")) == 0


def id3(version: int = 3, **texts: str) -> Got:
    """An MP3's tag with frames by their names, in UTF-16."""
    body = b""
    for name, text in texts.items():
        content = b"\x01" + text.encode("utf-16") + b"\0\0"
        if version == 2:
            body += name.encode() + len(content).to_bytes(3, "big") + content
        else:
            body += name.encode() + len(content).to_bytes(4, "big") + b"\0\0" + content
    size = len(body) + 64
    return got(b"ID3" + bytes([version, 0, 0, 0, 0, size >> 7, size & 127]) + body + b"\0" * 64 + b"\xff\xfb")


def test_tags_of_music() -> None:
    check = metric("check_mp3_meta")
    rules = {"title": {"method": "eq", "ref": "Missing You"}, "artist": {"method": "eq", "ref": "Cheng Xiang"}}
    for version in (3, 4):
        assert check(id3(version, TIT2="Missing You", TPE1="Cheng Xiang"), rules) == 1
    assert check(id3(2, TT2="Missing You", TP1="Cheng Xiang"), rules) == 1
    assert check(id3(TIT2="Missing You"), rules) == check(None, rules) == check(BROKEN, rules) == 0
    assert check(id3(TIT2="a"), {"album": {"method": "eq", "ref": ""}}) == 1
    with pytest.raises(ValueError, match="the tag 'taste' is not known"):
        check(id3(TIT2="a"), {"taste": {"method": "eq", "ref": ""}})


# ----------------------------------------------------------------------------------------------------------- what there is


def test_every_metric_of_the_table_is_there() -> None:
    assert all(callable(metric(name)) for name in METRICS)
    with pytest.raises(Lacks, match="metric compare_dreams"):
        metric("compare_dreams")


def test_a_package_that_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, table: Any, what: str) -> Any:
        raise ModuleNotFoundError("No module named 'pypdf'", name="pypdf")

    monkeypatch.setattr(metrics.plugins, "load", absent)
    with pytest.raises(Lacks, match=r"package pypdf \(the metric compare_pdfs needs it: pip install stepladder\[osworld\]"):
        metric("compare_pdfs")


def of_table(heading: str) -> tuple[set[str], set[str]]:
    """The names that a section of docs/osworld.md says are there, and those that are not."""
    text = (ROOT / "docs" / "osworld.md").read_text()
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert section, f"docs/osworld.md has no section {heading!r}"
    there, _, lacking = section.partition("Not there")
    return set(re.findall(r"`(\w+)`", there)), set(re.findall(r"`(\w+)`", lacking))


@pytest.mark.parametrize(("heading", "held"), [("Metrics", METRICS), ("Getters", GETTERS)])
def test_the_document_names_all_that_is_there_and_nothing_else(heading: str, held: dict[str, Any]) -> None:
    there, lacking = of_table(heading)
    assert there == set(held)
    assert not lacking & set(held)

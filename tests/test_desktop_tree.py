"""Accessibility trees become elements and XML whatever is in them; the frame file is read as it was written."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.envs.desktop.framebuffer import FrameBuffer
from stepladder.envs.desktop.tree import NAMESPACES, elements, osworld_xml
from stepladder.interfaces import EnvironmentFailure

ROLES = ("desktop frame", "application", "frame", "panel", "push button", "text", "password text", "2nd role", "☃", "")


@st.composite
def trees(draw: st.DrawFn) -> list[dict[str, Any]]:
    count = draw(st.integers(1, 12))
    nodes = []
    for place in range(count):
        box = draw(st.none() | st.tuples(*[st.integers(-50, 2000)] * 2, *[st.integers(1, 2000)] * 2))
        nodes.append(
            {
                "parent": -1 if place == 0 else draw(st.integers(0, place - 1)),
                "role": draw(st.sampled_from(ROLES)),
                "name": draw(st.text(max_size=8)),
                "states": draw(st.lists(st.sampled_from(["focused", "sensitive", "checked", "showing"]), unique=True)),
                "box": box,
                "text": draw(st.text(max_size=8)),
                "value": draw(st.none() | st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3)),
            }
        )
    return nodes


@given(trees())
def test_xml_has_every_node_where_it_hangs(nodes: list[dict[str, Any]]) -> None:
    root = ElementTree.fromstring(osworld_xml(nodes))
    assert root.tag == "desktop-frame"
    assert len(list(root.iter())) == len(nodes)
    children: dict[int, list[int]] = {}
    for place, node in enumerate(nodes[1:], 1):
        children.setdefault(node["parent"], []).append(place)

    def compare(element: ElementTree.Element, place: int) -> None:
        node = nodes[place]
        told = element.get(f"{{{NAMESPACES['cp']}}}screencoord")
        assert told == (None if node["box"] is None else f"({node['box'][0]}, {node['box'][1]})")
        assert {name for name in element.attrib if NAMESPACES["st"] in name} == {
            f"{{{NAMESPACES['st']}}}{state}" for state in node["states"]
        }
        for child, at in zip(element, children.get(place, []), strict=True):
            compare(child, at)

    compare(root, 0)


@given(trees())
def test_elements_are_on_the_screen_and_hang_below_an_earlier_one(nodes: list[dict[str, Any]]) -> None:
    found = elements(nodes)
    for place, element in enumerate(found):
        assert -1 <= element.parent < place
        assert element.box is not None
        assert element.name or element.value or "button" in element.role or "text" in element.role
    wanted = [node for node in nodes if node["box"] is not None and node["name"] and node["role"] not in ROLES[:2]]
    assert len(found) >= len(wanted)


def test_states_and_values_are_told() -> None:
    base = {"parent": 0, "box": [1, 2, 30, 40], "text": "", "value": None, "states": []}
    root = {**base, "parent": -1, "role": "desktop frame", "name": "main", "box": None}
    button = {**base, "role": "push button", "name": "Save", "states": ["focused"]}
    secret = {**base, "role": "password text", "name": "", "text": "***", "states": ["sensitive"]}
    slider = {**base, "role": "slider", "name": "Volume", "value": (3.0, 0.0, 10.0), "states": ["sensitive"]}
    found = elements([root, button, secret, slider])
    assert [one.states for one in found] == [("focused", "disabled"), ("password",), ()]
    assert [one.value for one in found] == ["", "***", "3"]
    assert found[0].box == (1, 2, 30, 40)


def frame_file(path: Path, pixels: np.ndarray, spare: int = 0) -> Path:
    """An X window dump as Xvfb keeps it: a header, a name, colours, then lines with `spare` bytes more than their pixels."""
    height, width, _ = pixels.shape
    header = [0] * 25
    header[0], header[4], header[5], header[11], header[12], header[19] = 160, width, height, 32, width * 4 + spare, 2
    lines = np.zeros((height, width * 4 + spare), np.uint8)
    lines[:, : width * 4].reshape(height, width, 4)[..., 2::-1] = pixels
    path.write_bytes(struct.pack(">25I", *header) + b"\0" * 60 + b"\0" * 24 + lines.tobytes())
    return path


@pytest.mark.parametrize("spare", [0, 12])
def test_the_frame_file_is_read_as_red_green_blue(tmp_path: Path, spare: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    frames = FrameBuffer(str(frame_file(tmp_path / "frame", pixels, spare)))
    assert (frames.width, frames.height) == (7, 5)
    np.testing.assert_array_equal(frames.pixels(), pixels)
    frames.close()
    with pytest.raises(EnvironmentFailure, match="closed"):
        frames.pixels()


def test_a_frame_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="cannot be read"):
        FrameBuffer(str(tmp_path / "missing"))
    (tmp_path / "short").write_bytes(b"\0" * 200)
    with pytest.raises(EnvironmentFailure, match="bits a pixel"):
        FrameBuffer(str(tmp_path / "short"))

"""Places as models write them, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from stepladder.agents.coordinates import (
    AbsoluteCoordinates,
    Coordinates,
    DisplayCoordinates,
    RelativeCoordinates,
    ResizedCoordinates,
    UnitCoordinates,
    resized,
)

CODECS: dict[str, Coordinates] = {
    "0 to 1000": RelativeCoordinates(),
    "0 to 999": RelativeCoordinates(999),
    "0 to 1": UnitCoordinates(),
    "pixels": AbsoluteCoordinates(),
    "Qwen2.5-VL": ResizedCoordinates(),
    "UI-TARS 1.5": ResizedCoordinates(28, 100 * 28 * 28, 16384 * 28 * 28),
    "Qwen3-VL, absolute": ResizedCoordinates(32, 65536, 13_107_200),
    "a display": DisplayCoordinates(),
    "a small display": DisplayCoordinates(300, 200),
}
sizes = st.integers(20, 4000)


@pytest.mark.parametrize("name", CODECS)
@given(width=sizes, height=sizes, share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_place_comes_back(name: str, width: int, height: int, share: tuple[float, float]) -> None:
    codec = CODECS[name]
    x, y = share[0] * (width - 1), share[1] * (height - 1)
    written = codec.encode(x, y, width, height)
    back = codec.decode(*written, width, height)
    for found, place, allowed, size in zip(back, (x, y), codec.tolerance(width, height), (width, height), strict=True):
        assert 0 <= found <= size - 1
        assert abs(found - place) <= allowed + 1e-9
    again = codec.encode(*back, width, height)
    assert codec.decode(*again, width, height) == pytest.approx(back, abs=1e-6 + max(codec.tolerance(width, height)))


@pytest.mark.parametrize("name", CODECS)
@given(x=st.floats(-1e9, 1e9), y=st.floats(-1e9, 1e9))
def test_no_place_lies_outside(name: str, x: float, y: float) -> None:
    found = CODECS[name].decode(x, y, 640, 480)
    assert 0 <= found[0] <= 639
    assert 0 <= found[1] <= 479


@given(sizes, sizes, st.sampled_from([28, 32]), st.sampled_from([(3136, 1_003_520), (65536, 13_107_200), (78_400, 12_845_056)]))
def test_pictures_are_resized_as_transformers_does(width: int, height: int, factor: int, pixels: tuple[int, int]) -> None:
    assert resized(width, height, factor, *pixels) == smart_resize(height, width, factor, *pixels)[::-1]


def test_known_sizes() -> None:
    assert ResizedCoordinates().size(1920, 1080) == (1316, 728)
    assert resized(1920, 1080, 28, 3136, 12_845_056) == (1932, 1092)
    assert resized(1920, 1080, 32, 65536, 13_107_200) == (1920, 1088)
    with pytest.raises(ValueError, match="200 times"):
        resized(10, 4000, 28, 1, 10**9)


def test_the_two_scales_differ_at_the_edge() -> None:
    assert RelativeCoordinates(1000).decode(999, 0, 1920, 1080)[0] == pytest.approx(1918.08)
    assert RelativeCoordinates(999).decode(999, 0, 1920, 1080)[0] == 1919
    assert UnitCoordinates().encode(1866.6, 0, 1920, 1080)[0] == 0.9722

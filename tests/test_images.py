"""Pictures by content: stored once, found again by any process, nothing accepted that is no picture."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stepladder.drawing import FlatPngEncoder
from stepladder.images import LARGEST_SIDE, ImageStore, decode, difference_hash, encode_png, hamming_distance
from stepladder.types import ImageRef

HEX = st.text("0123456789abcdef", min_size=16, max_size=16)


def picture(seed: int, width: int = 20, height: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("root", [True, False])
def test_a_picture_is_named_by_its_content_and_comes_back(tmp_path: Path, root: bool) -> None:
    store = ImageStore(tmp_path if root else None)
    pixels = picture(1)
    ref = store.put_pixels(pixels)
    data = store.get(ref)
    assert ref == ImageRef(hashlib.sha256(data).hexdigest(), 20, 12)
    assert ref in store
    assert np.array_equal(store.load(ref), pixels)
    assert store.put(data) == ref
    assert ImageRef("0" * 64, 20, 12) not in store
    with pytest.raises(KeyError, match=r"picture 000000000000 \(20x12\) is not in"):
        store.get(ImageRef("0" * 64, 20, 12))


def test_another_store_on_the_same_folder_finds_it(tmp_path: Path) -> None:
    ref = ImageStore(tmp_path / "images").put_pixels(picture(2))
    again = ImageStore(tmp_path / "images")
    assert ref in again
    assert np.array_equal(again.load(ref), picture(2))
    assert [path.name for path in tmp_path.rglob("*.png")] == [f"{ref.sha256}.png"]


def test_a_picture_that_is_not_to_be_kept_stays_in_memory(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    ref = store.put(encode_png(picture(3)), persist=False)
    assert ref in store
    assert ref not in ImageStore(tmp_path)
    assert list(tmp_path.rglob("*.png")) == []


def test_many_threads_store_the_same_pictures_once(tmp_path: Path) -> None:
    stores = [ImageStore(tmp_path) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(lambda number: stores[number % 2].put_pixels(picture(number % 5)), range(100)))
    assert len(set(refs)) == 5
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted({f"{ref.sha256}.png" for ref in refs}), "no temporary file is left behind"
    for number, ref in enumerate(refs):
        assert np.array_equal(decode(ImageStore(tmp_path).get(ref)), picture(number % 5))


def test_few_decoded_pictures_are_kept() -> None:
    store = ImageStore(cache=2)
    refs = [store.put_pixels(picture(number)) for number in range(4)]
    first = store.load(refs[0])
    assert store.load(refs[0]) is first
    for ref in refs[1:]:
        store.load(ref)
    assert store.load(refs[0]) is not first


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_other_encodings_are_pictures_too(kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(4)).save(buffer, kind)
    ref = ImageStore().put(buffer.getvalue())
    assert (ref.width, ref.height) == (20, 12)


def test_our_own_encoder_makes_pictures() -> None:
    ref = ImageStore().put(FlatPngEncoder().encode(np.zeros((8, 9, 3), np.uint8)))
    assert (ref.width, ref.height) == (9, 8)


def sized(width: int, height: int) -> bytes:
    data = encode_png(picture(5))
    return data[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[24:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a picture"),
        (b"<html></html>", "not a picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "not a picture"),
        (encode_png(picture(5))[:-1], "without its end"),
        (encode_png(picture(5))[:40], "without its end"),
        (sized(0, 5), "of 0 x 5 pixels"),
        (sized(5, LARGEST_SIDE + 1), f"each side must be 1 to {LARGEST_SIDE}"),
    ],
)
def test_what_is_no_picture_is_refused_and_not_stored(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageStore(tmp_path).put(data)
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=60))
def test_bytes_after_a_signature_are_no_picture(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a picture"):
        ImageStore().put(b"\x89PNG\r\n\x1a\n" + data)


@given(HEX, HEX, HEX)
def test_hamming_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert hamming_distance(a, a) == 0
    assert hamming_distance(a, b) == hamming_distance(b, a)
    assert (hamming_distance(a, b) == 0) == (a == b)
    assert hamming_distance(a, c) <= hamming_distance(a, b) + hamming_distance(b, c)
    assert 0 <= hamming_distance(a, b) <= 64


def test_hashes_of_different_lengths_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="hashes of 2 and 4 hex digits"):
        hamming_distance("ab", "abcd")


@given(st.integers(0, 1000), st.integers(9, 60), st.integers(9, 60))
def test_the_hash_sees_differences_of_brightness_and_not_brightness(seed: int, width: int, height: int) -> None:
    pixels = picture(seed, width, height) // 2
    code = difference_hash(pixels)
    assert len(code) == 16
    assert difference_hash(pixels.copy()) == code
    assert hamming_distance(code, difference_hash(np.full_like(pixels, 90))) == int(code, 16).bit_count()
    assert int(difference_hash(np.full_like(pixels, 90)), 16) == 0


@given(st.integers(0, 1000))
def test_screens_that_look_alike_have_hashes_that_are(seed: int) -> None:
    generator = np.random.default_rng(seed)
    blocks = np.kron(generator.integers(0, 256, (8, 9), dtype=np.uint8), np.ones((20, 20), np.uint8))
    pixels = np.repeat(blocks[:, :, None], 3, axis=2)
    touched = pixels.copy()
    touched[:4, :4] = 255  # a cursor
    assert hamming_distance(difference_hash(pixels), difference_hash(touched)) <= 2
    assert hamming_distance(difference_hash(pixels), difference_hash(255 - pixels)) >= 48

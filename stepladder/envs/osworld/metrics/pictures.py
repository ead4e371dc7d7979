"""Metrics of images: brightness, saturation, contrast, sizes, and whether what they show is still the same."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy
import scipy.ndimage
from PIL import Image, ImageChops, ImageStat

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.reading import both, left, listed, reference
from stepladder.envs.osworld.metrics.similarity import WINDOW, structural_similarity

_BACKGROUND_SHARE = 0.05  # of width and height: how far from the middle, or from the left edge, is still there
_LAPLACE = numpy.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])


def compare_images(result: Got | None, expected: Got | None, **options: Any) -> float:
    """The structural similarity of two images in grey, at the smaller one's size. With `reference_base_result`, what the image
    from before has, it is 0 up to there and 1 when they are the same."""
    pair = _pair(result, expected)
    if pair is None:
        return 0.0
    size = min(pair[0].size, pair[1].size)
    if min(size) < WINDOW:
        return 0.0
    first, second = (numpy.asarray(one.convert("L").resize(size, Image.Resampling.LANCZOS)) for one in pair)
    score, base = structural_similarity(first, second), options.get("reference_base_result")
    if base is None:
        return score
    return (score - base) / (1 - base) if score >= base + 0.01 else 0.0


def compare_image_list(result: Any, expected: Any) -> float:
    """Every image the same as the one at its place, pixel by pixel, at the latter's size."""
    found, wanted = listed(result), listed(expected)
    return float(len(found) >= len(wanted) and all(_same_pixels(one, other) for one, other in zip(found, wanted, strict=False)))


def _same_pixels(result: Got | None, expected: Got | None) -> bool:
    pair = _pair(result, expected)
    if pair is None:
        return False
    found, wanted = pair
    found = found if found.size == wanted.size else found.resize(wanted.size, Image.Resampling.LANCZOS)
    return ImageChops.difference(found.convert("RGBA"), wanted.convert("RGBA")).getbbox(alpha_only=False) is None


# ---------------------------------------------------------------------------------- changes that leave what an image shows


def check_brightness_decrease_and_structure_sim(result: Got | None, expected: Got | None, threshold: float = 0.03) -> float:
    """Darker than the other image, and the same at one brightness: the mean of the squared differences is below `threshold`."""
    pair = _pair(result, expected)
    if pair is None:
        return 0.0
    darker = _brightness(pair[0]) < _brightness(pair[1])
    first, second = (_at_one_brightness(one) for one in pair)
    first = first if first.size == second.size else first.resize(second.size, Image.Resampling.LANCZOS)
    one, other = (numpy.asarray(image.convert("RGB"), dtype=numpy.float64) / 255 for image in (first, second))
    return float(darker and ((one - other) ** 2).mean() < threshold)


def check_saturation_increase_and_structure_sim(result: Got | None, expected: Got | None) -> float:
    """More saturated than the other image, with the same hues and brightness."""
    pair = _pair(result, expected)
    if pair is None:
        return 0.0
    first, second = (_hsv(one).split() for one in pair)
    more = _mean(first[1]) > _mean(second[1])
    return float(more and all(_alike(first[place], second[place]) for place in (0, 2)))


def check_contrast_increase_and_structure_sim(result: Got | None, expected: Got | None) -> float:
    """Of more contrast than the other image, whose structure is 65 % alike."""
    pair = _pair(result, expected)
    if pair is None:
        return 0.0
    first, second = (float(numpy.asarray(one, dtype=numpy.float64).std()) for one in pair)
    return float(first > second and _alike(*pair, 0.65))


def increase_saturation(first: Got | None, second: Got | None) -> float:
    """Whether the second image is more saturated than the first."""
    found = left(second, _opened)
    if found is None:
        return 0.0
    return float(_mean(_hsv(found).split()[1]) > _mean(_hsv(reference(first, _opened)).split()[1]))


def decrease_brightness(first: Got | None, second: Got | None) -> float:
    """Whether the second image is darker than the first."""
    found = left(second, _opened)
    return float(found is not None and _brightness(found) < _brightness(reference(first, _opened)))


def check_sharper(result: Got | None, expected: Got | None) -> float:
    """Of more edges than the other image."""
    pair = _pair(result, expected)
    return float(pair is not None and _sharpness(pair[0]) > _sharpness(pair[1]))


def check_structure_sim(result: Got | None, expected: Got | None) -> float:
    """Of one size, and 90 % alike in structure."""
    pair = _pair(result, expected)
    return float(pair is not None and _alike(*pair))


def check_structure_sim_with_threshold(result: Got | None, expected: Got | None, ssim_threshold: float = 0.85) -> float:
    """Alike in structure, at the other image's size."""
    pair = _pair(result, expected)
    if pair is None:
        return 0.0
    return float(_alike(pair[0].resize(pair[1].size, Image.Resampling.LANCZOS), pair[1], ssim_threshold))


def check_structure_sim_resized(result: Got | None, expected: Got | None) -> float:
    """90 % alike in structure, at the other image's size; what is transparent around it does not count."""
    pair = _pair(result, expected)
    if pair is None:
        return 0.0
    found, wanted = pair
    if _see_through(found):
        found = found.convert("RGBA")
        box = found.getchannel("A").getbbox()
        if box is None:
            return 0.0
        found = found.crop(box).convert("RGB")
    return float(_alike(found.resize(wanted.size), wanted))


def check_file_exists_and_structure_sim(result: Got | None, expected: Got | None) -> float:
    """There, and 90 % alike in structure."""
    return check_structure_sim(result, expected)


def check_palette_and_structure_sim(result: Got | None, expected: Got | None) -> float:
    """Of indexed colours, and 90 % alike in structure."""
    pair = _pair(result, expected)
    return float(pair is not None and pair[0].mode == "P" and _alike(*pair))


def check_image_mirror(result: Got | None, expected: Got | None) -> float:
    """The mirror image, left to right, within 1 % of structure."""
    pair = _pair(result, expected)
    return float(pair is not None and _alike(pair[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT), pair[1], 0.99))


# --------------------------------------------------------------------------------------------------------------- one image


def check_image_size(result: Got | None, rules: Mapping[str, Any]) -> float:
    """`width`, `height`, in pixels, as far as they are asked for; `ignore_transparent`: of what is not transparent."""
    image = left(result, _opened)
    if image is None:
        return 0.0
    width, height = image.size
    if rules.get("ignore_transparent", False) and _see_through(image):
        box = image.convert("RGBA").getchannel("A").getbbox() or (0, 0, 0, 0)
        width, height = box[2] - box[0], box[3] - box[1]
    return float(rules.get("width") in (None, width) and rules.get("height") in (None, height))


def check_image_file_size(result: Got | None, rules: Mapping[str, Any]) -> float:
    """A file of fewer than `max_size` bytes."""
    return float(result is not None and len(result.content) < rules["max_size"])


def check_triangle_position(result: Got | None) -> float:
    """The second rarest colour, which is a triangle's, has its centre in the middle of the image, within 5 %."""
    image = left(result, _opened)
    if image is None:
        return 0.0
    pixels = numpy.asarray(image if len(image.getbands()) > 1 and image.mode != "P" else image.convert("RGB"))
    colors, counts = numpy.unique(pixels.reshape(-1, pixels.shape[2]), axis=0, return_counts=True)
    if len(colors) < 2:
        return 0.0
    places = numpy.argwhere((pixels == colors[numpy.argsort(counts, kind="stable")[1]]).all(axis=2))
    size = numpy.array(pixels.shape[:2])
    return float((numpy.abs(places.mean(axis=0) - size / 2) < _BACKGROUND_SHARE * size).all())


def check_green_background(result: Got | None, expected: Got | None) -> float:
    """Where the other image is not black, this one is more green than red or blue."""
    pair = _pair(result, expected)
    if pair is None or pair[0].size != pair[1].size:
        return 0.0
    found, wanted = (numpy.asarray(one.convert("RGB"), dtype=int) for one in pair)
    background = found[(wanted != 0).any(axis=2)]
    return float((background[:, 1] > background[:, [0, 2]].max(axis=1)).all())


def check_textbox_on_leftside(result: Got | None) -> float:
    """Something dark begins within the left 5 % of the image."""
    image = left(result, _opened)
    if image is None:
        return 0.0
    dark = numpy.argwhere(numpy.asarray(image.convert("L")) < 128)
    return float(len(dark) > 0 and dark[:, 1].min() < image.width * _BACKGROUND_SHARE)


# ------------------------------------------------------------------------------------------------------------------ reading


def _opened(file: io.BytesIO) -> Image.Image:
    image = Image.open(file)
    image.load()
    return image


def _pair(result: Got | None, expected: Got | None) -> tuple[Image.Image, Image.Image] | None:
    return None if result is None or expected is None else both(result, expected, _opened)


def _alike(first: Image.Image, second: Image.Image, threshold: float = 0.9) -> bool:
    """Whether two images of one size have that structural similarity, over red, green and blue."""
    if first.size != second.size or min(first.size) < WINDOW:
        return False
    one, other = (numpy.asarray(image.convert("RGB")) for image in (first, second))
    return structural_similarity(one, other) >= threshold


def _see_through(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA") or "transparency" in image.info


def _hsv(image: Image.Image) -> Image.Image:
    """Hue, saturation, value."""
    return image.convert("RGB").convert("HSV")


def _mean(image: Image.Image) -> float:
    return float(ImageStat.Stat(image).mean[0])


def _brightness(image: Image.Image) -> float:
    return _mean(image.convert("L"))


def _at_one_brightness(image: Image.Image) -> Image.Image:
    """With a mean of 128, but for what would be brighter than white."""
    plain = image.convert("RGB")
    mean = _brightness(plain)
    factor = 128 / mean if mean else 1.0
    return plain.point([min(255, int(value * factor)) for value in range(256)] * 3)


def _sharpness(image: Image.Image) -> float:
    grey = numpy.asarray(image.convert("L"), dtype=numpy.float64)
    return float(scipy.ndimage.convolve(grey, _LAPLACE, mode="mirror").var())

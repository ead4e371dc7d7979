"""How alike images and colours are: structural similarity, perceptual hashes, CIEDE2000."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import scipy.fft
import scipy.ndimage
from PIL import Image

#: The side of the square window within which structures are compared, in pixels.
WINDOW = 7


def structural_similarity(first: numpy.ndarray, second: numpy.ndarray, window: int = WINDOW) -> float:
    """The mean structural similarity (Wang et al. 2004) of two images (height, width) or (height, width, channels) of 0 to 255,
    -1 to 1, over square windows that lie within them. Raises ValueError when sizes differ or the window is larger than an image."""
    if first.shape != second.shape:
        raise ValueError(f"images of {first.shape} and {second.shape} cannot be compared; they need one size")
    if min(first.shape[:2]) < window:
        raise ValueError(f"an image of {first.shape[:2]} is smaller than the window of {window} pixels")
    if first.ndim == 3:
        channels = range(first.shape[2])
        return float(numpy.mean([structural_similarity(first[..., one], second[..., one], window) for one in channels]))
    x, y = first.astype(numpy.float64), second.astype(numpy.float64)
    sample = window**2 / (window**2 - 1)  # variances of samples, not of populations
    mean_x, mean_y = scipy.ndimage.uniform_filter(x, window), scipy.ndimage.uniform_filter(y, window)
    variance_x = sample * (scipy.ndimage.uniform_filter(x * x, window) - mean_x**2)
    variance_y = sample * (scipy.ndimage.uniform_filter(y * y, window) - mean_y**2)
    covariance = sample * (scipy.ndimage.uniform_filter(x * y, window) - mean_x * mean_y)
    small, smaller = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    upper = (2 * mean_x * mean_y + small) * (2 * covariance + smaller)
    lower = (mean_x**2 + mean_y**2 + small) * (variance_x + variance_y + smaller)
    edge = (window - 1) // 2
    return float((upper / lower)[edge : first.shape[0] - edge, edge : first.shape[1] - edge].mean())


def perceptual_hash(image: Image.Image) -> numpy.ndarray:
    """The signs (8, 8) of an image's 64 lowest frequencies against their median: alike images differ in few of them."""
    small = numpy.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=numpy.float64)
    low = scipy.fft.dct(scipy.fft.dct(small, axis=0), axis=1)[:8, :8]
    return low > numpy.median(low)


def color_difference(first: Sequence[int], second: Sequence[int]) -> float:
    """The CIEDE2000 difference of two colours of red, green, blue, 0 to 255: 0 for the same, about 1 is hardly seen, about 100
    for black and white (Sharma, Wu and Dalal 2005)."""
    return ciede2000(_lab(first), _lab(second))


def _lab(color: Sequence[int]) -> tuple[float, float, float]:
    """CIELAB under D65."""
    share = numpy.asarray(color[:3], dtype=numpy.float64) / 255
    linear = numpy.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)
    matrix = numpy.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    xyz = matrix @ linear / numpy.array([0.95047, 1.0, 1.08883])
    x, y, z = numpy.where(xyz > 0.008856, numpy.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return float(116 * y - 16), float(500 * (x - y)), float(200 * (y - z))


def ciede2000(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """The CIEDE2000 difference of two colours of CIELAB (lightness, green to red, blue to yellow)."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    chroma = (numpy.hypot(a1, b1) + numpy.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * numpy.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    c1, c2 = numpy.hypot(stretch * a1, b1), numpy.hypot(stretch * a2, b2)
    h1, h2 = (numpy.degrees(numpy.arctan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    lightness, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    hue = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360
    light, full, tint = l2 - l1, c2 - c1, 2 * numpy.sqrt(c1 * c2) * numpy.sin(numpy.radians(turn / 2))
    angle = numpy.radians(hue)
    weight = (
        1
        - 0.17 * numpy.cos(angle - numpy.radians(30))
        + 0.24 * numpy.cos(2 * angle)
        + 0.32 * numpy.cos(3 * angle + numpy.radians(6))
        - 0.20 * numpy.cos(4 * angle - numpy.radians(63))
    )
    off = (lightness - 50) ** 2
    light /= 1 + 0.015 * off / numpy.sqrt(20 + off)
    full /= 1 + 0.045 * mean_c
    tint /= 1 + 0.015 * mean_c * weight
    bend = numpy.radians(30 * numpy.exp(-(((hue - 275) / 25) ** 2)))
    cross = -numpy.sin(2 * bend) * 2 * numpy.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    return float(numpy.sqrt(light**2 + full**2 + tint**2 + cross * full * tint))

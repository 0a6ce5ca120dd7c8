"""Draws one Mars-like scene: craters and boulders under a low sun, and their exact mask.

Heights are in pixels, angles in radians; x points right, y down. Shapes follow what is measured on
Mars: simple craters are about a fifth as deep as wide with a rim of 4 % of the width (Pike, 1977),
the ejecta thin out with the third power of the distance (McGetchin et al., 1973), and small craters
are far more frequent than large ones.
"""

from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

BACKGROUND, CRATER, BOULDER = 0, 1, 2

_DUST = np.array([0.84, 0.57, 0.40], np.float32)
_SAND = np.array([0.55, 0.38, 0.30], np.float32)
_ROCK = np.array([0.66, 0.52, 0.45], np.float32)
_SKY = np.array([0.20, 0.155, 0.125], np.float32)


class Sun(NamedTuple):
    """Where the light comes from.

    ``x``, ``y`` is the horizontal unit vector towards it, ``height`` its elevation.
    """

    x: float
    y: float
    height: float


class Ground(NamedTuple):
    """What the drawing functions change in place; all H×W.

    Attributes:
        height: float32, pixels.
        mask: uint8 class ids.
        rock: float32, 1 where the surface is a boulder.
    """

    height: np.ndarray
    mask: np.ndarray
    rock: np.ndarray


def draw_scene(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image size×size×3 uint8 (RGB) and its mask size×size uint8.

    The mask holds 0 background, 1 crater, 2 boulder.
    """
    unit = size / 128
    margin = round(24 * unit)
    side = fft.next_fast_len(size + 2 * margin, real=True)
    # what lies around the picture throws shadows and ejecta into it
    ground = _plain(side, unit, rng)
    sun = _sun(rng)
    inner = slice(margin, margin + size)
    for _ in range(rng.poisson(1.2)):
        _raise_hill(ground, rng.uniform(margin, margin + size, 2), unit * rng.uniform(6, 18), rng)
    craters = _craters(margin, size, unit, rng)
    for centre, radius in craters:
        _dig_crater(ground, centre, radius, rng)
    for centre, radius in _boulders(craters, margin, size, unit, rng):
        _place_boulder(ground, centre, radius, rng)
    light = _light(ground.height, sun, reach=round(34 * unit))
    ground, light = Ground(*(field[inner, inner] for field in ground)), light[inner, inner]
    pixels = _expose(ground, light, unit, rng)
    # grey noise of the sensor, and weaker noise of each colour
    grey = rng.normal(0, rng.uniform(1.5, 4.5), (size, size, 1))
    noise = grey + rng.normal(0, 1, (size, size, 3))
    return np.clip(pixels * 255 + noise, 0, 255).astype(np.uint8), ground.mask.copy()


def _sun(rng: np.random.Generator) -> Sun:
    """Return a sun at the upper left, as in most published images, 22 to 42 degrees high."""
    azimuth = np.radians(rng.normal(215, 22))
    height = float(np.radians(rng.uniform(22, 42)))
    return Sun(float(np.cos(azimuth)), float(np.sin(azimuth)), height)


def _fractal(side: int, falloff: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random field of mean 0 and deviation 1.

    Its amplitudes fall with the frequency to the power ``falloff``.
    """
    frequency = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None, :]).astype(np.float32)
    frequency[0, 0] = 1
    phases = rng.standard_normal((2, *frequency.shape), dtype=np.float32)
    spectrum = (phases[0] + 1j * phases[1]) * np.maximum(frequency, 3 / side) ** -falloff
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=(side, side))
    normalized: np.ndarray = field / field.std()
    return normalized.astype(np.float32)


def _plain(side: int, unit: float, rng: np.random.Generator) -> Ground:
    """Return rolling ground, in some scenes with wind ripples on part of it."""
    height = _fractal(side, rng.uniform(1.9, 2.3), rng) * unit * rng.uniform(0.7, 1.8)
    if rng.random() < 0.35:
        y, x = np.mgrid[:side, :side].astype(np.float32)
        along = rng.uniform(0, np.pi)
        bend = _fractal(side, 2.2, rng)
        frequency = 2 * np.pi / (unit * rng.uniform(4.5, 7))
        phase = (x * np.cos(along) + y * np.sin(along)) * frequency + 2.5 * bend
        where = np.clip(_fractal(side, 2.2, rng) - rng.uniform(0, 1), 0, 1)
        height += where * np.sin(phase) * unit * rng.uniform(0.12, 0.3)
    return Ground(height, np.zeros((side, side), np.uint8), np.zeros((side, side), np.float32))


def _craters(
    margin: int, size: int, unit: float, rng: np.random.Generator
) -> list[tuple[np.ndarray, float]]:
    """Return centres (y, x) and radii, the largest and oldest first."""
    count = int(rng.integers(3, 9))
    low, high = 5 * unit, 32 * unit
    share = rng.random(count)
    radii = low * (high / low) ** (share**1.4)
    centres = rng.uniform(margin - 6 * unit, margin + size + 6 * unit, (count, 2))
    return [(centres[i], float(radii[i])) for i in np.argsort(-radii)]


def _window(ground: Ground, centre: np.ndarray, reach: float) -> tuple[slice, slice]:
    """Return the rows and columns of the ground within ``reach`` of a place."""
    rows, columns = (
        slice(max(0, int(c - reach)), min(side, int(c + reach) + 2))
        for c, side in zip(centre, ground.height.shape, strict=True)
    )
    return rows, columns


def _polar(window: tuple[slice, slice], centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distance and angle of each pixel of the window as seen from ``centre``."""
    rows, columns = (np.arange(each.start, each.stop, dtype=np.float32) for each in window)
    y, x = rows[:, None] - np.float32(centre[0]), columns[None, :] - np.float32(centre[1])
    return np.hypot(y, x), np.arctan2(y, x)


def _outline(angle: np.ndarray, roughness: float, rng: np.random.Generator) -> np.ndarray:
    """Return the radius of an irregular outline around 1 for each angle."""
    waves = np.arange(2, 7)
    sizes = rng.normal(0, roughness, 5) / np.sqrt(waves)
    phases = rng.uniform(0, 2 * np.pi, 5)
    table = np.linspace(-np.pi, np.pi, 65)
    radius = 1 + (sizes[:, None] * np.cos(waves[:, None] * table + phases[:, None])).sum(axis=0)
    outline: np.ndarray = np.interp(angle, table, radius)
    return outline.astype(np.float32)


def _raise_hill(
    ground: Ground, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> None:
    """Raise a knob: of the same size as a crater but the other way up, and background."""
    window = _window(ground, centre, 3 * radius)
    distance, angle = _polar(window, centre)
    away = distance / (radius * _outline(angle, 0.12, rng))
    ground.height[window] += radius * rng.uniform(0.12, 0.3) * np.exp(-(away**2) * 1.5)


def _dig_crater(
    ground: Ground, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> None:
    """Dig a bowl with rim and ejecta; old craters are shallower, rounder and partly filled."""
    window = _window(ground, centre, 3 * radius)
    distance, angle = _polar(window, centre)
    away = distance / (radius * _outline(angle, 0.045, rng))
    freshness = rng.uniform(0.5, 1)
    depth, rim = 0.40 * radius * freshness, 0.09 * radius * freshness
    # the bowl rises as a power of the distance, the ejecta thin out with its third power
    bowl = (depth + rim) * away ** rng.uniform(1.9, 2.8) - depth
    ejecta = rim * np.maximum(away, 0.2) ** -3
    # the smooth minimum of both is a rounded rim
    softness = rim * (0.15 + 1.2 * (1 - freshness))
    relief = -softness * np.logaddexp(-bowl / softness, -ejecta / softness)
    floor = -depth * rng.uniform(0.55, 1.1)
    relief = np.maximum(relief, floor)
    relief *= np.clip(3 - away, 0, 1)

    old = ground.height[window]
    # the impact has levelled the ground under it
    level = float(old[distance < radius].mean())
    buried = np.clip((1.5 - away) / 0.5, 0, 1) * 0.75
    ground.height[window] = old + buried * (level - old) + relief
    inside = away < 1
    ground.mask[window][inside] = CRATER
    ground.rock[window][inside] = 0


def _boulders(
    craters: list[tuple[np.ndarray, float]],
    margin: int,
    size: int,
    unit: float,
    rng: np.random.Generator,
) -> list[tuple[np.ndarray, float]]:
    """Return centres (y, x) and radii: some strewn anywhere, some thrown out around craters."""
    centres = [*rng.uniform(margin - 2, margin + size + 2, (int(rng.integers(2, 12)), 2))]
    for centre, radius in craters:
        if rng.random() < 0.35:
            for _ in range(int(rng.integers(2, 7))):
                angle, away = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.9, 2.0)
                centres.append(centre + away * np.array([np.sin(angle), np.cos(angle)]))
    return [(centre, max(1.6, unit * min(7.0, 2.2 * (1 + rng.pareto(2.5))))) for centre in centres]


def _place_boulder(
    ground: Ground, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> None:
    """Place an oval dome, unless it was thrown out of the ground that is drawn."""
    window = _window(ground, centre, 1.6 * radius + 1)
    distance, angle = _polar(window, centre)
    if not distance.size:
        return
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.65, 1)
    oval = np.sqrt(np.cos(angle - turn) ** 2 + (np.sin(angle - turn) / flat) ** 2)
    away = distance * oval / (radius * _outline(angle, 0.08, rng))
    inside = away < 1
    dome = radius * rng.uniform(0.7, 1.1) * np.sqrt(np.clip(1 - away**2, 0, 1))
    ground.height[window] += dome
    ground.mask[window][inside] = BOULDER
    ground.rock[window] = np.maximum(ground.rock[window], np.clip((1 - away) * radius + 0.5, 0, 1))


def _light(height: np.ndarray, sun: Sun, reach: int) -> np.ndarray:
    """Return the direct sunlight of each pixel relative to level ground, H×W; 0 in shadow."""
    slope_y, slope_x = np.gradient(height)
    # the cosine of the angle between the sun and the normal of the surface
    towards = 1 - (slope_x * sun.x + slope_y * sun.y) / np.tan(sun.height)
    facing = towards / np.sqrt(1 + slope_x**2 + slope_y**2)
    light: np.ndarray = np.clip(facing, 0, None) * (1 - _shadow(height, sun, reach))
    return light


def _shadow(height: np.ndarray, sun: Sun, reach: int) -> np.ndarray:
    """Return how far each pixel lies in the shadow of higher ground towards the sun.

    0 is lit, 1 is dark.
    """
    # steps go along the axis that the sun lies nearer to: here the columns
    if abs(sun.y) > abs(sun.x):
        return _shadow(height.T, Sun(sun.y, sun.x, sun.height), reach).T
    padded = np.pad(height, reach + 1, mode="edge")
    rows, columns = height.shape
    drop = np.tan(sun.height) / abs(sun.x)
    horizon = np.full_like(height, -np.inf)
    for step in range(1, reach + 1):
        across = step * sun.y / abs(sun.x)
        low = int(np.floor(across))
        left = reach + 1 + step * int(np.sign(sun.x))
        top = reach + 1 + low
        # the height at this step towards the sun, between two pixels, less what the ray has risen
        share = across - low
        near = padded[top : top + rows, left : left + columns]
        far = padded[top + 1 : top + 1 + rows, left : left + columns]
        between = near * np.float32(1 - share) + far * np.float32(share)
        np.maximum(horizon, between - np.float32(step * drop), out=horizon)
    shadow: np.ndarray = np.clip((horizon - height) / 0.5, 0, 1)
    return shadow


def _expose(ground: Ground, light: np.ndarray, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Return surface colours under sun and sky, slightly blurred as by a camera: H×W×3, 0..1."""
    side = len(light)
    dust = 1 / (1 + np.exp(-1.5 * _fractal(side, 1.6, rng) - rng.normal(0.6, 0.8)))
    grain = 1 + 0.05 * _fractal(side, 0.6, rng)
    surface = (_SAND + (_DUST - _SAND) * dust[..., None]) * grain[..., None]
    rock = ground.rock[..., None]
    surface = surface * (1 - rock) + _ROCK * np.float32(rng.uniform(0.75, 1.1)) * rock
    pixels = surface * (rng.uniform(0.5, 0.66) * light[..., None] + _SKY * rng.uniform(0.7, 1.4))
    blurred: np.ndarray = ndimage.gaussian_filter(pixels, (0.45 * unit, 0.45 * unit, 0))
    return blurred

"""Draws one Mars-like scene: a height field with craters and boulders under a low sun, and its exact mask.

Heights are in pixels, angles in radians; x points right, y down. Shapes follow what is measured on Mars: simple craters
are about a fifth as deep as wide with a rim of 4 % of the width (Pike, 1977), the ejecta thin out with the third power
of the distance (McGetchin et al., 1973), and small craters are far more frequent than large ones.
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
    """Where the light comes from: ``x``, ``y`` is the horizontal unit vector towards it, ``height`` its elevation."""

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
    """An image size×size×3 uint8 (RGB) and its mask size×size uint8 (0 background, 1 crater, 2 boulder)."""
    unit = size / 128
    margin = round(24 * unit)
    side = fft.next_fast_len(size + 2 * margin, real=True)
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
    noise = rng.normal(0, rng.uniform(1.5, 4.5), (size, size, 1)) + rng.normal(
        0, 1, (size, size, 3)
    )
    return np.clip(pixels * 255 + noise, 0, 255).astype(np.uint8), ground.mask.copy()


def _sun(rng: np.random.Generator) -> Sun:
    """From the upper left, as in most published images, 22 to 42 degrees high."""
    azimuth = np.radians(rng.normal(215, 22))
    return Sun(
        float(np.cos(azimuth)), float(np.sin(azimuth)), float(np.radians(rng.uniform(22, 42)))
    )


def _fractal(side: int, falloff: float, rng: np.random.Generator) -> np.ndarray:
    """A random field of mean 0 and deviation 1 whose amplitudes fall with frequency to the power ``falloff``."""
    frequency = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None, :]).astype(np.float32)
    frequency[0, 0] = 1
    phases = rng.standard_normal((2, *frequency.shape), dtype=np.float32)
    spectrum = (phases[0] + 1j * phases[1]) * np.maximum(frequency, 3 / side) ** -falloff
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=(side, side))
    return (field / field.std()).astype(np.float32)


def _plain(side: int, unit: float, rng: np.random.Generator) -> Ground:
    """Rolling ground, in some scenes with wind ripples on part of it."""
    height = _fractal(side, rng.uniform(1.9, 2.3), rng) * unit * rng.uniform(0.7, 1.8)
    if rng.random() < 0.35:
        y, x = np.mgrid[:side, :side].astype(np.float32)
        along = rng.uniform(0, np.pi)
        bend = _fractal(side, 2.2, rng)
        phase = (x * np.cos(along) + y * np.sin(along)) * (
            2 * np.pi / (unit * rng.uniform(4.5, 7))
        ) + 2.5 * bend
        where = np.clip(_fractal(side, 2.2, rng) - rng.uniform(0, 1), 0, 1)
        height += where * np.sin(phase) * unit * rng.uniform(0.12, 0.3)
    return Ground(height, np.zeros((side, side), np.uint8), np.zeros((side, side), np.float32))


def _craters(
    margin: int, size: int, unit: float, rng: np.random.Generator
) -> list[tuple[np.ndarray, float]]:
    """Centres (y, x) and radii, the largest and oldest first."""
    count = int(rng.integers(3, 9))
    low, high = 5 * unit, 32 * unit
    share = rng.random(count)
    radii = low * (high / low) ** (share**1.4)
    centres = rng.uniform(margin - 6 * unit, margin + size + 6 * unit, (count, 2))
    return [(centres[i], float(radii[i])) for i in np.argsort(-radii)]


def _window(ground: Ground, centre: np.ndarray, reach: float) -> tuple[slice, slice]:
    rows, columns = (
        slice(max(0, int(c - reach)), min(side, int(c + reach) + 2))
        for c, side in zip(centre, ground.height.shape, strict=True)
    )
    return rows, columns


def _polar(window: tuple[slice, slice], centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance and angle of each pixel of the window as seen from ``centre``."""
    y = np.arange(window[0].start, window[0].stop, dtype=np.float32)[:, None] - np.float32(
        centre[0]
    )
    x = np.arange(window[1].start, window[1].stop, dtype=np.float32)[None, :] - np.float32(
        centre[1]
    )
    return np.hypot(y, x), np.arctan2(y, x)


def _outline(angle: np.ndarray, roughness: float, rng: np.random.Generator) -> np.ndarray:
    """Radius of an irregular outline around 1 for each angle."""
    waves = np.arange(2, 7)
    sizes = rng.normal(0, roughness, 5) / np.sqrt(waves)
    phases = rng.uniform(0, 2 * np.pi, 5)
    table = np.linspace(-np.pi, np.pi, 65)
    radius = 1 + (sizes[:, None] * np.cos(waves[:, None] * table + phases[:, None])).sum(axis=0)
    return np.interp(angle, table, radius).astype(np.float32)


def _raise_hill(
    ground: Ground, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> None:
    """A knob: the same size as a crater but the other way up, and background."""
    window = _window(ground, centre, 3 * radius)
    distance, angle = _polar(window, centre)
    away = distance / (radius * _outline(angle, 0.12, rng))
    ground.height[window] += radius * rng.uniform(0.12, 0.3) * np.exp(-(away**2) * 1.5)


def _dig_crater(
    ground: Ground, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> None:
    """Bowl, rim and ejecta; old craters are shallower, rounder at the rim and partly filled."""
    window = _window(ground, centre, 3 * radius)
    distance, angle = _polar(window, centre)
    if not distance.size:
        return
    away = distance / (radius * _outline(angle, 0.045, rng))
    freshness = rng.uniform(0.5, 1)
    depth, rim = 0.40 * radius * freshness, 0.09 * radius * freshness
    bowl = (depth + rim) * away ** rng.uniform(1.9, 2.8) - depth
    ejecta = rim * np.maximum(away, 0.2) ** -3
    softness = rim * (0.15 + 1.2 * (1 - freshness))
    relief = -softness * np.logaddexp(-bowl / softness, -ejecta / softness)
    floor = -depth * rng.uniform(0.55, 1.1)
    relief = np.maximum(relief, floor)
    relief *= np.clip(3 - away, 0, 1)

    old = ground.height[window]
    level = float(old[distance < radius].mean()) if (distance < radius).any() else float(old.mean())
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
    """Centres (y, x) and radii: some strewn anywhere, some thrown out around craters."""
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
    """Direct sunlight per pixel relative to level ground, H×W; 0 in shadow."""
    slope_y, slope_x = np.gradient(height)
    facing = (1 - (slope_x * sun.x + slope_y * sun.y) / np.tan(sun.height)) / np.sqrt(
        1 + slope_x**2 + slope_y**2
    )
    return np.clip(facing, 0, None) * (1 - _shadow(height, sun, reach))


def _shadow(height: np.ndarray, sun: Sun, reach: int) -> np.ndarray:
    """How far each pixel lies in the shadow of higher ground towards the sun: 0 = lit, 1 = dark."""
    flip = abs(sun.y) > abs(sun.x)
    ground = height.T if flip else height
    major, minor = (sun.y, sun.x) if flip else (sun.x, sun.y)
    padded = np.pad(ground, reach + 1, mode="edge")
    rows, columns = ground.shape
    drop = np.tan(sun.height) / abs(major)
    horizon = np.full_like(ground, -np.inf)
    for step in range(1, reach + 1):
        across = step * minor / abs(major)
        low = int(np.floor(across))
        left = reach + 1 + step * (1 if major > 0 else -1)
        top = reach + 1 + low
        share = across - low
        near = padded[top : top + rows, left : left + columns]
        far = padded[top + 1 : top + 1 + rows, left : left + columns]
        np.maximum(
            horizon,
            near * np.float32(1 - share) + far * np.float32(share) - np.float32(step * drop),
            out=horizon,
        )
    shadow = np.clip((horizon - ground) / 0.5, 0, 1)
    return shadow.T if flip else shadow


def _expose(ground: Ground, light: np.ndarray, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Surface colours under sun and sky, slightly blurred as by a camera: H×W×3, 0..1."""
    side = len(light)
    dust = 1 / (1 + np.exp(-1.5 * _fractal(side, 1.6, rng) - rng.normal(0.6, 0.8)))
    grain = 1 + 0.05 * _fractal(side, 0.6, rng)
    surface = (_SAND + (_DUST - _SAND) * dust[..., None]) * grain[..., None]
    rock = ground.rock[..., None]
    surface = surface * (1 - rock) + _ROCK * np.float32(rng.uniform(0.75, 1.1)) * rock
    pixels = surface * (rng.uniform(0.5, 0.66) * light[..., None] + _SKY * rng.uniform(0.7, 1.4))
    return ndimage.gaussian_filter(pixels, (0.45 * unit, 0.45 * unit, 0))

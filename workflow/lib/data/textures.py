"""Textures and shapes of the generated images. Lengths are in pixels of the image after preparation."""

import numpy as np
from scipy.ndimage import gaussian_filter

TEXTURES = ("blobs", "grain", "stripes", "dots")
Scale = tuple[float, float]  # pixels drawn per prepared pixel, along y and x


def grid(shape: tuple[int, int], scale: Scale = (1.0, 1.0)) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the pixels, y (H, 1) and x (1, W), in prepared pixels."""
    y, x = ((np.arange(n) + 0.5) / k for n, k in zip(shape, scale, strict=True))
    return y[:, None], x[None, :]


def filtered_noise(
    shape: tuple[int, int], rng: np.random.Generator, sigma: float, scale: Scale = (1.0, 1.0)
) -> np.ndarray:
    """Gaussian noise (H, W) smoothed by `sigma`, of mean 0 and standard deviation 1."""
    noise = gaussian_filter(rng.standard_normal(shape), [sigma * k for k in scale], mode="wrap")
    return (noise - noise.mean()) / (noise.std() + 1e-9)


def pixel_noise(shape: tuple[int, int], rng: np.random.Generator, scale: Scale = (1.0, 1.0)) -> np.ndarray:
    """Noise that is white in the prepared image, standard deviation 1."""
    return filtered_noise(shape, rng, 0.4 if max(scale) > 1.5 else 0.0, scale)


def texture(kind: str, shape: tuple[int, int], rng: np.random.Generator, scale: Scale = (1.0, 1.0)) -> np.ndarray:
    """One of TEXTURES over the whole canvas (H, W): mean 0, standard deviation 1, random orientation and phase."""
    if kind == "blobs":
        return filtered_noise(shape, rng, 2.2, scale)
    if kind == "grain":
        return filtered_noise(shape, rng, 0.7, scale)
    if kind == "stripes":
        y, x = grid(shape, scale)
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        return np.sqrt(2) * np.sin(2 * np.pi * (y * np.sin(angle) + x * np.cos(angle)) / 5 + phase)
    if kind == "dots":
        return _dots(shape, rng, scale)
    raise ValueError(f"unknown texture {kind}")


def _dots(shape: tuple[int, int], rng: np.random.Generator, scale: Scale) -> np.ndarray:
    """Round spots on a jittered lattice of 5 pixels."""
    step = [5 * k for k in scale]
    rows, columns = (np.arange(n / k + 1) for n, k in zip(shape, step, strict=True))
    y = (rows[:, None] + rng.uniform(-0.2, 0.2, (len(rows), len(columns))) + rng.uniform()) * step[0]
    x = (columns[None, :] + rng.uniform(-0.2, 0.2, (len(rows), len(columns))) + rng.uniform()) * step[1]
    canvas = np.zeros(shape)
    np.add.at(canvas, (y.astype(int) % shape[0], x.astype(int) % shape[1]), 1.0)
    canvas = gaussian_filter(canvas, [0.9 * k for k in scale], mode="wrap")
    return (canvas - canvas.mean()) / (canvas.std() + 1e-9)


def background(
    shape: tuple[int, int], rng: np.random.Generator, size: float, scale: Scale = (1.0, 1.0), clutter: int = 3
) -> np.ndarray:
    """Smooth background, linear bias field and `clutter` smooth spots, (H, W); `size`: side of a network input."""
    y, x = grid(shape, scale)
    height, width = shape[0] / scale[0], shape[1] / scale[1]
    canvas = 0.5 * filtered_noise(shape, rng, size / 6, scale)
    canvas += rng.uniform(-0.6, 0.6) * (y / height - 0.5) * 2 + rng.uniform(-0.6, 0.6) * (x / width - 0.5) * 2
    for _ in range(clutter):
        radius = rng.uniform(0.05, 0.12) * size
        distance = np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width))
        canvas += rng.choice([-1, 1]) * rng.uniform(0.4, 0.9) * np.clip(radius - distance + 0.5, 0, 1)
    return canvas


def blob(y: np.ndarray, x: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Mask (H, W) of a roundish patch about the origin of the offsets `y`, `x`; the radius varies by 20 %."""
    angle, wave = np.arctan2(y, x), rng.uniform(0, 2 * np.pi, 2)
    return np.hypot(y, x) < radius * (1 + 0.12 * np.sin(2 * angle + wave[0]) + 0.08 * np.sin(3 * angle + wave[1]))


def disc(y: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """Mask (H, W) of a disc about the origin of the offsets."""
    return np.hypot(y, x) < radius


def to_bytes(values: np.ndarray, mean: float = 0.5, spread: float = 0.17) -> np.ndarray:
    """Standardise and map to uint8: `mean` and `spread` are fractions of full scale."""
    standard = (values - values.mean()) / (values.std() + 1e-9)
    return (255 * np.clip(mean + spread * standard, 0, 1)).round().astype(np.uint8)

"""The sizes that images of a layout are brought to, and the windows that networks see of them. Light: no numerical imports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """How a layout is brought to size: columns cut on each side (fraction), size after the resize, windows; whether images keep
    their aspect and are padded to this size, or are stretched to it."""

    cut: float
    height: int
    width: int
    windows: dict[str, int] | None
    padded: bool = False


def geometry(layout: str, aspect: str, size: int) -> Geometry:
    """The study's geometry in units of the image size; aspect: squeezed | kept, of IDRiD (4096:2848) nearly."""
    if layout != "idrid":
        return Geometry(0.0, size, size, None, padded=aspect == "kept")
    windows = {"window": 2 * size, "stride": size // 2, "crop": size}
    return Geometry(96 / 4288, 5 * size, (10 if aspect == "squeezed" else 7) * size, windows)


BOX = ("top", "left", "height", "width")


def box_of(shape: Geometry, height: float, width: float) -> tuple[int, int, int, int]:
    """Where an image of this height and width (mm, or pixels) lies once it is prepared: top, left, height, width in pixels."""
    if not shape.padded:
        return 0, 0, shape.height, shape.width
    scale = min(shape.height / height, shape.width / width)
    high, wide = max(1, round(height * scale)), max(1, round(width * scale))
    return (shape.height - high) // 2, (shape.width - wide) // 2, high, wide

"""Corruptions of images whose repair is learnt (Zhou et al., Models Genesis, MICCAI 2019; sizes as in ConRec, arXiv 2104.04323).

All draw from torch's global generator, take images (3, h, w) in 0..1 and return another tensor.
"""

import torch
from torch import Tensor

MORE = 0.95  # the chance of one block more
SHUFFLED = (15, 0.01, 0.2)  # most blocks, and their smallest and largest side as a share of the image's
PAINTED_IN = (5, 0.14, 0.2)
KEPT = (5, 4 / 7, 5 / 7)


def corrupt(image: Tensor) -> Tensor:
    """One of three corruptions, each as likely; for grey images (equal channels) one of four, with a change of intensities."""
    grey = torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
    kinds = [shuffle_pixels, paint_in, paint_out, *([change_intensities] if grey else [])]
    return kinds[int(torch.randint(len(kinds), ()))](image)


def shuffle_pixels(image: Tensor) -> Tensor:
    """Pixels change places within small blocks."""
    image = image.clone()
    for rows, columns in _blocks(image, *SHUFFLED):
        block = image[:, rows, columns]
        order = torch.randperm(block[0].numel())
        image[:, rows, columns] = block.flatten(1)[:, order].view_as(block)
    return image


def paint_in(image: Tensor) -> Tensor:
    """Blocks of one random colour."""
    image = image.clone()
    for rows, columns in _blocks(image, *PAINTED_IN):
        image[:, rows, columns] = _colour(image)
    return image


def paint_out(image: Tensor) -> Tensor:
    """Large windows are kept; the rest has one random colour."""
    result = _colour(image).expand_as(image).clone()
    for rows, columns in _blocks(image, *KEPT):
        result[:, rows, columns] = image[:, rows, columns]
    return result


def change_intensities(image: Tensor) -> Tensor:
    """A monotone curve from 0 to 1 (cubic Bezier curve with two random control points), rising or falling."""
    t = torch.linspace(0, 1, 256)
    points = torch.rand(2, 2).sort(dim=1).values
    x, y = (3 * (1 - t) ** 2 * t * a + 3 * (1 - t) * t**2 * b + t**3 for a, b in points)
    curve = y if torch.rand(()) < 0.5 else 1 - y
    place = torch.bucketize(image.contiguous(), x).clamp(1, len(x) - 1)
    low, high = x[place - 1], x[place]
    share = ((image - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return curve[place - 1] + share * (curve[place] - curve[place - 1])


def _blocks(image: Tensor, most: int, least_side: float, largest_side: float) -> list[tuple[slice, slice]]:
    """At least one block, and another one with probability `MORE`, up to `most`; each side is drawn by itself."""
    blocks = []
    while True:
        place = []
        for length in image.shape[1:]:
            low, high = max(1, round(least_side * length)), max(1, round(largest_side * length))
            side = int(torch.randint(low, high + 1, ()))
            start = int(torch.randint(length - side + 1, ()))
            place.append(slice(start, start + side))
        blocks.append((place[0], place[1]))
        if len(blocks) == most or torch.rand(()) > MORE:
            return blocks


def _colour(image: Tensor) -> Tensor:
    """A random colour (3, 1, 1); of grey images a grey."""
    grey = torch.equal(image[0], image[1])
    return torch.rand(1 if grey else 3, 1, 1).expand(3, 1, 1)

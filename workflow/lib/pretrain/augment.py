"""The two augmentations of pretraining (Hidy et al., section on pretraining; values from the study's configs)."""

from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

CROP_SCALE, CROP_RATIO = (0.8, 1.0), (3 / 4, 4 / 3)
RAND_AUGMENT = v2.RandAugment(num_ops=2, magnitude=9, num_magnitude_bins=31)  # nearest, borders black


class RandomCrop(v2.RandomResizedCrop):  # type: ignore[misc]  # torchvision has no types
    """A random resized crop of pixels (uint8) as float in 0..1: cropped first, as a whole photograph of floats takes long."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        crop = functional.crop(inpt, **params)
        if not isinstance(inpt, tv_tensors.Mask):
            crop = crop.to(torch.float32).div_(255)
        return functional.resize(crop, list(self.size), self.interpolation, antialias=self.antialias)


@cache
def crop_and_flip(size: int) -> v2.Transform:
    """Both schemes: random resized crop (bilinear, no antialias) and horizontal flip, of pixels to float in 0..1."""
    crop = RandomCrop(size, scale=CROP_SCALE, ratio=CROP_RATIO, antialias=False)
    return v2.Compose([crop, v2.RandomHorizontalFlip(0.5)])


def rand_augment(image: Tensor) -> Tensor:
    """RandAugment with 2 operations at magnitude 9 of 31, on a float image (3, h, w) in 0..1 that passes through 8 bits.

    By Pillow, in a third of the time that tensors take: sharpness and all that moves pixels. Equal, but for one level of 255 in
    some pixels (colour, contrast), and for pixels halfway between two others (rotation).
    """
    pixels = (image * 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    return (
        torch.from_numpy(np.array(RAND_AUGMENT(Image.fromarray(pixels.numpy()))))
        .permute(2, 0, 1)
        .to(torch.float32)
        .div_(255)
    )


@cache
def random_erasing() -> v2.Transform:
    """Erases a rectangle to zero with probability 0.25."""
    return v2.RandomErasing(p=0.25, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0)


@cache
def evaluation_crop(size: int) -> v2.Transform:
    """Validation: pixels to float in 0..1, shorter side to `size` (not larger, as the study has it), then the centre."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Resize(size, antialias=False), v2.CenterCrop(size)])


def mix(
    image: Tensor, label: Tensor, partner: Tensor, partner_label: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mixup (40 %), CutMix (50 %) or neither (10 %) of two images (3, s, s) and their soft labels (classes,).

    Mixup weight ~ U(0, 1). CutMix area ~ Beta(1, 1) = U(0, 1), centre uniform, box clipped to the image, and the labels
    weighted by the box's true area.
    """
    choice, weight = torch.rand(2, generator=rng).tolist()
    if choice < 0.1:
        return image, label
    if choice < 0.5:
        return weight * image + (1 - weight) * partner, weight * label + (1 - weight) * partner_label
    side = image.shape[-1]
    half = round(side * (1 - weight) ** 0.5 / 2)
    y, x = torch.randint(side, (2,), generator=rng).tolist()
    top, bottom, left, right = max(0, y - half), min(side, y + half), max(0, x - half), min(side, x + half)
    mixed = image.clone()
    mixed[:, top:bottom, left:right] = partner[:, top:bottom, left:right]
    area = (bottom - top) * (right - left) / side**2
    return mixed, (1 - area) * label + area * partner_label


def soft_label(label: int, classes: int) -> Tensor:
    """One-hot float label (classes,)."""
    return one_hot(torch.tensor(label), classes).float()

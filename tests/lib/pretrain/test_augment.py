"""Augmentations of pretraining: proportions and label weights of the study's mixing, crops and ranges."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from workflow.lib.networks.build import seeded
from workflow.lib.pretrain import augment


def test_mixing_proportions_and_labels() -> None:
    image, partner = torch.ones(3, 16, 16), torch.zeros(3, 16, 16)
    label, partner_label = augment.soft_label(0, 2), augment.soft_label(1, 2)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    rng = torch.Generator().manual_seed(0)
    for _ in range(4000):
        mixed, soft = augment.mix(image, label, partner, partner_label, rng)
        assert abs(float(soft.sum()) - 1) < 1e-6
        assert abs(float(mixed.mean()) - float(soft[0])) < 1e-5  # label weight = share of the image
        values = mixed.unique()
        whole = len(values) == 1
        kinds["none" if whole and values[0] == 1 else "mixup" if whole and values[0] > 0 else "cutmix"] += 1
    assert abs(kinds["mixup"] / 4000 - 0.4) < 0.03
    assert 0.09 < kinds["none"] / 4000 < 0.16  # 10 %, and empty boxes of CutMix


def test_mixup_weights_and_cutmix_boxes_are_uniform_and_independent_of_each_other() -> None:
    image, partner = torch.ones(1, 32, 32), torch.zeros(1, 32, 32)
    label, partner_label = augment.soft_label(0, 2), augment.soft_label(1, 2)
    rng = torch.Generator().manual_seed(1)
    weights, half_sides = [], []
    for _ in range(6000):
        mixed, soft = augment.mix(image, label, partner, partner_label, rng)
        if len(mixed.unique()) == 1:
            weights.append(float(soft[0]))
        else:
            hole = mixed[0] == 0
            height, width = int(hole.any(1).sum()), int(hole.any(0).sum())
            assert int(hole.sum()) == height * width and float(soft[1]) == pytest.approx(height * width / 32**2)
            if hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any():
                continue  # clipped at the border
            assert height == width and height % 2 == 0
            half_sides.append(height // 2)
    mixup = np.array([weight for weight in weights if 0 < weight < 1])
    assert np.quantile(mixup, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.04)
    assert min(half_sides) == 1 and max(half_sides) >= 12


def test_crops_of_the_study() -> None:
    crop, flip = augment.crop_and_flip(224).transforms
    assert (crop.size, crop.scale, crop.ratio) == ((224, 224), (0.8, 1.0), (3 / 4, 4 / 3))
    assert (crop.interpolation, crop.antialias, flip.p) == (InterpolationMode.BILINEAR, False, 0.5)


def test_operations_of_rand_augment() -> None:
    """All 14 operations with their strength at magnitude 9 of 31 and 224 pixels, as the study's facts list them."""
    space = augment.RAND_AUGMENT._AUGMENTATION_SPACE
    found = {}
    for name, (magnitudes, signed) in space.items():
        values = magnitudes(31, 224, 224)
        found[name] = (None if values is None else round(float(values[9]), 4), signed)
    assert found == {
        "Identity": (None, False),
        "ShearX": (0.09, True),
        "ShearY": (0.09, True),
        "TranslateX": (30.4532, True),
        "TranslateY": (30.4532, True),
        "Rotate": (9.0, True),
        "Brightness": (0.27, True),
        "Color": (0.27, True),
        "Contrast": (0.27, True),
        "Sharpness": (0.27, True),
        "Posterize": (7.0, False),
        "Solarize": (0.7, False),  # of 255: 178.5
        "AutoContrast": (None, False),
        "Equalize": (None, False),
    }
    assert (augment.RAND_AUGMENT.num_ops, augment.RAND_AUGMENT.magnitude) == (2, 9)
    assert augment.RAND_AUGMENT.interpolation == InterpolationMode.NEAREST


def photograph(seed: int = 0) -> torch.Tensor:
    """Pixels (3, 90, 120) that vary smoothly, as those of photographs do."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 9, 12, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(90, 120), mode="bicubic")[0]
    return (smooth.clamp(0, 1) * 255).to(torch.uint8)


def test_crop_of_pixels_equals_that_of_the_whole_image_as_floats() -> None:
    crop, image = augment.crop_and_flip(64), photograph()
    study = v2.Compose(
        [v2.RandomResizedCrop(64, scale=(0.8, 1.0), ratio=(3 / 4, 4 / 3), antialias=False), v2.RandomHorizontalFlip()]
    )
    for seed in range(20):
        with seeded(seed):
            ours = crop(image)
        with seeded(seed):
            reference = study(image.float() / 255)
        assert torch.allclose(ours, reference, atol=1e-6)


def test_rand_augment_by_pillow_equals_that_of_tensors_within_rounding() -> None:
    """One level of 255 in some pixels; rotation picks another neighbour for a few that lie halfway."""
    image = torch.nn.functional.interpolate(photograph()[None] / 255.0, size=(224, 224), mode="bilinear")[0]
    off = []
    for seed in range(60):
        with seeded(seed):
            ours = augment.rand_augment(image)
        with seeded(seed):
            reference = augment.RAND_AUGMENT((image * 255).to(torch.uint8)) / 255
        off.append((255 * (ours - reference)).abs().round())
    levels = torch.stack(off)
    assert float((levels > 0).float().mean()) < 0.1
    assert float((levels > 2).float().mean()) < 5e-4  # two operations, a level each


def test_erasing_frequency_area_and_value() -> None:
    torch.manual_seed(0)
    erased = [float((augment.random_erasing()(torch.ones(1, 64, 64)) == 0).float().mean()) for _ in range(2000)]
    areas = np.array([area for area in erased if area])
    assert len(areas) / 2000 == pytest.approx(0.25, abs=0.03)
    assert areas.min() == pytest.approx(0.02, abs=0.01) and areas.max() == pytest.approx(0.33, abs=0.02)


def test_evaluation_crop_takes_the_whole_shorter_side() -> None:
    image = torch.arange(8, dtype=torch.uint8).repeat(4, 1).expand(3, 4, 8)
    assert torch.allclose(augment.evaluation_crop(4)(image)[0, 0] * 255, torch.tensor([2.0, 3.0, 4.0, 5.0]))


def test_augmented_images_stay_in_range() -> None:
    torch.manual_seed(0)
    for _ in range(50):
        image = augment.rand_augment(augment.crop_and_flip(32)(torch.randint(256, (3, 40, 50), dtype=torch.uint8)))
        assert image.shape == (3, 32, 32)
        assert 0 <= image.min() and image.max() <= 1

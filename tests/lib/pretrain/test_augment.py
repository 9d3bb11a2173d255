"""Augmentations of pretraining: proportions and label weights of the study's mixing, crops and ranges."""

import torch

from workflow.lib.pretrain import augment


def test_mixing_proportions_and_labels():
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


def test_evaluation_crop_takes_the_whole_shorter_side():
    image = torch.arange(8.0).repeat(4, 1).expand(3, 4, 8)
    assert torch.equal(augment.evaluation_crop(4)(image)[0, 0], torch.tensor([2.0, 3.0, 4.0, 5.0]))


def test_augmented_images_stay_in_range():
    torch.manual_seed(0)
    for _ in range(50):
        image = augment.rand_augment(augment.crop_and_flip(32)(torch.rand(3, 40, 50)))
        assert image.shape == (3, 32, 32)
        assert 0 <= image.min() and image.max() <= 1

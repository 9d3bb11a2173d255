"""Pretraining by segmentation of a source with masks: encoder and decoder learn, both can be transferred."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from workflow.lib.data.source import ImageList
from workflow.lib.job.run import UserError
from workflow.lib.networks.build import Segmenter, build_segmenter
from workflow.lib.pretrain import augment
from workflow.lib.pretrain.views import Views, pixels
from workflow.lib.training.losses import dice_ce_loss, outputs_for


def network(encoder: Mapping[str, Any], images: ImageList, **building: Any) -> Segmenter:
    """The segmentation network of the encoder, for the classes of the source's masks. Raises `UserError` where it has none."""
    missing = int((images.masks == b"").sum())
    if missing or not images.mask_classes:
        raise UserError(
            "task segmentation needs a source with masks",
            found=f"{missing} of {len(images)} training images without a mask",
            expected="a mask for every image: masks/train/<class>/ beside train/<class>/, layout voc, or a target with masks",
            where=images.folder,
            next="choose another source or task for this scheme",
        )
    return build_segmenter(encoder, outputs_for(len(images.mask_classes)), **building)


def item(views: Views, index: int) -> tuple[Tensor, Tensor]:
    """The same crop of an image (3, s, s) and of its mask (s, s) int64; labels of 255 count nowhere."""
    mask = tv_tensors.Mask(torch.from_numpy(views.images.read_mask(index)))
    image, mask = augment.crop_and_flip(views.size)(tv_tensors.Image(pixels(views.images, index)), mask)
    return image.as_subclass(Tensor), mask.as_subclass(Tensor).long()


def loss(logits: Tensor, masks: Tensor, recipe: Mapping[str, Any]) -> Tensor:
    """Soft Dice plus cross-entropy."""
    return dice_ce_loss(logits, masks, background_weight=1.0)

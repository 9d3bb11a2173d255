"""Scores and training steps beside the bare passes of the network, and beside what PyTorch does without further ado."""

from collections.abc import Callable
from typing import Any

import numpy as np
import segmentation_models_pytorch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Row, compare, seconds_of
from workflow.lib.networks.build import build_encoder, build_segmenter
from workflow.lib.score.label_scores import label_rows
from workflow.lib.score.pixels import TargetImages
from workflow.lib.score.registry import SCORES
from workflow.lib.score.robustness import CHUNK, robustness_rows
from workflow.lib.training.device import autocast, chosen_precision, move_network
from workflow.lib.training.losses import dice_loss

ENCODERS: dict[str, dict[str, Any]] = {
    "unet": {"architecture": "unet", "width": 64},
    "resnet50": {"architecture": "resnet50", "width": 64},
    "swin": {"architecture": "swin", "width": 96, "window": 7},
}


def images_of_a_target(count: int, size: int) -> TargetImages:
    """Random images with masks of four classes, two of a patient."""
    masks = np.indices((size, size)).sum(axis=0) // (size // 7) % 4
    images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    return TargetImages(
        images,
        torch.tensor([[0.5, 0.3]] * count),
        np.repeat(masks[None], count, 0).astype(np.uint8),
        np.arange(count) // 2,
    )


def robustness(rounds: int, size: int) -> list[Row]:
    """All settings of the robustness score, from one draw, beside two passes over the same images."""
    chosen, found = images_of_a_target(CHUNK, size), []
    for name, encoder in ENCODERS.items():
        network = build_encoder(encoder, image_size=size, use="simple").eval()

        def score(network: nn.Module = network) -> None:
            list(robustness_rows(network, chosen, inputs="standardised", draws=1, seed=0, published=False))

        def passes(network: nn.Module = network) -> None:
            for _ in range(2):
                network(chosen.images)

        with torch.inference_mode():
            found += compare(f"all robustness settings, {name}", score, {"two bare passes": passes}, rounds=rounds)
    return found


def other_scores(size: int, images: int = 64, draws: int = 5) -> list[Row]:
    """All label scores of a checkpoint as the config has them, beside its passes for the robustness score; once."""
    chosen = images_of_a_target(images, size)
    names = [name for name, score in SCORES.items() if score.needs == "labels"]
    network = build_encoder(ENCODERS["resnet50"], image_size=size, use="simple").eval()
    with torch.inference_mode():
        maps = [network(part) for part in chosen.images.split(CHUNK)]  # what the scores start from

        def features(part: Tensor) -> list[Tensor]:
            return maps[int(part[0, 0, 0, 0])]

        numbered = chosen.images.clone()
        numbered[:, 0, 0, 0] = torch.arange(images) // CHUNK
        at = TargetImages(numbered, chosen.statistics, chosen.masks, chosen.groups)
        taken = seconds_of(
            lambda: list(label_rows(names, features, at, None, pixels=1000, samples=3, components=128, seed=0)), "cpu"
        )
        one = seconds_of(lambda: network(chosen.images[:CHUNK]), "cpu") / CHUNK
    passes = one * images * 2 * draws
    row = {"what": "all label scores, resnet50", "beside": f"{images * 2 * draws} bare passes", "our seconds": taken}
    return [row | {"its seconds": passes} | dict.fromkeys(("ratio", "low", "high"), passes / taken)]


def step(network: nn.Module, images: Tensor, masks: Tensor, precision: str) -> Callable[[], None]:
    """A step of fine-tuning: forward, Dice loss, backward, SGD."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)

    def work() -> None:
        with autocast(images.device, precision):
            outputs = network(images)
        dice_loss(outputs.float(), masks).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return work


def arithmetic_of(
    work: Callable[[], None], precision: str, device: torch.device, side: int = 2048
) -> Callable[[], None]:
    """Matrix products with as many operations as `work`, in the same precision: the floor, if nothing else took time."""
    with FlopCounterMode(display=False) as counter:
        work()
    matrix = torch.rand(side, side, device=device, dtype=getattr(torch, precision))
    times = max(1, round(counter.get_total_flops() / (2 * side**3)))

    def products() -> None:
        for _ in range(times):
            matrix @ matrix

    return products


def steps(rounds: int, size: int, batch: int, device: str) -> list[Row]:
    """A step as fine-tuning does it, in float32 and in what `precision: auto` means here, beside eager float32 and the floor."""
    place, found = torch.device(device), []
    images = torch.rand(batch, 3, size, size, device=place)
    masks = torch.randint(0, 2, (batch, size, size), device=place)
    for name, encoder in ENCODERS.items():

        def segmenter(encoder: dict[str, Any] = encoder) -> nn.Module:
            return build_segmenter(encoder, 1, image_size=size, use="simple", seed=0).to(place)

        others = {"eager, contiguous, float32": step(segmenter(), images, masks, "float32")}
        if name == "resnet50":
            theirs = segmentation_models_pytorch.Unet("resnet50", encoder_weights=None).to(place)
            others["another network: U-Net of segmentation_models_pytorch"] = step(theirs, images, masks, "float32")
        for precision in dict.fromkeys(("float32", chosen_precision("auto", place))):
            ours = segmenter()
            move_network(ours, place, precision)
            work = step(ours, images, masks, precision)
            floor = {"floor: its arithmetic as matrix products": arithmetic_of(work, precision, place)}
            what = f"fine-tuning step, {name}, {precision}"
            found += compare(what, work, others | floor, rounds=rounds, device=device)
    return found

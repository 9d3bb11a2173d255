"""Scores of a segmentation network as a start for a target, from its decoder: CC-FV as its authors mean it, and label scores."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from workflow.lib.data.prepared import Prepared, inside, load_prepared
from workflow.lib.job.run import atomic_path, derive_seed
from workflow.lib.networks.build import build_segmenter
from workflow.lib.networks.given import check_output, fill, given_network
from workflow.lib.networks.weights import read_checkpoint
from workflow.lib.score.applies import Array, NotApplicable
from workflow.lib.score.ccfv import Layer, ccfv_code, ccfv_published
from workflow.lib.score.decoder import decoder_layers
from workflow.lib.score.pixels import PADDING, target_images
from workflow.lib.score.registry import SCORES, Sample
from workflow.lib.training.device import device_named, move_network, standardise

LABEL_SCORES = [name for name, score in SCORES.items() if score.of == "level"]
POINTS = (100, 200, 400)  # of CC-FV, of every class and image: its authors' three layers, the deepest first
STAGES = 3  # the last ones of a decoder, as there
# Of the convolutional U-Nets, of the Swin U-Net, and of MONAI's decoder behind timm's encoders.
STAGE_LISTS = ("decoder.convs", "decoder.blocks", "decoder.decoder.blocks")
COLUMNS = ["target", "model", "pretrain_seed", "score", "better", "level", "value", "warning"]


def score_model(
    *,
    data_folder: Path,
    weights: Path,
    output: Path,
    names: Mapping[str, str],
    network: Mapping[str, Any],
    images: int,
    pixels: int,
    components: int | None,
    seed: int,
    inputs: str,
    device: str,
    threads: int,
) -> None:
    """Score one network on `images` training images of a target, and write a row for every score and layer (`COLUMNS`).

    names: target, model, pretrain_seed. network: `encoder`, the settings of one trained here, with a decoder; or of any other:
    `class` (importable, for example monai.networks.nets.BasicUNet), `arguments`, `modules` (names of its decoder's stages, the
    deepest first), `dimensions` (2 | 3), `window` (pixels or voxels) and `channels` of its input. Volumes are the training
    slices of a case, as prepared. `cc_fv_published` and `cc_fv_code` take all layers (level empty); label scores take each, 1 the
    deepest. Raises `UserError` for a class that can't be imported or built, weights that fit it only in part, and a network that
    returns something else than a map.
    """
    torch.set_num_threads(threads)
    place, data = device_named(device), load_prepared(data_folder)
    size = data.card["image_size"]
    if "encoder" in network:
        model, modules = own_network(network["encoder"], weights, size)
        three, window, channels = False, [size, size], 3
    else:
        model, modules = given_network(network, weights), network["modules"]
        three, window, channels = network["dimensions"] == 3, network["window"], network["channels"]
    move_network(model, place)
    seen, masks, groups = as_volumes(data) if three else as_images(data, images, seed, inputs)
    if channels == 1:
        seen = [picture.mean(dim=0, keepdim=True) for picture in seen]
    check_output(model, len(seen[0]), window, place, names["model"])
    points = [*POINTS[:1] * max(0, len(modules) - len(POINTS)), *POINTS[-len(modules) :]]
    layers = decoder_layers(
        model,
        modules,
        seen,
        masks,
        window=window,
        points=points,
        seed=derive_seed(seed, "points", names["target"]),
        channels_last=network.get("encoder", {}).get("architecture") == "swin",
    )
    rows = [{**names, **row} for row in rows_of(distinct(layers), groups, pixels, components, seed)]
    with atomic_path(output) as temporary:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False)


def rows_of(
    layers: Sequence[Layer], groups: Sequence[str], pixels: int, components: int | None, seed: int
) -> list[dict[str, Any]]:
    """Scores of layers (see `ccfv`): CC-FV of all points, label scores of each layer on about `pixels` of them, as many of every
    class and image; a score without a value has its reason in `warning`."""
    rows = []
    for name, compute in (("cc_fv_published", ccfv_published), ("cc_fv_code", ccfv_code)):
        rows.append({"score": name, "better": "higher", "level": None} | _value(lambda: compute(layers)))  # noqa: B023
    for level, layer in enumerate(layers, start=1):
        most = max(1, pixels // sum(map(len, layer)))
        parts = [(i, name, x[:most]) for i, image in enumerate(layer) for name, x in image.items()]  # drawn at random
        counts = [len(x) for _, _, x in parts]
        image = np.repeat([i for i, _, _ in parts], counts)
        labels = np.repeat([name for _, name, _ in parts], counts)
        channels = np.concatenate([x for _, _, x in parts]).astype(np.float64)
        sample = Sample(channels, components, labels, np.asarray(groups)[image], image, None, seed)
        for name in LABEL_SCORES:
            rows.append(
                {"score": name, "better": SCORES[name].better, "level": level}
                | _value(lambda: SCORES[name].compute(sample))  # noqa: B023
            )
    return rows


def _value(compute: Any) -> dict[str, Any]:
    try:
        value = float(compute())
    except NotApplicable as error:
        return {"value": math.nan, "warning": str(error)}
    return {"value": value, "warning": "" if math.isfinite(value) else "not finite"}


def distinct(layers: Sequence[Layer]) -> list[Layer]:
    """Layers without the points around the image, and of equal points of an image the first: behind a ReLU many are all zeros,
    and the published form of CC-FV has no value where two coincide."""
    return [
        [_distinct({name: x for name, x in image.items() if name != PADDING}) for image in layer] for layer in layers
    ]


def _distinct(image: Mapping[int, Array]) -> dict[int, Array]:
    labels = np.repeat(list(image), [len(x) for x in image.values()])
    points = np.concatenate(list(image.values()))
    first = np.sort(np.unique(points, axis=0, return_index=True)[1])  # in their order, which is random
    return {int(name): points[first][labels[first] == name] for name in np.unique(labels[first])}


def own_network(encoder: Mapping[str, Any], weights: Path, image_size: int) -> tuple[nn.Module, list[str]]:
    """A network that this pipeline trained on a task with a decoder, and the names of its decoder's last stages, deepest first.

    Raises `UserError` for a checkpoint of another network or without a decoder.
    """
    tensors = read_checkpoint(weights)
    head = tensors.get("decoder.head.weight")
    model = build_segmenter(encoder, len(head) if head is not None else 1, use="simple", seed=0, image_size=image_size)
    fill(model, {name: t for name, t in tensors.items() if name.startswith(("encoder.", "decoder."))}, weights)
    stages = [name for name, _ in model.named_modules() if name.rpartition(".")[0] in STAGE_LISTS]
    return model.eval(), stages[-STAGES:]


def as_images(data: Prepared, count: int, seed: int, inputs: str) -> tuple[list[Tensor], list[Array], list[str]]:
    """Training images (3, s, s) as networks see them, masks (s, s) with `PADDING`, and patients: those of the other scores."""
    chosen = target_images(data, count, seed=derive_seed(seed, "score images"))
    assert chosen.masks is not None
    images = standardise(chosen.images, inputs, chosen.statistics)
    return list(images), list(chosen.masks), [str(group) for group in chosen.groups]


def as_volumes(data: Prepared) -> tuple[list[Tensor], list[Array], list[str]]:
    """Training volumes (1, D, H, W), each by its own mean and SD without padding, masks (D, H, W) with `PADDING`, and patients:
    the slices of each case one above the other."""
    volumes, masks, groups = [], [], []
    for _, part in data.items[data.items["part"] == "train"].groupby("case", sort=False):
        numbers = part.index.to_numpy()
        volume = torch.from_numpy(np.asarray(data.images[numbers]).astype(np.float32)).mean(dim=1)[None]
        shown = np.stack([inside(data, number) for number in numbers])
        voxels = volume[0][torch.from_numpy(shown)]
        volumes.append((volume - voxels.mean()) / (voxels.std() + 1e-3))
        masks.append(np.where(shown, data.masks[numbers], PADDING))
        groups.append(str(part["group"].iloc[0]))
    return volumes, masks, groups

"""`snakemake calibrate`: how fast this machine's device trains the study's networks, which `plan` then uses."""

import logging
import time
from pathlib import Path

import torch

from workflow.lib.job.run import write_json
from workflow.lib.networks.build import build_segmenter
from workflow.lib.overview.costs import read_costs
from workflow.lib.training.device import autocast, chosen_precision, device_named, move_network
from workflow.lib.training.losses import dice_loss

log = logging.getLogger("medseg")

ENCODERS: dict[str, dict[str, object]] = {
    "unet": {"architecture": "unet", "width": 64},
    "resnet50": {"architecture": "resnet50", "width": 64},
    "swin": {"architecture": "swin", "width": 96, "window": 7},
}
SIZE, BATCH = 224, {"cuda": 24, "cpu": 2}


def calibrate(
    *,
    output: str | Path,
    costs: str | Path,
    device: str,
    precision: str,
    threads: int,
    seconds: float = 10,
    size: int = SIZE,
) -> None:
    """Write, for each of the study's networks, the TFLOP/s that steps of fine-tuning sustain for `seconds` after a first one, by
    the operations that the table `costs` counts; as "<device>.<architecture>", and the device's name."""
    torch.set_num_threads(threads)
    place = device_named(device)
    computed_in, table, rates = chosen_precision(precision, place), read_costs(costs), {}
    images = torch.rand(BATCH[device], 3, size, size, device=place)
    masks = torch.zeros(BATCH[device], size, size, dtype=torch.long, device=place)
    for name, encoder in ENCODERS.items():
        network = build_segmenter(encoder, 1, image_size=size, use="simple", seed=0)
        move_network(network, place, computed_in)
        operations = (table[f"{name}.encoder"] + table[f"{name}.decoder"]) * (1 + table["backward"]) * BATCH[device]
        steps, start = -1, 0.0
        while steps < 1 or time.monotonic() - start < seconds:
            with autocast(place, computed_in):
                outputs = network(images)
            network.zero_grad()
            loss = dice_loss(outputs.float(), masks)
            loss.backward()
            loss.item()  # waits for the device
            steps += 1
            start = start or time.monotonic()  # after the first, which chooses kernels
        rates[f"{device}.{name}"] = steps * operations * (size / SIZE) ** 2 / 1000 / (time.monotonic() - start)
        log.info("%s: %.3g TFLOP/s", name, rates[f"{device}.{name}"])
    card = torch.cuda.get_device_name(place) if device == "cuda" else f"CPU, {threads} threads"
    write_json(output, {"device": card, "precision": computed_in, "TFLOP per second": rates})

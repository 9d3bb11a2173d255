"""The two protocols: `paper` is what the study did, traps included; `sound` is the same with those traps mended.

Each switch can be set alone (`switches` in the config). Reasons, item by item: docs/protocol.md.
"""

from typing import Any, Literal, TypedDict, cast


class Protocol(TypedDict):
    """One value for every switch; the first of each pair is what the study did."""

    # Masks are resized as numbers, which makes false labels and moves borders; or by nearest neighbour.
    masks: Literal["interpolated", "nearest"]
    # Images are made smaller without antialiasing; or with it.
    images: Literal["aliased", "antialiased"]
    # MRI goes in as stored; or divided by the 99.5th percentile of its volume. (Pictures: always divided by 255.)
    intensities: Literal["raw", "scaled"]
    # IDRiD is squeezed to an aspect of 2; or keeps its own, 1.4.
    aspect: Literal["squeezed", "kept"]
    # Networks see images as prepared; or each with mean 0 and standard deviation 1.
    inputs: Literal["unchanged", "standardised"]
    # The epoch of fine-tuning is chosen on the test part; or on a part of the training patients.
    validation: Literal["test_part", "held_out"]
    # A frozen encoder keeps its weights only, its batch-norm and stochastic depth go on; or it is wholly in evaluation mode.
    frozen: Literal["gradients_off", "evaluation"]
    # Fine-tuning uses the study's rates whatever the weights were trained with; or the rates of the pretraining.
    stochastic_depth: Literal["study", "as_pretrained"]
    # The learning rate of fine-tuning lags two steps behind the polynomial; or follows it.
    schedule: Literal["two_late", "plain"]
    # IDRiD is evaluated on windows that leave out a fifth of the image; or on whole images.
    evaluation: Literal["windows", "whole"]
    # Metrics come from all pixels of the set together, some from batches; or are means over patients' cases, distances in mm.
    metrics: Literal["pooled", "per_case"]
    # The run's robustness score is the published one; or has jitter per image, no self-pairs and several negatives.
    robustness: Literal["published", "sound"]


PROTOCOLS: dict[str, Protocol] = {
    "paper": {
        "masks": "interpolated",
        "images": "aliased",
        "intensities": "raw",
        "aspect": "squeezed",
        "inputs": "unchanged",
        "validation": "test_part",
        "frozen": "gradients_off",
        "stochastic_depth": "study",
        "schedule": "two_late",
        "evaluation": "windows",
        "metrics": "pooled",
        "robustness": "published",
    },
    "sound": {
        "masks": "nearest",
        "images": "antialiased",
        "intensities": "scaled",
        "aspect": "kept",
        "inputs": "standardised",
        "validation": "held_out",
        "frozen": "evaluation",
        "stochastic_depth": "as_pretrained",
        "schedule": "plain",
        "evaluation": "whole",
        "metrics": "per_case",
        "robustness": "sound",
    },
}


# Which steps prepared data depend on, and which a fine-tuning; `inputs` is all that a pretraining depends on.
DATA = ("masks", "images", "intensities", "aspect", "validation")
FINETUNING = ("validation", "frozen", "stochastic_depth", "schedule", "evaluation", "metrics")
# The score that stands in the run's table.
SCORE = {"published": "robustness", "sound": "robustness_sound"}


def protocol_of(config: dict[str, Any]) -> Protocol:
    """The config's protocol, with its `switches` set; both have passed the config's schema."""
    return cast(Protocol, PROTOCOLS[config["protocol"]] | config["switches"])


def part_of(protocol: Protocol, switches: tuple[str, ...]) -> Protocol:
    """The protocol without other switches than these, so that what does not use the others does not depend on them."""
    return cast(Protocol, {name: protocol[name] for name in switches})  # type: ignore[literal-required]

"""The two protocols: `paper` is what the study did, known flaws included; `sound` corrects these flaws.

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
    # Images are squeezed, IDRiD to an aspect of 2, others to a square; or keep their aspect and are padded.
    aspect: Literal["squeezed", "kept"]
    # Networks see images as prepared; or by the mean and standard deviation of the volume or picture.
    inputs: Literal["unchanged", "standardised"]
    # The epoch of fine-tuning is chosen on the test split; or on a part of the training patients.
    validation: Literal["test_split", "held_out"]
    # A frozen encoder keeps its weights only, its batch-norm and stochastic depth stay active; or it is in evaluation mode.
    frozen: Literal["gradients_off", "evaluation"]
    # Fine-tuning uses the study's rates whatever the weights were trained with; or the rates of the pretraining.
    stochastic_depth: Literal["study", "as_pretrained"]
    # The learning rate of fine-tuning lags two steps behind the polynomial; or follows it.
    schedule: Literal["two_late", "plain"]
    # IDRiD is evaluated on windows that leave out a fifth of the image; or all on whole images, in full resolution.
    evaluation: Literal["windows", "whole"]
    # Metrics come from all pixels of the set together, some from batches; or are means over patients' cases, distances in mm.
    metrics: Literal["pooled", "per_case"]
    # Optimiser, loss and augmentation of fine-tuning are the study's; or those usual today (`RECIPES`).
    recipe: Literal["study", "standard"]
    # The run's robustness score is the published one; or has jitter per image, no self-pairs and several negatives.
    robustness: Literal["published", "sound"]


PROTOCOLS: dict[str, Protocol] = {
    "paper": {
        "masks": "interpolated",
        "images": "aliased",
        "intensities": "raw",
        "aspect": "squeezed",
        "inputs": "unchanged",
        "validation": "test_split",
        "frozen": "gradients_off",
        "stochastic_depth": "study",
        "schedule": "two_late",
        "evaluation": "windows",
        "metrics": "pooled",
        "recipe": "study",
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
        "recipe": "standard",
        "robustness": "sound",
    },
}


# What `finetune` leaves null in the config, by the switch `recipe` and the optimiser.
RECIPES: dict[str, dict[str, Any]] = {
    "study": {"optimizer": "sgd", "loss": "dice", "rotation": 180, "flip": True},
    "standard": {"optimizer": "adamw", "loss": "dice_ce", "rotation": 15, "flip": False},
}
RATES: dict[str, dict[str, Any]] = {
    "sgd": {"learning_rate": 0.05, "weight_decay": 0.0001},
    "adamw": {"learning_rate": 0.0003, "weight_decay": 0.01},
}

# Which steps prepared data depend on, and which a fine-tuning; `inputs` is all that a pretraining depends on.
DATA = ("masks", "images", "intensities", "aspect", "validation")
FINETUNING = ("validation", "frozen", "stochastic_depth", "schedule", "evaluation", "metrics")
# The score in the run's table.
SCORE = {"published": "robustness", "sound": "robustness_sound"}


def protocol_of(config: dict[str, Any]) -> Protocol:
    """The config's protocol, with its `switches` set; both have passed the config's schema."""
    return cast(Protocol, PROTOCOLS[config["protocol"]] | config["switches"])


def fill_recipe(config: dict[str, Any]) -> None:
    """Give `finetune` (in place) the protocol's values where the config has null."""
    given = {key: value for key, value in config["finetune"].items() if value is not None}
    chosen = RECIPES[protocol_of(config)["recipe"]] | given
    config["finetune"] |= RATES[chosen["optimizer"]] | chosen


def part_of(protocol: Protocol, switches: tuple[str, ...]) -> Protocol:
    """The protocol without other switches than these, so that what does not use the others does not depend on them."""
    return cast(Protocol, {name: protocol[name] for name in switches})  # type: ignore[literal-required]

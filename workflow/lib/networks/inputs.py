"""What the weights of an encoder expect as input: mean, standard deviation and range. Light: no numerical imports."""

from collections.abc import Iterable, Mapping
from typing import Any

from workflow.lib.job.run import UserError


def weights_inputs(name: str, encoder: Mapping[str, Any]) -> dict[str, list[float]]:
    """`mean` and `std` of an entry of the config's `encoders`, three numbers each, for images in 0..1; empty where it has none.

    Raises `UserError` for one without the other, and for networks of the study, which take images as they are.
    """
    given = encoder.keys() & {"mean", "std", "range"}
    if not given:
        return {}
    if not encoder["architecture"].startswith("timm/") or not {"mean", "std"} <= given:
        raise UserError(
            f"inputs of encoder {name} that cannot be applied",
            found=f"architecture {encoder['architecture']} with {', '.join(sorted(given))}",
            expected="both mean and std, if any, and with architecture timm/<name>; range only beside them",
            where=f"config: encoders.{name}",
            next="correct this encoder in the config",
        )
    top = encoder.get("range", 1)
    three = {key: encoder[key] if isinstance(encoder[key], list) else 3 * [encoder[key]] for key in ("mean", "std")}
    if not all(0 <= value <= top for value in three["mean"]):
        raise UserError(
            f"mean of encoder {name} that no images have",
            found=f"mean {encoder['mean']}, range {top}",
            expected=f"0 to {top}",
            where=f"config: encoders.{name}",
            next="range: 255, if mean and std are those of images in 0..255",
        )
    return {key: [value / top for value in values] for key, values in three.items()}


def inputs_text(encoder: Any, inputs: str) -> str:
    """What an encoder sees, in words; encoder: the network, which may have `mean` and `std`; inputs: unchanged | standardised."""
    text = "images in 0..1" if inputs == "unchanged" else "standardised images"
    if not hasattr(encoder, "mean"):
        return text
    mean, std = (numbers(tensor.flatten().tolist()) for tensor in (encoder.mean, encoder.std))
    return f"{text}, then mean {mean}, SD {std}"


def numbers(values: Iterable[float]) -> str:
    """A few numbers in a sentence."""
    return " ".join(f"{value:.3g}" for value in values)

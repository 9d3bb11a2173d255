"""Where in a file of weights a network's tensors are: below one prefix, which training code put before their names."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

COUNTER = "num_batches_tracked"  # of batch norm; no weight, and files from before PyTorch 0.4.1 lack it
# Children of torchvision's ResNets by their number, where training code put them into a Sequential (RadImageNet).
NUMBERED = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
ASIDE = ("fc_norm", "mask_token", "decoder")  # parts of classifiers and of masked pretraining, which no encoder uses

Tensors = dict[str, Tensor]


class Fit(NamedTuple):
    """The tensors of a file below `prefix`, under the network's names, and what keeps them from filling it.

    ignored: what of the file is left aside, as numbers of tensors by the common beginning of their names; filled: how many
    counters of batch norm it lacked; grey: convolutions of one channel, which are of three in `tensors`, each with a third of
    the weight: on grey images that is the same.
    """

    prefix: str
    tensors: Tensors
    missing: list[str]
    unknown: list[str]
    misshaped: list[str]
    failure: str
    ignored: dict[str, int]
    filled: int
    grey: list[str]

    @property
    def problems(self) -> int:
        return len(self.missing) + len(self.unknown) + len(self.misshaped) + bool(self.failure)


def prefixes(names: Iterable[str], least: int) -> list[str]:
    """ "" and all that `least` names or more begin with, up to a dot; the shortest first."""
    counts = Counter(name[: i + 1] for name in names for i, letter in enumerate(name) if letter == ".")
    return ["", *sorted((prefix for prefix, count in counts.items() if count >= least), key=len)]


def fit(
    tensors: Mapping[str, Tensor],
    prefix: str,
    wanted: Mapping[str, Tensor],
    model: nn.Module,
    convert: Callable[[Tensors], Tensors],
) -> Fit:
    """Fill the network with the tensors `wanted` (timm's extractor of feature maps) from those of a file below a prefix.

    model: timm's whole model, of which names count; convert: timm's renaming of other software's checkpoints to its names. What
    is left over is a problem only within the encoder: heads, projectors and decoders are left aside.
    """
    below = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if "4.0.conv1.weight" in below:
        parts = ((*key.partition("."), tensor) for key, tensor in below.items())
        below = {NUMBERED.get(first, first) + dot + rest: tensor for first, dot, rest, tensor in parts}
    failure = ""
    try:
        below = convert(dict(below))
    except Exception as error:  # timm's converters take any file for one of their model's, and check nothing
        failure = f"the conversion failed with {error!r}"
    # timm's extractors call 'stages.0.x' of the model 'stages_0.x' or 'model.stages.0.x'.
    names = {alias: key for key in below for alias in (f"model.{key}", key.replace(".", "_", 1), key)}
    found = {key: below[names[key]] for key in wanted if key in names}
    grey = [key for key, tensor in found.items() if _is_grey(tensor, wanted[key])]
    found |= {key: found[key].expand(-1, 3, -1, -1) / 3 for key in grey}
    counters = [key for key in wanted if key.endswith(COUNTER) and key not in found]
    used, known = {names[key] for key in found}, model.state_dict().keys()
    inside = _inside(wanted, model)
    rest = [key for key in below if key not in used]
    unknown = [key for key in rest if key not in known and inside(key, below[key])]
    aside = [name for name in tensors if not name.startswith(prefix)]
    aside += [prefix + key for key in rest if key not in unknown]
    return Fit(
        prefix=prefix,
        tensors=found | {key: torch.zeros(wanted[key].shape, dtype=wanted[key].dtype) for key in counters},
        missing=[f"missing {key}" for key in wanted if key not in found and key not in counters],
        unknown=[f"unknown {prefix}{key}" for key in unknown],
        misshaped=[
            f"{key} has shape {tuple(tensor.shape)} instead of {tuple(wanted[key].shape)}"
            for key, tensor in found.items()
            if tensor.shape != wanted[key].shape
        ],
        failure=failure,
        ignored=dict(Counter(_beginning(name, prefix) for name in aside)),
        filled=len(counters),
        grey=grey,
    )


def _is_grey(found: Tensor, wanted: Tensor) -> bool:
    """Whether a convolution is the wanted one, but of one channel instead of three."""
    return wanted.ndim == 4 and wanted.shape[1] == 3 and found.shape == (wanted.shape[0], 1, *wanted.shape[2:])


def equal(one: Tensors, other: Tensors) -> bool:
    """Whether two fills of a network are the same."""
    return all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def _inside(wanted: Iterable[str], model: nn.Module) -> Callable[[str, Tensor], bool]:
    """Whether a left-over tensor belongs to the encoder, so that without it the encoder would be another one.

    It does where the encoder has a part of its first name, present or switched off, and where it is a token or table of its own.
    """
    classifier = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    heads = {name.partition(".")[0] for name in ([classifier] if isinstance(classifier, str) else classifier)}
    tops = {key.partition(".")[0] for key in wanted}

    def inside(key: str, tensor: Tensor) -> bool:
        top, dot, _ = key.partition(".")
        if top in heads or any(word in top for word in ASIDE):
            return False
        return top in tops or hasattr(model, top) or (not dot and tensor.ndim > 0)

    return inside


def _beginning(name: str, prefix: str) -> str:
    """The first parts of a name, up to the one that is not of the prefix."""
    parts = name.split(".")
    heads = (".".join(parts[: i + 1]) for i in range(len(parts)))
    return next((head for head in heads if not prefix.startswith(f"{head}.")), name)

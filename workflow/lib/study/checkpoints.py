"""The grid of the study: which checkpoints exist, and which fine-tunings start from them. Light: no numerical imports."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

WITH_DECODER = ("segmentation", "reconstruction", "contrastive_reconstruction", "masked")  # tasks that train one

RANDOM = "random"  # the "scheme" of untrained weights; their pretraining seed is the fine-tuning seed
GIVEN = "pretrained"  # the "scheme" of weights that an encoder of the config brings along
ENCODER, BOTH, DECODER, NONE = "encoder", "both", "decoder", "none"  # what is transferred
WAY = r"(frozen|trainable)(?:-(both|decoder))?(?:-(\d+)patients-draw(\d+))?"
GIVEN_RUN = f"{GIVEN}/seed0"  # the "pretraining" of a given network of a pool
ELSEWHERE = 0  # the pretraining seed of weights that were not trained here

HUB, LOCAL_DIR = (
    "hf-hub:",
    "local-dir:",
)  # timm's names begin so where config.json and weights are in a repository, or a folder


class Checkpoint(NamedTuple):
    """Encoder weights after `epochs` epochs of one pretraining run; `epochs` 0 and scheme `random`: no pretraining."""

    encoder: str
    scheme: str
    pretrain_seed: int
    epochs: int

    @property
    def path(self) -> str:
        """Path below the checkpoint folder, without suffix."""
        return f"{self.encoder}/{self.scheme}/seed{self.pretrain_seed}/epoch{self.epochs}"

    @property
    def pretraining(self) -> str:
        """What one job scores, and of one length fine-tunes: a pretraining run, or all random weights of the encoder."""
        return RANDOM if self.scheme == RANDOM else f"{self.scheme}/seed{self.pretrain_seed}"


def is_from_elsewhere(checkpoint: Checkpoint) -> bool:
    """Whether its weights were trained by others: the study's released ones, and those that an encoder brings along."""
    return checkpoint.scheme != RANDOM and checkpoint.pretrain_seed == ELSEWHERE


class Way(NamedTuple):
    """How a network is fine-tuned: its encoder frozen or not, what it takes from the checkpoint (encoder | decoder | both; of
    random weights always encoder), and on how many training patients (0: all), of which `draw`, counted from 1."""

    frozen: bool
    transfer: str = ENCODER
    patients: int = 0
    draw: int = 0

    @property
    def name(self) -> str:
        """In paths: trainable, frozen-both, trainable-5patients-draw1, ..."""
        parts = ["frozen" if self.frozen else "trainable", *([self.transfer] if self.transfer != ENCODER else [])]
        return "-".join([*parts, *([f"{self.patients}patients", f"draw{self.draw}"] if self.patients else [])])

    @classmethod
    def of(cls, name: str) -> "Way":
        """The way of this name. Raises ValueError for another text."""
        found = re.fullmatch(WAY, name)
        if not found:
            raise ValueError(name)
        freeze, transfer, patients, draw = found.groups()
        return cls(freeze == "frozen", transfer or ENCODER, int(patients or 0), int(draw or 0))


class Finetuning(NamedTuple):
    """One job: U-Nets trained on `target` in one `way` (the name of a `Way`), one for each of `seeds`.

    They start from the checkpoint of `pretraining` after `epochs`; those of random weights each from their own.
    """

    target: str
    way: str
    encoder: str
    pretraining: str
    epochs: int
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, wildcards: Any) -> "Finetuning":
        """The job of these wildcards of a rule: attributes, all text."""
        w = wildcards
        return cls(w.target, w.way, w.encoder, w.pretraining, int(w.epochs), seeds_in(w.seeds))

    def names(self, seed: int) -> dict[str, str]:
        """What one fine-tuning is called in its card; random weights have the fine-tuning's seed."""
        scheme, _, pretrain_seed = self.pretraining.partition("/seed")
        way = Way.of(self.way)
        names = {"target": self.target, "freeze": "frozen" if way.frozen else "trainable", "encoder": self.encoder}
        names |= {"epochs": str(self.epochs), "transfer": way.transfer}
        names |= {"patients": str(way.patients), "draw": str(way.draw)}
        return names | {"scheme": scheme, "pretrain_seed": pretrain_seed or str(seed), "seed": str(seed)}

    @property
    def path(self) -> str:
        """Path below <run>/finetune."""
        return (
            f"{self.target}/{self.way}/{self.encoder}/{self.pretraining}/epoch{self.epochs}-seeds{written(self.seeds)}"
        )


def written(seeds: Iterable[int]) -> str:
    """Seeds as in the names of folders: 1-3+7 for 1, 2, 3 and 7."""
    ranges: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if ranges and seed == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], seed]
        else:
            ranges.append([seed])
    return "+".join("-".join(map(str, part)) for part in ranges)


def seeds_in(text: str) -> tuple[int, ...]:
    """The seeds that `written` wrote."""
    ends = [[int(end) for end in part.split("-")] for part in text.split("+")]
    return tuple(seed for part in ends for seed in range(part[0], part[-1] + 1))


def weights_from(config: dict[str, Any], encoder: str, scheme: str) -> str:
    """Where the checkpoints of an encoder and scheme come from, by `pretraining.weights`: train | released."""
    weights = config["pretraining"]["weights"]
    if isinstance(weights, dict):
        weights = weights.get(encoder, "train")
    return weights.get(scheme, "train") if isinstance(weights, dict) else weights


def released_runs(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Encoders and schemes of the grid whose checkpoints are the study's own."""
    pairs = [(encoder, scheme) for encoder in config["study"]["encoders"] for scheme in config["study"]["schemes"]]
    return [pair for pair in pairs if weights_from(config, *pair) == "released" and not brings_weights(config, pair[0])]


def brings_weights(config: dict[str, Any], encoder: str) -> bool:
    """Whether the encoder's config names its weights, so that no scheme pretrains it."""
    return "weights" in config["encoders"][encoder]


def chain_of(config: dict[str, Any], scheme: str) -> list[str]:
    """The scheme and those it continues, one after the other; of a circle, each once."""
    chain = [scheme]
    while (before := config["schemes"][chain[-1]]["continues"]) and before not in chain:
        chain.append(before)
    return chain


def schemes_behind(config: dict[str, Any]) -> list[str]:
    """The schemes of the grid and all that they continue."""
    return list(dict.fromkeys(behind for scheme in config["study"]["schemes"] for behind in chain_of(config, scheme)))


def is_trained_here(config: dict[str, Any], encoder: str) -> bool:
    """Whether any scheme pretrains this encoder."""
    schemes = config["study"]["schemes"]
    return not brings_weights(config, encoder) and any(weights_from(config, encoder, s) == "train" for s in schemes)


def trained_checkpoints(config: dict[str, Any]) -> list[Checkpoint]:
    """Checkpoints of all pretraining runs at the study's lengths > 0; one of an encoder that brings its weights."""
    study, released = config["study"], released_runs(config)
    checkpoints = []
    for encoder in study["encoders"]:
        if brings_weights(config, encoder):
            checkpoints.append(Checkpoint(encoder, GIVEN, ELSEWHERE, config["encoders"][encoder]["epochs"]))
            continue
        checkpoints += [
            Checkpoint(encoder, scheme, seed, length)
            for scheme in study["schemes"]
            for seed in ([ELSEWHERE] if (encoder, scheme) in released else study["pretrain_seeds"])
            for length in sorted(study["lengths"])
            if length > 0
        ]
    return checkpoints


def tuned_schemes(config: dict[str, Any]) -> dict[str, list[float]]:
    """The schemes of the grid whose learning rate is to be chosen, with the rates to try."""
    rates = {name: config["schemes"][name]["learning_rate"] for name in config["study"]["schemes"]}
    return {name: rate for name, rate in rates.items() if isinstance(rate, list)}


def trial_of(scheme: str, rate: float) -> str:
    """The scheme under which one of several learning rates is tried."""
    return f"{scheme}.rate{rate:g}"


def trials_of(config: dict[str, Any], encoder: str, scheme: str) -> dict[float, list[Finetuning]]:
    """The fine-tunings by which a learning rate is chosen, by rate: of the first pretraining seed at its longest length, on all
    patients of the development targets; the encoder is transferred and trainable."""
    study = config["study"]
    seeds, epochs = tuple(study["finetune_seeds"]), max(study["lengths"])
    return {
        rate: [
            Finetuning(target, Way(False).name, encoder, f"{trial}/seed{study['pretrain_seeds'][0]}", epochs, seeds)
            for target in study["development"]
        ]
        for rate in tuned_schemes(config)[scheme]
        for trial in [trial_of(scheme, rate)]
    }


def random_checkpoints(study: dict[str, Any]) -> list[Checkpoint]:
    """Length 0: random weights, one draw per fine-tuning seed and encoder; none if 0 is no length and nothing is to be compared
    with transfer of nothing."""
    seeds = study["finetune_seeds"] if 0 in study["lengths"] or NONE in study["transfer"] else []
    return [Checkpoint(encoder, RANDOM, seed, 0) for encoder in study["encoders"] for seed in seeds]


def checkpoints_of(config: dict[str, Any], encoder: str, pretraining: str) -> list[Checkpoint]:
    """What one job scores: all kept checkpoints of a pretraining of an encoder, or its random weights for every fine-tuning seed.

    All kept ones, so that neither more nor fewer lengths in the study repeat the job; of weights from elsewhere the study's.
    """
    if pretraining == RANDOM:
        return [Checkpoint(encoder, RANDOM, seed, 0) for seed in config["study"]["finetune_seeds"]]
    known = [c for c in trained_checkpoints(config) if (c.encoder, c.pretraining) == (encoder, pretraining)]
    if not known or known[0].pretrain_seed == ELSEWHERE:
        return known
    return [known[0]._replace(epochs=epochs) for epochs in sorted(config["pretraining"]["keep"])]


def all_checkpoints(config: dict[str, Any]) -> list[Checkpoint]:
    """Random and trained checkpoints."""
    return random_checkpoints(config["study"]) + trained_checkpoints(config)


def with_decoder(config: dict[str, Any], checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint holds a decoder."""
    schemes = config["schemes"]
    trained = checkpoint.scheme in schemes and checkpoint.pretrain_seed != ELSEWHERE
    return trained and schemes[checkpoint.scheme]["task"] in WITH_DECODER


def ways_of(config: dict[str, Any], checkpoint: Checkpoint) -> list[Way]:
    """The ways of the grid in which networks are fine-tuned from a checkpoint; none where it lacks what is to be transferred.

    On fewer patients than all only from the longest length, and from random weights.
    """
    study = config["study"]
    if checkpoint.scheme == RANDOM:
        taken = [ENCODER]
    else:
        taken = [t for t in study["transfer"] if t == ENCODER or (t != NONE and with_decoder(config, checkpoint))]
    sizes = [(0, 0)] if "all" in study["train_patients"] else []
    few = [n for n in study["train_patients"] if n != "all"]
    if checkpoint.scheme in (RANDOM, GIVEN) or checkpoint.epochs == max(study["lengths"]):
        sizes += [(patients, draw) for patients in few for draw in range(1, study["subset_draws"] + 1)]
    return [Way(freeze, t, *size) for freeze in study["freeze"] for t in taken for size in sizes]


def all_finetunings(config: dict[str, Any], folder: str | Path) -> list[Finetuning]:
    """Every fine-tuning of the grid: targets x checkpoints x ways, all seeds in one job; and of given networks with a head.

    folder: <run>/finetune. What is finished there stays as it is: seeds that were added later are trained in a job of their own.
    """
    study = config["study"]
    starts = {(c.encoder, c.pretraining, c.epochs): c for c in all_checkpoints(config)}
    cells = [
        (target, way.name, *cell)
        for target in study["targets"]
        for freeze in study["freeze"]
        for cell, checkpoint in starts.items()
        for way in ways_of(config, checkpoint)
        if way.frozen == freeze
    ]
    given = [(Way(False, BOTH).name, name, GIVEN_RUN, 0) for name in given_to_finetune(config)]
    cells += [(target, *cell) for target in study["targets"] for cell in given]
    return [
        Finetuning(*cell, seeds)
        for cell in cells
        for seeds in _jobs_of_seeds(study["finetune_seeds"], _finished_seeds(Path(folder, *cell[:4]), cell[4]))
    ]


def given_to_finetune(config: dict[str, Any]) -> list[str]:
    """The given networks of the pool that are fine-tuned as well as scored."""
    return [name for name, network in config["pool"]["given"].items() if "head" in network]


def _jobs_of_seeds(wanted: Iterable[int], finished: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The seeds of each job that together holds all `wanted`: those of finished jobs, the fullest first, and the rest."""
    left, jobs = set(wanted), []
    for seeds in sorted(finished, key=lambda seeds: (-len(seeds), seeds)):
        if left & set(seeds):
            jobs.append(seeds)
            left -= set(seeds)
    return jobs + ([tuple(sorted(left))] if left else [])


def _finished_seeds(folder: Path, epochs: int) -> list[tuple[int, ...]]:
    """The seeds of each finished job in the folder of a pretraining's fine-tunings."""
    found = (re.fullmatch(rf"epoch{epochs}-seeds([\d+-]+)", name) for name in _names(folder))
    return [seeds_in(match[1]) for match in found if match and (folder / match[0] / "card.json").exists()]


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []

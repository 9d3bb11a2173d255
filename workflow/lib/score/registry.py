"""Every score in one table: what it needs, which direction is better, what it costs, where it is from.

To add one: a file with a pure function, and a line here (docs/scores.md has an example). A function of one `Sample` is called
for every level of the encoder; one of all levels gets the list of them. It raises `NotApplicable` with a reason where it has no
value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from workflow.lib.score.applies import Array, need, reduced
from workflow.lib.score.ccfv import ccfv_code, ccfv_published
from workflow.lib.score.gbc import gbc
from workflow.lib.score.hscore import h_score, regularised_h_score
from workflow.lib.score.knn import knn
from workflow.lib.score.leep import leep, nce
from workflow.lib.score.logme import logme
from workflow.lib.score.nleep import nleep
from workflow.lib.score.parc import parc
from workflow.lib.score.probe import probe, probe_by_group
from workflow.lib.score.sfda import sfda
from workflow.lib.score.transrate import transrate, transrate_original


@dataclass(frozen=True)
class Sample:
    """A sample of n pixels at one level: the encoder's own channels (n, D), for scores that standardise them; most dimensions of
    the others (None: as many as there are); class, patient and image (n,); class probabilities (n, Z) of the source classifier,
    None where there is none; seed."""

    channels: Array
    components: int | None
    labels: Array
    groups: Array
    image: Array
    probabilities: Array | None
    seed: int

    @cached_property
    def features(self) -> Array:
        """The channels in principal components (n, d), at a root mean square of 1 (`reduced`)."""
        return reduced(self.channels, self.components)


@dataclass(frozen=True)
class Score:
    """An entry of the registry. needs: images | labels | source classifier | card. of: view | level | deepest | levels | points |
    card.

    norm: the batch-norm statistics, `calibrated` on the target's training images, as fine-tuning has them in a frozen encoder,
    or `stored` in the checkpoint. by_group: `compute` gives a value for each patient, {name: value}; the score is their mean,
    and `rank` compares by them.
    """

    compute: Any  # the function; of view scores, whether it is the published form
    needs: str
    better: str
    of: str
    cost: str
    source: str
    norm: str = "calibrated"
    by_group: bool = False


def _probabilities(sample: Sample) -> Array:
    need(sample.probabilities is not None, "needs the source's classifier, which these weights do not hold")
    assert sample.probabilities is not None
    return sample.probabilities


def _transrate_original(sample: Sample) -> float:
    shares = np.unique(sample.labels, return_counts=True)[1] / len(sample.labels)
    need(
        len(shares) != 2 or np.ptp(shares) > 0.2,
        "can't see two classes of about equal size, as both are centred together: see transrate",
    )
    return transrate_original(sample.features, sample.labels)


def _probe_all(levels: list[Sample]) -> dict[str, float]:
    first = levels[0]
    return probe_by_group(
        [level.channels for level in levels], first.labels, first.groups, seed=first.seed, components=first.components
    )


def _label(compute: Callable[..., float], cost: str, source: str) -> Score:
    return Score(compute, "labels", "higher", "level", cost, source)


STUDY = "Hidy et al., arXiv 2410.18677"
PASSES = "two passes of jittered images per draw"
CARD: dict[str, Any] = {"needs": "card", "of": "card", "cost": "none", "source": "null baseline", "norm": "stored"}

SCORES = {
    "robustness": Score(True, "images", "lower", "view", PASSES, STUDY, norm="stored"),  # published: True
    "robustness_sound": Score(False, "images", "lower", "view", PASSES, STUDY + ", corrected"),
    "logme": _label(lambda s: logme(s.features, s.labels, intercept=True), "an SVD", "You et al., ICML 2021, with intercept"),
    "h_score": _label(lambda s: h_score(s.features, s.labels), "a covariance", "Bao et al., ICIP 2019"),
    "regularised_h_score": _label(
        lambda s: regularised_h_score(s.features, s.labels), "a covariance", "Ibrahim et al., ECML 2022"
    ),
    "transrate": _label(
        lambda s: transrate(s.features, s.labels, own_means=True),
        "K + 1 determinants", "Huang et al., ICML 2022, scaled, classes centred each on its own",
    ),
    "transrate_original": _label(_transrate_original, "K + 1 determinants", "Huang et al., ICML 2022"),
    "gbc": _label(lambda s: gbc(s.features, s.labels), "means and variances", "Pandy et al., CVPR 2022, diagonal"),
    "gbc_spherical": _label(
        lambda s: gbc(s.features, s.labels, "spherical"), "means and variances", "Pandy et al., CVPR 2022, spherical, corrected"
    ),
    "nleep": _label(lambda s: nleep(s.features, s.labels, seed=s.seed), "a mixture of 5 K Gaussians", "Li et al., CVPR 2021"),
    "sfda": _label(lambda s: sfda(s.features, s.labels), "two discriminant analyses", "Shao et al., ECCV 2022"),
    "parc": _label(lambda s: parc(s.channels, s.labels, seed=s.seed, most=500), "all pairs of 500", "Bolya et al., NeurIPS 2021"),
    "knn": _label(lambda s: knn(s.features, s.labels, s.groups), "all pairs", "Sorkhei et al., arXiv 2503.18528"),
    "probe": _label(
        lambda s: probe(s.channels, s.labels, s.groups, seed=s.seed, components=s.components),
        "30 logistic regressions", "linear probe, log probability",
    ),
    "probe_all": Score(
        _probe_all, "labels", "higher", "levels", "30 logistic regressions", "linear probe of all levels, log probability",
        by_group=True,
    ),
    "probe_all_stored": Score(
        _probe_all, "labels", "higher", "levels", "30 logistic regressions",
        "linear probe of all levels, batch-norm statistics of the checkpoint", norm="stored", by_group=True,
    ),
    "cc_fv_published": Score(
        ccfv_published, "labels", "higher", "points", "a pass, all pairs of images",
        "Yang et al., MICCAI 2023, formula, on encoder features",
    ),
    "cc_fv_code": Score(
        lambda layers: ccfv_code(layers) / len(layers), "labels", "higher", "points",  # encoders differ in levels
        "a pass, all pairs of images",
        "Yang et al., MICCAI 2023, authors' code, on encoder features, mean of levels",
    ),
    "leep": Score(
        lambda s: leep(_probabilities(s), s.labels), "source classifier", "higher", "deepest", "one table",
        "Nguyen et al., ICML 2020, classifier applied at every position", norm="stored",
    ),
    "nce": Score(
        lambda s: nce(_probabilities(s).argmax(axis=1), s.labels), "source classifier", "higher", "deepest", "one table",
        "Tran et al., ICCV 2019, classifier applied at every position", norm="stored",
    ),
    "imagenet_accuracy": Score(lambda facts: facts["accuracy"], better="higher", **CARD),
    "epochs": Score(lambda facts: facts["epochs"], better="higher", **CARD),
    "parameters": Score(lambda facts: facts["parameters"], better="higher", **CARD),
    "feature_dimension": Score(lambda facts: facts["feature_dimension"], better="higher", **CARD),
    "random": Score(lambda facts: facts["random"], better="higher", **CARD),
}  # fmt: skip

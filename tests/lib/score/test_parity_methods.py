"""Transferability scores and measures of a ranking against the reference values, where they are at hand (methods.json)."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from tests.parity import parity_folder
from workflow.lib.curves.correlation import correlate
from workflow.lib.score.applies import class_means
from workflow.lib.score.ccfv import Layer, ccfv_code, ccfv_published, closeness, gaussian, pair_distances, pair_sums
from workflow.lib.score.gbc import FLOOR, gbc, overlap
from workflow.lib.score.hscore import h_score, regularised_h_score
from workflow.lib.score.knn import knn
from workflow.lib.score.leep import leep, nce
from workflow.lib.score.logme import logme
from workflow.lib.score.parc import parc
from workflow.lib.score.sfda import sfda
from workflow.lib.score.transrate import transrate, transrate_original
from workflow.lib.selection.measures import regret

Case = dict[str, Any]


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return json.loads((parity_folder() / "methods" / "methods.json").read_text())


@pytest.fixture(scope="module")
def labelled(reference: dict[str, Any]) -> list[Case]:
    """The cases, with arrays in place of lists; rtol of every one."""
    part = reference["label_metrics"]
    cases = [
        {**case, "rtol": part["rtol"], "X": np.array(case["X"]), "y": np.array(case["y"])} for case in part["cases"]
    ]
    assert cases
    return cases


SCORES = {
    "logme_exact_evidence_at_fixed_point": lambda case: logme(case["X"], case["y"]),
    "regularized_h_score": lambda case: regularised_h_score(case["X"], case["y"]),
    "transrate_tllib": lambda case: transrate_original(case["X"], case["y"]),
    "transrate_emab_scaled_sizeweighted": lambda case: transrate(case["X"], case["y"]),
    "gbc_diagonal_google": lambda case: gbc(case["X"], case["y"]),
    "leep": lambda case: leep(np.array(case["source_probs"]), case["y"]),
    "nce": lambda case: nce(np.array(case["nce_source_labels"]), case["y"]),
    "knn1_loo_acc_percent": lambda case: 100 * knn(case["X"], case["y"], np.arange(len(case["y"]))),
}


@pytest.mark.parametrize("name", SCORES)
def test_parity_of_label_scores(labelled: list[Case], name: str) -> None:
    for case in labelled:
        assert SCORES[name](case) == pytest.approx(case[name], rel=case["rtol"]), case["case"]


def test_parity_of_the_h_score(labelled: list[Case]) -> None:
    for case in labelled:
        # The reference inverts a singular covariance where the rank is below D.
        rtol = case["rtol"] if case["feature_rank"] == case["X"].shape[1] else 1e-3
        assert h_score(case["X"], case["y"]) == pytest.approx(case["h_score"], rel=rtol), case["case"]


def test_parity_of_sfda(labelled: list[Case]) -> None:
    cases = [case for case in labelled if "sfda" in case]
    assert cases
    for case in cases:
        assert sfda(case["X"], case["y"]) == pytest.approx(case["sfda"], rel=case["rtol"]), case["case"]


def test_parity_of_spherical_gbc_but_for_its_defect(labelled: list[Case]) -> None:
    for case in labelled:
        means = class_means(case["X"], case["y"])
        variances = class_means((case["X"] - means[case["y"]]) ** 2, case["y"]).mean(axis=1, keepdims=True)
        # One column, so that the log term counts once, as in the reference; `gbc` counts it D times.
        found = overlap(means, np.maximum(variances, FLOOR))
        assert found == pytest.approx(case["gbc_spherical_google"], rel=case["rtol"]), case["case"]


def test_parity_of_parc_but_for_ties_broken_by_rounding(labelled: list[Case]) -> None:
    for case in labelled:
        x, y, expected = case["X"], case["y"], case["parc"]
        found = parc(x, y, seed=0)
        if len(np.unique(y)) == 2:  # correlations of the indicators are exactly 1 and -1
            assert found == pytest.approx(expected, rel=case["rtol"]), case["case"]
            continue
        # The reference ranks pairs of one class by rounding errors of its processor, and pairs of two classes likewise: all
        # that is certain of it are the values with these ties broken for the best and for the worst.
        pairs = np.triu_indices(len(x), 1)
        distances = 1 - np.corrcoef((x - x.mean(axis=0)) / x.std(axis=0))[pairs]
        differ = 1.0 * (y[:, None] != y)[pairs]
        assert found == pytest.approx(100 * spearmanr(distances, differ).statistic, rel=1e-9)
        order = rankdata(distances) / len(distances) / 2
        low, high = (100 * spearmanr(distances, differ + sign * order).statistic for sign in (-1, 1))
        assert low < expected < high, case["case"]


def test_parity_of_ccfv_terms(reference: dict[str, Any]) -> None:
    for case in reference["ccfv"]["w_distance"]:
        found = pair_distances([gaussian(np.array(case[name])) for name in ("f1", "f2")])[0]
        assert found == pytest.approx(case["expected"], rel=case["rtol"], abs=case.get("atol")), case["case"]
    for case in reference["ccfv"]["variety"]:
        assert closeness(np.array(case["matrix"])) == pytest.approx(case["expected"], rel=case["rtol"])


def layers_of(case: Case) -> dict[str, Layer]:
    return {
        name: [{int(k): np.array(points) for k, points in image[name].items()} for image in case["images"]]
        for name in case["layers"]
    }


def test_parity_of_ccfv(reference: dict[str, Any]) -> None:
    for case in reference["ccfv"]["combination"]:
        layers, parts, rtol = layers_of(case), case["per_layer"], case["rtol"]
        for name, layer in layers.items():
            sums = [total for total, _ in pair_sums(layer)]
            assert sums == pytest.approx(parts[name]["w2_pair_sums_per_class"], rel=rtol)
            assert ccfv_code([layer]) == pytest.approx(parts[name]["log_ratio"], rel=rtol)
        assert ccfv_code(list(layers.values())) == pytest.approx(case["expected_as_coded"], rel=rtol)
        # What the reference says of the paper's form is its writer's reading, not the authors' number.
        expected = case["paper_form_unverified"]["value"]
        assert ccfv_published(list(layers.values())) == pytest.approx(expected, rel=rtol)


def test_parity_of_ranking_measures(reference: dict[str, Any]) -> None:
    for case in reference["ranking_measures"]["cases"]:
        score, truth = np.array(case["score"]), np.array(case["truth"])
        found = correlate(score[None], truth).iloc[0]
        expected = [case["pearson"], case["spearman"], case["weighted_tau_scipy_default"]]
        assert found[["pearson", "spearman", "kendall_weighted"]].tolist() == pytest.approx(expected, rel=1e-9)
        # The reference breaks ties by position, the first first; here they are averaged, so there must be none.
        untied = -rankdata(-score, method="ordinal")
        assert regret(untied, truth) == pytest.approx(case["top1_regret"], abs=1e-12)

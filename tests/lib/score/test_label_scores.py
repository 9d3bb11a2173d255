"""Scores of features with labels: what they must not depend on, their known limits, and when they can't be had."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from workflow.lib.score.applies import NotApplicable, centred, reduced, standard_components
from workflow.lib.score.gbc import gbc
from workflow.lib.score.hscore import h_score, regularised_h_score
from workflow.lib.score.knn import knn
from workflow.lib.score.leep import leep, nce
from workflow.lib.score.logme import logme
from workflow.lib.score.nleep import nleep
from workflow.lib.score.parc import parc
from workflow.lib.score.probe import probe
from workflow.lib.score.registry import SCORES as SCORE_TABLE
from workflow.lib.score.registry import Sample
from workflow.lib.score.sfda import sfda
from workflow.lib.score.transrate import transrate, transrate_original

Array = np.ndarray
N, CLASSES = 240, 3
GROUPS = np.arange(N) // 10

SCORES: dict[str, Callable[[Array, Array], float]] = {
    "logme": logme,
    "h_score": h_score,
    "regularised_h_score": regularised_h_score,
    "transrate": transrate,
    "transrate_original": transrate_original,
    "gbc_diagonal": gbc,
    "gbc_spherical": partial(gbc, kind="spherical"),
    "nleep": partial(nleep, seed=1),
    "sfda": sfda,
    "parc": partial(parc, seed=1),
    "knn": lambda x, y: knn(x, y, GROUPS[: len(y)]),
    "probe": lambda x, y: probe(x, y, GROUPS[: len(y)], seed=1),
}
scores = pytest.mark.parametrize("name", SCORES)


def data(width: int = 8, shift: float = 1.0) -> tuple[Array, Array]:
    """Features (N, width), correlated and not of mean 0, and labels (N,) whose classes lie `shift` apart."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, CLASSES, N)
    mixing = rng.normal(size=(width, width))
    return (rng.normal(size=(N, width)) + shift * rng.normal(size=(CLASSES, width))[y]) @ mixing + 0.5, y


@scores
def test_true_labels_score_higher_than_shuffled_ones(name: str) -> None:
    x, y = data()
    assert SCORES[name](x, y) > SCORES[name](x, np.random.default_rng(0).permutation(y))


@scores
def test_names_of_classes_do_not_matter(name: str) -> None:
    x, y = data()
    expected = SCORES[name](x, y)
    assert SCORES[name](x, np.array([7, 2, 5])[y]) == pytest.approx(expected, rel=1e-3)
    assert SCORES[name](x, np.array(["b", "c", "d"])[y]) == expected


@pytest.mark.parametrize("name", [name for name in SCORES if name not in ("nleep", "parc", "knn", "probe")])
def test_order_of_samples_does_not_matter(name: str) -> None:
    x, y = data()
    order = np.random.default_rng(0).permutation(N)
    assert SCORES[name](x[order], y[order]) == pytest.approx(SCORES[name](x, y), rel=1e-9)


@pytest.mark.parametrize("name", ["h_score", "regularised_h_score", "transrate", "nleep", "parc", "knn", "probe"])
def test_scale_of_features_does_not_matter(name: str) -> None:
    x, y = data()
    for scale in (1e-4, 1e4):
        assert SCORES[name](scale * x, y) == pytest.approx(SCORES[name](x, y), rel=1e-6)


# The others have an intercept less, or a mean variance over all channels.
@pytest.mark.parametrize(
    "name", ["h_score", "transrate", "transrate_original", "gbc_diagonal", "nleep", "parc", "knn", "probe"]
)
def test_dead_channels_do_not_matter(name: str) -> None:
    x, y = data()
    dead = np.tile(0.1 * np.arange(20), (N, 1))
    assert SCORES[name](np.hstack([x, dead]), y) == pytest.approx(SCORES[name](x, y), rel=1e-6)


def test_nothing_is_left_of_dead_channels() -> None:
    dead = np.tile(0.1 * np.arange(20), (N, 1))
    assert (dead - dead.mean(axis=0)).any()  # the mean of some, in floating point, is not the value itself
    assert not centred(dead).any()


@scores
def test_scores_are_repeatable_finite_and_leave_features_alone(name: str) -> None:
    for width in (2, 8, 300):
        x, y = data(width)
        x[:, 1] = 0.1
        x = x if width > 2 else np.column_stack([x, x[:, 0] ** 2])
        before = x.copy()
        first = SCORES[name](x, y)
        assert np.isfinite(first) and SCORES[name](x, y) == first
        assert (x == before).all()


def test_logme_is_the_greatest_evidence_also_of_wide_features() -> None:
    for width in (6, 60):
        x, y = data(width)
        x, y = x[:40] / 10, y[:40]
        best = []
        for c in range(CLASSES):
            densities = []
            # Of noise to prior variance; the best prior variance is known then.
            for ratio in 10 ** np.arange(-7, 3, 0.1):
                shape, t = ratio * np.eye(40) + x @ x.T, (y == c).astype(float)
                covariance = shape * (t @ np.linalg.solve(shape, t)) / 40
                densities.append(multivariate_normal(cov=covariance, allow_singular=True).logpdf(t))
            best.append(max(densities) / 40)
        assert logme(x, y) == pytest.approx(np.mean(best), abs=2e-3)


def of_two_classes(separation: float, name: str, share: float = 0.5) -> float:
    """A score as the registry calls it, of two Gaussian classes in 8 channels that lie so many SD apart."""
    rng = np.random.default_rng(3)
    y = (np.arange(N) < share * N).astype(int)
    x = rng.normal(size=(N, 8)) + separation * y[:, None] * np.eye(8)[0]
    return SCORE_TABLE[name].compute(Sample(x, 8, y, GROUPS, GROUPS, None, 1))


def test_logme_of_separable_classes_is_high_though_features_are_centred() -> None:
    """Centred features and no intercept could at best predict half of an indicator: the evidence stayed near that of noise."""
    found = [of_two_classes(separation, "logme") for separation in (0, 4, 1000)]
    assert found[0] < -0.6 and found == sorted(found) and found[2] > 2
    x, y = data()
    assert logme(x + 100, y, intercept=True) == pytest.approx(logme(x, y, intercept=True))


def test_transrate_sees_two_classes_of_equal_size_move_apart() -> None:
    found = [of_two_classes(separation, "transrate") for separation in (0, 2, 4, 8)]
    assert found == sorted(found) and found[-1] > 10 * found[0]
    with pytest.raises(NotApplicable, match="two classes of about equal size"):
        of_two_classes(4, "transrate_original")
    assert np.isfinite(of_two_classes(4, "transrate_original", share=0.1))


def test_logme_does_not_reward_channels_without_content() -> None:
    x, y = data(60)
    x, y = x[:40], y[:40]
    assert logme(np.hstack([x, np.zeros((40, 500))]), y) == pytest.approx(logme(x, y), rel=1e-9)


def test_h_score_saturates_in_wide_features_and_the_regularised_one_does_not() -> None:
    rng = np.random.default_rng(0)
    noise, y = rng.normal(size=(60, 80)), np.arange(60) % CLASSES
    assert h_score(noise, y) == pytest.approx(CLASSES - 1)
    assert regularised_h_score(noise, y) < 0.5
    x, y = data()
    wider = np.hstack([x, 10 * rng.normal(size=(N, 80))])
    assert h_score(wider, y) > h_score(x, y) + 0.1
    assert regularised_h_score(wider, y) < regularised_h_score(x, y) + 0.1


def test_h_score_is_invariant_to_linear_maps() -> None:
    x, y = data()
    assert h_score(x @ np.random.default_rng(0).normal(size=(8, 8)), y) == pytest.approx(h_score(x, y))


def test_original_transrate_depends_on_scale() -> None:
    x, y = data()
    assert transrate_original(x, y) > 1.5 * transrate_original(x / 1000, y)


def test_spherical_gbc_is_the_diagonal_one_where_channels_vary_alike() -> None:
    x, y = data(1)
    rng = np.random.default_rng(0)
    columns = [x]
    for _ in range(5):  # the same values of each class in other orders: the same means and variances
        column = np.empty_like(x)
        for c in range(CLASSES):
            column[y == c] = rng.permutation(x[y == c])
        columns.append(column)
    x = np.hstack(columns)
    assert gbc(x, y, "spherical") == pytest.approx(gbc(x, y, "diagonal"))
    assert gbc(np.hstack([x, x]), y, "spherical") > gbc(x, y, "spherical")


def test_gbc_counts_equal_classes_as_full_overlap() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4))
    assert gbc(np.tile(x, (3, 1)), np.repeat([0, 1, 2], 50)) == pytest.approx(-6)


def test_neighbours_of_the_same_patient_do_not_count() -> None:
    x, y, groups = np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([0, 0, 1, 1]), np.array(["a", "a", "b", "b"])
    assert knn(x, y, np.arange(4)) == 1
    assert knn(x, y, groups) == 0


def test_probe_judges_patients_it_was_not_trained_on() -> None:
    """Features that tell the patient, of whom each has its own mix of classes, but not the class."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 12)
    y = (rng.random(240) < np.where(groups % 2, 0.95, 0.05)[:]).astype(int)
    x = np.eye(20)[groups] + 0.01 * rng.normal(size=(240, 20))
    assert probe(x, y, np.arange(240), seed=0) > -0.55
    assert probe(x, y, groups, seed=0) < -0.69


def test_probe_stays_finite_where_a_sample_is_far_off() -> None:
    x, y = data()
    x[0] *= -1e6
    assert -1.2 < probe(x, y, GROUPS, seed=0) < -1  # the others are as good as equal: nothing is known, nothing misled


@pytest.fixture(params=["parc", "probe"])
def of_channels(request: pytest.FixtureRequest) -> Callable[..., float]:
    """A score that standardises channels, as the registry calls it."""

    def score(x: Array, y: Array, components: int | None) -> float:
        groups = np.arange(len(y)) // 20
        return SCORE_TABLE[request.param].compute(Sample(x, components, y, groups, groups, None, 1))

    return score


def test_what_is_left_of_channels_at_rounding_is_not_scaled_up(of_channels: Callable[..., float]) -> None:
    """Six channels, as two hundred float32 channels that are sums of them, and beside as many that are all but constant."""
    rng = np.random.default_rng(2)
    y = np.arange(N) % 2
    x = rng.normal(size=(N, 6)) + 0.7 * y[:, None]
    wide = (x @ np.linalg.qr(rng.normal(size=(200, 6)))[0].T).astype(np.float32)
    assert reduced(wide, 128).shape == standard_components([wide], 128).shape == (N, 6)
    noise = (1e-8 * rng.normal(size=(N, 200))).astype(np.float32)
    expected = of_channels(wide, y, 128)
    assert of_channels(np.hstack([wide, noise]), y, 128) == pytest.approx(expected, rel=1e-3)
    assert expected == pytest.approx(of_channels(wide, y, 6), rel=1e-3)


def test_cells_that_many_pixels_share_have_no_more_components_than_cells() -> None:
    cells = np.random.default_rng(0).normal(size=(32, 256)).astype(np.float32)[np.arange(N) % 32]
    assert reduced(cells, 128).shape == (N, 31)


def test_more_channels_of_equal_signal_do_not_score_lower(of_channels: Callable[..., float]) -> None:
    """More channels than components: whitened, their noise would drown the classes. And the order is that of any dimension."""
    n = 300
    y = np.arange(n) % 2
    candidates = {}
    for width in (32, 128, 512):
        rng = np.random.default_rng(width)
        candidates[width] = rng.normal(size=(n, width)) + 0.25 * y[:, None] * rng.choice([-1, 1], width)
    for components in (16, 128, None):
        found = [of_channels(x, y, components) for x in candidates.values()]
        assert found == sorted(found), components


def test_levels_count_alike_in_common_components() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(N, 4)), 100 * rng.normal(size=(N, 60))
    found = standard_components([small, large], None)
    parts = [(level - level.mean(axis=0)) / level.std(axis=0) for level in (small, large)]
    expected = sum(part @ part.T / part.shape[1] for part in parts) / 2
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-9)
    assert standard_components([small, large], 4).shape == (N, 4)


def test_parc_takes_at_most_the_samples_asked_for() -> None:
    x, y = data()
    few = parc(x, y, seed=1, most=100)
    assert few != parc(x, y, seed=1) and few == parc(x, y, seed=1, most=100) and few != parc(x, y, seed=2, most=100)
    assert few == pytest.approx(parc(x, y, seed=1), abs=15)


def test_leep_and_nce_closed_forms() -> None:
    y = np.array([0, 0, 1, 1])
    sure = np.eye(3)[[0, 0, 1, 1]]  # the third source class is never predicted
    assert leep(sure, y) == pytest.approx(0)
    assert leep(np.full((4, 3), 1 / 3), y) == pytest.approx(-np.log(2))
    assert nce(np.array([5, 5, 9, 9]), y) == pytest.approx(0)
    assert nce(np.array([5, 9, 5, 9]), y) == pytest.approx(-np.log(2))


@scores
def test_not_applicable_says_why(name: str) -> None:
    score, (x, y) = SCORES[name], data()
    with pytest.raises(NotApplicable, match="all 240 samples are of class 1"):
        score(x, np.ones(N, int))
    with pytest.raises(NotApplicable, match="one label per sample"):
        score(x, np.array([]))
    with pytest.raises(NotApplicable, match=r"shape \(240, D\), one row per label, found \(239, 8\)"):
        score(x[1:], y)
    with pytest.raises(NotApplicable, match="features are constant"):
        score(np.full_like(x, 0.1), y)
    for bad in (np.nan, np.inf):
        broken = x.copy()
        broken[3, 2] = bad
        with pytest.raises(NotApplicable, match="not finite"):
            score(broken, y)


@pytest.mark.parametrize("name", [name for name in SCORES if name != "logme"])
def test_single_samples_of_a_class_are_too_few(name: str) -> None:
    x, y = data()
    y[0] = 9
    with pytest.raises(NotApplicable, match="class 9 has 1"):
        SCORES[name](x, y)


def test_not_applicable_of_single_scores() -> None:
    x, y = data()
    for score in (knn, partial(probe, seed=0)):
        with pytest.raises(NotApplicable, match="two groups"):
            score(x, y, np.zeros(N, int))
    with pytest.raises(NotApplicable, match="every class in two groups"):
        probe(x, (GROUPS == 3).astype(int), GROUPS, seed=0)
    with pytest.raises(NotApplicable, match="two channels"):
        parc(x[:, :1], y, seed=0)
    with pytest.raises(NotApplicable, match="same value in all channels"):
        parc(x[:, [0, 0]], y, seed=0)
    with pytest.raises(NotApplicable, match="30 samples for 15 clusters"):
        nleep(x[:29], y[:29], seed=0)
    with pytest.raises(NotApplicable, match="within the classes"):
        sfda(np.eye(CLASSES)[y], y)
    with pytest.raises(NotApplicable, match="sum to 1"):
        leep(np.ones((N, 2)), y)

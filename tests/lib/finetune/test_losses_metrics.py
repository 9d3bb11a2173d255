"""Losses and metrics against closed forms and plain loops."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import binary_erosion

from workflow.lib.finetune.metrics import (
    Case,
    Segmentation,
    as_assembled,
    batched_metrics,
    binary_metrics,
    case_metrics,
    case_table,
    confusion_table,
    modified_hausdorff,
    predicted,
    rank_metrics,
    study_metrics,
)
from workflow.lib.training.losses import dice_ce_loss, dice_loss, outputs_for, probabilities


def certain(labels: np.ndarray, classes: int = 1) -> np.ndarray:
    """Probabilities (K+1, ...) of 0 and 1 that predict `labels`."""
    return np.stack([labels == label for label in range(classes + 1)]).astype(np.float32)


def case(
    truth: np.ndarray,
    guess: np.ndarray,
    classes: int = 1,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    name: str = "a",
) -> Case:
    return Case(name, truth.astype(np.uint8), certain(guess, classes), spacing)


def alone(*cases: Case) -> list[tuple[Case, Segmentation]]:
    """Cases as they are, at the network's size."""
    return [(case, as_assembled(case)) for case in cases]


def test_one_class_has_one_output_and_complementary_probabilities() -> None:
    assert (outputs_for(1), outputs_for(3)) == (1, 4)
    p = probabilities(torch.tensor([[[[2.0]]]]))
    assert p.flatten().tolist() == pytest.approx([1 - 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-2))])


@pytest.mark.parametrize("other", [0, 2])
def test_dice_loss_is_over_the_batch_with_background(other: int) -> None:
    logits, masks = torch.tensor([[[[0.0, 4.0]]], [[[-4.0, 0.0]]]]), torch.tensor([[[0, 1]], [[other, 1]]])
    p = torch.sigmoid(logits).flatten().double().numpy()
    y, y0 = (masks.flatten().numpy() == 1), (masks.flatten().numpy() == 0)  # label 2 belongs to no channel
    foreground = (2 * (y * p).sum() + 1e-5) / (y.sum() + (p**2).sum() + 1e-5)
    background = (2 * (y0 * (1 - p)).sum() + 1e-5) / (y0.sum() + ((1 - p) ** 2).sum() + 1e-5)
    assert dice_loss(logits, masks).item() == pytest.approx(1 - (foreground + background) / 2, abs=1e-6)


def test_dice_ce_loss_weighs_the_background() -> None:
    logits, masks = torch.zeros(1, 4, 1, 2), torch.tensor([[[0, 3]]])
    # Equal logits: cross-entropy is log 4 whatever the weights; a wrong background pixel counts by its weight.
    assert (dice_ce_loss(logits, masks, 0.25) - dice_loss(logits, masks)).item() == pytest.approx(np.log(4), abs=1e-6)
    logits[0, 1, 0, 0] = 2.0
    light = dice_ce_loss(logits, masks, 0.1) - dice_loss(logits, masks)
    assert light < dice_ce_loss(logits, masks, 1.0) - dice_loss(logits, masks)


def test_labels_are_predicted_at_one_half_or_by_the_largest() -> None:
    assert predicted(np.array([[[0.5, 0.51]], [[0.5, 0.49]]])).tolist() == [[1, 0]]
    volume = np.moveaxis(np.array([[[[0.4, 0.3, 0.3]]], [[[0.1, 0.2, 0.7]]]]), -1, 0)  # (d, h, w) = (2, 1, 1)
    assert predicted(volume).tolist() == [[[0]], [[2]]]


def test_binary_metrics() -> None:
    m = binary_metrics(np.array([3, 1, 2, 4]), smooth=1)
    assert m["dice index"] == pytest.approx(7 / 10) and m["jaccard index"] == pytest.approx(4 / 7)
    assert m["accuracy"] == 0.7 and m["sensitivity"] == 0.6 and m["precision"] == 0.75
    assert m["balanced accuracy"] == pytest.approx((0.6 + 0.8) / 2)
    assert m["mcc"] == pytest.approx((12 - 2) / np.sqrt(4 * 5 * 5 * 6))
    assert binary_metrics(np.array([0, 0, 0, 9]), smooth=1)["dice index"] == 1


def test_rank_metrics_against_all_pairs_and_all_thresholds() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.random(60) < 0.4, np.round(rng.random(60), 1)
    gaps = guess[truth][:, None] - guess[~truth]
    total, recall = 0.0, 0.0
    for threshold in sorted(set(guess), reverse=True):
        chosen = guess >= threshold
        new = truth[chosen].sum() / truth.sum()
        total, recall = total + (new - recall) * truth[chosen].mean(), new
    found = rank_metrics(truth.reshape(6, 10), guess.reshape(6, 10))
    assert found == pytest.approx(
        {"area under roc": np.mean((gaps > 0) + (gaps == 0) / 2), "average precision score": total}
    )


@pytest.mark.parametrize("label", [False, True])
def test_rank_metrics_need_both_labels(label: bool) -> None:
    assert np.isnan(list(rank_metrics(np.full(4, label), np.arange(4.0)).values())).all()


def test_modified_hausdorff_uses_every_foreground_pixel() -> None:
    truth, guess = np.zeros((1, 30), bool), np.zeros((1, 30), bool)
    truth[0, :10], guess[0, :20] = True, True
    distances = [0] * 10 + [0] * 10 + list(range(1, 11))  # truth to guess; guess to truth
    assert modified_hausdorff(truth, guess) == pytest.approx(np.percentile(distances, 95))


def test_modified_hausdorff_against_all_pairs() -> None:
    rng = np.random.default_rng(3)
    truth, guess = np.zeros((2, 20, 20), bool)
    truth[3:9, 2:7], guess[8:18, 5:12] = rng.random((6, 5)) < 0.5, rng.random((10, 7)) < 0.5
    gaps = np.linalg.norm(np.argwhere(truth)[:, None] - np.argwhere(guess)[None], axis=-1)
    expected = np.percentile(np.concatenate([gaps.min(axis=0), gaps.min(axis=1)]), 95)
    assert modified_hausdorff(truth, guess) == pytest.approx(expected)
    assert np.isnan(modified_hausdorff(truth, np.zeros_like(truth)))


def test_study_metrics_pool_pixels_and_average_batches() -> None:
    masks = [np.array(m) for m in ([[1, 0, 0, 0]], [[0, 0, 1, 1]], [[1, 0, 0, 0]])]
    guesses = [np.stack([1 - p, p]) for p in map(np.array, ([[0.9, 0.6, 0, 0]], [[0, 0, 0.8, 0.2]], [[0, 0.9, 0, 0]]))]
    found = study_metrics(guesses, masks, batch=2)
    assert found["dice index"] == pytest.approx((2 * 2 + 1) / (2 * 2 + 2 + 2 + 1))
    assert found["accuracy"] == pytest.approx(8 / 12)
    # 15 pairs of the first batch, one of them in the wrong order; 3 of the second, one wrong and two ties.
    assert found["area under roc"] == pytest.approx((14 / 15 + (2 / 2) / 3) / 2)
    assert found["modified hausdorff distance"] == pytest.approx((np.percentile([0, 0, 1], 95) + 1) / 2)
    assert found == pytest.approx(
        batched_metrics([(np.stack(guesses[:2]), np.stack(masks[:2])), (guesses[2][None], masks[2][None])])
    )


def test_study_leaves_out_empty_tiles_and_batches_without_distance() -> None:
    shown, apart, empty = (np.array([row]) for row in ([1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]))
    masks, guesses = [shown, shown, shown, empty], [shown, shown, apart, shown]
    found = study_metrics([certain(guess) for guess in guesses], masks, batch=2)
    assert found["modified hausdorff distance"] == 2
    assert np.isnan(study_metrics([certain(empty)], [empty], batch=2)["modified hausdorff distance"])


def test_study_means_over_classes_skip_absent_ones() -> None:
    mask, wrong = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]])
    found = study_metrics([certain(wrong, 3)], [mask], batch=24)
    assert found["mean dice index"] == pytest.approx((2 + 1) / (2 + 1 + 1))
    assert found["mean jaccard index"] == pytest.approx((1 + 1) / (1 + 1 + 1))
    assert found["accuracy"] == 0.75 and "dice index" not in found
    swapped = study_metrics([certain(2 * wrong, 3)], [mask], batch=24)  # class 2 is predicted and nowhere
    assert swapped["mean dice index"] == pytest.approx((1 / (2 + 1) + 1 / (1 + 1)) / 2)


def test_study_accuracy_of_several_classes_is_a_mean_over_batches() -> None:
    masks = [np.array([[1, 2]]), np.array([[1, 2]]), np.array([[0, 0]])]
    guesses = [certain(mask, 2) for mask in masks[:2]] + [certain(np.array([[1, 1]]), 2)]
    assert study_metrics(guesses, masks, batch=2)["accuracy"] == 0.5


def test_study_distance_of_several_classes_is_averaged_over_tiles_first() -> None:
    mask = np.array([[1, 0, 0, 0, 0, 2]])
    guesses = [np.array([row]) for row in ([0, 1, 0, 0, 0, 2], [0, 0, 0, 1, 0, 2], [0, 0, 0, 2, 0, 0])]
    found = study_metrics([certain(guess, 2) for guess in guesses], [mask] * 3, batch=3)
    assert found["modified hausdorff distance"] == pytest.approx(((1 + 3) / 2 + (0 + 0 + 2) / 3) / 2)


def test_confusion_table_counts_tiles_of_one_case_together() -> None:
    mask, empty = np.array([[1, 1]]), np.array([[0, 0]])
    table = confusion_table(
        ["a", "a", "b"], [certain(g) for g in (empty, mask, empty)], [mask, mask, empty], ["lesion"]
    )
    assert table[["tp", "fp", "fn", "tn"]].to_numpy().tolist() == [[2, 0, 2, 0], [0, 0, 0, 2]]
    assert table["case"].tolist() == ["a", "b"] and table["class"].tolist() == ["lesion", "lesion"]
    assert table["dice"][0] == 2 * 2 / (2 * 2 + 2) and table["jaccard"][0] == 0.5
    assert table[["dice", "jaccard"]].isna().all(axis=1).tolist() == [False, True]


def test_case_table_agrees_with_counts_and_ranks_of_the_case() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (3, 8, 9)).astype(np.uint8)
    probability = rng.dirichlet(np.ones(3), (3, 8, 9)).transpose(3, 0, 1, 2).astype(np.float32)
    table = case_table(alone(Case("a", truth, probability, (5.0, 1.0, 1.0))), ["one", "two"])
    tiles = list(probability.transpose(1, 0, 2, 3))
    pd.testing.assert_frame_equal(
        table[["case", "class", "tp", "fp", "fn", "tn", "dice", "jaccard"]],
        confusion_table(["a"] * 3, tiles, list(truth), ["one", "two"]),
        rtol=1e-6,
    )
    expected = rank_metrics(truth == 2, probability[2])
    assert {name: table[name][1] for name in expected} == expected


@pytest.mark.parametrize("shape", [(1, 24, 20), (5, 14, 12)])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_sound_metrics_are_those_of_monai(shape: tuple[int, ...], share: float) -> None:
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.meandice import compute_dice
    from monai.metrics.meaniou import compute_iou

    rng, spacing = np.random.default_rng(len(shape) + int(100 * share)), (7.0, 1.5, 0.8)
    for _ in range(5):
        truth, guess = (rng.random((3, *shape)).argmax(axis=0) * (rng.random(shape) < share) for _ in range(2))
        table = case_table(alone(case(truth, guess, classes=2, spacing=spacing)), ["x", "y"])
        flat = shape[0] == 1
        y, y_pred = (
            torch.from_numpy(np.stack([(labels[0] if flat else labels) == k for k in range(3)]))[None]
            for labels in (truth, guess)
        )
        options = {"include_background": False, "ignore_empty": False}
        assert table["dice"].tolist() == pytest.approx(compute_dice(y_pred, y, **options)[0].tolist(), abs=1e-6)
        assert table["jaccard"].tolist() == pytest.approx(compute_iou(y_pred, y, **options)[0].tolist(), abs=1e-6)
        distances = compute_hausdorff_distance(y_pred, y, percentile=95, spacing=spacing[1:] if flat else spacing)[0]
        assert table["hausdorff95"].tolist() == pytest.approx(distances.tolist(), rel=1e-6, nan_ok=True)


def test_hausdorff_is_between_borders_in_mm_and_the_worse_direction() -> None:
    rng = np.random.default_rng(1)
    truth, guess = np.zeros((2, 5, 20, 20), bool)
    truth[:4, 2:14, 3:15], guess[1:, 6:19, 2:12] = True, True
    truth, guess = truth & (rng.random(truth.shape) < 0.97), guess & (rng.random(truth.shape) < 0.97)
    spacing = (8.0, 1.5, 1.25)
    border, other = (np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in (truth, guess))
    gaps = np.linalg.norm(border[:, None] - other[None], axis=-1)
    expected = max(np.percentile(gaps.min(axis=axis), 95) for axis in (0, 1))
    assert case_table(alone(case(truth, guess, spacing=spacing)), ["x"])["hausdorff95"][0] == pytest.approx(expected)


def test_one_slice_is_measured_in_its_plane() -> None:
    truth, guess = np.zeros((2, 1, 21, 21), bool)
    truth[0, :, :], guess[0, 10, 10] = True, True
    y, x = np.indices((21, 21))  # as a volume of one slice, all of the square would be border
    border = (y % 20 == 0) | (x % 20 == 0)
    expected = np.percentile(np.hypot(2.0 * (y - 10), 0.5 * (x - 10))[border], 95)
    table = case_table(alone(case(truth, guess, spacing=(9.0, 2.0, 0.5))), ["x"])
    assert table["hausdorff95"][0] == pytest.approx(expected)


def test_false_findings_cost_dice_and_true_absence_does_not_count(recwarn: pytest.WarningsRecorder) -> None:
    empty, some = np.zeros((2, 2, 4, 4), int)
    some[0, 0, 0] = 1
    pairs = [(empty, empty), (empty, some), (some, empty), (some, some)]
    table = case_table(alone(*(case(*pair, name=str(n)) for n, pair in enumerate(pairs))), ["x"])
    assert table["dice"].tolist() == pytest.approx([np.nan, 0, 0, 1], nan_ok=True)
    assert table["jaccard"].tolist() == pytest.approx([np.nan, 0, 0, 1], nan_ok=True)
    assert table["hausdorff95"].tolist() == pytest.approx([np.nan, np.nan, np.nan, 0], nan_ok=True)
    assert table["area under roc"].tolist() == pytest.approx([np.nan, np.nan, 0.5, 1], nan_ok=True)
    assert not [w for w in recwarn if "all 0" in str(w.message)]


def test_case_metrics_of_one_class_are_means_over_cases() -> None:
    truth = np.array([[[1, 1, 0, 0]]])
    cases = [case(truth, truth, name="a"), case(truth, np.array([[[1, 0, 1, 0]]]), name="b")]
    table = case_table(alone(*cases), ["lesion"])
    halves = ["sensitivity", "specificity", "precision", "accuracy", "balanced accuracy", "dice index"]
    expected = {name: (1 + 0.5) / 2 for name in [*halves, "area under roc", "average precision score"]}
    expected |= {"jaccard index": (1 + 1 / 3) / 2, "mcc": (1 + 0) / 2, "hausdorff distance 95": (0 + 0.95) / 2}
    assert case_metrics(table) == pytest.approx(expected)
    assert case_metrics(table.assign(dice=[0.9, 0.3]))["dice index"] == pytest.approx(0.6)


def test_case_metrics_of_several_classes_are_means_within_cases_first() -> None:
    table = pd.DataFrame(
        {
            "case": ["a", "a", "b", "b"],
            "class": ["one", "two", "one", "two"],
            **{name: [1, 1, 1, 1] for name in ("tp", "fp", "fn", "tn")},
            "dice": [0.2, 0.4, 0.9, np.nan],
            "jaccard": [0.1, 0.3, 0.8, np.nan],
            "hausdorff95": [2.0, 4.0, 9.0, np.nan],
            "area under roc": [0.5, 0.7, 0.8, np.nan],
            "average precision score": [0.1, 0.2, np.nan, np.nan],
        }
    )
    assert case_metrics(table) == pytest.approx(
        {
            "mean dice index": (0.3 + 0.9) / 2,
            "mean jaccard index": (0.2 + 0.8) / 2,
            "hausdorff distance 95": (3 + 9) / 2,
            "area under roc": (0.6 + 0.8) / 2,
            "average precision score": 0.15,
        }
    )

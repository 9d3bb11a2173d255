"""Losses and metrics against closed forms and plain loops."""

import numpy as np
import pytest
import torch

from workflow.lib.finetune.losses import dice_ce_loss, dice_loss, outputs_for, probabilities
from workflow.lib.finetune.metrics import (
    area_under_roc,
    average_precision,
    binary_metrics,
    case_table,
    modified_hausdorff,
    summary,
)


def test_one_class_has_one_output_and_complementary_probabilities():
    assert (outputs_for(1), outputs_for(3)) == (1, 4)
    p = probabilities(torch.tensor([[[[2.0]]]]))
    assert p.flatten().tolist() == pytest.approx([1 - 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-2))])


def test_dice_loss_is_over_the_batch_with_background():
    logits, masks = torch.tensor([[[[0.0, 4.0]]], [[[-4.0, 0.0]]]]), torch.tensor([[[0, 1]], [[0, 1]]])
    p = torch.sigmoid(logits).flatten().double().numpy()
    y = masks.flatten().numpy()
    foreground = (2 * (y * p).sum() + 1e-5) / (y.sum() + (p**2).sum() + 1e-5)
    background = (2 * ((1 - y) * (1 - p)).sum() + 1e-5) / ((1 - y).sum() + ((1 - p) ** 2).sum() + 1e-5)
    assert dice_loss(logits, masks).item() == pytest.approx(1 - (foreground + background) / 2, abs=1e-6)


def test_dice_ce_loss_weighs_the_background():
    logits, masks = torch.zeros(1, 4, 1, 2), torch.tensor([[[0, 3]]])
    # Equal logits: cross-entropy is log 4 whatever the weights; a wrong background pixel counts by its weight.
    assert (dice_ce_loss(logits, masks, 0.25) - dice_loss(logits, masks)).item() == pytest.approx(np.log(4), abs=1e-6)
    logits[0, 1, 0, 0] = 2.0
    light = dice_ce_loss(logits, masks, 0.1) - dice_loss(logits, masks)
    assert light < dice_ce_loss(logits, masks, 1.0) - dice_loss(logits, masks)


def test_binary_metrics():
    m = binary_metrics(np.array([3, 1, 2, 4]), smooth=1)
    assert m["dice index"] == pytest.approx(7 / 10) and m["jaccard index"] == pytest.approx(4 / 7)
    assert m["accuracy"] == 0.7 and m["sensitivity"] == 0.6 and m["precision"] == 0.75
    assert m["mcc"] == pytest.approx((12 - 2) / np.sqrt(4 * 5 * 5 * 6))
    assert binary_metrics(np.array([0, 0, 0, 9]), smooth=1)["dice index"] == 1


def test_rank_metrics_against_all_pairs():
    rng = np.random.default_rng(0)
    truth, guess = rng.random(60) < 0.4, np.round(rng.random(60), 1)
    pairs = [
        (guess[i] > guess[j]) + (guess[i] == guess[j]) / 2
        for i in np.flatnonzero(truth)
        for j in np.flatnonzero(~truth)
    ]
    assert area_under_roc(truth, guess) == pytest.approx(np.mean(pairs))
    total, recall = 0.0, 0.0
    for threshold in sorted(set(guess), reverse=True):
        chosen = guess >= threshold
        new = truth[chosen].sum() / truth.sum()
        total, recall = total + (new - recall) * truth[chosen].mean(), new
    assert average_precision(truth, guess) == pytest.approx(total)
    assert np.isnan(area_under_roc(np.zeros(4, bool), np.arange(4.0)))


def test_modified_hausdorff_uses_every_foreground_pixel():
    truth, guess = np.zeros((1, 30), bool), np.zeros((1, 30), bool)
    truth[0, :10], guess[0, :20] = True, True
    distances = [0] * 10 + [0] * 10 + list(range(1, 11))  # truth to guess; guess to truth
    assert modified_hausdorff(truth, guess) == pytest.approx(np.percentile(distances, 95))


def test_summary_of_cases_differs_between_protocols():
    def probability(mask):
        return np.stack([mask == 0, mask == 1]).astype(float)

    masks = [np.array([[1, 1, 1, 1]]), np.array([[1, 0, 0, 0]])]
    guesses = [probability(np.array([[1, 1, 1, 1]])), probability(np.array([[0, 1, 0, 0]]))]
    cases = case_table(["a", "b"], guesses, masks, ["lesion"])
    assert list(cases["dice"]) == [1.0, 0.0]
    assert summary(cases, guesses, masks, "sound", 24)["dice index"] == 0.5
    assert summary(cases, guesses, masks, "paper", 24)["dice index"] == pytest.approx((2 * 4 + 1) / (2 * 4 + 2 + 1))


def test_absent_classes_are_skipped_by_the_means():
    mask = np.array([[1, 1, 0, 0]])
    guess = np.stack([[[0, 0, 1, 1]], [[1, 1, 0, 0]], [[0, 0, 0, 0]]]).astype(float)
    wrong = np.stack([[[0, 1, 1, 1]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]]).astype(float)
    for probability, expected in ((guess, 1.0), (wrong, (2 + 1) / (2 + 1 + 1))):
        cases = case_table(["a"], [probability], [mask], ["present", "absent"])
        assert summary(cases, [probability], [mask], "paper", 24)["mean dice index"] == pytest.approx(expected)


def test_tiles_of_one_case_are_counted_together():
    mask, empty = np.array([[1, 1]]), np.array([[0, 0]])
    guesses = [np.stack([m == 0, m == 1]).astype(float) for m in (empty, mask)]
    cases = case_table(["a", "a"], guesses, [mask, mask], ["lesion"])
    assert list(cases["dice"]) == [2 * 2 / (2 * 2 + 2)]
    absent = case_table(["a"], guesses[:1], [empty], ["lesion"])
    assert np.isnan(absent["dice"].iloc[0])

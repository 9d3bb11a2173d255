"""The training engine: a broken run that is resumed equals an unbroken one, and nothing foreign is resumed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from workflow.lib.run import UserError, derive_seed
from workflow.lib.train import Plan, device_named, standardise, train


class Killed(Exception):
    pass


def plan(epochs: int = 4, *, killed_in: int = 0, loss=nn.functional.mse_loss) -> Plan:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))

    def batches(epoch: int):
        if epoch == killed_in:
            raise Killed
        generator = torch.Generator().manual_seed(derive_seed(1, epoch))
        for _ in range(5):
            yield torch.rand(4, 3, 8, 8, generator=generator), torch.rand(4, 2, 6, 6, generator=generator)

    return Plan(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.1),
        loss=loss,
        batches=batches,
        rate=lambda step: 0.1 / (1 + step),
        after_epoch=lambda row, history: {"earlier": float(len(history))},
        epochs=epochs,
        steps_per_epoch=3,
        seed=7,
        accumulate=2,
    )


def test_resumed_training_equals_an_unbroken_one(tmp_path: Path):
    whole = plan()
    expected = train(whole, tmp_path / "a", "same")
    with pytest.raises(Killed):
        train(plan(killed_in=3), tmp_path / "b", "same")
    resumed = plan()
    history = train(resumed, tmp_path / "b", "same")
    assert history.drop(columns="seconds").equals(expected.drop(columns="seconds"))
    assert list(history["earlier"]) == [0, 1, 2, 3]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_the_best_epoch_is_kept_over_a_kill(tmp_path: Path):
    def with_best(**changes) -> Plan:
        scores = {1: 0.2, 2: 0.9, 3: 0.9, 4: 0.1}
        return replace(plan(**changes), best="score", after_epoch=lambda row, history: {"score": scores[row["epoch"]]})

    three, killed, resumed = plan(3), with_best(killed_in=4), with_best()
    train(three, tmp_path / "a", "same")  # the later of the two best epochs is the third
    with pytest.raises(Killed):
        train(killed, tmp_path / "b", "same")
    train(resumed, tmp_path / "b", "same")
    for name, tensor in three.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_state_of_other_settings_is_not_resumed(tmp_path: Path):
    with pytest.raises(Killed):
        train(plan(killed_in=3), tmp_path / "b", "other")
    (tmp_path / "b" / "epoch2.safetensors").write_text("of other settings")
    fresh, started_anew = plan(), plan()
    train(fresh, tmp_path / "a", "same")
    assert len(train(started_anew, tmp_path / "b", "same")) == 4
    assert not (tmp_path / "b" / "epoch2.safetensors").exists()
    assert torch.equal(fresh.model[0].weight, started_anew.model[0].weight)


def test_accumulated_steps_equal_whole_batches(tmp_path: Path):
    history = train(plan(1), tmp_path, "x")
    assert history["learning_rate"].iloc[0] == pytest.approx(0.1 / 3)  # 5 micro-batches in steps of 2: three steps


def test_damaged_state_is_named(tmp_path: Path):
    with pytest.raises(Killed):
        train(plan(killed_in=2), tmp_path, "same")
    state = tmp_path / "state.pt"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged resume state") as error:
        train(plan(), tmp_path, "same")
    assert str(state) in str(error.value) and f"rm -r {tmp_path}" in str(error.value)


def test_infinite_loss_stops_at_once(tmp_path: Path):
    with pytest.raises(UserError, match="loss is not finite") as error:
        train(plan(loss=lambda outputs, wanted: outputs.sum() * float("inf")), tmp_path, "same")
    for word in ("epoch 1, step 1", "learning rate 0.1", "next:"):
        assert word in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is usable here")
def test_absent_cuda_is_an_error_and_never_the_cpu():
    with pytest.raises(UserError, match="no usable CUDA device") as error:
        device_named("cuda")
    assert torch.__version__ in str(error.value) and "nvidia-smi" in str(error.value)


def test_standardised_inputs():
    images = torch.rand(2, 3, 8, 8) * 7
    assert torch.equal(standardise(images, "unchanged"), images)
    sound = standardise(images, "standardised")
    assert sound.mean(dim=(1, 2, 3)).abs().max() < 1e-5
    assert (sound.std(dim=(1, 2, 3)) - 1).abs().max() < 1e-2

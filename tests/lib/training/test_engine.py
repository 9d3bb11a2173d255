"""The training engine: a broken run that is resumed equals an unbroken one, and nothing foreign or damaged is resumed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workflow.lib.job.run import UserError, derive_seed
from workflow.lib.training import engine
from workflow.lib.training.device import device_named, standardise
from workflow.lib.training.engine import Plan, train
from workflow.lib.training.state import saved_states


class Killed(Exception):
    pass


Batch = tuple[Tensor, Tensor]  # inputs, wanted outputs
Loss = Callable[[Tensor, Tensor], Tensor]


def kill() -> None:
    raise Killed


def plan(
    epochs: int = 4, *, at: tuple[int, int] = (0, 0), do: Callable[[], None] = kill, loss: Loss | None = None
) -> Plan:
    """Epochs of 5 micro-batches in steps of 2; `do` is called before micro-batch `at` (epoch, number)."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))

    def batches(epoch: int, chosen: Sequence[int]) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(derive_seed(1, epoch))
        data = [
            (torch.rand(4, 3, 8, 8, generator=generator), torch.rand(4, 2, 6, 6, generator=generator)) for _ in range(5)
        ]
        for number in chosen:
            if (epoch, number) == at:
                do()
            yield data[number]

    return Plan(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.1),
        loss=loss or nn.functional.mse_loss,
        batches=batches,
        rate=lambda step: 0.1 / (1 + step),
        after_epoch=lambda row, history: {"earlier": float(len(history))},
        epochs=epochs,
        micro_batches=5,
        seed=7,
        accumulate=2,
        forward="4 images of 8 pixels",
        shrink="set micro_batch: 2",
    )


def assert_equal(one: Plan, other: Plan) -> None:
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


def warn() -> None:
    """What the cluster does before the time limit."""
    os.kill(os.getpid(), signal.SIGURG)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt() -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_resumed_training_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole = plan()
    expected = train(whole, tmp_path / "a", "same")
    with pytest.raises(Killed):
        train(plan(at=(3, 2)), tmp_path / "b", "same")
    resumed = plan()
    history = train(resumed, tmp_path / "b", "same")
    assert history.drop(columns="seconds").equals(expected.drop(columns="seconds"))
    assert list(history["earlier"]) == [0, 1, 2, 3]
    assert_equal(whole, resumed)


def test_the_best_epoch_is_kept_over_a_kill(tmp_path: Path) -> None:
    def with_best(**changes: Any) -> Plan:
        scores: dict[float, float] = {1: 0.2, 2: 0.9, 3: 0.9, 4: 0.1}
        return replace(plan(**changes), best="score", after_epoch=lambda row, history: {"score": scores[row["epoch"]]})

    three, killed, resumed = plan(3), with_best(at=(4, 0)), with_best()
    train(three, tmp_path / "a", "same")  # the later of the two best epochs is the third
    with pytest.raises(Killed):
        train(killed, tmp_path / "b", "same")
    train(resumed, tmp_path / "b", "same")
    assert_equal(three, resumed)


def test_state_of_other_settings_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(plan(at=(3, 2)), tmp_path / "b", "other")
    (tmp_path / "b" / "epoch2.safetensors").write_text("of other settings")
    fresh, started_again = plan(), plan()
    train(fresh, tmp_path / "a", "same")
    assert len(train(started_again, tmp_path / "b", "same")) == 4
    assert not (tmp_path / "b" / "epoch2.safetensors").exists()
    assert torch.equal(fresh.model.get_parameter("0.weight"), started_again.model.get_parameter("0.weight"))


def test_state_of_other_settings_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(plan(at=(3, 2)), tmp_path, "other")
    with pytest.raises(UserError, match=r"(?s)other settings.*2 finished epochs.*rm -r"):
        train(plan(), tmp_path, "same", discard=False)
    assert len(train(plan(), tmp_path, "other", discard=False)) == 4


def test_a_warning_in_the_last_step_is_obeyed_by_the_next_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[int] = []
    monkeypatch.setattr("workflow.lib.training.engine.WARNED", warned)
    train(plan(1, at=(1, 4), do=warn), tmp_path / "first", "same")  # the last micro-batch of the last step
    assert warned == [signal.SIGURG]
    with pytest.raises((UserError, SystemExit)):
        train(plan(), tmp_path / "second", "same", slot_used=True)


def test_accumulated_steps_equal_whole_batches(tmp_path: Path) -> None:
    history = train(plan(1), tmp_path, "x")
    assert history["learning_rate"].iloc[0] == pytest.approx(0.1 / 3)  # 5 micro-batches in steps of 2: three steps


@pytest.mark.parametrize("every", [1, 20])  # steps after which losses are read, as on CPUs and on GPUs
@pytest.mark.parametrize("signal_sent", [warn, terminate, interrupt])
@pytest.mark.parametrize("at", [(1, 2), (3, 0), (3, 4), (4, 4)])
def test_told_to_end_it_saves_within_the_epoch_and_goes_on_bit_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[int, int], signal_sent: Callable[[], None], every: int
) -> None:
    monkeypatch.setitem(engine.READ_EVERY, "cpu", every)
    monkeypatch.setattr(engine, "WARNED", [])
    whole, told, resumed = plan(), plan(at=at, do=signal_sent), plan()
    expected = train(whole, tmp_path / "a", "same")
    if at == (4, 4):  # the very last step: there is nothing left to save
        train(told, tmp_path / "b", "same")
        return assert_equal(whole, told)
    with pytest.raises(UserError, match="training was interrupted") as error:
        train(told, tmp_path / "b", "same")
    assert "it resumes from there" in str(error.value)
    history = train(resumed, tmp_path / "b", "same")
    assert history.drop(columns="seconds").equals(expected.drop(columns="seconds"))
    assert_equal(whole, resumed)


def test_before_the_time_limit_the_job_is_requeued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(engine, "requeue_this_job", lambda: asked.append(1))
    for do, requeued in ((warn, True), (terminate, False), (interrupt, False)):
        with pytest.raises(SystemExit if requeued else UserError):
            train(plan(at=(2, 0), do=do), tmp_path / do.__name__, "same")
        assert bool(asked) is requeued
        asked.clear()


def test_a_slot_without_progress_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "requeue_this_job", lambda: pytest.fail("requeued without progress"))
    slow_start = plan()

    def warned(epoch: int, chosen: Sequence[int]) -> Iterator[Batch]:
        warn()
        yield from plan().batches(epoch, chosen)

    with pytest.raises(UserError, match="no progress in a whole time slot"):
        train(replace(slow_start, batches=lambda epoch, chosen: list(warned(epoch, chosen))), tmp_path, "same")


@pytest.mark.slow
def test_a_warning_while_the_data_are_loaded_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom workflow.lib.job.run import start_job\n"
        "start_job(sys.argv[1] + '/log')\nos.kill(os.getpid(), signal.SIGURG)\n"
        "from tests.lib.training.test_engine import plan\nfrom workflow.lib.training.engine import train\n"
        "train(plan(), Path(sys.argv[1]) / 'resume', 'same')"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 1 and "no progress in a whole time slot" in run.stderr


def test_the_newest_undamaged_state_is_read(tmp_path: Path) -> None:
    whole, resumed = plan(), plan()
    train(whole, tmp_path / "a", "same")
    with pytest.raises(Killed):
        train(plan(at=(4, 0)), tmp_path / "b", "same")
    newest, before = saved_states(tmp_path / "b")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1  # a single bit, which torch does not notice
    newest.write_bytes(content)
    assert len(train(resumed, tmp_path / "b", "same")) == 4
    assert_equal(whole, resumed)


def test_states_that_are_all_damaged_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(plan(at=(3, 0)), tmp_path, "same")
    for state in saved_states(tmp_path):
        state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged resume state") as error:
        train(plan(), tmp_path, "same")
    assert state.name in str(error.value) and f"rm -r {tmp_path}" in str(error.value)


def test_infinite_loss_stops_at_once_and_names_the_last_good_state(tmp_path: Path) -> None:
    def explode(outputs: Tensor, wanted: Tensor) -> Tensor:
        return outputs.sum() * float("inf")

    with pytest.raises(UserError, match="loss is not finite") as error:
        train(plan(loss=explode), tmp_path, "same")
    for word in ("epoch 1, step 1", "learning rate 0.1", "last good state: none", "next:"):
        assert word in str(error.value)
    with pytest.raises(Killed):
        train(plan(at=(3, 0)), tmp_path, "same")
    with pytest.raises(UserError, match="loss is not finite") as error:
        train(plan(loss=explode), tmp_path, "same")
    assert "epoch 3, step 1" in str(error.value) and saved_states(tmp_path)[0].name in str(error.value)


def test_an_infinite_loss_that_is_read_later_is_named_with_its_step_and_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine.READ_EVERY, "cpu", 20)
    calls = 0

    def explode(outputs: Tensor, wanted: Tensor) -> Tensor:
        nonlocal calls
        calls += 1  # 5 micro-batches an epoch: the eighth is in the second step of the second epoch
        return nn.functional.mse_loss(outputs, wanted) * (float("inf") if calls == 8 else 1)

    with pytest.raises(UserError, match="epoch 2, step 2, learning rate 0.02") as error:
        train(plan(loss=explode), tmp_path, "same")
    assert calls == 10  # the rest of the epoch was trained before the losses were read
    (state,) = saved_states(tmp_path)
    assert state.name.startswith("state-000001-000000") and state.name in str(error.value)


def test_out_of_memory_names_what_to_shrink(tmp_path: Path) -> None:
    def too_much(outputs: Tensor, wanted: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    with pytest.raises(UserError, match="out of memory") as error:
        train(plan(loss=too_much), tmp_path, "same")
    for word in ("4 images of 8 pixels", "peak", "Tried to allocate 9 GiB", "set micro_batch: 2"):
        assert word in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is usable here")
def test_absent_cuda_is_an_error_and_never_the_cpu() -> None:
    with pytest.raises(UserError, match="no usable CUDA device") as error:
        device_named("cuda")
    for word in (
        torch.__version__,
        "driver:",
        f"built for CUDA {torch.version.cuda}",
        "nvidia-smi",
        "install another build",
    ):
        assert word in str(error.value)


def test_standardised_inputs() -> None:
    images = torch.rand(2, 3, 8, 8) * 7
    assert torch.equal(standardise(images, "unchanged"), images)
    sound = standardise(images, "standardised")
    assert sound.mean(dim=(1, 2, 3)).abs().max() < 1e-5
    assert (sound.std(dim=(1, 2, 3)) - 1).abs().max() < 1e-2

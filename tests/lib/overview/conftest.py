"""A small study in two networks and one target, without any file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from workflow.lib.overview.costs import Study, Target, read_costs
from workflow.lib.overview.jobs import Job, Rule
from workflow.lib.study.config import check_config

ROOT = Path(__file__).parents[3]


@pytest.fixture
def study() -> Study:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    check_config(config, ROOT / "workflow/schemas/config.schema.yaml")
    costs = read_costs(ROOT / "workflow/registry/costs.tsv")
    return Study(config, costs, {"ImageNet": (1000, 100)}, {"ACDC": Target(120, 48, 10, 10)})


@pytest.fixture
def rules() -> dict[str, Rule]:
    return {
        "pretrain_encoder": Rule("pretrain_encoder", "pretrain", 16, 64000, 1, False),
        "finetune_network": Rule("finetune_network", "finetune", 8, 12000, 1, False),
    }


@pytest.fixture
def finetuning(tmp_path: Path) -> Callable[..., Job]:
    """Makes a job of one fine-tuning, with its files under tmp_path."""

    def make(encoder: str = "unet", freeze: str = "trainable", seed: int | str = 1) -> Job:
        name = tmp_path / f"{encoder}-{freeze}-{seed}"
        wildcards = {"target": "ACDC", "way": freeze, "encoder": encoder, "epochs": "1"}
        wildcards |= {"pretraining": "simple/seed1", "seeds": str(seed)}
        outputs = (f"{name}/cases.csv", f"{name}/card.json")
        return Job("finetune_network", wildcards, outputs, f"{name}.log", f"{name}.tsv")

    return make


@pytest.fixture
def finish() -> Callable[..., None]:
    """Writes a job's outputs and its benchmark."""

    def write(job: Job, seconds: float, trained: float = 0.0) -> None:
        for path in job.outputs:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(f'{{"seconds": {trained}}}')
        Path(job.benchmark).write_text(
            f"s\th:m:s\tmax_rss\tmean_load\tcpu_time\n{seconds}\t0:01:00\t6000\t50\t{seconds * 4}\n"
        )

    return write

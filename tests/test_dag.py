"""The DAG: the study's grid, the commands that the README promises, style, and errors on the command line."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from tests.workflow_copy import ROOT, copy_project, snakemake


def jobs(output: str) -> dict[str, int]:
    """Job counts of a dry run."""
    table = output.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


def test_the_study(project: Path) -> None:
    counts = jobs(snakemake(project, "-n").stdout)
    assert counts["finetune_network"] == 3 * 2 * (54 + 3)  # 1,710 trainings
    assert counts["pretrain_encoder"] == 6
    assert counts["random_weights"] == 3
    assert counts["score_checkpoints"] == 3 * (6 + 3)  # of 3 * (54 + 15) checkpoints
    assert {"figure_dice_vs_length", "judge_claims", "answer", "gather_tables"} <= counts.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    ["data", "pretrain", "scores", "finetune", "stats", "figures", "realdata_study", "transfer", "realdata_transfer"],
)
def test_named_targets(project: Path, target: str) -> None:
    run = snakemake(project, "-n", target, "--quiet", "rules")
    assert run.returncode == 0, run.stdout


@pytest.mark.slow
def test_comparison_with_the_release_is_made_on_request(project: Path) -> None:
    counts = jobs(snakemake(project, "-n", "reproduction").stdout)
    assert {"deposited_tables", "gather_tables", "compare_runs"} <= counts.keys()
    assert "compare_runs" not in jobs(snakemake(project, "-n").stdout)


@pytest.mark.slow
def test_one_figure_by_name(project: Path) -> None:
    counts = jobs(snakemake(project, "-n", "dice_vs_accuracy").stdout)
    assert [name for name in counts if name.startswith("figure_")] == ["figure_dice_vs_accuracy"]


@pytest.mark.slow
def test_results_can_go_elsewhere(project: Path) -> None:
    run = snakemake(project, "-n", "gather_tables", "--config", "pathvars={results: /scratch/out}")
    assert run.returncode == 0, run.stdout
    assert "/scratch/out/study/downstream_scores.csv" in run.stdout
    assert "/scratch/out/pretrain/ImageNet/unchanged-224/unet/simple/seed987812/epoch300.safetensors" in run.stdout
    assert " results/" not in run.stdout


@pytest.mark.slow
def test_slurm_profile_needs_no_installation(project: Path) -> None:
    run = snakemake(project, "--profile", "slurm", "-n")
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout)["finetune_network"] == 342


@pytest.mark.slow
def test_a_switch_of_the_evaluation_prepares_and_pretrains_under_the_same_names(project: Path) -> None:
    usual = snakemake(project, "-n", "gather_tables").stdout
    other = snakemake(project, "-n", "gather_tables", "--config", "switches={metrics: per_case}").stdout
    for name in ("results/data/ACDC/paper-224/card.json", "unchanged-224/unet/simple/seed987812/epoch300.safetensors"):
        assert name in usual and name in other


def test_a_pretraining_reads_the_smaller_copy_of_its_source(project: Path) -> None:
    (project / "smaller.yaml").write_text("protocol: sound\nsources: {ImageNet: {shorter_side: 256}}")
    smaller = ["-n", "pretrain", "--configfile", "smaller.yaml"]
    run = snakemake(project, *smaller)
    assert jobs(run.stdout)["shrink_source"] == 1
    assert "results/data/ImageNet/side256/source.json" in run.stdout
    for setting, words in (
        ("protocol=paper", "protocol: paper, which crops images as they are"),
        ("image_size=288", "set shorter_side: 329"),
    ):
        run = snakemake(project, *smaller, "--config", setting)
        assert run.returncode == 1 and "cannot be read from a smaller copy" in run.stdout and words in run.stdout


@pytest.mark.slow
def test_a_new_length_that_is_kept_repeats_no_pretraining(project: Path) -> None:
    (project / "other.yaml").write_text("study: {lengths: [0, 1, 10, 300]}")
    run = snakemake(project, "-n", "finetune", "--configfile", "other.yaml")
    assert jobs(run.stdout)["finetune_network"] == 3 * 3 * 2 * (2 * 3 + 1)
    assert jobs(run.stdout)["pretrain_encoder"] == 6


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("finetune={epoch: 3}", ["unknown key epoch under finetune", "did you mean epochs?"]),
        ("image_size=100", ["image size that encoder unet cannot take", "image_size 100", "choose 96"]),
        ("sources={ImageNet: {folder: $NOWHERE/x}}", ["environment variable", "$NOWHERE/x", "export the variable"]),
    ],
)
def test_config_mistakes_on_the_command_line(project: Path, setting: str, words: list[str]) -> None:
    run = snakemake(project, "-n", "--config", setting)
    assert run.returncode == 1
    for word in [*words, "found:", "expected:", "where:", "next:"]:
        assert word in run.stdout


@pytest.mark.slow
def test_fine_tuning_without_masks_is_refused_before_anything_runs(project: Path) -> None:
    (project / "raw" / "images").mkdir(parents=True)
    (project / "bare.yaml").write_text("targets: {bare: {layout: folder, folder: raw}}\nstudy: {targets: [bare]}")
    run = snakemake(project, "-n", "finetune", "--configfile", "bare.yaml")
    assert run.returncode == 1
    for word in ("target bare has no masks", "found:", "expected:", "config: targets.bare", "snakemake scores"):
        assert word in run.stdout
    assert jobs(snakemake(project, "-n", "scores", "--configfile", "bare.yaml").stdout)["score_checkpoints"] == 9


@pytest.mark.slow
def test_an_absent_folder_is_named_before_anything_runs(project: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"study": {"targets": ["mine"]}}
    settings["targets"] = {"mine": {"layout": "folder", "folder": str(tmp_path / "nowhere"), "classes": ["lesion"]}}
    (project / "absent.yaml").write_text(json.dumps(settings))
    run = snakemake(project, "-n", "data", "--configfile", "configs/demo.yaml", "absent.yaml")
    assert run.returncode == 1
    for word in ("the folder of data set mine is absent", str(tmp_path / "nowhere"), "correct `folder`"):
        assert word in run.stdout


@pytest.mark.slow
def test_other_slices_or_window_prepare_again(project: Path) -> None:
    (project / "volumes" / "images").mkdir(parents=True)
    for i in range(3):
        volume = np.random.default_rng(i).normal(size=(40, 40, 6)).astype(np.float32)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), project / "volumes" / "images" / f"{i}.nii.gz")

    def prepared(option: str, settings: str) -> str:
        target = f"ct: {{layout: folder, folder: volumes, crop: 32, {settings}}}"
        (project / "ct.yaml").write_text(f"targets: {{{target}}}\nstudy: {{targets: [ct]}}")
        run = snakemake(project, option, "results/data/ct/paper-224/card.json", "--configfile", "ct.yaml")
        assert run.returncode == 0, run.stdout
        return run.stdout

    prepared("-c1", "slices: 3")
    assert "Nothing to be done" in prepared("-n", "slices: 3")
    for settings in ("slices: 32", "slices: 3, window: [0, 1]", "window: [0, 1]"):
        assert jobs(prepared("-n", settings)) == {"prepare_target": 1}


@pytest.mark.slow
def test_missing_archive_on_the_command_line(project: Path) -> None:
    card = "results/data/IDRiD/source.json"
    run = snakemake(project, "-c1", card, KAGGLE_USERNAME="", KAGGLE_KEY="")
    assert run.returncode == 1
    for word in ("A. Segmentation.zip", "ieee-dataport.org", "checksum unknown", "results/data/downloads", "next:"):
        assert word in run.stdout
    assert not (project / card).exists()


def test_every_rule_says_what_it_does_and_needs(project: Path) -> None:
    checked = []
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for block in re.split(r"^ *(?:rule|checkpoint)\b", path.read_text(), flags=re.MULTILINE)[1:]:
            name = block.split(":")[0]
            if "output:" not in block:  # plan and status only print
                continue
            needs = [] if "localrule: True" in block else ["threads:", "resources:", "mem=", "runtime="]
            for word in ('"""', "log:", "benchmark:", "conda:", "script:", *needs):
                assert word in block, f"{path.name}, rule {name}: no {word}"
            checked.append(name.strip())
    assert len(set(checked)) == len(checked) > 40 and {"prepare_target", "finetune_network", "rank_target"} <= {
        *checked
    }


HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]


@pytest.mark.parametrize("command", [hook["entry"] for hook in HOOKS])
def test_style(command: str) -> None:
    run = subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_rule_files_import_nothing_heavy() -> None:
    code = (
        "import sys; import workflow.lib.study.config, workflow.lib.study.guards, workflow.lib.job.code;"
        "import workflow.lib.rank.candidates, workflow.lib.networks.inputs, workflow.lib.networks.file_kinds;"
        "print([name for name in ('torch', 'pandas', 'numpy', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    imports = re.findall(
        r"^(?:from|import) (\S+)", "".join(p.read_text() for p in (ROOT / "workflow/rules").glob("*.smk")), re.M
    )
    assert set(imports) <= {
        "os",
        "re",
        "shutil",
        "sys",
        "functools",
        "workflow.lib.job.code",
        "workflow.lib.study.config",
        "workflow.lib.study.folders",
        "workflow.lib.study.guards",
        "workflow.lib.study.checkpoints",
        "workflow.lib.study.protocol",
        "workflow.lib.networks.file_kinds",
        "workflow.lib.networks.inputs",
        "workflow.lib.rank.candidates",
        "workflow.lib.job.run",
    }

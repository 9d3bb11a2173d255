"""The whole workflow on generated data, interrupted, resumed and repeated; and on the released results."""

import functools
import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from monai.networks.nets.basic_unet import BasicUNet
from PIL import Image

from tests.conftest import published_from
from tests.study_files import save_study_file
from tests.test_dag import jobs
from tests.workflow_copy import ROOT, copy_project, ended, snakemake

TINY = ["--profile", "profiles/laptop", "--configfile", "configs/demo.yaml", ROOT / "tests/tiny.yaml"]
RUN = Path("results/tiny")
PRETRAIN = Path("results/demo/pretrain/unet/simple")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose pretraining was ended by Ctrl-C halfway, and that then ran to its end."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    said = ended(folder, signal.SIGINT, [f"{PRETRAIN}/seed1.resume/state-*.pt"], "pretrain", *TINY)  # Ctrl-C
    assert "Traceback" not in said and "training was interrupted" in said and "run the same command again" in said
    assert not list((folder / PRETRAIN).glob("seed1/epoch*.json")), "half a pretraining leaves no output"
    run = snakemake(folder, "all", *TINY)
    assert run.returncode == 0, run.stdout[-4000:]
    return folder


def test_interrupted_pretraining_was_resumed(project: Path) -> None:
    log = (project / RUN / "logs/pretrain/unet-simple-1.log").read_text()
    assert "resuming after epoch" in log
    assert not (project / PRETRAIN / "seed1.resume").exists()


def test_tables_are_complete(project: Path) -> None:
    downstream = pd.read_csv(project / RUN / "downstream_scores.csv")
    assert len(downstream) == 3 * 2 * 2 * 3
    acdc = downstream["dataset"] == "ACDC"
    assert downstream.loc[acdc, "mean dice index"].between(0, 1).all()
    assert downstream.loc[~acdc, "dice index"].between(0, 1).all()
    robustness = pd.read_csv(project / RUN / "robustness_scores.csv")
    assert len(robustness) == 2 * 3 * (3 * 5 * 2 * 5)
    assert robustness["robustness"].notna().all()


def test_pretraining_helps_a_frozen_encoder(project: Path) -> None:
    """By at least two seed SDs on at least one target: the answer of the demo means something."""
    table = pd.read_csv(project / RUN / "downstream_scores.csv")
    table["dice"] = table["mean dice index"].fillna(table["dice index"])
    frozen = table[table["freeze encoder"]]
    gains = []
    for _, rows in frozen.groupby("dataset"):
        lengths = rows.groupby("pretraining length")["dice"]
        means, spread = lengths.mean(), np.sqrt(lengths.var().mean())
        gains.append((means[6] - means[0]) / spread)
    assert max(gains) > 2, gains


def test_figures_are_not_blank_and_their_data_finite(project: Path) -> None:
    figures = sorted((project / RUN / "figures").glob("*.png"))
    assert len(figures) == 12
    for path in figures:
        pixels = np.asarray(Image.open(path).convert("L"))
        assert (pixels < 128).mean() > 0.001, path.name
        assert path.with_suffix(".pdf").stat().st_size > 1000
        numbers = pd.read_csv(path.with_suffix(".csv")).select_dtypes("number")
        assert len(numbers) and np.isfinite(numbers.dropna(axis=1, how="all").to_numpy()).any()
    assert "start from" in (project / RUN / "answer.txt").read_text()


def test_second_run_does_nothing_even_after_touching(project: Path) -> None:
    assert "Nothing to be done" in snakemake(project, "all", *TINY).stdout
    for path in [
        *project.glob("workflow/**/*.py"),
        *project.glob("results/demo/**/*.*"),
        *project.glob("config*.yaml"),
    ]:
        path.touch()
    run = snakemake(project, "all", "-n", *TINY, "--quiet", "progress")
    repeated = jobs(run.stdout) if "Job stats" in run.stdout else {}
    assert not {"pretrain_encoder", "finetune_network", "score_checkpoints"} & repeated.keys(), repeated


def test_edited_code_repeats_cheap_jobs_only(project: Path) -> None:
    style = project / "workflow/lib/paper/style.py"
    shared = project / "workflow/lib/job/run.py"
    before = {path: path.read_text() for path in (style, shared)}
    for path, text in before.items():
        path.write_text(text + "\n# edited\n")
    counts = jobs(snakemake(project, "all", "-n", *TINY).stdout)
    for path, text in before.items():
        path.write_text(text)
    assert counts["figure_dice_vs_length"] == 1
    assert not {"prepare_target", "pretrain_encoder", "finetune_network"} & counts.keys()


def test_source_that_is_listed_anew_hides_no_job(project: Path) -> None:
    """A new seed is planned although the list of source images is due again, and no pretraining is."""
    (project / "seed.yaml").write_text("study: {finetune_seeds: [1, 2, 3, 4]}")
    run = snakemake(project, "all", "-n", *TINY, "seed.yaml", "-R", "index_source")
    counts = jobs(run.stdout)
    assert counts["finetune_network"] == 3 * 2 * 2  # of the new seed alone
    assert "pretrain_encoder" not in counts


def test_a_smaller_grid_makes_the_tables_again(project: Path) -> None:
    (project / "seed.yaml").write_text("study: {finetune_seeds: [1, 2]}")
    counts = jobs(snakemake(project, "all", "-n", *TINY, "seed.yaml").stdout)
    assert counts["gather_tables"] == 1
    assert "finetune_network" not in counts


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "schemes: {simple: {learning_rate: 0.5}}",
            ["a finished pretraining has other settings", "'learning_rate': 0.5"],
        ),
        ("switches: {inputs: unchanged}", ["a finished pretraining has other settings", "standardised", "unchanged"]),
        ("finetune: {learning_rate: 0.5}", ["finished fine-tunings with other settings", "'learning_rate': 0.5"]),
        ("switches: {metrics: pooled}", ["finished fine-tunings with other settings", "pooled", "per_case"]),
        ("switches: {images: aliased}", ["finished fine-tunings with other settings", "'aliased'", "'antialiased'"]),
        (
            "sources: {Third: {layout: imagenet}}\npretraining: {source: Third}",
            ["finished fine-tunings with other settings", "source ImageNet", "source Third"],
        ),
    ],
)
def test_other_settings_do_not_delete_what_is_finished(project: Path, change: str, words: list[str]) -> None:
    (project / "other.yaml").write_text(change)
    run = snakemake(project, "all", *TINY, "other.yaml")
    assert run.returncode == 1
    for word in [*words, "rm -r"]:
        assert word in run.stdout
    assert (project / PRETRAIN / "seed1/epoch6.safetensors").exists()


def test_another_score_in_the_table_repeats_no_training(project: Path) -> None:
    run = snakemake(project, "all", "-n", *TINY, "--config", "switches={robustness: published}")
    assert (
        "gather_tables" in jobs(run.stdout) and not {"finetune_network", "score_checkpoints"} & jobs(run.stdout).keys()
    )


def test_rerun_of_one_rule(project: Path) -> None:
    counts = jobs(snakemake(project, "all", "-n", *TINY, "-R", "figure_dice_vs_length").stdout)
    assert counts["figure_dice_vs_length"] == 1
    assert "finetune_network" not in counts


def test_the_page_answers_and_says_how_the_run_was_made(project: Path) -> None:
    page = (project / RUN / "index.html").read_text()
    for text in ("Start from", "<dt>Protocol</dt><dd>sound", "torch ", "Time of fine-tuning", "patient_scores.csv.gz"):
        assert text in page, text


def test_report_is_made(project: Path) -> None:
    run = snakemake(project, *TINY, "--report", project / "report.html")
    assert run.returncode == 0, run.stdout[-3000:]
    page = (project / "report.html").read_text()
    assert "Dice against length" in page
    answer = (project / RUN / "answer.txt").read_text()
    assert answer.splitlines()[0] in page and f"{RUN}/index.html" in page


def test_published_results(reference: Path, published: Path) -> None:
    tables = published / "results/published/tables"
    rows = {path.stem: len(pd.read_csv(path, comment="#")) for path in tables.glob("*.csv")}
    assert (rows["downstream"], rows["length_effect"], rows["noise_ceiling"]) == (342, 36, 72)
    assert {path.stem for path in tables.glob("*.tex")} == rows.keys() - {"replay", "score_selection"}  # long ones
    assert all(path.read_text().startswith("# ") for path in tables.glob("*.csv")), "each head says what is estimated"
    figures = {path.stem for path in (published / "results/published/figures").glob("*.png")}
    assert len(figures) == 12 and "claims_forest" in figures
    again = snakemake(published, "-c2", "published", *published_from(reference))
    assert "Nothing to be done" in again.stdout


def test_protocol_paper_runs_with_all_encoders_schemes_and_targets(tmp_path: Path) -> None:
    """All encoders and schemes on one target, then one of them on the others, which repeats no pretraining."""
    project = copy_project(tmp_path)
    for name, number in {"train": 16, "val": 4}.items():
        for i in range(4 * number):
            place = project / f"few/{name}/class{i % 4}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)).save(place / f"{i}.JPEG")
    paper = [*TINY[:-1], ROOT / "tests/paper.yaml"]
    run = snakemake(project, "results/paper/downstream_scores.csv", *paper)
    assert run.returncode == 0, run.stdout[-4000:]
    downstream = pd.read_csv(project / "results/paper/downstream_scores.csv")
    assert len(downstream) == 3 * 2
    assert set(downstream["model"]) == {"basic U-Net", "ResNet50 Attention U-Net", "Swin U-Net"}
    assert downstream["dice index"].between(0, 1).all()
    robustness = pd.read_csv(project / "results/paper/robustness_scores.csv")
    assert len(robustness) == 2 * (3 * 5 * 2) * (5 + 5 + 4)
    study = "{encoders: [unet], schemes: [advanced], lengths: [0, 1], targets: [ACDC, IDRiD]}"
    (project / "others.yaml").write_text(f"run: others\nstudy: {study}")
    run = snakemake(project, "stats", *paper, "others.yaml")
    assert run.returncode == 0, run.stdout[-4000:]
    assert "pretrain_encoder" not in jobs(run.stdout)
    downstream = pd.read_csv(project / "results/others/downstream_scores.csv")
    assert set(zip(downstream["dataset"], downstream["pretraining length"], strict=True)) == {
        (target, length) for target in ("ACDC", "IDRiD") for length in (0, 1)
    }
    assert downstream["mean dice index"].fillna(downstream["dice index"]).between(0, 1).all()


@pytest.fixture
def zenodo(tmp_path: Path) -> Iterator[str]:
    """A record in Zenodo's description with files of two encoders, on a local server; yields its address."""
    unet, swin = {"architecture": "unet", "width": 8}, {"architecture": "swin", "width": 24, "window": 4}
    folder = tmp_path / "server"
    paths = [save_study_file(folder, unet, scheme, epochs) for scheme in ("simple", "advanced") for epochs in (1, 5)]
    paths += [save_study_file(folder, swin, "simple", epochs) for epochs in (1, 5)]
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        entries = [
            {
                "key": path.name,
                "size": path.stat().st_size,
                "checksum": f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}",
                "links": {"self": f"{address}/{path.name}"},
            }
            for path in paths
        ]
        (folder / "13971513").write_text(json.dumps({"files": entries}))
        yield f"{address}/13971513"
        server.shutdown()


def test_weights_from_elsewhere(tmp_path: Path, zenodo: str) -> None:
    """Released weights from a server, a timm model with a checkpoint file, and an encoder that is trained, in one run."""
    project = copy_project(tmp_path / "project")
    timm_file = tmp_path / "resnet10t.pth"
    torch.save(timm.create_model("resnet10t", num_classes=7).state_dict(), timm_file)
    settings = f"""
run: elsewhere
image_size: 64
released: {{url: "{zenodo}"}}
study:
  encoders: [unet, swin, resnet10t]
  schemes: [simple, advanced]
  lengths: [0, 1, 5]
  targets: [COVID-QU]
  freeze: [true]
  finetune_seeds: [1]
encoders:
  swin: {{width: 24, window: 4}}
  resnet10t: {{architecture: timm/resnet10t, network: ResNet10 U-Net, weights: {timm_file}, epochs: 600}}
pretraining: {{weights: {{unet: released, swin: {{simple: released, advanced: released}}}}}}
score: {{images: 8, draws: 2}}
finetune: {{epochs: 1, steps_per_epoch: 2}}
"""
    (project / "elsewhere.yaml").write_text(settings)
    arguments = ["--profile", "profiles/laptop", "--configfile", "configs/demo.yaml", "elsewhere.yaml"]
    tables = "results/elsewhere/downstream_scores.csv"
    missing = snakemake(project, tables, *arguments)
    assert missing.returncode == 1
    assert "the record does not hold" in missing.stdout
    assert "swin_transformer_advanced_pretraining_checkpoint_epoch_" in missing.stdout
    (project / "elsewhere.yaml").write_text(settings.replace("[simple, advanced]", "[simple]"))
    run = snakemake(project, tables, *arguments)
    assert run.returncode == 0, run.stdout[-4000:]
    assert not (project / "results/demo/data/ImageNet").exists(), "nothing is trained, so no images are needed"
    table = pd.read_csv(project / "results/elsewhere/downstream_scores.csv")
    assert sorted(set(table["pretraining scheme"])) == ["pretrained", "simple"]
    unet = table[(table["encoder"] == "unet") & (table["pretraining length"] == 5)]
    assert unet["ImageNet accuracy"].tolist() == [0.243] and unet["pretraining seed"].tolist() == [0]
    assert table.loc[table["encoder"] == "resnet10t", "pretraining length"].tolist() == [0, 600]
    scores = pd.read_csv(project / "results/elsewhere/robustness_scores.csv")
    assert {"unet", "swin", "resnet10t"} == set(scores["encoder"])
    moved = f"released={{folder: {tmp_path / 'server'}}}"
    for change in ([], ["--config", moved]):  # another way to the same files repeats nothing
        assert "Nothing to be done" in snakemake(project, "-n", tables, *arguments, *change).stdout
    torch.save(timm.create_model("resnet10t", num_classes=7).state_dict(), timm_file)
    replaced = jobs(snakemake(project, "-n", tables, *arguments).stdout)
    assert replaced["adopt_weights"] == 1 and replaced["score_checkpoints"] >= 1
    level = scores[scores["encoder"] == "resnet10t"]
    assert set(level.loc[level["pretraining_length"] == 0, "pretraining_scheme"]) == {"pretrained"}


def test_tasks_transfers_few_patients_and_a_pool(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "project")
    files = ["--profile", "profiles/laptop", "--configfile", "configs/demo.yaml", ROOT / "tests/tasks.yaml"]
    given = {"MEDSEG_GIVEN": str(tmp_path / "basic.pt")}
    torch.save(BasicUNet(2, 1, 3, (4,) * 6).state_dict(), given["MEDSEG_GIVEN"])
    run = snakemake(folder, *files, "--", "transfer", "pool", **given)
    assert run.returncode == 0, run.stdout[-4000:]
    place = folder / "results/tasks"
    scores = pd.read_csv(place / "transfer_scores.csv", keep_default_na=False)
    # Two targets, on all and on two patients: random weights, and of either task the encoder, and encoder and decoder.
    # Of the given network both, on all patients.
    assert scores.groupby("transfer").size().to_dict() == {"none": 4, "encoder": 8, "both": 10}
    assert set(scores["source"]) == {"", "ImageNet (generated)", "COVID-QU"}
    card = json.loads((folder / "results/demo/pretrain/narrow/infection/seed1/epoch1.json").read_text())
    start = json.loads((folder / "results/demo/pretrain/narrow/shapes/seed1/epoch1.json").read_text())
    assert card["start"] == start["sha256"]
    tried = json.loads((place / "learning_rates/narrow/shapes.json").read_text())
    assert (
        start["rate"] == tried
        and tried["chosen"] in (0.01, 0.003)
        and start["recipe"]["learning_rate"] == [0.01, 0.003]
    )
    assert {rate: list(dice) for rate, dice in tried["dice"].items()} == {"0.003": ["ACDC"], "0.01": ["ACDC"]}
    history = pd.read_csv(folder / "results/demo/pretrain/narrow/shapes/seed1/history.csv")
    trial = pd.read_csv(folder / f"results/demo/pretrain/narrow/shapes.rate{tried['chosen']:g}/seed1/history.csv")
    assert history["loss"].tolist() == trial["loss"].tolist(), "the chosen rate is the one that is trained with"
    pool = pd.read_csv(place / "tables/pool.csv", comment="#")
    own, whole = (pool[pool["encoder"] == name] for name in ("narrow", "all encoders"))
    assert set(own["dataset"]) == {"IDRiD"}, "COVID-QU has a single network that was not trained on it"
    assert dict(zip(whole["dataset"], whole["n_models"], strict=True)) == {"IDRiD": 3, "COVID-QU": 2, "all targets": 5}
    assert "cc_fv_published" in set(whole["score"]), "scored by the decoder, the given network too"
    assert {"decoder", "encoder"} <= set(pool["features"].dropna())
    for figure in ("transfer_gain", "dice_vs_patients", "convergence", "pool_matrix", "pool_regret"):
        pixels = np.asarray(Image.open(place / f"figures/{figure}.png").convert("L"))
        assert (pixels < 128).mean() > 0.001, figure
    again = snakemake(folder, *files, "-n", "--", "transfer", "pool", **given)
    assert "Nothing to be done" in again.stdout

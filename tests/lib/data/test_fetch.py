"""Where data sets come from, and what is said where one cannot be had."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from workflow.lib.data import fetch as module
from workflow.lib.data.fetch import check_archive, fetch_dataset, generate_dataset, use_folder
from workflow.lib.data.layouts import CLASSES, list_cases
from workflow.lib.data.registry import read_registry
from workflow.lib.job.run import UserError, sha256_of

REGISTRY = Path("workflow/registry/datasets.tsv")
TOKEN = {"KAGGLE_USERNAME": "someone", "KAGGLE_KEY": "very-secret-key"}


def edited_registry(tmp_path: Path, row: str, **values: str) -> Path:
    """A copy of the registry with some cells of one row replaced."""
    lines = [line.split("\t") for line in REGISTRY.read_text().splitlines()]
    for column, value in values.items():
        next(line for line in lines if line[0] == row)[lines[0].index(column)] = value
    path = tmp_path / "datasets.tsv"
    path.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    return path


def fetch(
    tmp_path: Path, dataset: str, layout: str, registry: Path = REGISTRY, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    source = tmp_path / "data" / dataset / "source.json"
    downloads = tmp_path / "data" / "downloads"
    fetch_dataset(
        dataset=dataset,
        layout=layout,
        source=source,
        registry=registry,
        downloads=downloads,
        environment=environment or {},
    )
    return json.loads(source.read_text())


def put_archive(tmp_path: Path, folder: Path, name: str) -> Path:
    downloads = tmp_path / "data" / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    return Path(shutil.move(packed, downloads / name))


def test_the_registry_is_sound_and_agrees_with_the_layouts() -> None:
    rows = read_registry(REGISTRY)
    assert list(rows) == ["ImageNet", "ACDC", "IDRiD", "COVID-QU"]
    assert [archive.checksum[:8] for archive in rows["ImageNet"].archives] == ["md5:1d67", "md5:29b2", "md5:fa75"]
    assert rows["ImageNet"].counts == {
        "train_images": 1281167,
        "val_images": 50000,
        "train_classes": 1000,
        "val_classes": 1000,
    }
    table = [line.split("\t") for line in REGISTRY.read_text().splitlines()]
    classes = {line[0]: line[table[0].index("classes")] for line in table}
    for name, layout in (("ACDC", "acdc"), ("IDRiD", "idrid"), ("COVID-QU", "covid_qu")):
        assert classes[name].split("; ") == CLASSES[layout]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"checksums": "sha256:123"}, "line 3, checksums"),
        ({"access": "secret"}, "line 3, access"),
        ({"files": "a.zip; b.zip"}, "2, 1, 1 values"),
    ],
)
def test_a_broken_registry_names_line_and_column(tmp_path: Path, values: dict[str, str], found: str) -> None:
    with pytest.raises(UserError) as error:
        read_registry(edited_registry(tmp_path, "ACDC", **values))
    assert found in str(error.value) and "datasets.tsv" in str(error.value)


def test_missing_archives_are_all_named_with_page_checksum_and_place(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        fetch(tmp_path, "ImageNet", "imagenet")
    message = str(error.value)
    for archive in read_registry(REGISTRY)["ImageNet"].archives:
        assert f"{archive.file} (checksum {archive.checksum})" in message
    for part in ("https://image-net.org", f"into {tmp_path}/data/downloads/", "set `folder` of ImageNet"):
        assert part in message
    assert not (tmp_path / "data" / "ImageNet").exists()


def test_kaggle_needs_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(UserError, match="export KAGGLE_USERNAME and KAGGLE_KEY"):
        fetch(tmp_path, "COVID-QU", "covid_qu", environment={"KAGGLE_USERNAME": "someone"})
    asked: dict[str, str] = {}

    def record(url: str, path: str | Path, *, sha256: str, headers: dict[str, str]) -> None:
        asked.update(headers, url=url)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"not an archive")

    monkeypatch.setattr(module, "download", record)
    with pytest.raises(UserError, match="neither zip nor tar") as error:
        fetch(tmp_path, "COVID-QU", "covid_qu", environment=TOKEN)
    assert asked["url"].startswith("https://www.kaggle.com/api/v1/datasets/download/anasmohammedtahir/covidqu")
    assert asked["Authorization"] == "Basic c29tZW9uZTp2ZXJ5LXNlY3JldC1rZXk="
    for text in (caplog.text, str(error.value)):
        assert "very-secret-key" not in text and "c29tZW9uZTp2" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "layout", "name"), [("IDRiD", "idrid", "A. Segmentation.zip"), ("COVID-QU", "covid_qu", "covidqu.zip")]
)
def test_an_archive_in_downloads_is_checked_and_unpacked(
    tmp_path: Path, generated: Path, dataset: str, layout: str, name: str
) -> None:
    archive = put_archive(tmp_path, generated / layout, name)
    card = fetch(tmp_path, dataset, layout)
    assert card["origin"] == "registry" and card["folder"] == str(tmp_path / "data" / dataset / "raw")
    assert card["files"] == [{"name": name, "bytes": archive.stat().st_size, "sha256": sha256_of(archive)}]
    assert list_cases(Path(card["folder"]), layout)[0] == list_cases(generated / layout, layout)[0]


def test_an_open_set_is_downloaded_and_its_checksum_checked(
    tmp_path: Path, generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = shutil.make_archive(str(tmp_path / "acdc"), "zip", generated / "acdc")
    monkeypatch.setattr(module, "download", lambda url, path, **options: shutil.copy(packed, _parent(path)))
    with pytest.raises(UserError, match="wrong checksum") as error:
        fetch(tmp_path, "ACDC", "acdc")
    for part in (sha256_of(packed), "2787e08b0d3525cbac710fc3bdf69ee7c5fd7446472e49db8bc78548802f6b5e", "ACDC.zip"):
        assert part in str(error.value)
    assert not (tmp_path / "data" / "ACDC").exists()
    registry = edited_registry(tmp_path, "ACDC", checksums=f"sha256:{sha256_of(packed)}")
    assert len(list_cases(Path(fetch(tmp_path, "ACDC", "acdc", registry)["folder"]), "acdc")[0]) == 12


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_an_unknown_checksum_is_recorded_and_a_change_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"first")
    first = check_archive(archive, "unknown")["sha256"]
    assert (tmp_path / "a.zip.sha256").read_text() == f"{first}  a.zip\n"
    archive.write_bytes(b"second")
    with pytest.raises(UserError) as error:
        check_archive(archive, "unknown")
    for part in (first, sha256_of(archive), str(archive), "recorded in", "rm '"):
        assert part in str(error.value)


def test_md5_checksums(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"content")
    assert check_archive(archive, f"md5:{hashlib.md5(b'content').hexdigest()}")["bytes"] == 7
    with pytest.raises(UserError, match=f"md5 {'0' * 32}"):
        check_archive(archive, f"md5:{'0' * 32}")


def test_names_that_nothing_defines(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one of ImageNet, ACDC, IDRiD, COVID-QU"):
        fetch(tmp_path, "my-data", "folder")


def test_own_folder(tmp_path: Path, generated: Path) -> None:
    source = tmp_path / "data" / "mine" / "source.json"
    folder = generated / "acdc"
    use_folder(dataset="mine", layout="acdc", folder=str(folder), source=source, registry=REGISTRY)
    assert json.loads(source.read_text()) == {
        "dataset": "mine",
        "origin": "folder",
        "layout": "acdc",
        "folder": str(folder),
        "files": [],
    }
    with pytest.raises(UserError, match="correct `folder` of mine"):
        use_folder(dataset="mine", layout="acdc", folder=f"{folder}/no", source=source, registry=REGISTRY)
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(b"not ImageNet")
    with pytest.raises(UserError, match="29b22e2961454d5413ddabcf34fc5622"):
        use_folder(dataset="x", layout="imagenet", folder=str(tmp_path), source=source, registry=REGISTRY)


@pytest.mark.slow
def test_generated_data_lie_beside_their_card(tmp_path: Path) -> None:
    source = tmp_path / "COVID-QU" / "source.json"
    generate_dataset(dataset="COVID-QU", layout="covid_qu", image_size=16, source=source)
    card = json.loads(source.read_text())
    assert card["origin"] == "generated" and card["folder"] == str(tmp_path / "COVID-QU" / "generated")
    cases, problems = list_cases(Path(card["folder"]), "covid_qu")
    assert [sum(case.part == part for case in cases) for part in ("train", "test")] == [40, 20] and not problems
    with pytest.raises(UserError, match="layout folder cannot be generated"):
        generate_dataset(dataset="x", layout="folder", image_size=16, source=tmp_path / "x" / "source.json")
    assert [path.name for path in (tmp_path / "x").iterdir()] == []

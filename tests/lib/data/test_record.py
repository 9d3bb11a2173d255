"""The study's weights are fetched from a record or a folder, as files or archives, and never change unnoticed."""

import hashlib
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from workflow.lib.data.record import fetch_released, record_files, refuse_changes
from workflow.lib.job.run import UserError, read_json, write_json

NAMES = [f"unet_encoder_simple_pretraining_checkpoint_epoch_{epochs}.pt" for epochs in (1, 5)]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(name.encode())
    return folder


def record(
    folder: Path, names: list[str], *, inveniordm: bool = False, md5: str | None = None, licence: str | None = None
) -> str:
    """A record of these files in Zenodo's description; returns its address."""
    entries = [
        {
            "key": name,
            "checksum": f"md5:{md5 or hashlib.md5((folder / name).read_bytes()).hexdigest()}",
            "size": (folder / name).stat().st_size,
            "links": {"content" if inveniordm else "self": (folder / name).as_uri()},
        }
        for name in names
    ]
    path = folder / "record.json"
    path.write_text(
        json.dumps(
            {"id": 1, "files": {"entries": {e["key"]: e for e in entries}} if inveniordm else entries}
            | ({"metadata": {"license": {"id": licence}}} if licence else {})
        )
    )
    return path.as_uri()


@pytest.mark.parametrize("inveniordm", [False, True])
def test_single_files_of_a_record(weights: Path, tmp_path: Path, inveniordm: bool) -> None:
    (weights / "README.md").write_text("not wanted")
    licence = "cc-by-4.0" if inveniordm else None
    url = record(weights, [*NAMES, "README.md"], inveniordm=inveniordm, licence=licence)
    fetch_released(url=url, folder=None, files=tmp_path / "data/files.json")
    found = read_json(tmp_path / "data/files.json")["weights"]
    assert read_json(tmp_path / "data/files.json")["licence"] == licence
    assert sorted(found) == NAMES
    for name, entry in found.items():
        assert Path(entry["path"]).read_bytes() == name.encode()
        assert entry["sha256"] == hashlib.sha256(name.encode()).hexdigest()
    assert not (tmp_path / "data/README.md").exists()
    assert len((tmp_path / "data/hashes.sha256").read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("where", ["record", "folder"])
def test_archives_serve_as_well(weights: Path, tmp_path: Path, kind: str, where: str) -> None:
    archive = weights / f"encoder_weights.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for name in NAMES:
                file.write(weights / name, f"encoder_weights/unet_encoder/{name}")
    else:
        with tarfile.open(archive, "w:gz") as file:
            for name in NAMES:
                file.add(weights / name, f"encoder_weights/unet_encoder/{name}")
    for name in NAMES:
        (weights / name).unlink()
    url = record(weights, [archive.name])
    folder = str(weights) if where == "folder" else None
    fetch_released(url=url, folder=folder, files=tmp_path / "data/files.json")
    found = read_json(tmp_path / "data/files.json")["weights"]
    assert {Path(entry["path"]).read_bytes().decode() for entry in found.values()} == set(NAMES)


def test_files_in_a_folder_of_mine(weights: Path, tmp_path: Path) -> None:
    fetch_released(url="http://127.0.0.1:9/none", folder=str(weights), files=tmp_path / "data/files.json")
    found = read_json(tmp_path / "data/files.json")["weights"]
    assert found[NAMES[0]]["path"] == str(weights / NAMES[0])


def test_a_wrong_checksum_of_the_record_is_refused(weights: Path, tmp_path: Path) -> None:
    url = record(weights, NAMES, md5="0" * 32)
    with pytest.raises(UserError, match="wrong checksum") as error:
        fetch_released(url=url, folder=None, files=tmp_path / "data/files.json")
    assert "md5 " + "0" * 32 in str(error.value) and not (tmp_path / "data/files.json").exists()


def test_files_that_changed_since_they_were_first_seen_are_refused(weights: Path, tmp_path: Path) -> None:
    fetch_released(url="", folder=str(weights), files=tmp_path / "data/files.json")
    before = (tmp_path / "data/hashes.sha256").read_text()
    (weights / NAMES[1]).write_bytes(b"other")
    with pytest.raises(UserError, match="not the one that was seen first") as error:
        fetch_released(url="", folder=str(weights), files=tmp_path / "data/files.json")
    for word in (NAMES[1], hashlib.sha256(b"other").hexdigest(), hashlib.sha256(NAMES[1].encode()).hexdigest()):
        assert word in str(error.value)
    assert (tmp_path / "data/hashes.sha256").read_text() == before


def test_new_names_join_the_list_of_hashes(tmp_path: Path) -> None:
    refuse_changes(tmp_path / "lock", {"b": "1"})
    refuse_changes(tmp_path / "lock", {"a": "2", "b": "1"})
    assert (tmp_path / "lock").read_text() == "2  a\n1  b\n"


@pytest.mark.parametrize("where", ["record", "folder"])
def test_nothing_that_looks_like_weights(weights: Path, tmp_path: Path, where: str) -> None:
    (weights / "paper.pdf").write_text("x")
    url = record(weights, ["paper.pdf"])
    for name in NAMES:
        (weights / name).unlink()
    with pytest.raises(UserError, match="no encoder weights") as error:
        fetch_released(url=url, folder=str(weights) if where == "folder" else None, files=tmp_path / "data/files.json")
    assert "released: {folder: /path}" in str(error.value)


def test_two_different_files_of_one_name_are_refused(weights: Path, tmp_path: Path) -> None:
    (weights / "old").mkdir()
    (weights / "old" / NAMES[0]).write_bytes(b"other")
    with pytest.raises(UserError, match="two different weights of one name") as error:
        fetch_released(url="", folder=str(weights), files=tmp_path / "data/files.json")
    assert str(weights / "old" / NAMES[0]) in str(error.value) and str(weights / NAMES[0]) in str(error.value)


def test_a_blank_line_in_the_list_of_hashes(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("1  a\n\n2  b\n")
    refuse_changes(lock, {"a": "1", "c": "3"})
    assert lock.read_text() == "1  a\n2  b\n3  c\n"
    with pytest.raises(UserError, match="not the one that was seen first"):
        refuse_changes(lock, {"b": "1"})


@pytest.mark.parametrize("page", ["<html>", "absent"])
def test_an_address_that_is_no_record(tmp_path: Path, page: str) -> None:
    path = tmp_path / "page"
    if page != "absent":
        path.write_text(page)
    url = path.as_uri() if page != "absent" else "http://127.0.0.1:9/records/1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workflow.lib.data.download.time.sleep", lambda seconds: None)
        with pytest.raises(UserError, match="record of the study's weights cannot be read") as error:
            fetch_released(url=url, folder=None, files=tmp_path / "data/files.json")
    assert url in str(error.value) and "released: {folder: /path}" in str(error.value)


def test_a_record_from_afar_can_not_name_local_files(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Path(record(weights, NAMES).removeprefix("file://"))
    monkeypatch.setattr(
        "workflow.lib.data.record.download", lambda url, path, sha256: write_json(path, json.loads(local.read_text()))
    )
    with pytest.raises(UserError, match="names a local file"):
        fetch_released(url="https://far/records/1", folder=None, files=tmp_path / "data/files.json")


def test_a_checksum_of_another_kind_is_recorded_instead(weights: Path, tmp_path: Path) -> None:
    (file,) = record_files({"files": [{"key": "a/b.pt", "checksum": "sha512:1", "links": {"self": "u"}}]}, "")
    assert file == ("b.pt", "u", "unknown")


@pytest.mark.parametrize("record", [{}, {"files": [{"key": "a"}]}, {"files": 3}, {"message": "not found"}])
def test_a_description_that_is_none(record: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="unexpected description"):
        record_files(record, "http://here")

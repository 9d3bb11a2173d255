"""Faults that cut across the stages: disks that are full or read-only, files that vanish, hostile files, secrets in logs.

Every fault ends in an error that names the file and the next step; earlier results stay as they were, and nothing
half-written is left behind.
"""

import gzip
import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from workflow.lib.data.download import download
from workflow.lib.data.images import read_image, read_mask
from workflow.lib.data.index import index_source
from workflow.lib.data.prepare import prepare_target
from workflow.lib.data.prepared import load_prepared
from workflow.lib.data.source import load_source
from workflow.lib.data.split import split_target
from workflow.lib.data.verify import verify_target
from workflow.lib.job.run import UserError, atomic_folder, atomic_path, write_json
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.study.protocol import PROTOCOLS

ROOT = Path(__file__).parents[1]
REGISTRY = ROOT / "workflow/registry/datasets.tsv"
LIMIT = 20_000  # bytes; every writer below writes more


# --- what is written


def a_table(path: Path) -> None:
    with atomic_path(path) as temporary:
        pd.DataFrame({"a": range(LIMIT)}).to_csv(temporary, index=False)


def a_packed_table(path: Path) -> None:
    with atomic_path(path) as temporary:
        noise = np.random.default_rng(0).random(LIMIT)
        pd.DataFrame({"a": noise}).to_csv(temporary, index=False, compression={"method": "gzip"})


def a_card(path: Path) -> None:
    write_json(path, {"a": "b" * 2 * LIMIT})


def a_picture(path: Path) -> None:
    with atomic_path(path) as temporary:
        noise = np.random.default_rng(0).integers(0, 256, (300, 300))
        Image.fromarray(noise.astype(np.uint8)).save(temporary, "PNG")


def a_checkpoint(path: Path) -> None:
    write_checkpoint(torch.nn.Linear(200, 100), path, {})


def a_folder(path: Path) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "a").write_bytes(b"x" * 2 * LIMIT)


def a_download(path: Path) -> None:
    download((ROOT / "docs/dice_vs_length.png").as_uri(), path, sha256=None)


WRITERS = [a_table, a_packed_table, a_card, a_picture, a_checkpoint, a_folder, a_download]


# --- disks


@contextmanager
def limit(size: int) -> Iterator[None]:
    """No file may grow above `size` bytes in the block."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with room for less than `LIMIT` bytes; it takes the right to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={LIMIT // 4096 * 4096}", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def assert_cannot_write(write: Callable[[Path], None], path: Path, found: str) -> None:
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match="cannot write") as error:
        write(path)
    for word in (found, "GB free", str(path), "run the same command again"):
        assert word in str(error.value)
    left = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    part = path.with_name(path.name + ".part")  # of a download: is continued
    assert {file: content for file, content in left.items() if file != part} == before
    assert {folder for folder in path.parent.iterdir() if folder.is_dir()} <= {path}  # no temporary folder


@pytest.mark.parametrize("write", WRITERS)
def test_quota(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = earlier_result(write, tmp_path / "results")
    with limit(LIMIT):
        assert_cannot_write(write, path, "File too large")
    write(path)  # the same command again
    assert path.exists()


@pytest.mark.parametrize("write", WRITERS)
def test_full_disk(write: Callable[[Path], None], small_disk: Path) -> None:
    assert_cannot_write(write, earlier_result(write, small_disk), "No space left on device")


@pytest.mark.parametrize("write", WRITERS)
def test_read_only_disk(write: Callable[[Path], None], small_disk: Path) -> None:
    path = earlier_result(write, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert_cannot_write(write, path, "Read-only file system")


@pytest.mark.parametrize("write", WRITERS)
def test_folder_that_is_a_file(write: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UserError, match="cannot write") as error:
        write(tmp_path / "results" / "sub" / "out")
    assert str(tmp_path / "results" / "sub" / "out") in str(error.value)
    assert (tmp_path / "results").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir(mode=0o500)
    assert_cannot_write(a_table, tmp_path / "results" / "a.csv", "Permission denied")


def test_errors_of_other_files_are_not_taken_for_a_disk_that_is_full(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out" / "a"):
        (tmp_path / "absent").read_text()


def earlier_result(write: Callable[[Path], None], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "out.json"
    if write is a_folder:
        path.mkdir()
        (path / "a").write_text("earlier")
    else:
        path.write_text("earlier")
    return path


# --- a target, from its folder to its arrays


NAMES = [
    "plain",
    "\u00fcn\u00ef \u65e5\u672c",
    "two  spaces ",
    "quo\"te's",
    "semi;colon, comma",
    "NA",
    "null",
    "#x",
    "-7",
    "100%",
]


def target(folder: Path, names: list[str]) -> Path:
    """A target of pictures, 8 pixels wide, its patients in a table; returns its source.json."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for name in names:
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(folder / kind / f"{name}.png")
    source = folder.parent / "source.json"
    write_json(source, {"dataset": "own", "origin": "folder", "layout": "folder", "folder": str(folder), "files": []})
    return source


def verify(source: Path, **options: Any) -> Path:
    cases = source.with_name("images.csv")
    verify_target(source=source, cases=cases, registry=REGISTRY, target="own", classes=["lesion"], **options)
    return cases


def split(cases: Path) -> Path:
    path = cases.with_name("split.csv")
    parts: dict[str, Any] = {"validation": "held_out", "test_fraction": 0.3, "validation_fraction": 0.2}
    split_target(cases=cases, split=path, target="own", split_seed=0, **parts)
    return path


def prepare(source: Path, image_size: int = 16) -> Path:
    folder = source.with_name("prepared")
    prepare_target(
        source=source,
        cases=source.with_name("images.csv"),
        split=source.with_name("split.csv"),
        images=folder / "images.npy",
        masks=folder / "masks.npy",
        truth=folder / "truth.npz",
        items=folder / "items.csv",
        card=folder / "card.json",
        target="own",
        protocol=PROTOCOLS["sound"],
        image_size=image_size,
        classes=["lesion"],
    )
    return folder


@pytest.fixture
def verified(tmp_path: Path) -> Path:
    """The source.json of a target that was verified and split."""
    source = target(tmp_path / "raw", NAMES)
    split(verify(source))
    return source


def test_strange_file_names_pass_through_all_stages(verified: Path) -> None:
    data = load_prepared(prepare(verified))
    assert sorted(data.items["case"]) == sorted(NAMES) == sorted(data.items["item"])
    assert sorted(data.items["group"]) == sorted(NAMES)


def test_quota_while_arrays_are_written(verified: Path) -> None:
    prepare(verified)
    before = {path: path.read_bytes() for path in verified.with_name("prepared").iterdir()}
    with limit(1500), pytest.raises(UserError, match="cannot write") as error:
        prepare(verified)
    assert "images.npy" in str(error.value) or "truth.npz" in str(error.value)
    assert {path: path.read_bytes() for path in verified.with_name("prepared").iterdir()} == before


def test_full_disk_while_arrays_are_written(verified: Path, small_disk: Path) -> None:
    verified.with_name("prepared").symlink_to(small_disk)
    # And no signal, as memory-mapped arrays would bring.
    with pytest.raises(UserError, match="No space left on device"):
        prepare(verified, image_size=64)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (Path.unlink, "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:45]), "unreadable"),
        (lambda path: Image.new("L", (9, 8)).save(path), "size (1, 8, 9)"),
    ],
    ids=["vanished", "cut", "another size"],
)
def test_file_that_changes_after_it_was_verified(
    verified: Path, kind: str, damage: Callable[[Path], None], found: str
) -> None:
    damage(verified.parent / "raw" / kind / "NA.png")
    with pytest.raises(UserError, match="changed since the target was verified") as error:
        prepare(verified)
    for word in (str(verified.parent / "raw" / kind / "NA.png"), found, "verify_target"):
        assert word in str(error.value)
    assert list(verified.with_name("prepared").iterdir()) == []


def cut_in_a_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def cut_a_line(path: Path) -> None:
    path.write_text(path.read_text()[:-1].rpartition("\n")[0] + "\n")


@pytest.mark.parametrize("damage", [cut_in_a_line, Path.unlink])
@pytest.mark.parametrize("name", ["images.csv", "split.csv"])
def test_damaged_tables_of_a_target(verified: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(verified.with_name(name))
    with pytest.raises(UserError, match="unreadable table") as error:
        split(verified.with_name(name)) if name == "images.csv" else prepare(verified)
    assert str(verified.with_name(name)) in str(error.value) and "rm -f" in str(error.value)


def test_cases_that_lost_a_line_after_the_split(verified: Path) -> None:
    cut_a_line(verified.with_name("images.csv"))
    with pytest.raises(UserError, match="no row for 1 cases of the split"):
        prepare(verified)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("items.csv", cut_a_line),
        *product(["items.csv", "images.npy", "masks.npy", "card.json"], [cut_in_a_line, Path.unlink]),
    ],
)
def test_damaged_prepared_data(verified: Path, name: str, damage: Callable[[Path], None]) -> None:
    path = prepare(verified) / name
    damage(path)
    with pytest.raises(UserError) as error:
        load_prepared(path.parent)
    assert str(path) in str(error.value) and "run the same command again" in str(error.value)


@pytest.mark.parametrize("value", ["=1+1", "+cmd", "-a", "@SUM(A1)", "\t=1", "a\nb", "a\rb"])
def test_formulae_and_torn_lines_in_a_table_of_patients(tmp_path: Path, value: str) -> None:
    source = target(tmp_path / "raw", ["a", "b"])
    patients = pd.DataFrame({"file": ["a", "b"], "patient": ["-7", value]})
    patients.to_csv(tmp_path / "raw" / "metadata.csv", index=False, lineterminator="\r\n", quoting=1)
    with pytest.raises(UserError, match="1 problem:|1 problem\n") as error:
        verify(source, group={"table": "metadata.csv", "key": "file", "column": "patient"})
    assert f"group {value!r}" in str(error.value)
    assert not source.with_name("images.csv").exists()


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "new\nline", "re\rturn", "\udcff"])
def test_file_names_that_no_table_can_hold(tmp_path: Path, name: str) -> None:
    source = target(tmp_path / "raw", ["a", name])
    with pytest.raises(UserError) as error:
        verify(source)
    assert ascii(name)[1:-1] in ascii(str(error.value)).replace("\\\\", "\\")


def test_damaged_table_of_patients(tmp_path: Path) -> None:
    source = target(tmp_path / "raw", ["a"])
    for content in (b"file,patient\na,\xff\n", b"", b'file,patient\n"a,1\n'):
        (tmp_path / "raw" / "metadata.csv").write_bytes(content)
        with pytest.raises(UserError, match="metadata.csv"):
            verify(source, group={"table": "metadata.csv", "key": "file", "column": "patient"})


def test_loops_of_links_in_a_target(tmp_path: Path) -> None:
    source = target(tmp_path / "raw", ["a"])
    images = tmp_path / "raw" / "images"
    (images / "folder").symlink_to(tmp_path / "raw")
    (images / "b.png").symlink_to("b.png")
    (tmp_path / "raw" / "masks" / "b.png").symlink_to(tmp_path / "raw")
    for one, other in (("p1", "p2"), ("p2", "p1")):
        (images / one).mkdir()
        for number in range(3):
            (images / one / f"loop{number}").symlink_to(images / other)
    with pytest.raises(UserError, match="1 problem") as error:
        verify(source)
    assert "images/b.png: image without mask" in str(error.value)


# --- files that claim too much


def huge_png(path: Path) -> None:
    Image.new("L", (8, 8)).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


def huge_tiff(path: Path) -> None:
    tags = {256: 100_000, 257: 100_000, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 100_000, 279: 10**9}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4))


def huge_jpeg(path: Path) -> None:
    Image.new("L", (8, 8)).save(path, "JPEG")
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", 65_500, 65_500)
    path.write_bytes(content)


def huge_volume(path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((32_000, 32_000, 1000))
    header.set_data_dtype(np.float64)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    content = header.binaryblock + bytes(100)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


HUGE = {"a.png": huge_png, "a.tif": huge_tiff, "a.jpg": huge_jpeg, "a.nii": huge_volume, "a.nii.gz": huge_volume}


@pytest.mark.parametrize("name", HUGE)
def test_headers_that_claim_gigapixels_reserve_no_memory(tmp_path: Path, name: str) -> None:
    HUGE[name](tmp_path / name)
    for read in (read_image, lambda path: read_mask(path, binary=False), lambda path: read_mask(path, binary=True)):
        with pytest.raises(ValueError, match="unreadable .*(exceeds limit|voxels)"):
            read(tmp_path / name)


def test_huge_files_in_a_target_are_named(tmp_path: Path) -> None:
    source = target(tmp_path / "raw", ["a", "b"])
    huge_png(tmp_path / "raw" / "images" / "a.png")
    huge_png(tmp_path / "raw" / "masks" / "b.png")
    with pytest.raises(UserError, match="2 problems") as error:
        verify(source)
    assert "images/a.png: unreadable" in str(error.value) and "masks/b.png: unreadable" in str(error.value)


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bytes_raise_nothing_but_the_readers_own_error(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (12, 12), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.tif", "a.bmp", "a.nii", "a.nii.gz"):
        path = tmp_path / name
        if name.startswith("a.nii"):
            nib.save(nib.Nifti1Image(pixels[..., None].astype(np.int16), np.eye(4)), path)
        else:
            Image.fromarray(pixels).save(path)
        assert read_image(path)[0].shape == (1, 1, 12, 12) and read_mask(path, binary=False).any()  # undamaged
        content = bytearray(path.read_bytes())
        for place in rng.integers(0, min(len(content), 400), 4):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        for read in (read_image, lambda path: read_mask(path, binary=False)):
            try:
                read(path)
            except ValueError:
                pass


# --- a source of pretraining


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """The source.json of class folders with strange names."""
    for part in ("train", "val"):
        for name in NAMES:
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 6)).save(tmp_path / "photos" / part / name / f"{name}.png")
    card = {"dataset": "own", "origin": "folder", "layout": "imagenet", "folder": str(tmp_path / "photos"), "files": []}
    write_json(tmp_path / "source.json", card)
    return tmp_path / "source.json"


def index(source: Path) -> Path:
    path = source.with_name("index.csv.gz")
    index_source(source=source, index=path, registry=REGISTRY)
    return path


def test_strange_names_in_a_source(photographs: Path) -> None:
    images = load_source(photographs, index(photographs), "train")
    assert images.classes == sorted(NAMES) and len(images) == len(NAMES)
    assert all(images.read(i).shape == (6, 8, 3) for i in range(len(images)))


@pytest.mark.parametrize("name", ["new\nline", "re\rturn", "\udcff"])
def test_names_in_a_source_that_no_table_can_hold(photographs: Path, name: str) -> None:
    Image.new("RGB", (8, 6)).save(photographs.parent / "photos" / "train" / "plain" / f"{name}.png")
    with pytest.raises(UserError, match="control characters, or not in UTF-8"):
        index(photographs)
    assert not photographs.with_name("index.csv.gz").exists()


def test_loops_of_links_in_a_source(photographs: Path) -> None:
    train = photographs.parent / "photos" / "train"
    (train / "plain" / "up").symlink_to(train)  # not walked
    (train / "plain" / "loop.png").symlink_to("loop.png")
    images = load_source(photographs, index(photographs), "train")
    assert len(images) == len(NAMES) + 1
    with pytest.raises(UserError, match="Too many levels of symbolic links"):
        [images.read(i) for i in range(len(images))]
    (train / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="Too many levels of symbolic links"):
        index(photographs)


@pytest.mark.parametrize("damage", [huge_png, huge_jpeg, huge_tiff, Path.unlink, lambda path: path.write_bytes(b"")])
def test_bad_image_of_a_source_is_named(photographs: Path, damage: Callable[[Path], None]) -> None:
    images = load_source(photographs, index(photographs), "train")
    path = photographs.parent / "photos" / "train" / "plain" / "plain.png"
    damage(path)
    with pytest.raises(UserError, match="unreadable image of the pretraining source") as error:
        [images.read(i) for i in range(len(images))]
    assert str(path) in str(error.value)


def test_damaged_index(photographs: Path) -> None:
    path = index(photographs)
    content = path.read_bytes()
    for damaged in (content[:-20], b"", content[:40] + b"xxxx" + content[44:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="unreadable table") as error:
            load_source(photographs, path, "train")
        assert f"rm -f '{path}'" in str(error.value)


# --- secrets


def test_no_token_in_the_log_of_a_failing_job(tmp_path: Path) -> None:
    """The whole job, in a process of its own: whatever fails, its log and its output do not show the key."""
    code = f"""
from workflow.lib.data import fetch
from workflow.lib.job.run import start_job
import requests
start_job({str(tmp_path / "job.log")!r})
def broken(url, **options):
    assert options["headers"]["Authorization"]
    raise {{"uncaught": MemoryError("no memory"), "refused": requests.ConnectionError(url + "?token=secret-token")}}[CASE]
requests.get = broken
from workflow.lib.data import download
download.time.sleep = lambda seconds: None
fetch.fetch_dataset(dataset="COVID-QU", layout="covid_qu", source={str(tmp_path / "source.json")!r},
                    registry="workflow/registry/datasets.tsv", downloads={str(tmp_path / "downloads")!r})
"""
    secrets = {"KAGGLE_USERNAME": "someone", "KAGGLE_KEY": "very-secret-key"}
    for case, found in (("uncaught", "MemoryError"), ("refused", "download failed 6 times")):
        run = subprocess.run(
            [sys.executable, "-c", f"CASE = {case!r}\n{code}"],
            cwd=ROOT,
            env=os.environ | secrets,
            capture_output=True,
            text=True,
        )
        told = run.stdout + run.stderr + (tmp_path / "job.log").read_text()
        assert run.returncode == 1 and found in told
        for secret in ("very-secret-key", "secret-token", "c29tZW9uZTp2ZXJ5LXNlY3JldC1rZXk="):
            assert secret not in told

"""Pretraining sources: class folders, Kaggle's layout and the official archives give the same images and labels."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

from workflow.lib.data.index import index_source
from workflow.lib.data.shrink import shrink_source
from workflow.lib.data.source import load_source
from workflow.lib.data.verify import verify_target
from workflow.lib.job.run import UserError

REGISTRY = "workflow/registry/datasets.tsv"
WNIDS = ["n02", "n01", "n03"]  # in the development kit's order, which is not the sorted one


def picture(colour: int, kind: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(kind, (8, 6), colour if kind == "L" else (colour,) * len(kind)).save(
        content, "PNG" if colour == 20 else "JPEG"
    )
    return content.getvalue()


def images() -> dict[tuple[str, str, int], bytes]:
    """{(part, WordNet id, number): file}: grey levels tell them apart; one is PNG in disguise, one CMYK, one grey."""
    files = {}
    for c, wnid in enumerate(WNIDS):
        for i in range(3):
            files["train", wnid, i] = picture(20 + 40 * c + 10 * i, "L" if (c, i) == (1, 1) else "RGB")
        files["val", wnid, 0] = picture(200 + 10 * c)
    files["train", "n03", 2] = picture(0, "CMYK")
    return files


def class_folders(folder: Path) -> None:
    for (part, wnid, i), content in images().items():
        path = folder / part / wnid / f"{wnid}_{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "train" / "n01" / "notes.txt").write_text("no image")


def kaggle(folder: Path) -> None:
    rows = ["ImageId,PredictionString"]
    for (part, wnid, i), content in images().items():
        base = folder / "ILSVRC" / "Data" / "CLS-LOC" / part
        path = base / (f"{wnid}/{wnid}_{i}.JPEG" if part == "train" else f"ILSVRC2012_val_{wnid}.JPEG")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if part == "val":
            rows.append(f"ILSVRC2012_val_{wnid},{wnid} 1 2 3 4 {wnid} 5 6 7 8")
    (folder / "LOC_val_solution.csv").write_text("\n".join(rows) + "\n")


def archives(folder: Path) -> None:
    def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))

    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as outer:
        for wnid in WNIDS:
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for i in range(3):
                    add(tar, f"{wnid}_{i}.JPEG", images()["train", wnid, i])
            add(outer, f"{wnid}.tar", inner.getvalue())
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as tar:
        for number, wnid in enumerate(["n03", "n01", "n02"], start=1):
            add(tar, f"ILSVRC2012_val_{number:08d}.JPEG", images()["val", wnid, 0])
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O"), ("num_children", "i4")]
    synsets = [(i + 1, wnid, "thing", 0) for i, wnid in enumerate([*WNIDS, "n99"])]
    savemat(folder / "meta.mat", {"synsets": np.array(synsets, dtype=kinds).reshape(-1, 1)})
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        base = "ILSVRC2012_devkit_t12/data"
        add(tar, f"{base}/meta.mat", (folder / "meta.mat").read_bytes())
        add(tar, f"{base}/ILSVRC2012_validation_ground_truth.txt", b"3\n2\n1\n")
    (folder / "meta.mat").unlink()


def index(make_source: Callable[..., Path], folder: Path, **card: str) -> tuple[Path, Path]:
    source = make_source(folder, "imagenet", **card)
    index_source(source=source, index=source.parent / "index.csv.gz", registry=REGISTRY)
    return source, source.parent / "index.csv.gz"


@pytest.mark.parametrize("layout", [class_folders, kaggle, archives])
def test_every_layout_gives_the_same_images_and_labels(
    layout: Callable[[Path], None], tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    layout(folder)
    before = sorted(folder.rglob("*"))
    files = index(make_source, folder)
    for part in ("train", "val"):
        source = load_source(*files, part)
        assert source.classes == ["n01", "n02", "n03"]
        expected = [(sorted(WNIDS).index(w), content) for (p, w, _), content in images().items() if p == part]
        found = sorted((int(source.labels[i]), int(source.read(i).mean())) for i in range(len(source)))
        decoded = [(label, int(np.asarray(Image.open(io.BytesIO(c)).convert("RGB")).mean())) for label, c in expected]
        assert found == sorted(decoded)
        assert all(source.read(i).shape == (6, 8, 3) and source.read(i).dtype == np.uint8 for i in range(len(source)))
    assert sorted(folder.rglob("*")) == before  # read in place


def test_the_index_is_a_table_of_places(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    class_folders(tmp_path / "raw")
    table = pd.read_csv(index(make_source, tmp_path / "raw")[1])
    assert list(table) == ["file", "offset", "size", "label", "part", "class"]
    assert len(table) == 12 and (table["offset"] == -1).all() and "train/n01/n01_0.JPEG" in set(table["file"])


def test_a_damaged_image_is_named(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    class_folders(tmp_path / "raw")
    damaged = tmp_path / "raw" / "val" / "n02" / "n02_0.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:300])
    source = load_source(*index(make_source, tmp_path / "raw"), "val")
    with pytest.raises(UserError, match="val/n02/n02_0.JPEG"):
        source.read(1)


def remove_class(folder: Path) -> None:
    class_folders(folder)
    (folder / "val" / "n02" / "n02_0.JPEG").unlink()


def cut_archive(folder: Path) -> None:
    folder.mkdir()
    archives(folder)
    path = folder / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[:12000])


def other_files(folder: Path) -> None:
    (folder / "pictures").mkdir(parents=True)


@pytest.mark.parametrize(
    ("layout", "found"),
    [(remove_class, "n02 in one split only"), (cut_archive, "damaged archive"), (other_files, "pictures")],
)
def test_sources_that_cannot_be_used(
    layout: Callable[[Path], None], found: str, tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    layout(tmp_path / "raw")
    with pytest.raises(UserError) as error:
        index(make_source, tmp_path / "raw")
    for part in (found, str(tmp_path / "raw"), "ILSVRC2012_img_train.tar", "correct `folder`"):
        assert part in str(error.value)
    assert not (tmp_path / "data" / "own" / "index.csv.gz").exists()


def test_numbers_of_the_registry(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    class_folders(tmp_path / "raw")
    index(make_source, tmp_path / "raw", dataset="ImageNet")  # the user's own folder may hold a part
    assert "9 train images, the registry says 1281167" in caplog.text
    with pytest.raises(UserError, match="9 train images, the registry says 1281167"):
        index(make_source, tmp_path / "raw", dataset="ImageNet", origin="registry")


def test_rubbish_is_passed_over_and_other_files_are_counted(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    class_folders(tmp_path / "raw")
    (tmp_path / "raw/train/n01/notes.txt").unlink()
    plain = pd.read_csv(index(make_source, tmp_path / "raw")[1])
    assert "left out" not in caplog.text
    for name in ("n01/._n01_0.JPEG", "__MACOSX/n01_0.JPEG", ".ipynb_checkpoints/a.png", "n02/Thumbs.db"):
        path = tmp_path / "raw/train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\5")
    for name in ("n01/a.tif", "n02/b.TIF", "n02/deeper/c.png"):
        path = tmp_path / "raw/train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\5")
    assert pd.read_csv(index(make_source, tmp_path / "raw")[1]).equals(plain)
    assert "left out, not being .jpeg, .jpg, .png files: 2 .tif (n01/a.tif), 1 sub-folders (n02/deeper)" in caplog.text


def test_images_of_a_target_in_the_source_are_named(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    def noise(seed: int) -> Image.Image:
        return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)).resize((64, 64))

    folder = tmp_path / "target" / "images"
    folder.mkdir(parents=True)
    for number in (1, 2):
        noise(number).save(folder / f"p{number}.png")
    class_folders(tmp_path / "raw")
    noise(1).save(tmp_path / "raw/train/n01/copy.JPEG")
    source = make_source(tmp_path / "raw", "imagenet")
    target = make_source(tmp_path / "target", "folder", "target")

    def check_target() -> None:
        cases, sources = target.parent / "images.csv", {"photographs": str(tmp_path / "raw")}
        verify_target(source=target, cases=cases, registry=REGISTRY, target="xrays", sources=sources)

    def check_source() -> None:
        targets = {"xrays": str(tmp_path / "target")}
        index_source(source=source, index=source.parent / "index.csv.gz", registry=REGISTRY, targets=targets)

    for check in (check_target, check_source):
        noise(1).save(tmp_path / "raw/train/n01/copy.JPEG")
        check()
        assert "leakage: 1 images of target xrays are in the pretraining source" in caplog.text
        assert f"{folder / 'p1.png'} = {tmp_path / 'raw/train/n01/copy.JPEG'}" in caplog.text
        (tmp_path / "raw/train/n01/copy.JPEG").unlink()
        caplog.clear()
        check()
        assert "leakage" not in caplog.text.replace("(leakage)", "")


def test_a_smaller_copy_has_the_same_images_classes_and_parts(
    tmp_path: Path, make_source: Callable[..., Path], generated: Path
) -> None:
    folder = tmp_path / "raw"
    for part, name, size in (
        ("train", "a", (64, 40)),
        ("train", "b", (30, 90)),
        ("val", "a", (50, 50)),
        ("val", "b", (20, 10)),
    ):
        path = folder / part / name / "1.png"
        path.parent.mkdir(parents=True)
        shade = np.linspace(0, 250, size[0])[None, :, None] + np.zeros((size[1], 1, 3))
        Image.fromarray(shade.astype(np.uint8)).save(path)
    source, whole = index(make_source, folder)
    shrink_source(source=source, index=whole, side=24, threads=2, output=tmp_path / "small")
    for part, sizes in {"train": [(24, 38), (72, 24)], "val": [(24, 24), (10, 20)]}.items():
        before = load_source(source, whole, part)
        after = load_source(tmp_path / "small/source.json", tmp_path / "small/index.csv.gz", part)
        assert after.classes == before.classes and after.labels.tolist() == before.labels.tolist()
        for i, size in enumerate(sizes):  # the last one is small already
            image, wanted = after.read(i), before.read(i)
            assert image.shape == (*size, 3)
            assert (
                image.mean() == pytest.approx(wanted.mean(), abs=2) and image[:, 0].mean() < image[:, -1].mean() - 200
            )
    with tarfile.open(tmp_path / "small/images.tar") as archive:
        assert archive.getnames() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"], "other software reads it, too"

    source, whole = index(make_source, generated / "imagenet", dataset="masks")
    with pytest.raises(UserError, match="a source with masks cannot be made smaller"):
        shrink_source(source=source, index=whole, side=24, threads=1, output=tmp_path / "none")
    assert not (tmp_path / "none").exists()

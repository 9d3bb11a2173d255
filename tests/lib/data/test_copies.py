"""Copies of an image are found, also re-encoded ones; the same organ of another patient is not a copy."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.lib.data.conftest import REGISTRY
from workflow.lib.data import copies as copies_module
from workflow.lib.data.copies import copies, copies_apart, images_of, print_of, prints_of, read_prints, warn_of_copies
from workflow.lib.data.images import read_image
from workflow.lib.data.prepared import Prepared
from workflow.lib.data.training_images import list_training_images
from workflow.lib.data.verify import verify_target
from workflow.lib.networks.sanity import generated_images


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """160 pixels, smooth as photographs are."""
    return Image.fromarray((generated_images(1, 160)[0] * 255).byte().permute(1, 2, 0).numpy())


def alike(one: Image.Image, other: Image.Image) -> bool:
    pair = [prints_of([("a", print_of(np.asarray(x.convert("RGB")).transpose(2, 0, 1)[None]))]) for x in (one, other)]
    return copies(*pair) == [("a", "a")]


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


def test_re_encoded_and_resized_images_are_copies(scene: Image.Image) -> None:
    for other in (
        as_jpeg(scene, 50),
        scene.convert("L"),
        scene.resize((64, 64)),
        as_jpeg(scene.resize((300, 224)), 75),
        scene.point(lambda value: value // 2 + 50),
    ):
        assert alike(scene, other)
    for other in (scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT), scene.crop((8, 8, 160, 160))):
        assert not alike(scene, other)  # docs/own-data.md says so


def test_an_image_of_one_value_is_no_copy() -> None:
    flat = Image.new("RGB", (20, 20), (7, 7, 7))
    assert not alike(flat, flat)


def test_a_volume_is_a_copy_where_one_slice_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((16, 16, 5)), rng.random((16, 16, 3))
    other[..., 2] = one[..., 4] * 100
    for name, volume in (("a", one), ("b", other), ("c", rng.random((16, 16, 4)))):
        nib.save(nib.Nifti1Image(volume.astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii")
    (tmp_path / "d.nii").write_bytes(b"damaged")
    prints = read_prints(images_of(tmp_path))
    pairs = [(Path(a).stem, Path(b).stem) for a, b in copies(prints, prints) if a < b]
    assert pairs == [("a", "b")] and len(prints.names) == 12


def test_frames_of_a_film_are_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = print_of(np.random.default_rng(0).random((1, 1, 16, 16)))
    prints = prints_of([(f"f{i}", frame) for i in range(300)])
    assert copies_apart(prints, dict.fromkeys(prints.names, "p")) == []  # of one patient
    monkeypatch.setattr(copies_module, "ENOUGH", 5)
    found = copies_apart(prints, {name: name for name in prints.names})
    assert found == [("f0", f"f{i}") for i in range(1, 6)]


def own(folder: Path, **images: Image.Image) -> Path:
    for name, image in images.items():
        for what, picture in (("images", image), ("masks", Image.fromarray(np.eye(*image.size, dtype=np.uint8)))):
            (folder / what).mkdir(parents=True, exist_ok=True)
            picture.save(folder / what / f"{name}.png")
    return folder


def test_copies_of_two_patients_are_named(
    scene: Image.Image, tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = own(
        tmp_path / "raw", p1_a=scene, p1_b=scene, p2=as_jpeg(scene.resize((128, 128)), 60), p3=scene.rotate(90)
    )
    source = make_source(folder, "folder")
    options = {"cases": tmp_path / "images.csv", "registry": REGISTRY, "classes": ["x"], "target": "own"}
    verify_target(source=source, group={"pattern": "^(p.)"}, **options)  # type: ignore[arg-type]
    assert "2 images of target own are stored under two or more patients or splits" in caplog.text
    assert "images/p1_a.png = images/p2.png, images/p1_b.png = images/p2.png; next: remove" in caplog.text
    twins = pd.read_csv(options["cases"], index_col="case", keep_default_na=False)["copy_of"]
    assert twins[["p1_a", "p1_b"]].tolist() == ["images/p2.png"] * 2 and twins["p2"].startswith("images/p1_")
    assert twins["p3"] == ""


def test_of_a_large_source_only_equal_files_are_found(
    scene: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        own(tmp_path / name, x=scene)
    as_jpeg(scene, 80).save(tmp_path / "b/images/y.jpg")
    prints = read_prints(images_of(tmp_path / "a/images"))
    for many, found in ((3, ("x.png", "y.jpg")), (2, ("x.png",))):
        caplog.clear()
        monkeypatch.setattr(copies_module, "MANY", many)
        warn_of_copies("t", prints, "s", tmp_path / "b")
        assert [f"b/images/{name}" in caplog.text for name in ("x.png", "y.jpg")] == [True, len(found) == 2]
        assert ("byte by byte only" in caplog.text) == (many == 2)


def test_training_images_that_another_target_is_tested_on_are_named(
    tmp_path: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
    caplog: pytest.LogCaptureFixture,
) -> None:
    scenes = [Image.fromarray((x * 255).byte().permute(1, 2, 0).numpy()) for x in generated_images(12, 64)]
    folders = [own(tmp_path / "one", **{f"a{i}": x for i, x in enumerate(scenes[:8])})]
    folders.append(own(tmp_path / "two", **{f"b{i}": x for i, x in enumerate(scenes[4:])}))
    places = [make_source(folder, "folder", folder.name).parent for folder in folders]
    for place in places:
        run_stage(place / "source.json", "sound", classes=["x"])
    parts = [pd.read_csv(place / "sound-32/split.csv").set_index("case")["part"] for place in places]
    files = [(str(p / "source.json"), str(p / "images.csv"), str(p / "sound-32/split.csv")) for p in places]
    caplog.clear()
    out = tmp_path / "out"
    list_training_images(
        data_folder=places[0] / "sound-32",
        images=out / "images",
        source=out / "source.json",
        index=out / "index.csv.gz",
        others=files,
    )
    both = [i for i in range(4, 8) if parts[0][f"a{i}"] != "test" and parts[1][f"b{i - 4}"] == "test"]
    assert both and f"leakage: {len(both)} test images of target two are training images of target" in caplog.text
    assert all(f"two/images/b{i - 4}.png = {folders[0]}/images/a{i}.png" in caplog.text for i in both[:3])


@pytest.mark.slow
def test_real_images_are_no_copies_of_others_and_their_jpegs_are() -> None:
    """Heart slices of all patients, chest X-rays, and fundus photographs, of which all eyes look alike."""
    realdata = Path(os.environ.get("MEDSEG_REALDATA", "/nowhere"))
    if not realdata.is_dir():
        pytest.skip("no real images: set MEDSEG_REALDATA (configs/realdata.yaml says what is in it)")
    kinds = {
        "ACDC": "ACDC/training/*/*frame[0-9][0-9].nii.gz",
        "chest": "cxr_covid/images/*",
        "eyes": "fundus_*/images/*",
    }
    for pattern in kinds.values():
        paths = sorted(realdata.glob(pattern))[:40]
        prints = read_prints(paths)
        group = {str(path): path.parent.name if ".nii" in path.name else path.name for path in paths}
        assert not [(a, b) for a, b in copies(prints, prints) if group[a] != group[b]]
        for path in paths[::8]:
            image = read_image(path)[0]
            middle = image[len(image) // 2].mean(axis=0)
            grey = Image.fromarray((middle / np.percentile(middle, 99.5) * 255).clip(0, 255).astype(np.uint8))
            again = np.asarray(as_jpeg(grey.resize((224, 224)), 75))[None, None]
            found = {name for _, name in copies(prints_of([("again", print_of(again))]), prints)}
            assert str(path) in found and {group[name] for name in found} == {group[str(path)]}

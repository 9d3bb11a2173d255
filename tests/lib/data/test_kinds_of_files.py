"""Pictures as programs save them: every bit of an image and every label of a mask is read as meant, or refused by name."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.lib.data.conftest import REGISTRY
from workflow.lib.data.images import read_image, read_mask
from workflow.lib.data.index import index_source
from workflow.lib.data.layouts import Classes
from workflow.lib.data.pictures import opacity
from workflow.lib.data.prepared import Prepared
from workflow.lib.data.source import load_source
from workflow.lib.data.verify import verify_target
from workflow.lib.job.run import UserError

RING = np.pad(np.ones((4, 4), np.uint8), 2)  # a square of label 1
RAMP = np.arange(64).reshape(8, 8)


def deep_png(path: Path, colour: int, channels: int) -> None:
    """A PNG of 16 bits a channel, which Pillow writes for grey only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + np.repeat(row, channels).astype(">u2").tobytes() for row in RAMP * 16)
    head = struct.pack(">IIBBBBB", 8, 8, 16, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def own(folder: Path, masks: dict[str, Image.Image]) -> Path:
    """images/ of noise, and these masks by file name."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, (name, mask) in enumerate(masks.items()):
        noise = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{Path(name).stem}.png")
        mask.save(folder / "masks" / name)
    return folder


def verified(source: Path, classes: Classes = None) -> list[str]:
    """The lines of the table."""
    cases = source.parent / "images.csv"
    verify_target(source=source, cases=cases, registry=REGISTRY, target="own", classes=classes or ["lesion"])
    return cases.read_text().splitlines()[1:]


def problems_of(source: Path, classes: Classes = None) -> str:
    with pytest.raises(UserError) as error:
        verified(source, classes)
    return str(error.value)


def read_back(mask: Image.Image, path: Path) -> np.ndarray:
    mask.save(path)
    return read_mask(path, binary=False)[0]


def palette(numbers: np.ndarray, *colours: int | tuple[int, int, int]) -> Image.Image:
    picture = Image.fromarray(numbers.astype(np.uint8), mode="P")
    picture.putpalette([v for colour in colours for v in (colour if isinstance(colour, tuple) else 3 * (colour,))])
    return picture


# --- bits


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bits_with_colour_or_alpha_are_refused(colour: int, channels: int, tmp_path: Path) -> None:
    deep_png(tmp_path / "a.png", colour, channels)
    for read in (read_image, lambda path: read_mask(path, binary=True)):
        with pytest.raises(ValueError, match="16 bits a channel.* save as 16-bit grey"):
            read(tmp_path / "a.png")


def test_a_fourth_channel_that_would_be_dropped_is_refused(tmp_path: Path) -> None:
    Image.new("RGBX", (8, 8), (1, 2, 3, 4)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="4 channels, of which Pillow reads 3: save the three to use as RGB"):
        read_image(tmp_path / "a.tif")
    for mode in ("RGB", "RGBA", "CMYK", "L", "LA"):
        Image.new(mode, (8, 8)).save(tmp_path / "a.tif")
        assert read_image(tmp_path / "a.tif")[0].shape[2:] == (8, 8)


def test_a_negative_of_16_bits_is_refused_and_one_of_8_bits_is_read_as_meant(tmp_path: Path) -> None:
    for bits, kind in ((16, np.uint16), (8, np.uint8)):
        ramp = np.linspace(0, 2**bits - 1, 12).reshape(3, 4).astype(kind)
        Image.fromarray(ramp).save(tmp_path / f"{bits}.tif", tiffinfo={262: 0})
        content = bytearray((tmp_path / f"{bits}.tif").read_bytes())
        place = content.index(struct.pack("<HHI", 262, 3, 1))
        content[place + 8 : place + 10] = struct.pack("<H", 0)
        (tmp_path / f"{bits}.tif").write_bytes(content)
    with pytest.raises(ValueError, match="a negative, in which 0 is white"):
        read_image(tmp_path / "16.tif")
    assert read_image(tmp_path / "8.tif")[0][0, 0, 0, 0] == 0  # Pillow inverts, here also as it saves


@pytest.mark.parametrize(("unit", "spacing"), [("mm", 2.0), ("meter", 2000.0), ("micron", 0.002), ("unknown", 2.0)])
def test_spacings_are_in_mm_whatever_the_unit_of_the_file(unit: str, spacing: float, tmp_path: Path) -> None:
    volume = nib.Nifti1Image(np.ones((4, 4, 2), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    volume.header.set_xyzt_units(unit)
    nib.save(volume, tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz")[1] == pytest.approx((spacing,) * 3)


def test_16_bits_of_grey_are_kept(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        Image.fromarray((RAMP * 16).astype(np.uint16)).save(tmp_path / name)
        assert (read_image(tmp_path / name)[0][0, 0] == RAMP * 16).all()


@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_a_source_of_16_bits_keeps_its_contrast(top: int, tmp_path: Path, make_source: Callable[..., Path]) -> None:
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "raw" / part / name).mkdir(parents=True)
            Image.fromarray((RAMP * (top // 63)).astype(np.uint16)).save(tmp_path / f"raw/{part}/{name}/1.png")
    source = make_source(tmp_path / "raw", "imagenet")
    index_source(source=source, index=source.parent / "index.csv.gz", registry=REGISTRY)
    image = load_source(source, source.parent / "index.csv.gz", "train").read(0)
    assert image.dtype == np.uint8 and image.shape == (8, 8, 3)
    assert len(np.unique(image)) == 64 and image.min() == 0 and image.max() == 255  # the brightest pixel is clipped
    deep_png(tmp_path / "raw/train/a/1.png", 2, 3)
    with pytest.raises(UserError, match="16 bits a channel") as error:
        load_source(source, source.parent / "index.csv.gz", "train").read(0)
    assert "train/a/1.png" in str(error.value)


@pytest.mark.parametrize(
    ("alpha", "warned"),
    [(np.full((8, 8), 255), False), (np.zeros((8, 8)), True), (RING * 255, True)],
)
def test_transparency_of_images_is_not_passed_over(
    alpha: np.ndarray,
    warned: bool,
    tmp_path: Path,
    make_source: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "medseg")
    for place in ("images", "masks"):
        (tmp_path / "raw" / place).mkdir(parents=True)
    Image.fromarray(RING.astype(np.uint8)).save(tmp_path / "raw/masks/a.png")
    with_alpha(RAMP, alpha, "RGBA").save(tmp_path / "raw/images/a.png")
    verified(make_source(tmp_path / "raw", "folder"), ["ring"])
    assert "own: 1 images have an alpha channel, which is left out" in caplog.text
    assert ("own: 1 images are transparent in parts" in caplog.text) == warned
    assert ("colours are used as stored: images/a.png; next:" in caplog.text) == warned


def test_a_transparent_colour_of_an_image_is_transparency(tmp_path: Path) -> None:
    picture = palette(RING, (0, 0, 0), (255, 0, 0))
    picture.save(tmp_path / "a.png")
    assert opacity(tmp_path / "a.png") is None
    picture.save(tmp_path / "a.png", transparency=0)
    assert opacity(tmp_path / "a.png") == (0, 255)


# --- masks


def with_alpha(grey: np.ndarray | int, alpha: np.ndarray | int, mode: str) -> Image.Image:
    layers = [np.broadcast_to(layer, (8, 8)).astype(np.uint8) for layer in (grey, alpha)]
    return Image.fromarray(np.dstack([layers[0]] * (3 if mode == "RGBA" else 1) + [layers[1]]), mode)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("shade", [0, 255])
def test_a_mask_drawn_in_transparency_only(shade: int, mode: str, tmp_path: Path) -> None:
    assert (read_back(with_alpha(shade, RING * 255, mode), tmp_path / "a.png") == RING * 255).all()
    assert not read_back(with_alpha(shade, 0, mode), tmp_path / "b.png").any()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_mask_with_transparency(mode: str, tmp_path: Path) -> None:
    assert (read_back(with_alpha(RING * 2, 255, mode), tmp_path / "a.png") == RING * 2).all()
    hidden = np.where(RING, 3, 255)  # white, where it is transparent
    assert (read_back(with_alpha(hidden, RING * 255, mode), tmp_path / "b.png") == RING * 3).all()
    with pytest.raises(ValueError, match="half transparent"):
        read_back(with_alpha(RING, 128, mode), tmp_path / "c.png")


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palettes(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    assert (read_back(palette(1 - RING, 255, 0), path) == RING * 255).all()  # white is 0
    assert (read_back(palette(RING, 0, 255), path) > 0).tolist() == (RING > 0).tolist()
    colours = palette(RING * 2, (255, 255, 255), (255, 0, 0), (0, 0, 255))
    if suffix == "png":
        assert (read_back(colours, path) == RING * 2).all()
        black_is_missing = palette(RING * 2, 0, (255, 0, 0), 0, 0)  # and so is shown black too, as 0 is
        assert (read_back(black_is_missing, path) == RING * 2).all()
        for others in ((255, 128, 0), ((255, 0, 0), (0, 0, 255), 0), (0, 255, 128)):
            with pytest.raises(ValueError, match="a palette that numbers colours unlike labels"):
                read_back(palette(RING + 2 * (RAMP == 63), *others), path)


def test_palettes_that_number_colours_differently(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    red, green = (255, 0, 0), (0, 255, 0)
    masks = {"a.png": palette(RING, (0, 0, 0), red), "b.png": palette(RING, (0, 0, 0), green)}
    message = problems_of(make_source(own(tmp_path / "raw", masks), "folder"))
    assert "1 problem" in message
    assert "masks/b.png: its palette shows 1 as (0, 255, 0), that of masks/a.png as (255, 0, 0)" in message


def test_gif_masks_are_read_and_films_are_not(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = own(tmp_path / "raw", {"a.gif": Image.fromarray(RING * 255), "b.gif": Image.fromarray(RING * 255)})
    frames = [Image.fromarray(RING * value) for value in (100, 200)]
    source = make_source(folder, "folder")
    assert [line.split(",")[4] for line in verified(source)] == ["masks/a.gif", "masks/b.gif"]
    frames[0].save(folder / "masks/a.gif", save_all=True, append_images=frames[1:])
    assert "masks/a.gif: unreadable (2 pages" in problems_of(source)


def test_jpeg_and_smoothed_masks_are_named_with_the_remedy(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    smooth = Image.fromarray(np.kron(RING, np.full((8, 8), 255, np.uint8)))
    smooth = smooth.resize((60, 60), Image.Resampling.BICUBIC)
    folder = own(tmp_path / "raw", {"a.jpg": Image.fromarray(RING * 255), "b.png": smooth})
    Image.fromarray(np.asarray(smooth)).save(folder / "images/b.png")
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(folder / "masks/a.jpg", quality=60)
    message = problems_of(make_source(folder, "folder"))
    assert "2 problems" in message  # and not a third about 1 and 255
    assert "masks/a.jpg: JPEG, which changes labels" in message
    assert "smoothed edges; threshold the original (at 128), and save it as PNG" in message


def test_labels_of_a_jpeg_are_never_trusted(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = own(tmp_path / "raw", {"a.jpg": Image.fromarray(RING), "b.png": Image.fromarray(RING * 2)})
    assert "masks/a.jpg: JPEG" in problems_of(make_source(folder, "folder"), ["one", "two"])


def test_labels_with_gaps(tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]) -> None:
    labels = np.array([0, 205, 420, 550])
    blocks = np.kron(np.array([[0, 1], [2, 3]]), np.ones((4, 4), int))
    masks = {f"{i}.png": Image.fromarray(labels[np.roll(blocks, i, 0)].astype(np.uint16)) for i in range(6)}
    source = make_source(own(tmp_path / "raw", masks), "folder")
    message = problems_of(source, ["a", "b", "c"])
    assert "label 205, 420, 550 (expected 0..3)" in message and "classes: {name: label, ...}" in message
    data = run_stage(source, "sound", classes={"c": 550, "a": 205, "b": 420})
    assert data.card["classes"] == ["c", "a", "b"]
    row = data.items.index[data.items["case"] == "0"][0]
    assert data.masks[row][::16, ::16].tolist() == [[0, 2], [3, 1]]
    assert "masks/0.png: label 550 (expected 0, 205, 420, by `classes`)" in problems_of(source, {"a": 205, "b": 420})


def test_rounding_noise_of_a_scaled_header(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    for noise in (5e-4, 5e-3):
        nib.save(nib.Nifti1Image((RING[..., None] * 3 + noise).astype(np.float32), np.eye(4)), path)
        if noise < 1e-3:
            assert (read_mask(path, binary=False)[0] == RING * 3).all()
        else:
            with pytest.raises(ValueError, match="not whole numbers"):
                read_mask(path, binary=False)


def test_masks_without_background(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    full, part = Image.fromarray(np.full((8, 8), 255, np.uint8)), Image.fromarray(RING * 255)
    message = problems_of(make_source(own(tmp_path / "raw", {"a.png": full, "b.png": full}), "folder"))
    assert "every pixel of every mask is foreground" in message
    verified(make_source(own(tmp_path / "other", {"a.png": full, "b.png": part}), "folder", "other"))
    assert "1 of 2 masks show no background: masks/a.png" in caplog.text


# --- what is equal


def test_equal_images_of_two_patients_are_named(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = own(tmp_path / "raw", {f"{name}.png": Image.fromarray(RING) for name in "abcd"})
    for name in ("images/c.png", "images/d.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / name)  # equal, but of one value: no copies
    Image.open(folder / "images/a.png").save(folder / "images/b.png", compress_level=1)  # other bytes, equal pixels
    verified(make_source(folder, "folder"))
    assert (
        "1 images of target own are stored under two or more patients or splits: images/a.png = images/b.png"
        in caplog.text
    )


def test_a_picture_and_a_volume_are_no_pair(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = own(tmp_path / "raw", {"a.png": Image.fromarray(RING * 255), "b.png": Image.fromarray(RING * 255)})
    (folder / "masks/a.png").unlink()
    nib.save(nib.Nifti1Image(RING, np.eye(4)), folder / "masks/a.nii.gz")
    assert "images/a.png: image or mask is NIfTI, the other is not" in problems_of(make_source(folder, "folder"))


def test_one_class_of_any_label(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    masks = {f"{name}.png": Image.fromarray(RING.astype(np.uint16) * 65535) for name in "ab"}
    source = make_source(own(tmp_path / "raw", masks), "folder")
    assert "label 65535 (expected 0 and 1, or 0 and 255); name a class for each label" in problems_of(source)
    assert [line.split(",")[8] for line in verified(source, {"lesion": 65535})] == ["0 1", "0 1"]

"""Generated data sets in the official layouts, for tests and a first look without any download.

A target's regions differ from their surroundings by texture, and the pretraining source holds the same textures at the
same scale, so pretraining on it can help. Scales are right for the image size given, under protocol `sound`.
"""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from workflow.lib.data.registry import GENERATED
from workflow.lib.data.textures import TEXTURES, background, blob, disc, grid, pixel_noise, texture, to_bytes
from workflow.lib.job.run import Progress, UserError, derive_seed

SHAPES = ("disc", "ring", "square")


def generate(
    layout: str,
    folder: str | Path,
    *,
    image_size: int,
    seed: int = 0,
    train: int | None = None,
    test: int | None = None,
) -> None:
    """Write a data set of `layout` into `folder`, for inputs of `image_size` pixels.

    train, test: imagenet, images per class (`CLASSES`; test = val); acdc, patients; idrid and covid_qu, images.
    """
    writers: dict[str, Callable[..., None]] = {
        "imagenet": generate_source,
        "acdc": generate_cardiac,
        "idrid": generate_fundus,
        "covid_qu": generate_chest,
    }
    if layout not in writers:
        raise UserError(
            f"data of layout {layout} cannot be generated",
            found=f"layout {layout} without a folder",
            expected=f"one of {', '.join(writers)}",
            where="config: data.generate",
            next="give the `folder` of this data set in the config",
        )
    numbers = [
        usual if number is None else number for number, usual in zip((train, test), GENERATED[layout], strict=True)
    ]
    writers[layout](Path(folder), image_size, seed, *numbers)


def generate_source(folder: Path, size: int, seed: int, train: int, val: int) -> None:
    """ImageNet class folders train|val/<WordNet-like id>/*.JPEG: 3 shapes x 4 textures, size x size RGB; and their masks, labels
    1 to 12, in masks/train|val/<id>/*.png."""
    kinds = [(shape, kind) for shape in SHAPES for kind in TEXTURES]
    progress = Progress(len(kinds) * (train + val), "source images")
    for part, number in (("train", train), ("val", val)):
        for label, (shape, kind) in enumerate(kinds):
            name = f"n{90000000 + label}"
            for place in (folder, folder / "masks"):
                (place / part / name).mkdir(parents=True)
            for i in range(number):
                rng = np.random.default_rng(derive_seed(seed, "source", part, label, i))
                colours = np.clip(rng.uniform(0.75, 1.05, 3), 0, 1)
                grey, inside = _source_image(size, shape, kind, rng)
                image = (grey[..., None] * colours).astype(np.uint8)
                Image.fromarray(image).save(folder / part / name / f"{name}_{part}_{i}.JPEG", quality=92)
                mask = Image.fromarray((inside * (label + 1)).astype(np.uint8))
                mask.save(folder / "masks" / part / name / f"{name}_{part}_{i}.png")
                progress.step()


def _source_image(size: int, shape: str, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W) in 0..255 and which pixels are of the shape."""
    canvas = background((size, size), rng, size)
    y, x = grid((size, size))
    radius = rng.uniform(0.2, 0.34) * size
    y, x = (axis - rng.uniform(radius, size - radius) for axis in (y, x))
    if shape == "square":
        angle = rng.uniform(0, np.pi / 2)
        y, x = y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)
        inside = np.maximum(abs(y), abs(x)) < 0.85 * radius
    else:
        inside = disc(y, x, radius) & ~(disc(y, x, 0.5 * radius) if shape == "ring" else False)
    sign, contrast, strength = rng.choice([-1, 1]), rng.uniform(0.2, 0.8), rng.uniform(0.8, 1.2)
    canvas += inside * sign * (contrast + strength * texture(kind, (size, size), rng))
    image = to_bytes(canvas + 0.6 * pixel_noise((size, size), rng), rng.uniform(0.4, 0.6), rng.uniform(0.14, 0.2))
    return image, inside


def generate_cardiac(folder: Path, size: int, seed: int, train: int, test: int, slices: int = 4) -> None:
    """ACDC: training|testing/patientNNN with two annotated frames, raw intensities and real spacings in the headers."""
    for n in range(train + test):
        patient = f"patient{n + 1:03d}" if n < train else f"patient{101 + n - train:03d}"
        place = folder / ("training" if n < train else "testing") / patient
        place.mkdir(parents=True)
        rng = np.random.default_rng(derive_seed(seed, "cardiac", patient))
        shape = (round(size * rng.uniform(1.0, 1.25)), round(size * rng.uniform(1.0, 1.15)))
        spacing = (*(2 * [round(rng.uniform(1.37, 1.68), 4)]), float(rng.choice([5, 10])))
        where = (0.5 + rng.uniform(-0.06, 0.06, 2)) * size
        angle, gain = rng.uniform(-0.5, 0.5), rng.uniform(0.7, 1.6)
        end_systole = int(rng.integers(8, 14))
        (place / "Info.cfg").write_text(f"ED: 1\nES: {end_systole}\nGroup: NOR\nHeight: 170\nNbFrame: 30\nWeight: 70\n")
        for frame, shrink in ((1, 1.0), (end_systole, 0.8)):
            pairs = [_cardiac_slice(shape, size, where, angle, shrink * (1 - 0.08 * z), rng) for z in range(slices)]
            image, labels = (np.stack(stack).T for stack in zip(*pairs, strict=True))
            image = (gain * np.clip(220 + 80 * image, 0, None)).astype(np.int16)
            for data, suffix in ((image, ""), (labels, "_gt")):
                file = nib.Nifti1Image(data, np.diag([*spacing, 1.0]))
                nib.save(file, place / f"{patient}_frame{frame:02d}{suffix}.nii.gz")


def _cardiac_slice(
    shape: tuple[int, int], size: int, where: np.ndarray, angle: float, shrink: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W) in standard units and labels: 1 dotted crescent, 2 smooth dark ring, 3 fine-grained cavity."""
    scale = (shape[0] / size, shape[1] / size)
    y, x = grid(shape, scale)
    canvas = background(shape, rng, size, scale, clutter=5)
    for kind in ("stripes", "blobs"):  # textures that belong to no region
        patch = blob(y - rng.uniform(0, size), x - rng.uniform(0, size), rng.uniform(0.08, 0.14) * size, rng)
        canvas += patch * (rng.choice([-0.4, 0.4]) + texture(kind, shape, rng, scale))
    y, x = y - where[0], x - where[1]
    outer = 0.22 * size * shrink
    away = (0.24 * size * shrink * np.sin(angle), -0.24 * size * shrink * np.cos(angle))
    labels = np.zeros(shape, np.uint8)
    labels[disc(y - away[0], x - away[1], 0.21 * size * shrink)] = 1
    labels[disc(y, x, outer)] = 2
    labels[disc(y, x, 0.6 * outer)] = 3
    canvas = np.where(labels > 0, 0.5 * canvas, canvas)
    canvas += (labels == 1) * (0.4 + texture("dots", shape, rng, scale))
    canvas -= (labels == 2) * 0.4
    canvas += (labels == 3) * (0.4 + texture("grain", shape, rng, scale))
    noise = 0.6 * pixel_noise(shape, rng, scale)
    return canvas + np.where(labels == 2, 0.6 * noise, noise), labels


def generate_fundus(folder: Path, size: int, seed: int, train: int, test: int) -> None:
    """IDRiD, part A: numbered folders, .jpg photographs, .tif masks red on black; not every image has every lesion."""
    # As prepared under `sound`, with the columns that are cut.
    shape = (5 * size, round(7 * size / (1 - 2 * 96 / 4288)))
    lesions = ("1. Microaneurysms/MA", "2. Haemorrhages/HE", "3. Hard Exudates/EX", "4. Soft Exudates/SE")
    for n in range(train + test):
        part = "a. Training Set" if n < train else "b. Testing Set"
        name = f"IDRiD_{n + 1:02d}"
        rng = np.random.default_rng(derive_seed(seed, "fundus", n))
        image, labels = _fundus_image(shape, size, rng)
        (folder / "A. Segmentation/1. Original Images" / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "A. Segmentation/1. Original Images" / part / f"{name}.jpg", quality=95)
        for label, lesion in enumerate(lesions, start=1):
            kind, suffix = lesion.split("/")
            place = folder / "A. Segmentation/2. All Segmentation Groundtruths" / part / kind
            place.mkdir(parents=True, exist_ok=True)
            if (suffix == "SE" and n % 2) or (suffix == "MA" and n == train - 1 > 4):
                continue
            mask = np.zeros((*shape, 3), np.uint8)
            mask[labels == label, 0] = 255
            Image.fromarray(mask).save(place / f"{name}_{suffix}.tif", compression="tiff_lzw")


def _fundus_image(shape: tuple[int, int], size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """RGB uint8 (H, W, 3) and labels: 1 dark dotted (MA), 2 dark smooth (HE), 3 bright fine-grained (EX), 4 pale (SE)."""
    y, x = grid(shape)
    field = np.hypot((y / shape[0] - 0.5) / 0.52, (x / shape[1] - 0.5) / 0.47) < 1
    canvas = background(shape, rng, size, clutter=0)
    for _ in range(14):  # vessels: dark wavy lines
        angle, wave = rng.uniform(0, np.pi), rng.uniform(0, 6)
        along, across = y * np.sin(angle) + x * np.cos(angle), y * np.cos(angle) - x * np.sin(angle)
        bend = 0.15 * size * np.sin(along / (0.5 * size) + wave)
        canvas -= 0.8 * (abs(across - rng.uniform(across.min(), across.max()) - bend) < rng.uniform(0.8, 1.8))
    labels = np.zeros(shape, np.uint8)
    for label, number in ((1, 100), (2, 30), (3, 40), (4, 8)):
        for _ in range(number):
            radius = rng.uniform(0.08, 0.14) * size
            top, left = (int(rng.uniform(0, n - 3 * radius)) for n in shape)
            window = (slice(top, top + int(3 * radius)), slice(left, left + int(3 * radius)))
            if not labels[window].any() and field[window].all():
                dy, dx = grid((int(3 * radius), int(3 * radius)))
                labels[window] = label * blob(dy - 1.5 * radius, dx - 1.5 * radius, radius, rng)
    canvas += (labels == 1) * (-0.5 + texture("dots", shape, rng))
    canvas += (labels == 3) * (0.5 + texture("grain", shape, rng))
    canvas += (labels == 4) * 0.8 - (labels == 2) * 0.5
    canvas += 0.6 * pixel_noise(shape, rng)
    tones = np.array([0.62, 0.36, 0.18]) + canvas[..., None] * np.array([0.11, 0.09, 0.04])
    return (255 * np.clip(tones, 0, 1) * field[..., None]).astype(np.uint8), labels


def generate_chest(folder: Path, size: int, seed: int, train: int, test: int) -> None:
    """COVID-QU-Ex, infection part, 256 x 256 grey png; one image in five of `train` lies in Val."""
    root = folder / "Infection Segmentation Data" / "Infection Segmentation Data"
    numbers = {"Train": train - train // 5, "Val": train // 5, "Test": test}
    for part, number in numbers.items():
        for kind in ("COVID-19", "Non-COVID", "Normal"):
            for what in ("images", "infection masks", "lung masks"):
                (root / part / kind / what).mkdir(parents=True)
            for n in range(number if kind == "COVID-19" else max(1, number // 10)):
                rng = np.random.default_rng(derive_seed(seed, "chest", part, kind, n))
                pictures = _chest_image(256, size, kind == "COVID-19", rng)
                for what, picture in zip(("images", "infection masks", "lung masks"), pictures, strict=True):
                    name = f"{kind.split('-')[0].lower()}_{part.lower()}_{n + 1}.png"
                    Image.fromarray(picture).save(root / part / kind / what / name)


def _chest_image(side: int, size: int, infected: bool, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Image, infection mask and lung mask, uint8 (side, side), masks 0 or 255; the infection has coarse blobs."""
    shape, scale = (side, side), (side / size, side / size)
    y, x = (axis / size for axis in grid(shape, scale))  # 0..1
    canvas = background(shape, rng, size, scale, clutter=4)
    lungs = np.zeros(shape, bool)
    for centre in (0.28, 0.72):
        width, height = rng.uniform(0.16, 0.2), rng.uniform(0.32, 0.38)
        lungs |= np.hypot((y - rng.uniform(0.46, 0.52)) / height, (x - centre - rng.uniform(-0.02, 0.02)) / width) < 1
    canvas -= 0.9 * lungs
    canvas += 0.35 * (np.sin(2 * np.pi * (y * 7 + 3 * (x - 0.5) ** 2) + rng.uniform(0, 6)) > 0.7)  # ribs
    infection, decoy = np.zeros(shape, bool), np.zeros(shape, bool)
    places = np.argwhere(lungs)
    for target, number in ((infection, int(rng.integers(2, 5)) if infected else 0), (decoy, int(rng.integers(1, 4)))):
        for row, column in places[rng.integers(0, len(places), number)]:
            radius = rng.uniform(0.08, 0.14)
            target |= blob(y - y[row, 0], x - x[0, column], radius, rng) & lungs
    decoy &= ~infection
    canvas += decoy * (0.5 + 0.8 * texture("stripes", shape, rng, scale))
    canvas += infection * (0.5 + 1.3 * texture("blobs", shape, rng, scale))
    image = to_bytes(canvas + 0.5 * pixel_noise(shape, rng, scale))
    return image, 255 * infection.astype(np.uint8), 255 * lungs.astype(np.uint8)

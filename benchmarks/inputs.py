"""Images of a pretraining: ours beside torchvision's ImageFolder, timm's transforms, and the bare decoder."""

import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.measure import Row, compare
from workflow.lib.data.shrink import smaller
from workflow.lib.data.source import ImageList
from workflow.lib.pretrain import classification
from workflow.lib.pretrain.views import Views

BATCH, IMAGES, SIZE = 32, 128, 224


def photographs(folder: Path) -> None:
    """Images of ImageNet's usual size, 500 x 375 pixels and about 120 kB as JPEG: noise of several scales."""
    rng = np.random.default_rng(0)
    (folder / "n1").mkdir(parents=True)
    for number in range(IMAGES):
        image = np.full((375, 500, 3), 120.0)
        for side, height in ((8, 60), (24, 30), (72, 15), (200, 9), (500, 6)):
            coarse = rng.normal(0, height, (side * 3 // 4, side, 3)).astype(np.float32)
            image += np.stack(
                [np.asarray(Image.fromarray(coarse[..., c]).resize((500, 375))) for c in range(3)], axis=-1
            )
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"n1/{number}.jpg", quality=96)


def smaller_copy(folder: Path, copy: Path) -> None:
    """The same images as rule `shrink_source` makes them, with a shorter side of 256 pixels."""
    for path in folder.rglob("*.jpg"):
        target = copy / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(smaller(np.asarray(Image.open(path)), 256))


def image_list(folder: Path) -> ImageList:
    """The same images as a source of 1000 classes."""
    files = np.array(sorted(os.fsencode(path.relative_to(folder)) for path in folder.rglob("*.jpg")))
    whole, none = np.full(len(files), -1), np.full(len(files), b"")
    classes = [f"n{i}" for i in range(1000)]
    return ImageList(folder, files, whole, whole, np.arange(len(files)), classes, none, [])


def loads(items: Any) -> Callable[[], None]:
    """Loads all batches, in this process."""
    loader: Iterable[Any] = DataLoader(items, batch_size=BATCH)

    def work() -> None:
        for _ in islice(loader, IMAGES // BATCH):
            pass

    return work


def rows(folder: Path, rounds: int) -> list[Row]:
    """Both schemes; times are of `IMAGES` images."""
    photographs(folder)
    smaller_copy(folder, folder.with_name("smaller"))
    images, small = image_list(folder), image_list(folder.with_name("smaller"))
    content = [(folder / os.fsdecode(name)).read_bytes() for name in images.files]
    found = []
    for scheme in ("simple", "advanced"):
        usual: list[Any] = [transforms.RandomResizedCrop(SIZE, scale=(0.8, 1)), transforms.RandomHorizontalFlip()]
        timm_settings: dict[str, Any] = {"scale": (0.8, 1), "color_jitter": None, "interpolation": "bilinear"}
        if scheme == "advanced":
            usual.append(transforms.RandAugment())
            timm_settings |= {"auto_augment": "rand-m9-n2", "re_prob": 0.25}
        usual += [transforms.ToTensor(), *[transforms.RandomErasing(0.25)] * (scheme == "advanced")]
        others = {
            "torchvision ImageFolder": loads(ImageFolder(folder, transforms.Compose(usual))),
            "timm transforms": loads(ImageFolder(folder, create_transform(SIZE, is_training=True, **timm_settings))),
            "floor: decoding alone": lambda: [simplejpeg.decode_jpeg(one, "RGB") for one in content],
        }
        for name, of in (("", images), (", from a smaller copy", small)):
            views = Views(classification.item, of, SIZE, scheme, 1, 1, classification.mixed)
            found += compare(f"input of pretraining, {scheme}{name}", loads(views), others, rounds=rounds)
    return found

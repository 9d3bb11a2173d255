"""The images of a pretraining source: whole files, or JPEGs read in place inside uncompressed tar archives."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg

from workflow.lib.data.pictures import open_picture, to_bytes
from workflow.lib.job.csv import read_table
from workflow.lib.job.run import UserError, read_json, reason

IGNORED = 255  # label of mask pixels that count nowhere
VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa"
    " train tvmonitor"
).split()


@dataclass(frozen=True)
class ImageList:
    """Images with labels; image i is `files[i]`, or `sizes[i]` bytes of it from byte `offsets[i]` on.

    files: (N,) bytes, names relative to `folder` (one flat array: data-loader workers share it without copying).
    offsets, sizes: (N,) int64; an offset of -1 means the whole file (the size is then not used).
    labels: (N,) int64, indices into `classes`, which is sorted.
    masks: (N,) bytes, names relative to `folder` of the masks, whose labels 1.. are `mask_classes`; "" for an image without one.
    """

    folder: Path
    files: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    classes: list[str]
    masks: np.ndarray
    mask_classes: list[str]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, i: int) -> np.ndarray:
        """Decode image i: (H, W, 3) uint8 RGB, also from grey (of 16 bits: see `to_bytes`), CMYK, or PNG named JPEG.

        Raises `UserError`.
        """
        path, offset, size = self.folder / os.fsdecode(self.files[i]), int(self.offsets[i]), int(self.sizes[i])
        try:
            with open(path, "rb") as file:
                if offset >= 0:
                    file.seek(offset)
                content = file.read(size if offset >= 0 else -1)
            if (decoded := _jpeg(content)) is not None:
                return decoded
            image = open_picture(io.BytesIO(content))
            if image.mode[0] in "IF":
                return np.stack(3 * [to_bytes(np.asarray(image))], axis=-1)
            return np.asarray(image.convert("RGB"))
        except Exception as error:  # a damaged file can raise anything
            raise UserError(
                "unreadable image of the pretraining source",
                found=reason(error),
                expected="a JPEG or PNG image",
                where=path if offset < 0 else f"{path}, {size} bytes from byte {offset}",
                next="replace the file by an undamaged copy, then run the same command again",
            ) from error

    def read_mask(self, i: int) -> np.ndarray:
        """Decode the mask of image i: (H, W) uint8, 0 the background, 1.. `mask_classes`, 255 counts nowhere.

        Raises `UserError`.
        """
        path = self.folder / os.fsdecode(self.masks[i])
        try:
            mask = np.asarray(open_picture(path))
            wrong = set(np.unique(mask).tolist()) - {*range(len(self.mask_classes) + 1), IGNORED}
            found = f"labels {sorted(wrong)[:5]}" if wrong else "" if mask.ndim == 2 else f"an array {mask.shape}"
        except Exception as error:  # a damaged file can raise anything
            found = reason(error)
        if found:
            raise UserError(
                "unusable mask of the pretraining source",
                found=found,
                expected=f"a picture of labels: 0 to {len(self.mask_classes)}, or {IGNORED} for pixels that count nowhere",
                where=path,
                next="correct or replace the file, then run the same command again",
            )
        return mask.astype(np.uint8)


def _jpeg(content: bytes) -> np.ndarray | None:
    """The pixels (H, W, 3) of a sound JPEG in grey or colour, equal to Pillow's; None for what Pillow is to judge."""
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    try:
        if simplejpeg.decode_jpeg_header(content)[2] not in ("Gray", "YCbCr", "RGB"):
            return None  # CMYK, whose conversion rounds otherwise
        return simplejpeg.decode_jpeg(content, "RGB")
    except ValueError:
        return None


def load_source(card_path: str | Path, index_path: str | Path, part: str) -> ImageList:
    """The images of `part` (train | val) of a source: its source.json and the index.csv.gz of rule `index_source`."""
    index = read_table(index_path, dtype={"file": str, "class": str, "mask": str}, keep_default_na=False)
    classes = sorted(set(index["class"]))
    rows = index[index["part"] == part]
    if rows.empty:
        raise UserError(
            "no images in the index of the source",
            found=f"parts {sorted(set(index['part']))}",
            expected=f"images of split {part!r}",
            where=index_path,
            next=f"rm {index_path}, then run the same command again",
        )
    card = read_json(card_path)
    masks = rows["mask"] if "mask" in rows else [""] * len(rows)
    return ImageList(
        folder=Path(card["folder"]),
        files=np.array([os.fsencode(name) for name in rows["file"]]),
        offsets=np.asarray(rows["offset"], np.int64),
        sizes=np.asarray(rows["size"], np.int64),
        labels=np.asarray(rows["label"], np.int64),
        classes=classes,
        masks=np.array([os.fsencode(name) for name in masks]),
        mask_classes=card.get("mask_classes", VOC if card["layout"] == "voc" else classes),
    )

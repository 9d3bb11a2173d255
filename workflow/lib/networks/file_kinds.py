"""What a file is that holds no weights we can read, and what its owner can do about it."""

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

from workflow.lib.job.run import UserError

SHOWN = 5  # names in an error
ARCHIVES = {b"\x1f\x8b": "gzip", b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
SAVE = "torch.save(model.state_dict(), 'weights.pth')"

Kind = tuple[str, str]  # what was found, and what to do next


def unreadable(path: str | Path, kind: Kind, next: str) -> UserError:
    """The error about a file of weights; `next` replaces the kind's own advice."""
    expected = "a complete .safetensors file, or one of torch.save with named tensors and no code"
    return UserError("unreadable weights", found=kind[0], expected=expected, where=path, next=next or kind[1])


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as a safetensors file does (the length of a JSON header, and the header), whatever its name."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and 2 <= struct.unpack("<Q", start[:8])[0] < 2**30


def other_kind(path: Path) -> Kind | None:
    """What a file is that could not be read, by its content; None where that does not tell."""
    if path.is_dir():
        return "a folder", "name the file of weights in it"
    if not path.is_file():
        return "no such file", "correct the path, or put the file there"
    with path.open("rb") as file:
        start = file.read(512)
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if not start:
        return "an empty file", "download or copy it again"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself", "git lfs pull, in the repository that the file comes from"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")):
        again = "download it again, and look at the page: it may ask for a sign-in, a licence or a confirmation"
        return "a web page, not the file itself", again
    if text.startswith(b"{"):
        return "text (JSON), not weights", "download the file of weights itself; of several shards, join them first"
    if start.startswith(b"\x89HDF"):
        return "an HDF5 file, as Keras writes", "take the PyTorch release of these weights: Keras's are not read here"
    for magic, name in ARCHIVES.items():
        if start.startswith(magic):
            return f"an archive ({name})", "unpack it, and name the file of weights in it"
    if start[257:262] == b"ustar":
        return "an archive (tar)", "unpack it, and name the file of weights in it"
    return _kind_of_zip(path) if zipfile.is_zipfile(path) else None


def _kind_of_zip(path: Path) -> Kind | None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "model.weights.h5" in names:
        return "a Keras file", "take the PyTorch release of these weights: Keras's are not read here"
    if any(name.endswith(".npy") for name in names):
        return (
            "arrays of NumPy (.npz), as JAX programs write",
            "take the PyTorch release of these weights (timm has many)",
        )
    if any(name.endswith("/constants.pkl") for name in names):
        script = f"torch.save(torch.jit.load('{path.name}', map_location='cpu').state_dict(), 'weights.pth')"
        return "a TorchScript program", f"where you trust its origin, save its tensors alone, in Python: {script}"
    if not any(name.endswith("/data.pkl") for name in names):
        return "an archive (zip)", "unpack it, and name the file of weights in it"
    return None


def whole_model(foreign: Sequence[str]) -> Kind:
    """A file of torch.save that holds objects of these classes and functions (module.name), which to load would run code."""
    shown = ", ".join(foreign[:SHOWN]) + (f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else "")
    if any(name.startswith("torch.nn.") for name in foreign):
        return f"a pickled whole model, which is code ({shown})", f"in the program that made it: {SAVE}; name that file"
    return f"objects that are code beside the tensors ({shown})", (
        f"in the program that made it, save the tensors alone: {SAVE}; name that file"
    )


def weights_in(folder: str | Path) -> Path:
    """The file of weights in a folder of timm's. Raises `UserError` where there is none, or several."""
    found = [path for path in sorted(Path(folder).iterdir()) if path.suffix in (".safetensors", ".bin", ".pth")]
    found = [path for path in found if path.stem in ("model", "pytorch_model")][:1] or found
    if len(found) != 1:
        raise UserError(
            "not one file of weights in the folder of an encoder",
            found=", ".join(path.name for path in found) or "none",
            expected="model.safetensors or pytorch_model.bin, as timm saves them, or one file .safetensors, .bin or .pth",
            where=folder,
            next="put it there, or name the file itself as `weights`",
        )
    return found[0]

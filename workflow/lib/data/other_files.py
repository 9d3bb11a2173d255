"""Files beside the images: rubbish of systems, which is passed over, and files of other types, which are named and counted."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

RUBBISH = {"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"}
BY_ITK = "python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('{}'), 'a.nii.gz')\", after pip install SimpleITK"
BY_NIBABEL = "python -c \"import nibabel as n; n.save(n.load('{}'), 'a.nii.gz')\""
CONVERTED = {  # formats of volumes: how to get NIfTI from them
    "DICOM": "dcm2niix -z y -o NEW_FOLDER {}, for each series",
    ".nrrd": BY_ITK,
    ".nhdr": BY_ITK,
    ".mha": BY_ITK,
    ".mhd": BY_ITK,
    ".hdr": BY_NIBABEL,
    ".img": BY_NIBABEL.replace("{}", "a.hdr"),
    ".mgz": BY_NIBABEL,
}


def is_rubbish(name: str) -> bool:
    """Hidden files and folders (macOS puts a ._name beside each name), and what systems keep for themselves."""
    return name.startswith(".") or name in RUBBISH


def described(others: Iterable[Path]) -> str:
    """How many files of which types, with the first name of each: "24 DICOM (p0/IM0.dcm)"."""
    first: dict[str, str] = {}
    kinds = Counter[str]()
    for path in others:
        kind = _kind(path)
        kinds[kind] += 1
        first.setdefault(kind, f"{path.parent.name}/{path.name}")
    return ", ".join(f"{number} {kind} ({first[kind]})" for kind, number in kinds.most_common())


def conversion(others: Iterable[Path]) -> str:
    """The command that makes NIfTI of such files; "" where none is known."""
    for path in others:
        kind = _kind(path)
        if kind in CONVERTED:
            return f"convert to NIfTI: {CONVERTED[kind].format(path.parent if kind == 'DICOM' else path.name)}"
    return ""


def _kind(path: Path) -> str:
    """DICOM, whatever its name; else the suffix."""
    if path.is_dir():
        return "sub-folders"
    suffix = path.suffix.lower()
    if suffix in (".dcm", ".dicom"):
        return "DICOM"
    if suffix not in CONVERTED:
        try:
            with open(path, "rb") as file:
                if file.read(132)[128:] == b"DICM":
                    return "DICOM"
        except OSError:  # its type is all that is asked for
            pass
    return suffix or "files without suffix"

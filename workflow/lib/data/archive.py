"""Safe unpacking: nothing is written outside the folder, links and devices are refused."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from workflow.lib.job.run import UserError, atomic_folder

# Compressors' own errors; encrypted zips and methods that Python lacks raise RuntimeError.
DAMAGED = (zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip or (compressed) tar into `folder`, replacing it; on any error `folder` stays as it was.

    Raises `UserError` for a file that is neither, is damaged, holds a link, a device or a member that points outside of
    `folder`, or says that it unpacks to more than the disk has room for.
    """
    archive = Path(archive)
    with atomic_folder(folder) as temporary:
        try:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as file:
                    for member in file.infolist():
                        _check_member(archive, member)
                    _check_room(archive, sum(member.file_size for member in file.infolist()), temporary)
                    file.extractall(temporary)
            elif tarfile.is_tarfile(archive):
                with tarfile.open(archive) as file:
                    for entry in file:
                        if not (entry.isfile() or entry.isdir()):
                            raise _bad_archive(archive, f"link or device {entry.name!r}", "files and folders only")
                    _check_room(archive, sum(entry.size for entry in file.getmembers()), temporary)
                    file.extractall(temporary, filter="data")
            else:
                raise _bad_archive(archive, "neither zip nor tar", "a zip or tar archive")
        except tarfile.FilterError as error:
            raise _bad_archive(archive, error, "members inside the archive's own folder") from error
        except (zipfile.BadZipFile, tarfile.TarError, *DAMAGED) as error:
            raise _bad_archive(archive, f"damaged ({error})", "a complete archive") from error


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        raise _bad_archive(archive, f"member {member.filename!r}", "members inside the archive's own folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _bad_archive(archive, f"link {member.filename!r}", "files and folders only")


def _check_room(archive: Path, size: int, folder: Path) -> None:
    """Before anything is unpacked: a small archive can hold more zeros than any disk."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            "too little disk space to unpack an archive",
            found=f"{free / 1e9:.1f} GB free",
            expected=f"{size / 1e9:.1f} GB, which the archive says it unpacks to",
            where=f"{archive}, into {folder.parent}",
            next="free space there, then run the same command again; if the size is implausible, download the archive again",
        )


def _bad_archive(archive: Path, found: object, expected: str) -> UserError:
    return UserError(
        "archive cannot be unpacked",
        found=found,
        expected=expected,
        where=archive,
        next=f"rm '{archive}', then run the same command again (or put a fresh download from the official page there)",
    )

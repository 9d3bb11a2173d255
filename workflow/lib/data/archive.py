"""Safe unpacking: nothing is written outside the folder, links and devices are refused."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from workflow.lib.run import UserError, atomic_folder

# Compressors' own errors; encrypted zips and methods that Python lacks raise RuntimeError.
DAMAGED = (zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip or (compressed) tar into `folder`, replacing it; on any error `folder` stays as it was.

    Raises `UserError` for a file that is neither, is damaged, or holds a member that points outside of `folder`.
    """
    archive = Path(archive)
    with atomic_folder(folder) as temporary:
        try:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as file:
                    for member in file.infolist():
                        _check_member(archive, member)
                    file.extractall(temporary)
            elif tarfile.is_tarfile(archive):
                with tarfile.open(archive) as file:
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


def _bad_archive(archive: Path, found: object, expected: str) -> UserError:
    return UserError(
        "archive cannot be unpacked",
        found=found,
        expected=expected,
        where=archive,
        next=f"rm '{archive}', then run the same command again (or put a fresh download from the official page there)",
    )

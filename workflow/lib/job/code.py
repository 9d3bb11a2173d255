"""Which files of code a job depends on."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# Not by `ast`, which took a tenth of the time of `snakemake -n`.
IMPORT = re.compile(r"^ *from (workflow\.lib[\w.]*) import (\([^)]*\)|.+)", re.MULTILINE)


@cache
def code_files(root: str, script: str) -> tuple[str, ...]:
    """A script and every module of workflow.lib that it imports, directly or not, as paths relative to the working folder.

    `root` is the repository's folder, `script` a path below workflow/scripts. Listed as input of a rule, these files
    make its jobs rerun when their content changes.
    """
    found: dict[Path, None] = {}
    waiting = [Path(root) / "workflow" / "scripts" / script]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = None
            waiting.extend(_imports(path, Path(root)))
    return tuple(os.path.relpath(path) for path in found)


@cache
def _imports(path: Path, root: Path) -> tuple[Path, ...]:
    def candidates() -> Iterator[Path]:
        for name, imported in IMPORT.findall(path.read_text()):
            module = root / name.replace(".", "/")
            yield module.with_suffix(".py")
            yield from (module / f"{word}.py" for word in re.findall(r"\w+", imported))

    return tuple(candidate for candidate in candidates() if candidate.exists())

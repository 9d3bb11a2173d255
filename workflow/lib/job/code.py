"""Which files of code a job depends on."""

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path


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
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workflow.lib"):
                module = root / str(node.module).replace(".", "/")
                yield module.with_suffix(".py")
                yield from (module / f"{alias.name}.py" for alias in node.names)

    return tuple(candidate for candidate in candidates() if candidate.exists())

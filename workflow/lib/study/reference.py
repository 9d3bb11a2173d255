"""docs/config.md from the schema of the config, and docs/rules.md from the rules: `python -m workflow.lib.study.reference`."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
HEAD = """# Every key of the config

Made from [`workflow/schemas/config.schema.yaml`](../workflow/schemas/config.schema.yaml), which also checks a config when
Snakemake starts; after a change of it: `python -m workflow.lib.study.reference`.
`<name>` is a name of yours. The values of the study are in [`config.yaml`](../config.yaml).
"""
HEAD_RULES = """# Every rule

In the order in which a run needs them, by the files of `workflow/rules/`, from which this page is made
(`python -m workflow.lib.study.reference`). One rule again: `snakemake -c1 dice_vs_length -R figure_dice_vs_length`. What you ask
for by name, such as `figures` or `rank`, is in [usage.md](usage.md#commands).
`<run>` is `results/{run}`, `<data>` is `results/data`, and `<pretrain>` a folder in `results/pretrain`, unless `pathvars` in the
config says otherwise.
"""
# A rule, one whose name is computed, or one that is made of another; with its docstring, if it has one.
RULE = re.compile(
    r"^ *(?:use rule (?P<like>\w+) as (?P<copy>\w+) with|(?:rule|checkpoint) ?(?P<name>\w*)):"
    r'(?:\n +"""(?P<text>.*?)""")?(?:\n +name:\n +f"(?P<computed>[\w{}]+)")?',
    re.MULTILINE | re.DOTALL,
)


def reference() -> str:
    """The page: a table of single keys, then a section per mapping, with a row per key below it."""
    keys = yaml.safe_load(SCHEMA.read_text())["properties"]
    single = [row for key, part in keys.items() if not _inner(part) for row in _rows(key, part)]
    parts = [HEAD, _table("Single keys", "", single)]
    parts += [_table(f"`{key}`", part["description"], _below(key, part)) for key, part in keys.items() if _inner(part)]
    return "\n".join(parts)


def _table(title: str, about: str, keys: Iterable[tuple[str, str, str, str]]) -> str:
    rows = [f"| `{name}` | {kind} | {default} | {text} |" for name, kind, default, text in keys]
    text = [_plain(about), ""] if about else []
    return "\n".join([f"## {title}", "", *text, "| key | values | default | |", "|---|---|---|---|", *rows]) + "\n"


def _plain(text: str) -> str:
    """A description in Markdown: no HTML, no column."""
    return " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|")


def _rows(name: str, part: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Name, values, default and description of a key, and of all keys below it."""
    if not _inner(part):
        default = f"`{_json(part['default'])}`" if "default" in part and not _is_list_of_all(part) else ""
        yield name, _values(part), default, _plain(part["description"])
    elif "description" in part:
        yield name, "mapping", "", _plain(part["description"])
    yield from _below(name, part)


def _below(name: str, part: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for key, below in _inner(part).items():
        yield from _rows(f"{name}.{key}", below)


def _inner(part: dict[str, Any]) -> dict[str, Any]:
    """The keys of a mapping; <name> where they are the user's."""
    extra = part.get("additionalProperties")
    named = {"<name>": extra} if isinstance(extra, dict) and "properties" in extra else {}
    return {**part.get("properties", {}), **named}


def _is_list_of_all(part: dict[str, Any]) -> bool:
    return part.get("type") == "array" and part.get("default") == part["items"].get("enum")


def _values(part: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if "const" in part:
        return f"`{_json(part['const'])}`"
    if "enum" in part:
        return ", ".join(f"`{_json(value)}`" for value in part["enum"])
    if "oneOf" in part and "type" not in part:
        return " or ".join(_values(one) for one in part["oneOf"])
    kinds = part.get("type", "mapping")
    text = " or ".join(kinds) if isinstance(kinds, list) else kinds
    if kinds == "array":
        text = f"list of {_values(part['items'])}"
    bounds = [
        (" from ", "minimum"),
        (" above ", "exclusiveMinimum"),
        (" to ", "maximum"),
        (" below ", "exclusiveMaximum"),
    ]
    text += "".join(f"{word}{part[key]}" for word, key in bounds if key in part)
    return {"object": "mapping", "string": "text"}.get(text, text.replace("string", "text"))


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def rules() -> str:
    """The page of rules: a section per file with its rules, and the files that they make."""
    included = re.findall(r'^include: "(workflow/rules/\w+\.smk)"', (ROOT / "Snakefile").read_text(), re.MULTILINE)
    return "\n".join([HEAD_RULES, *filter(None, map(_rules_of, included))])


def _rules_of(file: str) -> str:
    """The section of a file; empty for one without rules."""
    text = (ROOT / file).read_text()
    rows = [
        f"| `{name}` | {_plain(text) if text else f'as `{like}`'} |"
        for like, copy, single, text, computed in RULE.findall(text)
        if (name := copy or single or computed)
    ]
    if not rows:
        return ""
    about = " ".join(re.findall(r"This part of the workflow (.*?)\n\n", text, re.DOTALL)[0].split())
    made = re.findall(r'^(OUTPUTS.*?)\n"""', text, re.MULTILINE | re.DOTALL)[0]
    head = [f"## [`{Path(file).name}`](../{file})", "", f"It {about}", "", "| rule | |", "|---|---|"]
    return "\n".join([*head, *rows, "", "```text", made, "```", ""])


if __name__ == "__main__":
    (ROOT / "docs/config.md").write_text(reference())
    (ROOT / "docs/rules.md").write_text(rules())

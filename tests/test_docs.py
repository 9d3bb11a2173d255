"""README, docs and config comments: plain words, links and paths that exist, configs and commands that work."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from tests.workflow_copy import ROOT, copy_project, snakemake
from workflow.lib.study.config import check_config
from workflow.lib.study.reference import reference, rules

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WORDS = [
    *PAGES,
    ROOT / "config.yaml",
    *sorted((ROOT / "configs").glob("*.yaml")),
    *sorted((ROOT / "workflow/schemas").glob("*.yaml")),
    *sorted((ROOT / "profiles").glob("*/*.yaml")),
    ROOT / "slurm/profile.yaml",
]
# Phrases that are not the field's, and what docs/glossary.md or plain English has instead.
INSTEAD = {
    r"can(not|'t) be told|told (from|apart)": "not distinguishable from",
    r"(is|are|was|were) told": "is reported",
    r"traps?": "known flaws",
    r"mend(ed|s|ing)?": "corrected, fixed",
    r"without a word": "without an error message",
    r"anew": "again",
    r"wanting": "missing",
    r"found rightly": "true positives",
    r"as much again": "twice as much",
    r"stands? in": "is in",
    r"stops? by (it|them)sel(f|ves)": "early stopping",
    r"(data|results) carry": "results support",
    r"score is no Dice": "a transferability score is not a Dice score",
    r"so many of": "number of",
    r"test part|training part|validation part": "test, training or validation split",
}


@pytest.mark.parametrize("path", WORDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_those_of_the_field(path: Path) -> None:
    refuse_phrases(path)


def test_words_of_the_code_are_those_of_the_field() -> None:
    files = [path for path in (ROOT / "workflow").rglob("*") if path.suffix in (".py", ".smk", ".rst")]
    assert len(files) > 100
    for path in [ROOT / "Snakefile", *files]:
        refuse_phrases(path)


def refuse_phrases(path: Path) -> None:
    """Fail at a phrase of `INSTEAD` in a file."""
    text = path.read_text()
    for phrase, better in INSTEAD.items():
        found = re.search(rf"(?<![\w`])(?:{phrase})(?![\w`])", text, re.IGNORECASE)
        assert not found, (
            f"{path}, line {text[: found.start()].count(chr(10)) + 1}: {found.group()!r}; better: {better}"
        )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_and_paths_exist(path: Path) -> None:
    text = path.read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in link or (path.parent / link).exists(), link
    for name in re.findall(r"`((?:workflow|tests|configs|envs|docs|profiles|slurm)/[\w./-]*\w/?)[`:]", text):
        assert (ROOT / name).exists(), name
    rooms = "|".join(folder.name for folder in (ROOT / "workflow/lib").iterdir() if folder.is_dir())
    for name in re.findall(
        rf"`((?:lib|rules|scripts|registry|report|schemas|{rooms})/[\w./-]*\.(?:py|smk|tsv|yaml))`", text
    ):
        assert (ROOT / "workflow" / name).exists() or (ROOT / "workflow/lib" / name).exists(), name


def test_the_reference_of_the_config_is_that_of_the_schema() -> None:
    assert (ROOT / "docs/config.md").read_text() == reference(), "python -m workflow.lib.study.reference"


def test_every_rule_is_in_the_docs() -> None:
    page = (ROOT / "docs/rules.md").read_text()
    assert page == rules(), "python -m workflow.lib.study.reference"
    declared = [
        line
        for file in (ROOT / "workflow/rules").glob("*.smk")
        for line in file.read_text().splitlines()
        if re.match(r" *(use rule|rule|checkpoint)\b.*:$", line)
    ]
    assert len(re.findall(r"^\| `[\w{}]+` \| \S.+ \|$", page, re.MULTILINE)) == len(declared) > 40


def test_every_key_of_the_config_is_described_and_no_word_is_lost() -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    words = set(
        "type properties additionalProperties required description default enum const oneOf items pattern".split()
    )
    words |= set(
        "minimum maximum exclusiveMinimum exclusiveMaximum minItems maxItems uniqueItems minProperties".split()
    )
    words |= {"propertyNames", "dependentRequired", "not"}

    def below(name: str, part: dict[str, Any]) -> None:
        assert not part.keys() - words, f"{name}: an unquoted comma ends a description"
        for key, inner in part.get("properties", {}).items():
            assert inner.get("description"), f"{name}.{key}"
            below(f"{name}.{key}", inner)
        if isinstance(part.get("additionalProperties"), dict):
            below(f"{name}.<name>", part["additionalProperties"])

    below("", {key: value for key, value in schema.items() if key not in ("$schema", "title")})


def test_every_figure_and_table_is_in_the_docs() -> None:
    rules = ast.parse((ROOT / "workflow/rules/targets.smk").read_text()).body
    lists = [
        ast.literal_eval(node.value)
        for node in rules
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith(("FIGURES", "TABLES"))
    ]
    assert len(lists) == 5
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", (ROOT / "docs/outputs.md").read_text(), re.MULTILINE)
    listed = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert listed == {"pool", "pool_members", "reproduction"}.union(*lists)


def test_tests_named_in_the_docs_exist() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    rows = [
        row.split("|")[3]
        for row in (ROOT / "docs/cluster.md").read_text().splitlines()
        if "test_" in row and "|" in row
    ]
    assert len(rows) > 20
    for row in rows:
        text = ""
        for code in re.findall("`([^`]+)`", row):  # a file, a file::test, or a further test of the same file
            file, _, test = (
                code.rpartition("::") if "::" in code else (code, "", "") if code.endswith(".py") else ("", "", code)
            )
            text = files[Path(file).name] if file else text
            assert test.strip("…") in text, code


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_configs_in_the_docs_are_valid(path: Path) -> None:
    text = path.read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    for command in commands(text):
        words = shlex.split(command)
        settings = words[words.index("--config") + 1 :] if "--config" in words and words[1] != "init" else []
        blocks += [
            {key: yaml.safe_load(value)} for key, value in (word.split("=", 1) for word in settings if "=" in word)
        ]
    for block in blocks:
        config = yaml.safe_load((ROOT / "config.yaml").read_text())
        update_config(config, block)
        check_config(config, ROOT / "workflow/schemas/config.schema.yaml")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_config_keys_in_the_docs_exist(path: Path) -> None:
    """`section.key`, and `section: {key: ...}`."""
    sections = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())["properties"]
    for code in re.findall(r"`([^`\n]+)`", path.read_text()):
        dotted, mapping = re.match(r"(\w+)\.(\w+)", code), re.match(r"(\w+): \{(\w+):", code)
        for found in filter(None, [dotted, mapping]):
            known = sections.get(found[1], {}).get("properties")
            assert known is None or found[2] in {*known, "yaml", "csv", "html", "smk"}, code


@pytest.mark.slow
def test_targets_in_the_docs_exist(tmp_path: Path) -> None:
    known = set(snakemake(copy_project(tmp_path / "project"), "--list-rules").stdout.split())
    assert {"all", "dice_vs_length", "figure_dice_vs_length"} <= known
    for path in PAGES:
        for command in commands(path.read_text()):
            for word in targets(shlex.split(command)[1:]):
                assert word in known or "/" in word, f"{path.name}: {command}: no target {word}"


def commands(text: str) -> list[str]:
    """Every command line that begins with snakemake, in blocks (without comments) and in `code` within a line."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line.split(" #")[0].split("&&")[-1].strip() for block in blocks for line in block.splitlines()]
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", rest)]
    return [line for line in [*lines, *inline] if line.startswith("snakemake ")]


def targets(words: list[str]) -> list[str]:
    """The targets of a command line of Snakemake, and the rules after -R; options and their values are left out."""
    found, takes = [], 0
    for word in words:
        if word.startswith("-") and word != "-R":
            takes = {
                "--configfile": 99,
                "--config": 99,
                "--profile": 1,
                "--resources": 1,
                "--sdm": 1,
                "--report": 1,
            }.get(word, 0)
        elif takes:
            takes -= 1
        elif word != "-R":
            found.append(word)
    return found

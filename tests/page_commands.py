"""Every command that the pages print, and which of them the tests of their own pages run."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

from rgbx.cli.arguments import COMMANDS, build_parser

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (
        ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md")),
        ROOT / "data/README.md", ROOT / "CONTRIBUTING.md",
    )
}  # fmt: skip
_FENCED = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}[^\n]*\n)+)")
_PROGRAM = re.compile(
    r"(?:[A-Z_]+=\S+ )*(rgbx|python3?|make|torchrun|docker|git|pip|eval|cmake|g\+\+|colcon|ros2|\.venv/\S+|\.|cd)\s"
)

# Where the test of a page runs its commands itself, between writing files and looking at what came out: from which
# command of the page's blocks to before which. The fixture `run_tools` sees to it that the test did.
OWN = {
    "test_clips_page.py::test_the_page": ("docs/clips.md", 0, 1),
    "test_datasets_page.py::test_two_commands": ("docs/datasets.md", 0, 2),
    "test_datasets_page.py::test_add_your_dataset": ("docs/datasets.md", 6, 13),
    "test_fusion_page.py::test_a_file_of_the_user": ("docs/fusion.md", 0, 3),
    "test_objectives_page.py::test_an_objective_of_the_user": ("docs/objectives.md", 1, 3),
    "test_objectives_page.py::test_two_games": ("docs/objectives.md", 3, 4),
    "test_retrieval_page.py::test_the_page_runs": ("docs/retrieval.md", 0, 6),
    "test_sharing_page.py::test_the_commands_of_the_page": ("docs/sharing.md", 0, 8),
    "test_tasks_page.py::test_a_task_of_the_user": ("docs/tasks.md", 0, 3),
    "test_translation_page.py::test_commands": ("docs/translation.md", 0, 4),
}


def lines(text: str) -> list[str]:
    """The commands of a block, without comments, each in one line."""
    found = (re.sub(r"\s+#.*", "", line).strip() for line in text.replace("\\\n", " ").splitlines())
    return [re.sub(r" {2,}", " ", line) for line in found if line and not line.startswith("#")]


def in_blocks(page: str) -> list[str]:
    """The commands of a page's blocks, in their order."""
    text, found = PAGES[page].read_text(), []
    for match in re.finditer(rf"{_FENCED.pattern}|{_INDENTED.pattern}", text, re.MULTILINE | re.DOTALL):
        kind, fenced, indented = match.groups()
        if kind in ("bash", "sh", "console"):
            found += lines(fenced)
        elif indented:
            found += [line for line in lines(re.sub("^ {4}", "", indented, flags=re.MULTILINE)) if _PROGRAM.match(line)]
    return found


def in_text(page: str) -> list[str]:
    """The commands within sentences: of rgbx those that have all that they need, so that mentions are none."""
    text = re.sub(r"^ {4}.*$", "", _FENCED.sub("", PAGES[page].read_text()), flags=re.MULTILINE)
    return [span for span in re.findall(r"`([^`\n]+)`", text) if _PROGRAM.match(span) and _complete(span)]


def _complete(span: str) -> bool:
    words = arguments_of(span)
    if not words or words[0] not in COMMANDS:
        return words is None or bool(words)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            build_parser(words[0]).parse_args(words[1:])
    except SystemExit:
        return False
    return True


def arguments_of(command: str) -> list[str] | None:
    """The words after `rgbx`, in whichever way it is called; None of another program."""
    words = shlex.split(re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command))
    if words[0] == "rgbx":
        return words[1:]
    if words[:3] == ["python", "-m", "rgbx"]:
        return words[3:]
    if words[0] == "python" and (tool := re.fullmatch(r"tools/(\w+)\.py", words[1])):
        return [tool[1].replace("_", "-"), *words[2:]]
    return None


def run_by_page_tests(page: str) -> list[str]:
    """Those commands of a page's blocks that a test in `OWN` runs."""
    return [command for name, first, last in OWN.values() if name == page for command in in_blocks(page)[first:last]]

"""How a package is built: lengths, shapes told, `Any`, names, circles, and the files that one prediction enters.

All but the last row is read with `ast`, so any package can be measured and nothing of it runs:

    python benchmarks/house.py                             # this checkout
    python benchmarks/house.py --package PATH/TO/kornia    # another package, or another checkout's rgbx
    python benchmarks/house.py --trace                     # the files of one prediction, in order of their first entry

What the rows count:

- A function's length is that of its source from ``def`` to its end, without the docstring; a file's that of ``wc -l``.
- A tensor argument is annotated with `Tensor` or `ndarray`, also in a container. Its shape is told by a comment on its
  own line, by its entry under ``Args:``, or, where it is the only one, before the sections of the docstring; a shape
  stands in brackets, [N, C, H, W], a range such as [0, 1] is none.
- `Any` arguments: annotations that contain it; ``*args`` and ``**kwargs`` are not counted.
- Public names are functions and classes at the top of a file without a leading underscore.
- Circles are groups of files that import each other while they load; imports inside functions are those of the package.
- One prediction is ``Predictor(model)(batch)``, warm, on RGB and depth with plain-torch operators. A file is entered
  when a function of it is called while another file's was called last.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType

import torch

ROOT = Path(__file__).resolve().parents[1]
SHAPE = re.compile(r"(?<![\w\])`])\[(?![-0±])[^\[\]\"']*\]")
SECTIONS = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Source|Keyword Args):", re.MULTILINE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Source:
    """One Python file of a package."""

    path: Path
    name: str  # of the module, dotted

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def comments(self) -> dict[int, str]:
        """Line number to the comment at its end."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}

    @property
    def functions(self) -> Iterator[Function]:
        """All of them, methods and inner functions too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    @property
    def public(self) -> Iterator[str]:
        """Functions and classes at the top of the file."""
        definitions = (node for node in self.tree.body if isinstance(node, Function | ast.ClassDef))
        return (node.name for node in definitions if not node.name.startswith("_"))


@dataclass
class Argument:
    """An annotated argument; `told` says whether a tensor's shape can be read where it is declared."""

    file: Path
    function: str
    name: str
    annotation: str
    told: bool

    @property
    def is_tensor(self) -> bool:
        return bool(re.search(r"\b(Tensor|ndarray|NDArray)\b", self.annotation))

    @property
    def is_any(self) -> bool:
        return bool(re.search(r"\bAny\b", self.annotation))


def read_package(package: Path) -> list[Source]:
    """The files of a package, given by its folder; a folder inside a package keeps the package's name in front."""
    package = package.resolve()
    if not (package / "__init__.py").is_file():
        raise ValueError(f"{package} is no package: there is no __init__.py")
    top = package.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    return [Source(path, _module_name(path.relative_to(top))) for path in sorted(package.rglob("*.py"))]


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def function_length(function: Function) -> int:
    """Lines from ``def`` to the end, without those of the docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
    return lines


def arguments(source: Source) -> Iterator[Argument]:
    """Annotated arguments of all functions of a file, without ``*args`` and ``**kwargs``."""
    for function in source.functions:
        found = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        annotated = {arg: ast.unparse(arg.annotation) for arg in found if arg.annotation is not None}
        docstring = ast.get_docstring(function) or ""
        made = [
            Argument(source.path, function.name, arg.arg, text, _told_at(source, arg) or _told_in(docstring, arg.arg))
            for arg, text in annotated.items()
        ]
        tensors = [argument for argument in made if argument.is_tensor]
        if len(tensors) == 1 and SHAPE.search(SECTIONS.split(docstring)[0]):
            tensors[0].told = True
        yield from made


def _told_at(source: Source, arg: ast.arg) -> bool:
    """Whether a comment on the argument's own line has a shape."""
    start = source.text.splitlines()[arg.lineno - 1].lstrip(" *")
    lines = range(arg.lineno, (arg.end_lineno or arg.lineno) + 1)
    return start.startswith(arg.arg) and any(SHAPE.search(source.comments.get(line, "")) for line in lines)


def _told_in(docstring: str, name: str) -> bool:
    """Whether the argument's entry under Args has a shape."""
    entry = re.search(rf"^ +{name}\b[^:\n]*:.*(?:\n {{8,}}.*)*", docstring, re.MULTILINE)
    return entry is not None and SHAPE.search(entry[0]) is not None


def imports(source: Source, *, inside: bool = False) -> Iterator[tuple[str, str | None]]:
    """(module, name or None) of the imports that run while a file loads; or of those `inside` functions."""
    scopes = [node for function in source.functions for node in ast.walk(function)]
    hidden = {id(node) for node in scopes}
    for test in (node for node in ast.walk(source.tree) if isinstance(node, ast.If)):
        if ast.unparse(test.test).endswith("TYPE_CHECKING"):
            hidden |= {id(node) for part in test.body for node in ast.walk(part)}
    seen = scopes if inside else [node for node in ast.walk(source.tree) if id(node) not in hidden]
    for node in {id(node): node for node in seen}.values():
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((_absolute(source, node), alias.name) for alias in node.names)


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = source.name.split(".")
    above = node.level - (source.path.stem == "__init__")
    return ".".join([*parts[: len(parts) - above], *filter(None, [node.module])])


def import_circles(sources: Sequence[Source]) -> list[set[str]]:
    """Groups of files each of which reaches every other by imports that run while it loads."""
    names = {source.name for source in sources}
    edges: dict[str, set[str]] = {}
    for source in sources:
        pairs = ((module, f"{module}.{name}") for module, name in imports(source))
        edges[source.name] = {full if full in names else module for module, full in pairs} & names - {source.name}
    reached = {name: _reachable(name, edges) for name in names}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in names}
    return sorted((set(group) for group in groups if len(group) > 1), key=sorted)


def _reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    found, waiting = set[str](), [start]
    while waiting:
        new = edges[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def imports_inside_functions(sources: Sequence[Source]) -> list[tuple[Path, str]]:
    """(file, module) of imports that run only when a function is called, of the package or of others."""
    return [(source.path, module) for source in sources for module, _ in imports(source, inside=True)]


def table(package: Path) -> dict[str, str]:
    """The rows that need nothing to run."""
    sources = read_package(package)
    top = sources[0].name.split(".")[0]
    lengths = sorted(function_length(function) for source in sources for function in source.functions)
    files = [len(source.text.splitlines()) for source in sources]
    lines, filled = sum(files), sum(bool(line.strip()) for source in sources for line in source.text.splitlines())
    found = [argument for source in sources for argument in arguments(source)]
    tensors = [argument for argument in found if argument.is_tensor]
    told = sum(argument.told for argument in tensors)
    inside = [module for _, module in imports_inside_functions(sources) if module.split(".")[0] == top]
    public = sum(len(list(source.public)) for source in sources)
    median, p90 = statistics.median(lengths), lengths[len(lengths) * 9 // 10]
    return {
        "function median / p90 / max": f"{median:.0f}/{p90}/{lengths[-1]}",
        "file median / max": f"{statistics.median(files):.0f}/{max(files):,}",
        "tensor arguments with a shape told": f"{told / max(len(tensors), 1):.0%} ({told} of {len(tensors)})",
        "`Any` arguments": str(sum(argument.is_any for argument in found)),
        "public names per 1,000 lines": f"{1000 * public / lines:.1f}",
        "functions per 1,000 lines": f"{1000 * len(lengths) / lines:.0f}",
        "import circles / imports inside functions": f"{len(import_circles(sources))}/{len(inside)}",
        "lines / without blank ones / files": f"{lines:,}/{filled:,}/{len(files)}",
    }


def trace_prediction() -> list[str]:
    """The file of every call of one warm prediction, in order, as paths inside the rgbx that is imported."""
    models = importlib.import_module("rgbx.models")
    folder = str(Path(str(models.__file__)).parents[1]) + os.sep
    model = models.multimodal_segmentor(modalities=("rgb", "depth"), num_classes=5, backbone="resnet10t").eval()
    batch = {"rgb": torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "depth": torch.ones(1, 1, 64, 64)}
    models.Predictor(model)(batch)
    calls: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(folder):
            calls.append(frame.f_code.co_filename.removeprefix(folder))

    sys.setprofile(note)
    try:
        models.Predictor(model)(batch)
    finally:
        sys.setprofile(None)
    return calls


def trace_apart(package: Path = ROOT / "rgbx") -> list[str]:
    """`trace_prediction` of a checkout's rgbx, in a process of its own and with plain-torch operators."""
    environment = os.environ | {"PYTHONPATH": str(package.resolve().parent), "RGBX_OPS": "reference"}
    command = [sys.executable, __file__, "--calls"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def entries(calls: Sequence[str]) -> list[str]:
    """The files in the order in which they are entered, each as often as that happens."""
    return [name for name, _ in itertools.groupby(calls)]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table, or what a prediction enters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, default=ROOT / "rgbx", help="folder of the package")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument("--trace", action="store_true", help="list the files that one prediction enters, and how often")
    parser.add_argument("--calls", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.calls:
        print(json.dumps(trace_prediction()))
        return 0
    entered = entries(trace_apart(options.package)) if options.package.resolve().name == "rgbx" else []
    rows = table(options.package)
    rows["files entered by one prediction (moves)"] = f"{len(set(entered))} ({len(entered)})" if entered else "–"
    if options.trace:
        rows = {name: str(entered.count(name)) for name in dict.fromkeys(entered)}
    width = max(map(len, rows))
    if options.markdown:
        print("| | |\n|---|---|")
    print("\n".join(f"| {k} | {v} |" if options.markdown else f"{k:{width}}  {v}" for k, v in rows.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

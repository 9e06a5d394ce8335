"""Tests the weights that a paper's authors published, by the paper's protocol, beside the scores that it states."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from rgbx._text import one_of, text_table
from rgbx.cli import evaluate
from rgbx.cli.arguments import shipped_configs
from rgbx.cli.errors import ConfigError, command
from rgbx.convert import convert_asymfusion
from rgbx.convert.published import PUBLISHED, Published
from rgbx.evaluate.result import headline, read_result
from rgbx.maps.files import file_hash
from rgbx.tasks import ENSEMBLE


@command("reproduce")
def main(arguments: argparse.Namespace) -> int:
    """Lists, says what is to be had, or tests; exit code 0, 2 for a user's error."""
    if arguments.name is None:
        print(_listed())
        return 0
    if arguments.name not in PUBLISHED:
        raise ConfigError(f"{arguments.name!r} is not known; expected one of {one_of(PUBLISHED, arguments.name)}")
    published = PUBLISHED[arguments.name]
    if arguments.weights is None:
        print(_needed(arguments.name, published))
        return 0
    _check_digest(arguments.weights, arguments.sha256 or published.sha256)
    work_dir = Path(arguments.work_dir or Path("work_dirs", "reproduce", arguments.name))
    checkpoint, results = work_dir / "converted.pth", work_dir / "results.json"
    work_dir.mkdir(parents=True, exist_ok=True)
    model, report = convert_asymfusion(
        arguments.weights,
        checkpoint,
        modalities=("rgb", "depth"),
        num_classes=40,
        network=published.network,
        trust=arguments.trust,
        overwrite=True,
    )
    found = (model.recipe or {})["parameters"]["backbone"]["name"]
    if found != f"resnet{published.depth}":
        checkpoint.unlink()
        raise ConfigError(f"{arguments.weights} holds a {found}; {arguments.name} is a resnet{published.depth}")
    print(f"{len(report.used)} tensors of {arguments.weights} are used, {len(report.unused)} are not.", flush=True)
    words = [str(shipped_configs() / published.config), str(checkpoint), "--protocol", published.protocol]
    words += ["--model-from", "checkpoint"]
    words += ["--work-dir", str(work_dir / "test"), "--json", str(results)]
    words += ["--data-root", str(arguments.data_root)] if arguments.data_root else []
    if code := evaluate.main(words):
        return code
    print(_compared(published, results))
    return 0


def _check_digest(file: Path, expected: str) -> None:
    """Says which file it is; refuses another than is expected."""
    digest = file_hash(file)
    if expected and digest != expected.lower():
        raise ConfigError(f"{file} has the SHA-256 {digest}, expected {expected}: it is another file, or damaged")
    told = "as expected" if expected else "which nobody has noted yet: compare it with that of others, or --sha256"
    print(f"{file}: SHA-256 {digest}, {told}")


def _listed() -> str:
    rows = [
        [name, *_cells(each.scores), "yes" if each.weights.startswith("http") else "no"]
        for name, each in PUBLISHED.items()
    ]
    return f"{text_table(['name', *_NAMES, 'weights published'], rows)}\n`rgbx reproduce NAME` says what it needs."


_NAMES = ("mIoU", "mAcc", "aAcc")


def _cells(scores: Mapping[str, float]) -> list[str]:
    return [f"{scores[name]:.1f}" if name in scores else "" for name in _NAMES]


def _needed(name: str, published: Published) -> str:
    stated = ", ".join(f"{score} {value:.1f}" for score, value in published.scores.items())
    return (
        f"{name}: {stated} (%, protocol {published.protocol})\n"
        f"source:  {published.source}\n"
        f"weights: {published.weights}\n"
        f"data:    {published.data}\n"
        f"then:    rgbx reproduce {name} --weights FILE --data-root data/nyudv2"
    )


def _compared(published: Published, results: Path) -> str:
    """Found and published, side by side."""
    found = read_result(results)
    (head,) = found["heads"].values()
    scores = headline(head).predictions[ENSEMBLE]
    rows = []
    for name, stated in published.scores.items():
        value = 100 * float(scores[name])
        rows.append([name, f"{value:.2f}", f"{stated:.1f}", f"{value - stated:+.2f}"])
    images = len(head["images"])
    table = text_table(["score (%)", "found", "published", "difference"], rows)
    return f"{table}\n{images} images, protocol {published.protocol}; {published.source}\n{results} has the rest."

"""The opening and the end of a report: the headline, and where the numbers come from."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePosixPath
from typing import Any

from rgbx.evaluate.result_reading import ENSEMBLE, Result, headline, look_up
from rgbx.report import tables
from rgbx.report.markup import Draw, percent, percent_cell, sortable_table, text_cell

ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth", 8: "eighth", 10: "tenth"}
ENDINGS = {1: "st", 2: "nd", 3: "rd"}


def title(result: Result) -> str:
    """Config and dataset, "asymfusion_r18 on NYUDv2Folders"."""
    return f"{PurePosixPath(result['config']['file']).stem} on {result['dataset']['type']}"


def stated_share(images: int, every: int) -> str:
    """How many images were evaluated: "164 images, every fourth of the split"."""
    text = f"{images:,} {'image' if images == 1 else 'images'}".replace(",", "\u2009")
    return text if every == 1 else f"{text}, every {ordinal(every)} of the split"


def ordinal(number: int) -> str:
    """4 as "fourth", for small numbers, else "32nd"."""
    ending = "th" if number // 10 % 10 == 1 else ENDINGS.get(number % 10, "th")
    return ORDINALS.get(number, f"{number}{ending}")


def summary(result: Result, heading: str) -> str:
    """Title, the one number with what it means, the other scores, and one row per prediction."""
    subset, predictions = headline(result)
    images = stated_share(len(result["images"]), result["dataset"]["every"])
    facts = [
        ("Protocol", result["protocol"]["name"]),
        ("Prediction", f"ensemble of {listed(subset)}" if "+" in subset else subset),
        ("Evaluated", images),
        ("Checkpoint", PurePosixPath(result["checkpoint"]["file"]).name),
    ]
    table = tables.prediction_table(result)
    for row in table.rows:
        row["prediction"] = row["prediction"].replace("_", " ")
    draws = score_draws(table, {"prediction": text_cell("prediction")})
    return (
        f'<p class="kind">Segmentation result</p>\n<h1>{_breakable(heading)}</h1>\n'
        f'<div class="headline"><p class="figure"><b>{percent(predictions[ENSEMBLE]["mIoU"])}</b>'
        f"<span>% mean IoU</span></p>\n{_facts(facts)}</div>\n"
        f"{sortable_table(table, draws, caption='Scores of every prediction, in percent')}"
        f'<p class="note">All numbers are percentages. IoU: intersection over union of a class. '
        f"{_absent(result)} Weighted IoU weighs classes by their true pixels.</p>\n"
    )


def _absent(result: Result) -> str:
    if look_up(result, "protocol.absent") == "zero":
        return "Means count classes that are in neither truth nor prediction as 0."
    return "Means skip classes that are in neither truth nor prediction."


def provenance(result: Result) -> str:
    """Protocol, files, versions and machine."""
    protocol = [(key.replace("_", " "), _plain(value)) for key, value in result["protocol"].items()]
    dataset = result["dataset"]
    files = [
        ("config", result["config"]["file"]),
        ("config sha256", look_up(result, "config.sha256")),
        ("checkpoint", result["checkpoint"]["file"]),
        ("checkpoint sha256", result["checkpoint"]["sha256"]),
        ("dataset", f"{dataset['type']}, {len(dataset['classes'])} classes"),
        ("fingerprint", dataset["fingerprint"]),
        ("images", stated_share(len(result["images"]), dataset["every"])),
        ("precision", result.get("dtype")),
    ]
    speed = result.get("speed") or {}
    made = [
        ("date", result.get("date")),
        ("machine", result.get("machine")),
        ("versions", ", ".join(f"{name} {version}" for name, version in (result.get("versions") or {}).items())),
        ("speed", f"{speed['images_per_second']:.1f} images/s" if speed.get("images_per_second") else None),
        ("share of the metrics", f"{percent(speed['metric_share'])} %" if speed.get("metric_share") else None),
    ]
    groups = [("Protocol", protocol), ("Data and model", files), ("Measured", made)]
    blocks = [f"<div><h3>{heading}</h3>{_facts(facts)}</div>" for heading, facts in groups]
    return f'<div class="provenance">{"".join(blocks)}</div>\n'


def score_draws(table: tables.Table, start: dict[str, Draw]) -> dict[str, Draw]:
    """`start`, then every score that at least one row has."""
    rest = [key for key in tables.SCORES if key not in start and any(row[key] is not None for row in table.rows)]
    return {**start, **{key: percent_cell(key) for key in rest}}


def _facts(facts: Sequence[tuple[str, Any]]) -> str:
    pairs = [f"<div><dt>{escape(key)}</dt>{_fact(key, str(value))}</div>" for key, value in facts if value]
    return f'<dl class="facts">{"".join(pairs)}</dl>'


def _fact(key: str, value: str) -> str:
    name = ' class="hash"' if key.endswith(("sha256", "fingerprint")) else ""
    return f"<dd{name}>{_breakable(value)}</dd>"


def _breakable(text: str) -> str:
    """Escaped, with places where long file names may break."""
    return escape(text).replace("_", "_<wbr>").replace("/", "/<wbr>")


def listed(subset: str) -> str:
    """ "rgb+depth" as "rgb + depth"."""
    return subset.replace("+", " + ")


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return ", ".join(map(_plain, value)) if isinstance(value, (list, tuple)) else str(value)

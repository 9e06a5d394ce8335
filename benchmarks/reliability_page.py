"""docs/reliability.md and its picture, of what `benchmarks/reliability.py` has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rgbx._text import markdown_rows

ABOUT = """# What survives, and what bad input does

What a training, a study or a preparation has done is not lost, whatever ends it: after a kill, a signal, a full disk
or a damaged file the same command goes on, and comes to the same result to the last bit, or says in one sentence what
is wrong and which checkpoint is intact. This page is written by a script that does all of that to the real commands:

    python benchmarks/reliability.py          # what is not kept yet
    python benchmarks/reliability.py kills    # one of its scenarios anew

"Equal" means: every tensor of the last checkpoints and of the best one (weights, their average, optimizer, schedules)
has the same bits as in a run that nothing disturbed, the folder has the same checkpoints and no part of a file, and no
process lives on; of a damaged folder the last checkpoint alone is compared, as others may be missing. The networks are
small and the frames rendered; commands, files and moments are real. How it works:
[training](training.md#interrupting-and-resuming), [studies](studies.md), [datasets](datasets.md). What may come from
people whom one does not trust: [security](security.md).
"""
TITLES = {
    "kills": (
        "Killed",
        """A training of three epochs of 8 steps, with two loader workers, kills itself by SIGKILL at a step, in a
validation, or while a checkpoint is half written, written but not under its name, or under its name but not noted;
then `--resume`. Segmentation is in bfloat16 with accumulated gradients and an average of the weights; translation has a
discriminator; two heads are classes and normals on one backbone, with an average. State is saved every 3 steps.""",
    ),
    "two processes": ("Several processes", "Two processes (gloo) train the first of these; then both resume."),
    "signals": (
        "Asked to end",
        "What `kill`, a closed terminal and Slurm send, at three steps and in a validation, to each of the three.",
    ),
    "disks": ("Disks", "What ends in a sentence leaves no part of a file, and names the newest intact checkpoint."),
    "folders": (
        "Work directories",
        "Trainings that were killed in their third epoch are copied, moved or damaged, and resumed.",
    ),
    "studies": (
        "Studies",
        """A study of two methods is killed by SIGKILL and called again; its table is compared byte for byte, the
weights bit for bit.""",
    ),
    "preparations": (
        "Prepared data",
        """`rgbx prepare` is killed before every change that it makes to the disk (a file opened to be written, renamed
or removed, a folder made) and called again; the folder is compared byte for byte with an undisturbed one.""",
    ),
    "long run": ("Long runs", ""),
    "lists": (
        "Long lists",
        """A list is a block of text with the places of its lines, and a frame is made when it is asked for; the workers
of a loader share the block.""",
    ),
}
BAD_INPUT = """## Bad input

Whatever a file, a list or an option holds, it is read as what it is, or refused by a `ValueError` or an `OSError` whose
message names the file: no other exception, no wait without end, no memory without bound.

`tests/fuzz` holds that to account. For each door by which files and text come in it makes small valid ones, changes
them (bits, fields at their limits, cuts, doubled and moved parts; chunks of a PNG and members of an archive with right
checksums; values, keys and types of TOML, JSON and checkpoints; lines, encodings and odd characters of text), and
asserts for each input that what leaves is such a refusal, within 2 s and 1 GB. `make test` tries {inputs:,} inputs, the
same ones each time; this tries ten times as many, others each time, and prints the figures:

    RGBX_FUZZ=10 python -m pytest tests/fuzz -s

`refused` is the share of the inputs, `memory` what the whole door took beyond its start.

"""
AFTER = """
A kept frame that is damaged is read anew from its files, so it is hardly ever refused.
"""
SHOWN = {
    "rss": "main process, MB",
    "workers": "its two workers, MB",
    "files": "open files",
    "shared": "shared memory, MB",
}


def page(found: Mapping[str, Any]) -> str:
    """The page, of what is kept by scenario."""
    parts = [ABOUT]
    for name, (title, text) in TITLES.items():
        if name in found:
            shown = (_long_run if name == "long run" else _table)(found[name]["rows"])
            parts.append("\n\n".join(filter(None, (f"## {title}", text, shown))))
    if "bad input" in found:
        rows = found["bad input"]["rows"]
        cells = [(r["door"], f"{r['inputs']:,}", r["refused"], r["slowest"], r["memory"]) for r in rows]
        table = _markdown(("door", "inputs", "refused", "slowest", "memory"), cells)
        parts.append(f"{BAD_INPUT.format(inputs=sum(r['inputs'] for r in rows))}{table}\n{AFTER}")
    machines = sorted({f"{each['machine']}, {each['date']}" for each in found.values()})
    parts.append(f"Measured on {'; '.join(machines)}.\n")
    return "\n".join(parts)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_rows([header, ["---"] * len(header), *rows])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [(r["what"], str(r["tries"]), r["outcome"]) for r in rows]
    told = _markdown(("what", "times", "what became of it"), cells)
    delays = [r for r in rows if "resume_s" in r]
    if not delays:
        return f"{told}\n"
    median, slowest = (max(r[name] for r in delays) for name in ("resume_s", "slowest_resume_s"))
    return (
        f"{told}\n\nFrom the command to its first step a resumed run took {median:.2f} s longer than a new one (the\n"
        f"median of the slowest of the three), {slowest:.2f} s at most. Of the steps that were made, at most\n"
        f"{max(r['steps_again'] for r in delays)} had to be made again.\n"
    )


def _long_run(rows: Sequence[Mapping[str, Any]]) -> str:
    (found,) = rows
    slopes = [(SHOWN[key], f"{slope:+.2f} ± {error:.2f}") for key, (slope, error) in found["slopes"].items()]
    table = _markdown(("", "change over 10,000 steps, beyond the first 2,000"), slopes)
    return (
        f"{found['what']}: {found['outcome']}. Logs, scalars and pictures of it\nhave {found['logs_mb']:.1f} MB, its "
        f"last checkpoint {found['checkpoint_mb']:.1f} MB.\n\n{table}\n\n"
        "![Memory, open files and shared memory over 20,000 steps](images/reliability.png)\n"
    )


def draw(found: Mapping[str, Any], path: Path) -> None:
    """The plot of the long run."""
    (run,) = found["long run"]["rows"]
    series = run["series"]
    figure = Figure(figsize=(8, 6), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(2, 2).flat, SHOWN.items(), strict=True):
        axes.plot(series["step"], series[key], linewidth=1)
        axes.set_ylim(0, 1.25 * max([*series[key], 1]))
        axes.set_xlabel("step")
        axes.set_title(label, fontsize="medium")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)

"""A checkpoint as a folder with a model card, and the folder onto the Hugging Face hub.

The card says what follows from the checkpoint and from result files of `rgbx test`; nothing in it is typed. Its front
matter is what the hub reads (huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

from rgbx._runs import DESCRIPTION, HUB, WEIGHTS
from rgbx._text import markdown_rows, modality_title
from rgbx._types import Options, State
from rgbx.convert.slim import KEPT
from rgbx.evaluate.comparison import headline_interval
from rgbx.evaluate.result import headline, read_result, score_table, shown, titled
from rgbx.evaluate.result_form import HeadResult, Result
from rgbx.maps import STANDARD_MAPS
from rgbx.maps.files import file_hash, replace_file
from rgbx.models import MultimodalModel
from rgbx.models.checkpoint import model_weights, read_checkpoint, to_plain
from rgbx.models.folder import write_folder
from rgbx.models.load import fit, model_of, without_objectives
from rgbx.models.recipe import upgrade_tensors
from rgbx.tasks import ENSEMBLE, Classes, Embedding, Map, Task

CARD = "README.md"
FILES = (WEIGHTS, DESCRIPTION, CARD)
LIBRARY = "rgbx"
LOG_IN = "the hub does not know who you are: log in (hf auth login), or set HF_TOKEN to a token that may write"
NO_SCORES = "No result file was given, so none stand here."
DEPTHS = ("metre", "millimetre", "relative")  # units of what a map of distances is in


def save_model(
    source: str | Path,
    folder: str | Path,
    *,
    results: Sequence[str | Path] = (),
    license_name: str | None = None,
    name: str = "",
    trust: bool = False,
    overwrite: bool = False,
) -> Path:
    """Writes a checkpoint as a folder: `model.safetensors`, `config.json` and a card, `README.md`.

    Weights keep the type that they have in the checkpoint; what only a training needs is left out.

    Args:
        source: a checkpoint of rgbx, or the weights of such a folder.
        folder: to write; files of other names that lie there stay.
        results: result files of `rgbx test`, of this very checkpoint, that the card tells.
        license_name: as the hub names licenses, such as "mit".
        name: by which the card says to load it; the folder's own by default, without the path to it.
        trust: unpickle arbitrary objects of `source`; such a file can run any code.
        overwrite: replace the three files where they are there.

    Returns:
        The folder.

    Raises:
        FileExistsError: one of the files is there, or is the source.
        NotADirectoryError: `folder` is a file.
        FileNotFoundError: no such checkpoint or result file.
        ValueError: as `rgbx.load`, or a result file of another checkpoint.
    """
    source, folder = Path(source), Path(folder)
    check_folder(source, folder, overwrite=overwrite)
    state = read_checkpoint(source, trust=trust)
    model = model_of(state, source)
    found = [read_own_result(path, source, state) for path in results]
    recipe: Options = model.recipe or {}
    tensors = without_objectives(upgrade_tensors(state["model"], model_weights(state, source)))
    kept = {name: tensors.get(name, x) for name, x in fit(model, tensors, source).items()}
    meta = state.get("meta")
    meta = {key: meta[key] for key in KEPT if key in meta} if isinstance(meta, dict) else {}
    card = model_card(model, found, name=name or folder.resolve().name, license_name=license_name)
    write_folder(folder, kept, to_plain(recipe), to_plain(meta), origin_of(source, state))
    replace_file(folder / CARD, f"{card}\n".encode())
    return folder


def check_folder(source: Path, folder: Path, *, overwrite: bool) -> None:
    """Refuses to write over files; raises as `save_model`."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; expected a folder to write, or none yet")
    there = [folder / name for name in FILES if (folder / name).exists()]
    own = [path for path in there if source.exists() and path.samefile(source)]
    if own or (there and not overwrite):
        advice = "choose another folder" if own else "choose another folder, or pass --overwrite"
        raise FileExistsError(f"{(own or there)[0]} is there already: {advice}")


def origin_of(source: Path, state: State) -> dict[str, str]:
    """Name and SHA-256 of the checkpoint that a model's folder was made of: of such a folder what it says itself."""
    said = state.get("source")
    if isinstance(said, dict) and all(isinstance(said.get(key), str) for key in ("file", "sha256")):
        return {key: said[key] for key in ("file", "sha256")}
    return {"file": source.name, "sha256": file_hash(source)}


def read_own_result(path: str | Path, source: Path, state: State) -> Result:
    """A result file, which must be of this checkpoint.

    Raises:
        FileNotFoundError, ValueError: see `rgbx.evaluate.result.read_result`; or it is of another file.
    """
    result = read_result(path)
    measured = result["checkpoint"]["sha256"]
    if measured not in (file_hash(source), origin_of(source, state)["sha256"]):
        raise ValueError(
            f"{path} was measured on another checkpoint than {source}: on {result['checkpoint']['file']} of SHA-256 "
            f"{measured[:12]}...; `rgbx test` measures this one"
        )
    return result


# --- the card --------------------------------------------------------------------------------------------------------


def model_card(
    model: MultimodalModel, results: Sequence[Result], *, name: str, license_name: str | None = None
) -> ModelCard:
    """The card of a model.

    Args:
        model: whose `trained_on` says of which dataset it is.
        results: of this model.
        name: a folder, or "hf-hub:OWNER/NAME", by which it is loaded.
        license_name: as the hub names licenses.
    """
    title = Path(name).name or "model"
    tasks = model.tasks
    data = ModelCardData(
        library_name=LIBRARY,
        license=license_name,
        pipeline_tag=_pipeline(next(iter(tasks.values()))),
        tags=[LIBRARY, "dense-prediction", "multimodal", *model.modalities],
        model_name=title,
        eval_results=[entry for result in results for entry in _eval_results(result, tasks)] or None,
    )
    parts = [
        f"# {title}",
        _purpose(model),
        "## What it takes",
        _inputs(model),
        "## What it gives",
        "\n".join(f"- `{head}`: {_gives(task, model)}" for head, task in tasks.items()),
        "## Use",
        _use(model, name),
        "## Scores",
        "\n\n".join("\n\n".join(parts) for result in results for parts in score_tables(result)) or NO_SCORES,
        "## Size",
        _size(model),
        "## Limits",
        _limits(model, results),
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts))


def _pipeline(task: Task) -> str:
    """The task by the hub's name."""
    if isinstance(task, Classes):
        return "image-segmentation"
    if isinstance(task, Embedding):
        return "image-feature-extraction"
    is_depth = isinstance(task, Map) and task.unit in DEPTHS and task.channels == 1
    return "depth-estimation" if is_depth else "image-to-image"


def _eval_results(result: Result, tasks: dict[str, Task]) -> Iterator[EvalResult]:
    """What the hub shows of a result file: the ensemble's scores for each set of modalities."""
    dataset = result["dataset"].get("folder") or result["dataset"]["type"]
    for name, head in result["heads"].items():
        for given, predictions in head["subsets"].items():
            for score in score_table(head):
                if (value := predictions[ENSEMBLE].get(score.name)) is not None:
                    yield EvalResult(
                        task_type=_pipeline(tasks[name]) if name in tasks else "other",
                        dataset_type=result["dataset"]["type"],
                        dataset_name=dataset,
                        metric_type=score.name,
                        metric_name=f"{score.name} of {name}, given {given}, protocol {result['protocol']['name']}",
                        metric_value=value,
                        metric_args={"given": given, "protocol": result["protocol"]["name"], "unit": score.unit},
                    )


def _purpose(model: MultimodalModel) -> str:
    maps = " + ".join(map(modality_title, model.modalities))
    also = (
        ""
        if len(model.modalities) == 1
        else " Any of these maps may be missing; what is there goes through the same weights."
    )
    return f"A network of rgbx for dense prediction from {maps}.{also}"


def _inputs(model: MultimodalModel) -> str:
    rows = [["map", "unit", "in the files of its training"], ["---"] * 3]
    stored = model.trained_on.get("stored", {})
    maps = {**STANDARD_MAPS, **model.trained_on.get("maps", {})}
    for name in model.modalities:
        words = ", ".join(f"{key} = {value}" for key, value in (stored.get(name) or {}).items())
        rows.append([f"`{name}`", maps[name].unit if name in maps else "not told", words or "as it is"])
    otherwise = "Files that hold a map otherwise need `--map NAME scale=...`; 0 and NaN of depth are not measured."
    return f"{markdown_rows(rows)}\n\n{otherwise}"


def _gives(task: Task, model: MultimodalModel) -> str:
    if isinstance(task, Classes):
        names = model.trained_on.get("classes", ())
        listed = f": {', '.join(names)}" if len(names) == task.channels else ""
        return f"one of {task.channels} classes for every pixel{listed}"
    if isinstance(task, Map):
        return f"a map, {task.target}, in the unit {task.unit}"
    return "codes to search by" if isinstance(task, Embedding) else task.kind


def _use(model: MultimodalModel, name: str) -> str:
    given = ", ".join(f'{each}="{each}.png"' for each in model.modalities)
    words = " ".join(f"{each}={each}.png" for each in model.modalities)
    return (
        f'```python\nimport rgbx\n\nmodel = rgbx.load("{name}")\nresult = model.predict({given})\n```\n\n'
        f"```bash\nrgbx predict {name} {words} --out predictions\n```"
    )


def score_tables(result: Result) -> list[tuple[str, str]]:
    """What a result file says, as Markdown: for each head a sentence of how it was measured, and a table.

    The table has a row for each set of maps that was given; the sentence tells the interval of the first score.
    """
    return [(_measured(result, name, head), _score_table(head)) for name, head in result["heads"].items()]


def interval_text(result: Result, head: HeadResult) -> str:
    """The 95 % interval over the images of the first score of a head; "" where there is none."""
    ends = headline_interval(head, result["protocol"].get("absent", "skip"))
    return " to ".join(shown(headline(head).score, end) for end in ends) if ends else ""


def _measured(result: Result, name: str, head: HeadResult) -> str:
    data, score = result["dataset"], headline(head).score
    part = f" (1 in {data['every']})" if data["every"] > 1 else ""
    found = [
        f"{data['samples']} frames{part} of {data.get('folder') or data['type']}",
        f"protocol `{result['protocol']['name']}`",
        str(result.get("date") or "")[:10],
        f"rgbx {(result.get('versions') or {}).get('rgbx', 'of an unknown version')}",
    ]
    of = f"Head `{name}`: " if len(result["heads"]) > 1 else ""
    ends = interval_text(result, head)
    interval = f" 95 % interval of {score.name} over the images: {ends} {score.sign}".rstrip() + "." if ends else ""
    return f"{of}{', '.join(filter(None, found))}.{interval}"


def _score_table(head: HeadResult) -> str:
    table = [score for score in score_table(head) if score.name in headline(head).predictions[ENSEMBLE]]
    names = [f"{score.name}{f', {score.sign}' * bool(score.sign)}{' ↓' * score.lower}" for score in table]
    lines = [["given", *names], ["---", *("--:" for _ in table)]]
    for title, scores in titled(head["subsets"], head.get("hallucinated")).items():
        lines.append([title, *(shown(score, scores.get(score.name)) for score in table)])
    return markdown_rows(lines)


def _size(model: MultimodalModel) -> str:
    total = sum(x.numel() for x in model.parameters())
    return f"{total / 1e6:.2f} M parameters, backbone `{(model.recipe or {})['parameters']['backbone']['name']}`."


def _limits(model: MultimodalModel, results: Sequence[Result]) -> str:
    parameters: Options = (model.recipe or {})["parameters"]
    lines = [
        "Scores hold for frames like those they were measured on; of other cameras, places and sizes they say nothing."
    ]
    if len(model.modalities) > 1 and not (parameters.get("modality_dropout") or parameters.get("hallucinate")):
        lines.append("It was trained with all its maps always there: with one missing, expect much worse answers.")
    if any(result["checkpoint"].get("overlap") for result in results):
        lines.append("Some of the frames scored here also chose the checkpoint, so their scores are too good.")
    return "\n".join(f"- {line}" for line in lines)


# --- the hub ---------------------------------------------------------------------------------------------------------


def push_model(
    source: str | Path,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    results: Sequence[str | Path] = (),
    license_name: str | None = None,
    trust: bool = False,
    client: HfApi | None = None,
) -> str:
    """Uploads a checkpoint to the Hugging Face hub as a model's folder; one that is such a folder as it lies.

    Args:
        source: a checkpoint of rgbx, or the weights of a folder of `save_model`.
        repository: "OWNER/NAME", which is made where it is not there.
        private: whether the repository must be seen by its owner alone.
        revision: the branch that it goes to, which is made where it is not there; None for the main one.
        results, license_name: of the card, see `save_model`; a folder keeps its own card where neither is given.
        trust: see `save_model`.
        client: that speaks to the hub.

    Returns:
        Where it lies.

    Raises:
        PermissionError: no token, or one that may not write there.
        ConnectionError: the hub cannot be reached, or refuses what is sent.
        ValueError: `private`, but the repository is there and public; a folder that cannot be loaded; or see
            `save_model`.
    """
    source = Path(source)
    client = HfApi() if client is None else client
    with tempfile.TemporaryDirectory() as scratch:
        folder = source.parent
        if source.name != WEIGHTS or results or license_name or not (folder / CARD).is_file():
            name = f"{HUB}{repository}" + (f"@{revision}" if revision else "")
            folder = Path(scratch, "model")
            save_model(source, folder, results=results, license_name=license_name, name=name, trust=trust)
        else:
            model_of(read_checkpoint(source), source)  # what does not load here does so nowhere
        with _hub_errors(repository):
            client.create_repo(repository, private=True if private else None, exist_ok=True)
            if private and not client.repo_info(repository).private:
                raise ValueError(
                    f"{repository} is there already and public: make it private on the hub, or leave --private out"
                )
            if revision:
                client.create_branch(repository, branch=revision, exist_ok=True)
            done = client.upload_folder(
                repo_id=repository,
                folder_path=folder,
                allow_patterns=list(FILES),
                revision=revision,
                commit_message=f"A model of rgbx: {', '.join(FILES)}",
            )
    return str(getattr(done, "commit_url", "") or f"{HUB}{repository}")


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """What the hub's client raises, in a sentence."""
    try:
        yield
    except ValueError:
        raise
    except LocalTokenNotFoundError as error:
        raise PermissionError(f"{repository}: {LOG_IN}") from error
    except OfflineModeIsEnabled as error:
        raise ConnectionError(f"{repository} cannot be written: HF_HUB_OFFLINE is set") from error
    except Exception as error:  # each of the hub's HTTP libraries has its own
        code: Any = getattr(getattr(error, "response", None), "status_code", None)
        if code == 401:
            raise PermissionError(f"{repository}: {LOG_IN}") from error
        if code == 403:
            raise PermissionError(
                f"{repository}: the hub does not let your token write there; is it one that may write?"
            ) from error
        why = f"refused it ({code})" if code else f"cannot be reached ({type(error).__name__})"
        raise ConnectionError(f"{repository} is not written: the hub {why}") from error

"""Translates files or folders of maps with a trained checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import default_collate
from mmengine.registry import MODELS

from rgbx.cli.config import add_config_arguments, load_config, without_initial_weights
from rgbx.cli.errors import ConfigError, building, run_command
from rgbx.cli.translate_files import Job, list_jobs, parse_inputs
from rgbx.cli.translate_maps import MapFiles, map_files, parse_map, specs_in, stored_in
from rgbx.models import TranslationPredictor, Translator
from rgbx.models.checkpoint import config_hint, find_result, model_weights, read_checkpoint, to_plain
from rgbx.models.predictor import ENSEMBLE
from rgbx.models.translation_protocol import TRANSLATION_PROTOCOLS
from rgbx.transforms import PackSample


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 2 for a user's error, 130 for Ctrl-C."""
    return run_command(translate, argv)


def translate(argv: Sequence[str] | None = None) -> int:
    """Parses, builds, translates file after file."""
    arguments = _parser().parse_args(argv)
    inputs = parse_inputs(arguments.input)
    model, state = load_translator(arguments)
    model.use_modalities(inputs)
    if absent := [name for name in model.modalities if name not in inputs]:
        print(f"The model also takes {', '.join(absent)}, which --input does not give: translating without.")
    stored = stored_in(state)
    stored[model.target] = stored.get(model.target) or {}  # a PNG of the unit's defaults can be written anyway
    given = dict(parse_map(words) for words in arguments.map)
    files = map_files([*inputs, model.target], given, specs_in(state), stored)
    jobs = list_jobs(inputs, Path(arguments.out), overwrite=arguments.overwrite)
    predictor = TranslationPredictor(model, arguments.protocol)
    for job in jobs:
        files[model.target].write(job.out, translate_one(predictor, job, files, branch=arguments.branch))
    print(f"{len(jobs)} image{'s' if len(jobs) > 1 else ''} of {model.target} written: {arguments.out}")
    return 0


def load_translator(arguments: argparse.Namespace) -> tuple[Translator, Mapping[str, Any]]:
    """The config's model with the checkpoint's weights, in evaluation mode, and what else the checkpoint says.

    Raises:
        ConfigError: the config does not translate, or the checkpoint is of another model.
    """
    checkpoint = find_result(arguments.checkpoint)
    config = load_config(arguments.config, options=arguments.cfg_options)
    without_initial_weights(config)
    with building(arguments.config):
        model = MODELS.build(config.model)
    if not isinstance(model, Translator):
        raise ConfigError(f"{arguments.config} describes a {type(model).__name__}, not an image-to-image translation")
    state = read_checkpoint(checkpoint, trust=arguments.trust)
    try:
        model.load_state_dict(model_weights(state, checkpoint))
    except RuntimeError as error:
        raise ConfigError(
            f"checkpoint {checkpoint} does not fit the model of {arguments.config}: "
            f"{first_difference(model, state) or str(error).splitlines()[-1].strip()}{config_hint(checkpoint)}"
        ) from error
    return model.to(arguments.device).eval(), state


def first_difference(model: Translator, state: Mapping[str, Any]) -> str | None:
    """In which parameter of its builder a checkpoint's model differs from this one; None where neither says."""
    saved, own = ((recipe or {}).get("parameters", {}) for recipe in (state.get("model"), model.recipe))
    for name in (*own, *(name for name in saved if name not in own)):
        here, there = to_plain(own.get(name)), to_plain(saved.get(name))
        if here != there:
            return f"its {name} is {there!r}, the config's {here!r}."
    return None


def translate_one(
    predictor: TranslationPredictor, job: Job, files: Mapping[str, MapFiles], *, branch: str = ENSEMBLE
) -> np.ndarray:
    """One image of the target [H, W] or [H, W, 3], float32 in its unit, of the size of the inputs.

    Raises:
        ValueError: inputs of different sizes, or no such branch.
    """
    maps = {name: files[name].read(path) for name, path in job.files.items()}
    sizes = {str(job.files[name]): array.shape[:2] for name, array in maps.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{path} is {height}×{width}" for path, (height, width) in sizes.items())
        raise ValueError(f"the inputs must be registered and of one size: {found}")
    pack = PackSample(maps={name: files[name].spec for name in maps})
    batch = default_collate([pack({**maps, "sample_id": job.out.stem}, np.random.default_rng())])
    (sample,) = predictor(batch)
    if branch not in sample["prediction"]:
        raise ValueError(f"--branch {branch}: there is {', '.join(sample['prediction'])}")
    values: np.ndarray = sample["prediction"][branch].cpu().numpy().transpose(1, 2, 0)
    return values[..., 0] if values.shape[2] == 1 else values


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Translate registered maps to another map.")
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help="a checkpoint of the config's model, or a work directory")
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="MAP=PATH",
        help="any of the model's maps: all files, or all folders whose files share their stems",
    )
    parser.add_argument("--out", required=True, metavar="PATH", help="the PNG to write, or the folder of them")
    parser.add_argument("--overwrite", action="store_true", help="let files that are there be replaced")
    parser.add_argument(
        "--map",
        nargs="+",
        action="append",
        default=[],
        metavar=("MAP", "KEY=VALUE"),
        help="what the files of a map hold: value = stored / scale + add, of so many bits, in this unit; such as "
        "depth scale=5000 (1000, millimetres), thermal scale=100 add=-273.15, shade unit=relative bits=8, or "
        "depth unit=relative log=11.1; by default as in the files that the model was trained on",
    )
    parser.add_argument("--branch", default=ENSEMBLE, help="write the image of one modality instead of the ensemble's")
    parser.add_argument("--protocol", choices=sorted(TRANSLATION_PROTOCOLS), default="rgbx", help="(rgbx)")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="such as cpu or cuda:1"
    )
    return parser

"""What `tools/test.py` takes, and the config it makes of it."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from mmengine.config import Config

from rgbx.cli.config import add_config_arguments, load_config, without_initial_weights
from rgbx.cli.errors import ConfigError
from rgbx.cli.train import use_launcher
from rgbx.datasets import EveryKth
from rgbx.datasets.class_weights import equal_class_weights
from rgbx.models.protocol import PROTOCOLS, Protocol
from rgbx.models.translation_protocol import TRANSLATION_PROTOCOLS, TranslationProtocol

KNOWN_PROTOCOLS = {**PROTOCOLS, **TRANSLATION_PROTOCOLS}


def build_parser() -> argparse.ArgumentParser:
    """What tools/test.py understands."""
    parser = argparse.ArgumentParser(description="Evaluate a checkpoint on the test split.")
    add_config_arguments(parser)
    parser.add_argument(
        "checkpoint",
        help="a checkpoint of the config's model, or a work directory: its best checkpoint, or else its last",
    )
    parser.add_argument(
        "--modalities",
        nargs="+",
        default=[],
        metavar="A+B",
        help="subsets to evaluate in turn, such as: rgb+depth rgb (all modalities; with --robustness every subset)",
    )
    parser.add_argument(
        "--protocol",
        choices=sorted(KNOWN_PROTOCOLS),
        help="rules of the evaluation (the config's test_cfg.protocol, or rgbx); for translation rgbx or cen",
    )
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only every Kth frame of the test split (1)")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "auto"), help="mixed precision (off)")
    parser.add_argument("--boundary", action="store_true", help="also score the boundaries of the ensemble")
    parser.add_argument("--calibration", action="store_true", help="also score the confidence of the ensemble")
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="also damage each modality of the first subset: every corruption that suits it, at five severities",
    )
    parser.add_argument("--report", metavar="DIR", help="write report.html, results.json and CSV files there")
    parser.add_argument("--draw", metavar="DIR", help="write pictures of some samples there")
    parser.add_argument("--draw-count", type=int, default=4, metavar="N", help="how many (4)")
    parser.add_argument(
        "--json", metavar="FILE", help="write the result file there (results.json in the run's log directory)"
    )
    parser.add_argument(
        "--save-predictions",
        metavar="DIR",
        help="write the ensemble's labels under the first subset there, as PNGs in the dataset's own ids",
    )
    parser.add_argument("--overwrite", action="store_true", help="let --save-predictions replace files")
    return parser


def configure(arguments: argparse.Namespace, work_dir: Path) -> Config:
    """The config for a test run: no pretrained weights, no average of weights, no resuming.

    Raises:
        ConfigError: no test data, or arguments that cannot be followed.
    """
    config = load_config(arguments.config, options=arguments.cfg_options, data_root=arguments.data_root)
    if config.get("test_dataloader") is None:
        raise ConfigError(f"{arguments.config} has no test_dataloader")
    if arguments.every < 1:
        raise ConfigError(f"--every must be >= 1, found {arguments.every}")
    config.work_dir = str(arguments.work_dir or work_dir)
    use_launcher(config, arguments)
    without_initial_weights(config)
    if isinstance(config.model, dict):
        equal_class_weights(config.model)  # the checkpoint holds those that training counted
    config.load_from, config.resume, config.ema, config.visualizer = None, False, False, None
    if arguments.every > 1:
        whole = config.test_dataloader["dataset"]
        config.test_dataloader = {
            **config.test_dataloader,
            "dataset": dict(type=EveryKth, dataset=whole, every=arguments.every),
        }
    given = {"protocol": arguments.protocol, "dtype": arguments.dtype}
    config.test_cfg = {**(config.get("test_cfg") or {}), **{key: value for key, value in given.items() if value}}
    protocol = config.test_cfg.get("protocol", "rgbx")
    if not isinstance(protocol, (Protocol, TranslationProtocol)) and protocol not in KNOWN_PROTOCOLS:
        raise ConfigError(f"protocol {protocol!r} is not known; expected one of {', '.join(KNOWN_PROTOCOLS)}")
    return config


def given_subsets(arguments: argparse.Namespace) -> list[tuple[str, ...]]:
    """The subsets of modalities that `--modalities` names."""
    return [tuple(text.split("+")) for text in arguments.modalities]


def config_identity(arguments: argparse.Namespace) -> dict[str, str]:
    """The config's file, and the SHA-256 of what it resolves to, wherever its data and results lie."""
    resolved = load_config(arguments.config, options=arguments.cfg_options).pretty_text
    return {"file": str(arguments.config), "sha256": hashlib.sha256(resolved.encode()).hexdigest()}

"""What every command takes: read, and checked as far as files and names go, before torch is imported.

A command is an entry of `COMMANDS`; `main` of its module gets what `parse` returns.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import rgbx
from rgbx._choices import BENCHMARKS, CORRUPTIONS, PAINTS, PRECISIONS, SAVED, TRACKERS
from rgbx._files import existing_file, refuse_unwritable
from rgbx._protocol import PROTOCOLS
from rgbx._runs import HUB, config_hint, find_last, find_result, hub_name
from rgbx._text import nearest, nearest_file

WHOSE_MODEL = ("checkpoint", "config")
CONFIG, RECORD = "config.py", "plan.json"  # what planning a training writes
WEIGHTS = ("auto", "none", "timm")  # or a file
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
PLANNED: dict[str, Any] = {"budget": 3600.0, "modalities": None, "split": {}, "pretrained": "auto", "device": "auto"}
VIDEOS = (".mp4", ".avi", ".mkv", ".mov")
PICTURES = (".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")  # that results are not written as
EXECUTORS = {"local": "", "submitit": "slurm", "ray": "ray"}  # the extra that has the library of each
SEVERAL_PROCESSES = ("nodes=", "tasks_per_node=", "ntasks_per_node=")  # parameters of submitit
SUBMITTED, SHARDED = ("train", "test", "predict", "study"), ("test", "predict")  # commands of rgbx submit
SHOWN_KINDS = {"folder": "a folder", "list": "a list", "video": "a video", "file": "a file"}
PREDICTED = "predict.json"  # what a folder of predictions is of


class ConfigError(ValueError):
    """A config, or an option on the command line, that cannot be used."""


@dataclass(frozen=True)
class Command:
    """A command of `rgbx`.

    Attributes:
        purpose: what it is for, in the list of all commands.
        module: of `rgbx.cli`, whose `main` carries it out.
        example: the words of one command line, without `rgbx NAME`.
        add: adds its arguments to a parser.
        check: refuses what can be known to fail before the module is imported; raises as `main` would.
    """

    purpose: str
    module: str
    example: str
    add: Callable[[Parser], None]
    check: Callable[[argparse.Namespace], object] = lambda arguments: None


class Parser(argparse.ArgumentParser):
    """A parser that names the nearest option or choice where one is misspelt.

    Attributes:
        example: a command line, shown at the end of the help.
    """

    example = ""
    _given: Sequence[str] = ()

    def format_help(self) -> str:
        """The help, and the example in one line, however wide the terminal is."""
        return super().format_help() + (f"\nexample:\n  {self.example}\n" if self.example else "")

    def error(self, message: str) -> NoReturn:
        """Ends the process with one sentence; --help tells the rest."""
        if message.startswith("the following arguments are required"):
            message += self._unknown_option()
        self.exit(2, f"error: {message} ({self.prog} --help tells what it takes)\n")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, but what is left over is refused here, where this parser's options are known."""
        self._given = list(sys.argv[1:] if args is None else args)
        found, rest = super().parse_known_args(_with_names(self._given), namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}{nearest(rest[0].partition('=')[0], self._options)}")
        return found, rest

    @property
    def _options(self) -> list[str]:
        return [text for action in self._actions for text in action.option_strings]

    def _unknown_option(self) -> str:
        """The first option that was given and that there is not, as likely the one that is missing, for a message."""
        for word in self._given if self._subparsers is None else ():
            name = word.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in self._options):
                return f"; {name} is no option{nearest(name, self._options)}"
        return ""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            found = f"{value!r} is none of {', '.join(names)}{nearest(str(value), names)}"
            raise argparse.ArgumentError(action, found)


def _with_names(words: Sequence[str]) -> list[str]:
    """Words where each name after `--robustness`, of which there may be any number, has the option to itself."""
    found: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word != "--robustness":
            found.append(word)
            continue
        names = []
        while rest and (rest[0] in BENCHMARKS or nearest(rest[0], BENCHMARKS)) and not Path(rest[0]).exists():
            names.append(rest.pop(0))
        found += [f"{word}={name}" for name in names or (CORRUPTIONS,)]
    return found


def parse(name: str, words: Sequence[str] | None = None, called: Sequence[str] = ()) -> argparse.Namespace:
    """Reads the arguments of a command, and checks them.

    Args:
        name: of the command, a key of `COMMANDS`.
        words: the arguments; None takes those of the process.
        called: the words before them, for help and for advice; by default those that started this process.

    Returns:
        The arguments, and as `command_line` all words that a shell would need to do the same.

    Raises:
        SystemExit: --help, or arguments that cannot be read.
        FileNotFoundError, ConfigError: see `Command.check`.
    """
    given = [str(word) for word in (sys.argv[1:] if words is None else words)]
    start = list(called) or program()
    arguments = build_parser(name, start).parse_args(given)
    arguments.command_line = [*start, *given]
    COMMANDS[name].check(arguments)
    return arguments


def program() -> list[str]:
    """The words that started this process."""
    script = Path(sys.argv[0])
    if script.parts[-2:] == ("rgbx", "__main__.py") or script.parts[-3:] == ("rgbx", "cli", "main.py"):
        return ["python", "-m", "rgbx"]
    return ["python", sys.argv[0]] if script.suffix == ".py" else [sys.argv[0]]


def build_parser(name: str, called: Sequence[str] = ()) -> Parser:
    """The parser of a command.

    Args:
        name: a key of `COMMANDS`.
        called: the words before the arguments, see `parse`.
    """
    first, *rest = called or ("rgbx", name)
    command = COMMANDS[name]
    purpose = f"{command.purpose[0].upper()}{command.purpose[1:]}."
    parser = Parser(prog=shlex.join([Path(first).name, *rest]), description=purpose)
    command.add(parser)
    parser.example = f"rgbx {name} {command.example}"
    return parser


# --- what arguments may be -------------------------------------------------------------------------------------------


def positive(text: str) -> int:
    """An argument's type: whole numbers from 1 on."""
    return _whole(text, 1, f"{text!r} is not an integer of at least 1")


def _whole(text: str, least: int, otherwise: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(otherwise)
    return int(text)


def _samples(text: str) -> int:
    return _whole(text, 0, f"{text!r} is not a number of frames (0 reads all)")


def _seed(text: str) -> int:
    wrong = f"{text!r} is not an integer of 0..2**32-1"
    if (seed := _whole(text, 0, wrong)) >= 2**32:
        raise argparse.ArgumentTypeError(wrong)
    return seed


def _quality(text: str) -> int:
    otherwise = f"{text!r} is no quality of JPEG, 1 to 100"
    if (found := _whole(text, 1, otherwise)) > 100:
        raise argparse.ArgumentTypeError(otherwise)
    return found


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, such as 480x640")
    return int(height), int(width)


def _rendered_size(text: str) -> tuple[int, int]:
    if min(size := _size(text)) < 8:
        raise argparse.ArgumentTypeError(f"{text!r} is too small; the smallest size is 8x8")
    return size


def shipped_configs() -> Path:
    """The folder of the configs that belong to rgbx: in the installed package, or beside it in a checkout."""
    package = Path(rgbx.__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def seconds(text: str) -> float:
    """An argument's type: a duration, such as 30min, 1h or 8h."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if not found or found[2] not in _SECONDS or not float(found[1]) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; expected such as 30min, 1h or 8h")
    return float(found[1]) * _SECONDS[found[2]]


def _role(text: str) -> tuple[str, str]:
    role, equals, name = text.partition("=")
    if role not in ("train", "val", "test") or not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not train=NAME, val=NAME or test=NAME")
    return role, name


def work_dir_of(folder: str | Path, given: str | Path | None = None) -> Path:
    """Where the training of a dataset's folder goes: as given, or by the folder's name."""
    return Path(given) if given else Path("work_dirs", Path(folder).expanduser().resolve().name)


def existing_config(path: str | Path) -> Path:
    """The path of a config, if it is there, or else of the one that rgbx has under that name.

    Args:
        path: a file, or a name such as "rooms/asymfusion_r18_rooms_160x120", also with "configs/" and ".py".

    Raises:
        FileNotFoundError: it is not; a similar name in its folder is told.
        ConfigError: it is a work directory; the config that a training left there is told.
    """
    path = Path(path)
    if not path.exists():
        name = path.with_suffix(".py").as_posix().removeprefix("configs/")
        shipped = shipped_configs()
        if (shipped / name).is_file() and not path.is_absolute():
            return shipped / name
        names = (file.relative_to(shipped).as_posix() for file in shipped.glob("[!_]*/*.py"))
        raise FileNotFoundError(f"config {path} does not exist{nearest_file(path) or nearest(name, names)}")
    if path.is_dir() and find_last(path) and (kept := config_hint(path / "any")):
        raise ConfigError(f"{path} is a work directory; a config is expected here.{kept}")
    return path


def existing_study(path: str | Path) -> Path:
    """The path of a study file, if it is there; raises as `existing_config`, and ValueError for a folder."""
    if not Path(path).exists():
        raise FileNotFoundError(f"study {path} does not exist{nearest_file(Path(path))}")
    return existing_file(path, "study")


def existing_root(root: str | Path) -> Path:
    """The root folder of a dataset, if it is there.

    Raises:
        FileNotFoundError: it is not.
    """
    if not Path(root).exists():
        raise FileNotFoundError(
            f"data root {root} does not exist{nearest_file(Path(root))}; --data-root names the folder of the dataset, "
            f"data/README.md where to get published ones, and `rgbx render-rooms {root}` makes one of rendered rooms"
        )
    return Path(root)


def existing_dataset(target: str) -> Path:
    """A config, or the folder of a dataset, if it is there; raises FileNotFoundError as `existing_config`."""
    if target.endswith(".py"):
        return existing_config(target)
    if not Path(target).is_dir():
        raise FileNotFoundError(f"{target}: neither a config (*.py) nor a folder{nearest_file(Path(target))}")
    return Path(target)


def split_option(option: str) -> tuple[str, str]:
    """The path and the text of an override "a.b=value".

    Raises:
        ConfigError: another form.
    """
    path, equals, text = option.partition("=")
    if not equals or not all(part.strip() for part in path.split(".")):
        shown = repr(option if len(option) <= 60 else f"{option[:57]}...")
        raise ConfigError(f"--cfg-options takes A.B=VALUE, found {shown}")
    return path, text


def named_paths(texts: Iterable[str], option: str = "--input") -> dict[str, Path]:
    """["rgb=a.png", ...] as {"rgb": Path("a.png"), ...}, of what is there.

    Raises:
        FileNotFoundError: no such file or folder.
        ConfigError: another form, or a map named twice.
    """
    paths: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not name or not equals or not path:
            raise ConfigError(f"{option} takes MAP=PATH, such as rgb=a.png, found {text!r}")
        if name in paths:
            raise ConfigError(f"{option} names {name!r} twice")
        if not Path(path).exists():
            raise FileNotFoundError(f"{option} {text}: no such file or folder{nearest_file(Path(path))}")
        paths[name] = Path(path)
    return paths


def mask_folders(texts: Sequence[str], maps: Collection[str]) -> dict[str, Path]:
    """["depth=a", "rgb=b"], or ["a"] for all maps, as the folder of each map's masks; {} of none.

    Raises:
        FileNotFoundError: no such folder.
        ConfigError: a map that is not searched, one named twice, or some maps without masks.
    """
    folders: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        named = bool(equals) and name.isidentifier() and not Path(text).is_dir()
        for each, folder in [(name, path)] if named else [(name, text) for name in maps]:
            if each not in maps:
                raise ConfigError(f"--masks {text}: {each!r} is not searched, {' and '.join(maps)} are")
            if each in folders:
                raise ConfigError(f"--masks {text}: {each} has masks already; give MAP=FOLDER once for each map")
            if not Path(folder).is_dir():
                raise FileNotFoundError(f"--masks {text}: no such folder{nearest_file(Path(folder))}")
            folders[each] = Path(folder)
    if folders and (missing := [name for name in maps if name not in folders]):
        raise ConfigError(f"--masks has none for {missing[0]}; add {missing[0]}=FOLDER, or give one FOLDER for both")
    return folders


def input_kind(path: Path) -> str:
    """What lies at a path that is there: a "folder", a "list" of files, a "video", or one "file" of a map."""
    if path.is_dir():
        return "folder"
    suffix = path.suffix.lower()
    return "list" if suffix == ".txt" else "video" if suffix in VIDEOS else "file"


# --- arguments that several commands have ----------------------------------------------------------------------------

SHARED: dict[str, dict[str, Any]] = {
    "config": {"help": "config file, or the name of one of rgbx, such as rooms/asymfusion_r18_rooms_160x120"},
    "--work-dir": {"help": "where logs and checkpoints go"},
    "--data-root": {"help": "root folder of every dataset of the config"},
    "--cfg-options": {"nargs": "+", "default": [], "metavar": "A.B=VALUE", "help": "override values of the config"},
    "--trust": {
        "action": "store_true",
        "help": "read checkpoints and weights that hold arbitrary Python objects, which can run any code",
    },
    "--launcher": {
        "choices": ("none", "pytorch"),
        "default": "none",
        "help": "pytorch: one of the processes that torchrun started",
    },
    "--device": {"default": "auto", "help": "cpu, cuda or cuda:N (cuda where there is one)"},
    "--model-from": {
        "choices": WHOSE_MODEL,
        "help": "whose model counts where config and checkpoint describe different ones",
    },
}
OF_CONFIGS = ("config", "--work-dir", "--data-root", "--cfg-options", "--trust", "--launcher")


def _add_shared(parser: Parser, *names: str) -> None:
    for name in names:
        parser.add_argument(name, **SHARED[name])


def _check_config(arguments: argparse.Namespace) -> None:
    """What is said about a config, where a command takes one."""
    if getattr(arguments, "data_root", None):
        existing_root(arguments.data_root)
    for option in arguments.cfg_options:
        split_option(option)


def _add_planning(parser: Parser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--budget", type=seconds, metavar="TIME", help="such as 30min, 1h, 8h (1h)")
    parser.add_argument(
        "--pretrained",
        metavar="auto|none|timm|lite0|FILE",
        help="weights that the encoder starts from; auto takes timm's where they can be had, or else lite0's where the "
        "extra `weights` is installed (auto)",
    )
    parser.add_argument(
        "--split",
        nargs="+",
        type=_role,
        metavar="PART=NAME",
        help="splits of the folder that have other names than usual, such as train=day val=dusk",
    )
    parser.add_argument("--modalities", nargs="+", metavar="NAME", help="take these of the folder's maps (all)")


def planning(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that a folder is planned by, of plain values: as stated, or as they are where nothing is."""
    stated = {name: getattr(arguments, name) for name in PLANNED}
    return {name: PLANNED[name] if value is None else _plain(name, value) for name, value in stated.items()}


def _plain(name: str, value: Any) -> Any:
    """A stated option as a plan keeps it: a file by its place, splits by their parts."""
    if name == "pretrained":
        return value if value in WEIGHTS or not Path(value).exists() else str(Path(value).resolve())
    return dict(value) if name == "split" else value


def _check_planning(folder: Path, arguments: argparse.Namespace) -> None:
    """Whether a folder is there and is a dataset's, and weights that are named by their path."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder{nearest_file(folder)}")
    if find_last(folder) is not None or (folder / RECORD).is_file():
        raise ConfigError(
            f"{folder} is a work directory, not the folder of a dataset.{config_hint(folder / CONFIG)}; `rgbx train` "
            "takes that config, with --resume from its last epoch on"
        )
    if '"' in str(place := work_dir_of(folder, arguments.work_dir).resolve()):
        raise ConfigError(f"{place}: no config can be read from a path with a quotation mark: give --work-dir DIR")
    source = planning(arguments)["pretrained"]
    if source not in WEIGHTS and not source.startswith("hf-hub:") and (Path(source).suffix or "/" in source):
        existing_file(Path(source).expanduser(), "weight file")


# --- the commands ----------------------------------------------------------------------------------------------------


def _add_init(parser: Parser) -> None:
    parser.epilog = "Exit code: 0, or 2 where the folder cannot be trained on; nothing is written then."
    parser.add_argument("folder", help="that holds the dataset")
    parser.add_argument("--work-dir", help=f"where {CONFIG} and {RECORD} go (work_dirs/ and the folder's name)")
    parser.add_argument(
        "--overwrite", action="store_true", help=f"replace {CONFIG} and {RECORD}; dataset.toml is kept as it is"
    )
    parser.add_argument("--device", help=SHARED["--device"]["help"])
    _add_planning(parser)


def _check_init(arguments: argparse.Namespace) -> None:
    folder = Path(arguments.folder).expanduser()
    _check_planning(folder, arguments)
    for name in (CONFIG, RECORD):
        file = work_dir_of(folder, arguments.work_dir) / name
        if file.exists() and not arguments.overwrite:
            raise ConfigError(
                f"{file} is there already: --overwrite replaces it (a dataset.toml in {folder} is kept), "
                "--work-dir DIR writes elsewhere"
            )


def _add_train(parser: Parser) -> None:
    parser.add_argument("config", metavar="CONFIG|FOLDER", help="config file, or the folder of a dataset: see init")
    _add_shared(parser, *OF_CONFIGS[1:])
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="continue from the last epoch in the work directory, or from a checkpoint or another work directory",
    )
    parser.add_argument(
        "--load-from",
        metavar="CHECKPOINT",
        help="start from the weights that fit, also of other classes or modalities; a file or a work directory",
    )
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        choices=TRACKERS,
        metavar="TRACKER",
        help=f"also log to an experiment tracker: {', '.join(TRACKERS)}; once for each",
    )
    parser.add_argument("--seed", type=_seed, help="of everything random (0)")
    parser.add_argument("--deterministic", action="store_true", help="use only deterministic algorithms")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="begin anew where a run has left checkpoints, which are removed; a folder is planned anew, too",
    )
    parser.add_argument("--device", help=SHARED["--device"]["help"])
    _add_planning(parser.add_argument_group("planning, where a folder stands in place of a config"))


def _check_train(arguments: argparse.Namespace) -> None:
    if Path(arguments.config).is_dir():
        _check_planning(Path(arguments.config), arguments)
    else:
        arguments.config = str(existing_config(arguments.config))
        stated = [f"--{name}" for name in ("budget", "modalities", "split", "pretrained") if getattr(arguments, name)]
        if stated:
            raise ConfigError(
                f"{arguments.config} is a config: {', '.join(stated)} plans the training of a folder; "
                "what a config says is changed by --cfg-options, or in the file"
            )
    _check_config(arguments)
    for tracker in arguments.log:
        if importlib.util.find_spec(tracker) is None:
            raise ConfigError(f"--log {tracker} needs its package, which is not installed: pip install {tracker}")
    if arguments.launcher == "pytorch" and arguments.device is not None:
        raise ConfigError("--device is for one process: those of torchrun take a GPU each, or the CPU where none is")
    if arguments.resume not in (None, "auto") and arguments.load_from:
        raise ConfigError("--resume CHECKPOINT and --load-from exclude each other")
    if arguments.resume is not None and arguments.overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    for path in (arguments.resume, arguments.load_from):
        if path not in (None, "auto"):
            find_result(path)


def _add_test(parser: Parser) -> None:
    _add_shared(parser, *OF_CONFIGS)
    parser.add_argument(
        "checkpoint",
        help="a checkpoint of the config's model, or a work directory: its best checkpoint, or else its last; also a "
        "model's folder, or hf-hub:OWNER/NAME",
    )
    _add_shared(parser, "--model-from")
    parser.add_argument(
        "--modalities",
        nargs="+",
        default=[],
        metavar="A+B",
        help="subsets to evaluate, such as: rgb+depth rgb; the largest is the headline (all modalities; with "
        "--robustness every subset)",
    )
    parser.add_argument("--heads", nargs="+", metavar="HEAD", help="those of the model's heads to evaluate (all)")
    parser.add_argument(
        "--protocol",
        choices=sorted(PROTOCOLS),
        help="rules of the evaluation (the config's test_cfg.protocol, or rgbx); for maps rgbx, rgbx-sliding or cen",
    )
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only every Kth frame of the test split (1)")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "auto"), help="mixed precision (off)")
    parser.add_argument("--boundary", action="store_true", help="also score the boundaries of classes")
    parser.add_argument("--calibration", action="store_true", help="also score the confidence in classes")
    parser.add_argument(
        "--robustness",
        action="append",
        default=[],
        choices=BENCHMARKS,
        metavar="NAME",
        help="also let the modalities of the largest subset fail: without a name, or as corruptions, every corruption "
        f"that suits each, at five severities; or by named benchmarks, one or several: {', '.join(BENCHMARKS[1:])}",
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
        help="write the ensemble under the largest subset there, as the dataset stores its own labels or maps",
    )
    parser.add_argument("--overwrite", action="store_true", help="let --save-predictions replace files")
    parser.add_argument(
        "--no-images",
        action="store_true",
        help="leave the scores of single images out of the result file, which is too large otherwise for those that "
        "read it where there are many (it says so)",
    )
    _add_shard(parser, "images", "counts are kept beside the file of --json, so that the same command goes on")


def _add_shard(parser: Parser, what: str, further: str) -> None:
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help=f"do one of N shares of the {what}, as one of N jobs that run at any time, in any order, on any machine; "
        f"{further}, and the last to end completes the whole",
    )


def _shard(text: str) -> tuple[int, int]:
    """ "2/4" as (2, 4)."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, such as 1/4, found {text!r}")
    return int(number), int(count)


def _check_test(arguments: argparse.Namespace) -> None:
    arguments.config = str(existing_config(arguments.config))
    find_result(arguments.checkpoint)
    _check_config(arguments)
    if arguments.no_images and arguments.report:
        raise ConfigError("--report shows single images, which --no-images leaves out")
    if arguments.shard:
        if arguments.json is None:
            raise ConfigError("--shard needs --json FILE, the same in every job: beside it they keep what they count")
        names = ("robustness", "report", "draw", "save_predictions")
        if unfit := [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name)]:
            advice = (
                "" if unfit == ["--robustness"] else "; rgbx report makes a page of the result, rgbx predict pictures"
            )
            raise ConfigError(f"{', '.join(unfit)} is of one job that does it all, not of --shard{advice}")
        if arguments.launcher != "none":
            raise ConfigError(
                "--launcher is of processes that run together: give each job a --shard of its own instead"
            )


_CHECKPOINT = (
    "a checkpoint, or a work directory: its best checkpoint, or else its last; also a model's folder, or "
    f"{HUB}OWNER/NAME"
)
_MAP: dict[str, Any] = {
    "nargs": "+",
    "action": "append",
    "default": [],
    "metavar": ("MAP", "KEY=VALUE"),
    "help": "what the files of a map hold: value = stored / scale + add, of so many bits, in this unit; such as depth "
    "scale=5000 (1000, millimetres), thermal scale=100 add=-273.15, shade unit=relative bits=8, or depth unit=relative "
    "log=11.1; by default as in the files that the model was trained on; docs/translation.md tells what the other keys "
    "are: half_step, holes, normalise, clips, missing, key, layout",
}


def _add_predict(parser: Parser) -> None:
    parser.add_argument("checkpoint", help=_CHECKPOINT)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="MAP=PATH for some of the model's maps: all files, all folders (matched by stems), all lists (.txt: a "
        f"path in each line, or a timestamp and a path), or all videos ({' '.join(VIDEOS)}); or a dataset's folder",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="the folder to write; of a single frame also FILE.png: its overlay, or what --save says",
    )
    parser.add_argument(
        "--save",
        nargs="+",
        choices=SAVED,
        metavar="KIND",
        help="ids (classes, or the values of a map in its unit), colours, overlay, confidence (16 bits, 65535 = 1), "
        "strip (inputs and answers side by side), areas (share of each class in every frame, areas.json), video (of "
        "videos: the overlays) (ids overlay; of FILE.png the overlay, or the values of a map)",
    )
    parser.add_argument("--gallery", action="store_true", help="also write index.html, a page to look through")
    parser.add_argument(
        "--masks",
        action="store_true",
        help="also write where each map is to be believed, masks_MAP/ID.png (16 bits, 65535 = wholly), of a model with "
        "purification",
    )
    parser.add_argument("--heads", nargs="+", metavar="HEAD", help="those of the model's heads that predict (all)")
    parser.add_argument("--modalities", nargs="+", metavar="MAP", help="only these of the maps that are given (all)")
    parser.add_argument("--branch", metavar="MAP", help="write what one modality says instead of the ensemble")
    lag = "; of a list with timestamps also delay=SECONDS by which it lags (that of the training)"
    parser.add_argument("--map", **{**_MAP, "help": f"{_MAP['help']}{lag}"})
    parser.add_argument("--split", metavar="NAME", help="of a dataset's folder (test, else val, else the only one)")
    parser.add_argument(
        "--max-gap",
        type=_seconds,
        metavar="SECONDS",
        help="largest difference of the times of one frame (that of the training, else 0.02; in videos half a frame of "
        "the slowest)",
    )
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), default="rgbx", help="(rgbx)")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "auto"), help="mixed precision (off)")
    parser.add_argument("--batch-size", type=positive, default=1, metavar="N", help="frames computed together (1)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument(
        "--tar",
        nargs="?",
        const=0,
        type=positive,
        metavar="N",
        help="write tar files of N frames (as many as the input's, where it is shards, else 1000), each whole or not "
        "at all, with an index and a manifest, in place of files of single frames",
    )
    _add_shard(parser, "frames", "the same command goes on after a kill")
    parser.add_argument("--overwrite", action="store_true", help="begin anew, and delete what an earlier run wrote")
    _add_shared(parser, "--device", "--trust")


def _check_predict(arguments: argparse.Namespace) -> None:
    find_result(arguments.checkpoint)
    paths = predicted_paths(arguments.inputs)
    if paths is None and arguments.max_gap is not None:
        raise ConfigError("--max-gap is of lists and videos; a dataset says its own (max_gap)")
    if paths is not None and arguments.split is not None:
        raise ConfigError("--split is of a dataset's folder; found maps by name")
    kinds = {name: input_kind(path) for name, path in (paths or {}).items()}
    if arguments.max_gap is not None and not {"list", "video"} & set(kinds.values()):
        raise ConfigError("--max-gap is of lists and videos; files and folders are matched by their stems")
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} is {SHOWN_KINDS[kind]}" for name, kind in kinds.items())
        raise ConfigError(f"{told}; give all maps in one form: files, folders, lists or videos")
    if "video" in (arguments.save or ()) and "video" not in kinds.values():
        raise ConfigError("--save video is for videos as inputs")
    if arguments.resume and arguments.overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    if arguments.shard and arguments.overwrite:
        raise ConfigError("--overwrite would delete what other shards have written: choose another --out")
    if arguments.tar is not None:
        alone = [f"--save {kind}" for kind in ("areas", "video") if kind in (arguments.save or ())]
        alone += ["--gallery"] * arguments.gallery
        if alone:
            raise ConfigError(f"{alone[0]} is of files of single frames, not of --tar")
    out = Path(arguments.out)
    if out.suffix.lower() == ".png":
        _check_single(arguments, set(kinds.values()))
        return
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; expected a folder to write, or FILE.png for one frame")
    if out.suffix.lower() in (*PICTURES, *VIDEOS) and not out.exists():
        raise ConfigError(f"--out {out}: results are PNG files, and videos lie in a folder: give FILE.png, or a folder")
    begun, place = out.is_dir() and any(out.iterdir()), out.resolve()
    for name, path in (paths or {"": Path(arguments.inputs[0])}).items():
        if path.is_dir() and (path.resolve() == place or (name and path.resolve() in place.parents)):
            raise ConfigError(f"--out {out} lies in {path}, which is an input; write elsewhere")
        if arguments.overwrite and place in path.resolve().parents:
            raise ConfigError(f"--out {out} holds {path}, which is an input: it may hold others; write elsewhere")
    if arguments.shard:  # another one may just have begun, by a file that has no name yet
        begun = begun and not all(path.name.startswith(f".{PREDICTED}.") for path in out.iterdir())
    if begun and (arguments.resume or arguments.shard) and not (out / PREDICTED).is_file():
        option = "--resume" if arguments.resume else "--shard"
        raise ConfigError(f"{option}: {out} holds no {PREDICTED}, so it is of no run that could go on")
    if (
        begun
        and not (arguments.resume or arguments.overwrite or arguments.shard)
        and os.environ.get("RANK", "0") == "0"
    ):
        going_on = ", --resume to go on with it" if (out / PREDICTED).is_file() else ""
        raise FileExistsError(
            f"{out} is there already, and not empty: choose another --out{going_on}, or --overwrite to begin anew"
        )


def _check_single(arguments: argparse.Namespace, kinds: set[str]) -> None:
    out = Path(arguments.out)
    if kinds != {"file"}:
        raise ConfigError(f"--out {out} is for one frame of files; the inputs are others: give a folder")
    saved = arguments.save or ()
    more = [f"--{name}" for name in ("gallery", "masks", "resume", "shard") if getattr(arguments, name)]
    more += ["--tar"] * (arguments.tar is not None)
    if len(saved) > 1 or {"areas", "video"} & set(saved) or more:
        without = f", without {' and '.join(more)}" if more else ""
        raise ConfigError(f"--out {out} takes one --save of {', '.join(SAVED[:5])}{without}; for more give a folder")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; expected a file to write")
    if out.exists() and not arguments.overwrite:
        raise FileExistsError(f"{out} is there already: choose another --out, or pass --overwrite")
    for text in arguments.inputs:
        if Path(text.partition("=")[2]).resolve() == out.resolve():
            raise ConfigError(f"{out} is an input; write the result elsewhere")


def predicted_paths(texts: Sequence[str]) -> dict[str, Path] | None:
    """The paths of maps by name, or None where one folder of a dataset is given.

    Raises:
        FileNotFoundError, ConfigError: see `named_paths`; or several folders.
    """
    if len(texts) == 1 and (Path(texts[0]).is_dir() or "=" not in texts[0]):
        if not Path(texts[0]).is_dir():
            near = "" if Path(texts[0]).exists() else nearest_file(Path(texts[0]))
            raise FileNotFoundError(f"{texts[0]}: no folder of a dataset, nor MAP=PATH such as rgb=a.png{near}")
        return None
    return named_paths(texts, "INPUT")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, such as 0.02")
    return value


def _add_translate(parser: Parser) -> None:
    parser.add_argument(
        "model",
        nargs="+",
        metavar="[CONFIG] CHECKPOINT",
        help="a checkpoint or work directory; a config before it must describe the same model",
    )
    _add_shared(parser, "--model-from")
    parser.add_argument("--head", help="which of the model's heads to translate with, where several predict maps")
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="MAP=PATH",
        help="any of the model's maps: all files, or all folders whose files share their stems",
    )
    parser.add_argument("--out", required=True, metavar="PATH", help="the PNG to write, or the folder of them")
    parser.add_argument("--overwrite", action="store_true", help="let files that are there be replaced")
    parser.add_argument("--map", **_MAP)
    parser.add_argument("--branch", help="write the image of one modality instead of the ensemble's")
    suiting = sorted(name for name, rules in PROTOCOLS.items() if rules.tasks is None or "map" in rules.tasks)
    parser.add_argument("--protocol", choices=suiting, default="rgbx", help="(rgbx)")
    _add_shared(parser, "--device", "--cfg-options", "--trust")
    for unused in ("--work-dir", "--data-root", "--launcher"):  # that all commands with a config have
        parser.add_argument(unused, help=argparse.SUPPRESS)


def _check_translate(arguments: argparse.Namespace) -> None:
    *configs, checkpoint = arguments.model
    if len(configs) > 1:
        raise ConfigError(f"expected a config and a checkpoint, or a checkpoint alone; found {arguments.model}")
    if arguments.cfg_options and not configs:
        raise ConfigError("--cfg-options are of a config; only a checkpoint is given")
    if arguments.model_from and not configs:
        raise ConfigError("--model-from chooses between a config's model and a checkpoint's; no config is given")
    for config in configs:
        existing_config(config)
    find_result(checkpoint)
    named_paths(arguments.input)
    _check_config(arguments)


def _add_retrieve(parser: Parser) -> None:
    parser.add_argument("checkpoint", help="of a model that embeds, or its work directory")
    parser.add_argument(
        "--index",
        required=True,
        metavar="MAP=FOLDER",
        help="what is searched: a folder of files of one map, or a dataset's folder, whose frames need no labels",
    )
    parser.add_argument(
        "--query", required=True, metavar="MAP=PATH", help="what is asked for: a file, or such a folder"
    )
    parser.add_argument(
        "--masks",
        action="append",
        default=[],
        metavar="[MAP=]FOLDER",
        help="images by the same stems whose numbers are the regions of a frame, such as labels; 255 is none: once for "
        "each map, or one FOLDER for both, of cameras that are registered",
    )
    parser.add_argument("--top", type=positive, default=10, metavar="K", help="how many are told of a query (10)")
    parser.add_argument(
        "--out", metavar="DIR", help="write retrieved.png, retrieved.json and the index, index.npz, there"
    )
    parser.add_argument("--index-file", metavar="FILE", help="where the index is kept, and read if it is not stale")
    parser.add_argument("--draw-count", type=positive, metavar="N", help="queries in retrieved.png (10)")
    parser.add_argument("--head", help="that embeds, where there are several")
    parser.add_argument("--map", **_MAP)
    parser.add_argument("--split", metavar="NAME", help="of a dataset's folder (test, else val, else the only one)")
    parser.add_argument("--batch-size", type=positive, default=8, metavar="N", help="frames computed together (8)")
    _add_shared(parser, "--device", "--trust")


def searched(arguments: argparse.Namespace) -> list[str]:
    """The maps of a search: that of the index, and that of the queries where it is another."""
    options = (("--index", arguments.index), ("--query", arguments.query))
    return list(dict.fromkeys(name for option, text in options for name in named_paths([text], option)))


def _check_retrieve(arguments: argparse.Namespace) -> None:
    find_result(arguments.checkpoint)
    ((name, path),) = named_paths([arguments.index], "--index").items()
    named_paths([arguments.query], "--query")
    if input_kind(path) == "file":
        raise ConfigError(f"--index {name}={path} is one file; expected a folder to search")
    for option, text in (("--index", arguments.index), ("--query", arguments.query)):
        place = named_paths([text], option)[text.partition("=")[0]]
        if place.is_dir() and not any(place.iterdir()):
            raise FileNotFoundError(f"{option} {text}: the folder is empty")
    mask_folders(arguments.masks, searched(arguments))
    if arguments.index_file and Path(arguments.index_file).is_dir():
        raise ConfigError(f"--index-file {arguments.index_file} is a folder; expected a file, such as one in it")
    _check_folder_of_index(arguments)
    if not arguments.out:
        if arguments.draw_count is not None:
            raise ConfigError("--draw-count is of the picture in the folder of --out, which is not given")
        return
    if Path(arguments.out).is_file():
        raise ConfigError(f"--out {arguments.out} is a file; expected a folder to write")
    for name in ("retrieved.json", "retrieved.png", *(() if arguments.index_file else ("index.npz",))):
        if (place := Path(arguments.out, name)).is_dir():
            raise ConfigError(f"--out {arguments.out}: {place} is a folder; expected a file there, or none")
        refuse_unwritable(place, "give --out another folder")


def _check_folder_of_index(arguments: argparse.Namespace) -> None:
    if arguments.index_file is None:
        return
    folder = Path(arguments.index_file).absolute().parent
    made = arguments.out is not None and Path(arguments.out).absolute() in (folder, *folder.parents)
    if not (made or folder.is_dir()):
        raise FileNotFoundError(f"--index-file {arguments.index_file}: no such folder {folder}{nearest_file(folder)}")


def _add_doctor(parser: Parser) -> None:
    parser.epilog = "Exit code: 0 clean or facts only, 1 warnings, 2 errors."
    parser.add_argument("target", metavar="CONFIG|PATH", help="config file, or folder of a dataset")
    parser.add_argument(
        "--write-toml", action="store_true", help="write the proposed dataset.toml of a folder of unknown layout"
    )
    parser.add_argument("--split", help="examine this split only, such as train; for a folder any name")
    parser.add_argument("--modalities", nargs="+", metavar="NAME", help="examine these instead of the dataset's own")
    parser.add_argument("--samples", type=_samples, default=64, metavar="N", help="frames per split; 0 reads all (64)")
    parser.add_argument("--seed", type=int, default=0, help="which frames are drawn (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings, with all evidence")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="draw some of the frames")
    _add_shared(parser, "--data-root", "--cfg-options")


def _check_doctor(arguments: argparse.Namespace) -> None:
    existing_dataset(arguments.target)
    _check_config(arguments)


_AGAIN = "An interrupted run can be repeated: what is complete is kept. No file of others is overwritten."


def _add_prepare(parser: Parser) -> None:
    parser.epilog = _AGAIN
    datasets = parser.add_subparsers(dest="dataset", required=True, metavar="DATASET")
    nyudv2 = datasets.add_parser(
        "nyudv2",
        help="nyu_depth_v2_labeled.mat to lists of rgb, masks, depth",
        description="Write OUT/{rgb,masks,depth}/000001.png ..., train.txt (795 frames) and val.txt (the 654 test "
        "frames) from the published file. Masks hold 0..39 and 255 = void. Depth is the filled one, 16 bits at 5000 "
        "per metre; 0 = no measurement, and depths beyond 13.1 m, which the published file does not have, are written "
        f"as 13.107 m and counted. {_AGAIN}",
    )
    nyudv2.add_argument("mat", type=Path, metavar="MAT", help="nyu_depth_v2_labeled.mat")
    nyudv2.add_argument("--mapping", type=Path, metavar="FILE", help="classMapping40.mat (beside MAT)")
    nyudv2.add_argument("--splits", type=Path, metavar="FILE", help="splits.mat (beside MAT)")
    cityscapes = datasets.add_parser(
        "cityscapes",
        help="disparity to depth, label ids to train ids",
        description="Write OUT/depth/SPLIT/CITY/*_depth.png and OUT/gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png, read "
        "by Cityscapes(ROOT, prepared=OUT); OUT may be ROOT. Depth = baseline * fx / disparity, 16 bits at 256 per "
        "metre; 0 = no measurement, and depths beyond 256.0 m are written as 255.996 m and counted. Train ids are "
        f"0..18 and 255 = ignore. {_AGAIN}",
    )
    cityscapes.add_argument("root", type=Path, metavar="ROOT", help="holds leftImg8bit, gtFine, disparity and camera")
    cityscapes.add_argument("--splits", nargs="+", default=(), metavar="SPLIT", help="such as: train val (all)")
    mfnet = datasets.add_parser(
        "mfnet",
        help="four-channel images to rgb and thermal",
        description="Write OUT/rgb/*.png, OUT/ther/*.png (8 bits) and OUT/labels/*.png of all listed frames, and the "
        f"lists. Nothing is lost: labels and lists are copied byte for byte. {_AGAIN}",
    )
    mfnet.add_argument("root", type=Path, metavar="ROOT", help="holds images, labels and the lists")
    shards = datasets.add_parser(
        "shards",
        help="any dataset to tar files, to be read from one disk or a URL by many processes",
        description="Write OUT/SPLIT/000000.tar ... with an index beside each, and shards.json, which makes of OUT a "
        "dataset as any other. Nothing is lost, unless by --jpeg: files are copied byte for byte, computed maps are "
        f"kept bit for bit. {_AGAIN}",
    )
    shards.add_argument("source", metavar="ROOT|CONFIG", help="folder of a known layout, or config of its loaders")
    shards.add_argument("--shard-mb", type=positive, default=256, metavar="N", help="MiB of a shard, about (256)")
    shards.add_argument(
        "--uncompressed",
        action="store_true",
        help="maps in PNGs as BMP and PGM of the same values: three times as large, read in less than half of the time",
    )
    shards.add_argument(
        "--jpeg",
        type=_quality,
        metavar="QUALITY",
        help="colours of 8 bits as JPEG of this quality, 1 to 100, which changes them; JPEGs and other maps stay",
    )
    resized = datasets.add_parser(
        "resized",
        help="any dataset at another size, with a dataset.toml",
        description="Write OUT/SPLIT/{rgb,depth,...,label}/ID.png and OUT/dataset.toml. Colours and other maps that "
        "may be interpolated are averaged over the area of a pixel; depth, labels and others that may not are taken "
        f"from the nearest one. {_AGAIN}",
    )
    resized.add_argument("source", metavar="ROOT|CONFIG", help="folder of a known layout, or config of its loaders")
    resized.add_argument("--size", type=_size, required=True, metavar="HxW", help="height and width, such as 120x160")
    resized.add_argument(
        "--depth-scale", type=positive, default=1000, metavar="N", help="stored steps of a metre, in 16 bits (1000)"
    )
    for part, verb in ((shards, "pack"), (resized, "resize")):
        part.add_argument("--splits", nargs="+", default=(), metavar="SPLIT", help="such as: train val (all)")
        part.add_argument("--modalities", nargs="+", metavar="MAP", help=f"of a folder, to {verb} (all that it has)")
        part.add_argument("--jobs", type=positive, default=1, metavar="N", help=f"processes that {verb} (1)")
    estimate = datasets.add_parser(
        "estimate",
        help="colours to a relative depth map, by an estimator of yours",
        description="Write ROOT/NAME/... for every image that ROOT/dataset.toml declares, by a function of uint8 "
        "[H, W, 3] to numbers [H, W], which runs as any code of yours, or by an ONNX file; then declare it there, as "
        f"relative: nothing takes it for metres. {_AGAIN}",
    )
    estimate.add_argument("root", type=Path, metavar="ROOT", help="folder of a dataset.toml")
    estimate.add_argument(
        "--estimate",
        required=True,
        metavar="NAME=ESTIMATOR",
        help="the map, and MODULE:FUNCTION, FILE.py:FUNCTION or FILE.onnx, such as: depth=midas.onnx",
    )
    estimate.add_argument("--from", dest="source", default="", metavar="MAP", help="colours to read (the first)")
    estimate.add_argument("--format", choices=("png", "npy"), default="png", help="16 bits, or floats of 32 bits (png)")
    estimate.add_argument(
        "--range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="values that become 0 and 1 (each frame's own)"
    )
    estimate.add_argument(
        "--size", type=_size, metavar="HxW", help="of an ONNX file that leaves open what it reads (the image's own)"
    )
    for part in (nyudv2, cityscapes, mfnet, shards, resized):
        part.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument(
        "--shards", nargs=0, action=_WrittenAs, const="rgbx prepare shards ROOT OUT", help=argparse.SUPPRESS
    )


class _WrittenAs(argparse.Action):
    """An option that is a word of its own: says how it is written."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(f"{self.option_strings[0]} is written without dashes: {self.const}")


def _check_prepare(arguments: argparse.Namespace) -> None:
    if arguments.dataset in ("shards", "resized"):
        existing_dataset(arguments.source)
        return
    if arguments.dataset == "estimate":
        name, _, estimator = arguments.estimate.partition("=")
        if not name or not estimator:
            raise ConfigError(
                f"--estimate is {arguments.estimate!r}; expected NAME=ESTIMATOR, such as depth=midas.onnx or "
                "depth=estimators.py:depth"
            )
    if arguments.dataset == "nyudv2":
        for path in filter(None, (arguments.mat, arguments.mapping, arguments.splits)):
            existing_file(path)
    elif not arguments.root.is_dir():
        raise FileNotFoundError(f"{arguments.root}: no such folder{nearest_file(arguments.root)}")


def _add_profile(parser: Parser) -> None:
    parser.add_argument(
        "model",
        metavar="CONFIG|CHECKPOINT",
        help="config, whose datasets are not needed, or checkpoint or work directory",
    )
    parser.add_argument("--size", type=_size, default=(480, 640), metavar="HxW", help="image size (480x640)")
    parser.add_argument("--batches", type=positive, nargs="+", default=[1], metavar="N", help="batch sizes (1)")
    parser.add_argument("--dtypes", nargs="+", choices=PRECISIONS, default=["float32"], help="precisions (float32)")
    parser.add_argument(
        "--modalities", nargs="+", default=[], metavar="A+B", help="subsets, such as: rgb rgb+depth (every subset)"
    )
    parser.add_argument("--repeats", type=positive, default=30, metavar="N", help="timed passes per row (30)")
    parser.add_argument("--json", metavar="FILE", help="write the measurements there")
    _add_shared(parser, "--device", "--cfg-options", "--trust")


def _check_profile(arguments: argparse.Namespace) -> None:
    existing_config(arguments.model) if arguments.model.endswith(".py") else find_result(arguments.model)
    _check_config(arguments)


def _add_export(parser: Parser) -> None:
    parser.add_argument("checkpoint", help=_CHECKPOINT)
    parser.add_argument(
        "--format", choices=("onnx", "torch"), default="onnx", help="ONNX, or a program of torch.export, .pt2 (onnx)"
    )
    parser.add_argument(
        "--modalities",
        nargs="+",
        default=[],
        metavar="A+B",
        help="subsets to write a file of each, such as: rgb+depth rgb (of up to three maps every subset, of more all "
        "together and each alone)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--data",
        metavar="CONFIG|FOLDER",
        help="the frames on which a file must answer as the model does: those of a config's test split, or of a "
        "dataset's folder (noise in the ranges of the maps)",
    )
    parser.add_argument("--split", metavar="NAME", help="of a dataset's folder (test, else val, else the only one)")
    parser.add_argument("--frames", type=positive, metavar="N", help="how many of them (50)")
    parser.add_argument("--scores", action="store_true", help="also give the probabilities of all classes")
    parser.add_argument("--branches", action="store_true", help="also give what each modality's branch answers")
    parser.add_argument(
        "--size",
        type=_size,
        metavar="HxW",
        help="write programs for maps of this size alone, as runtimes and some transformers want it (any size)",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="also write each ONNX file with numbers of 8 bits, by frames of the training split of --data, and tell "
        "what it loses on the others",
    )
    parser.add_argument("--overwrite", action="store_true", help="let files that are there be replaced")
    _add_shared(parser, "--data-root", "--cfg-options", "--trust")


def _check_export(arguments: argparse.Namespace) -> None:
    find_result(arguments.checkpoint)
    if arguments.int8 and arguments.format != "onnx":
        raise ConfigError(f"--int8 is of ONNX files; found --format {arguments.format}")
    if arguments.int8 and arguments.data is None:
        raise ConfigError("--int8 needs --data CONFIG or FOLDER: its training split, and labelled frames to measure on")
    if arguments.data is None:
        stated = [
            f"--{name}" for name in ("split", "frames", "data-root") if getattr(arguments, name.replace("-", "_"))
        ]
        stated += ["--cfg-options"] * bool(arguments.cfg_options)
        if stated:
            raise ConfigError(f"{stated[0]} is of the frames of --data, which is not given")
    else:
        existing_dataset(arguments.data)
        of_config = arguments.data.endswith(".py")
        if of_config and arguments.split:
            raise ConfigError(f"--split is of a dataset's folder; the config {arguments.data} says its own")
        if not of_config and (arguments.data_root or arguments.cfg_options):
            raise ConfigError(f"--data-root and --cfg-options are of a config; --data {arguments.data} is a folder")
    _check_config(arguments)
    if Path(arguments.out).exists() and not Path(arguments.out).is_dir():
        raise ConfigError(f"--out {arguments.out} is a file; expected a folder to write")
    refuse_unwritable(Path(arguments.out, "rgb.onnx"), "give --out another folder")


def _add_study(parser: Parser) -> None:
    parser.add_argument("study", help="study file, such as configs/studies/rooms.py")
    parser.add_argument("--work-dir", help="where the runs lie (work_dirs/studies/STUDY)")
    parser.add_argument("--out", metavar="DIR", help="where STUDY.md, STUDY.csv and STUDY.png go (the work dir)")
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="runs at a time (1; on a cluster as many as it has room for)"
    )
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="run only these methods")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="run only these seeds of the study")
    parser.add_argument("--dry-run", action="store_true", help="print the grid and what is done, and stop")
    parser.add_argument("--table-only", action="store_true", help="run nothing; tabulate what is done")
    parser.add_argument("--rerun-changed", action="store_true", help="run anew what was run with another config")
    parser.add_argument("--no-latency", action="store_true", help="do not time the methods")
    parser.add_argument("--dtype", choices=(*PRECISIONS, "auto"), help="precision of training and testing")
    _add_shared(parser, "--device", "--data-root", "--cfg-options", "--trust")
    parser.add_argument(
        "--executor", choices=tuple(EXECUTORS), default="local", help="what carries out the runs (this process)"
    )
    group = parser.add_argument_group("--executor submitit")
    _add_cluster(group)
    group.add_argument("--no-wait", action="store_true", help="submit the runs, and end")
    group = parser.add_argument_group("--executor ray")
    group.add_argument("--ray-address", metavar="ADDRESS", help="of a cluster (one is started on this machine)")
    group.add_argument(
        "--ray", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="what a run needs: num_gpus=1"
    )


def _check_study(arguments: argparse.Namespace) -> None:
    existing_study(arguments.study)
    _check_config(arguments)
    for executor, names in {"submitit": ("slurm", "cluster", "no_wait"), "ray": ("ray", "ray_address")}.items():
        given = [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name)]
        if given and arguments.executor != executor:
            raise ConfigError(f"{given[0]} is of --executor {executor}, found --executor {arguments.executor}")
    if several := _several_processes(arguments.slurm):
        raise ConfigError(f"--slurm {several[0]}: a run of a study is one process; rgbx submit starts several")
    if arguments.no_wait and arguments.cluster == "local":
        raise ConfigError("--no-wait is of Slurm: jobs of --cluster local are processes of this machine")
    _check_executor(arguments.executor)


def _add_cluster(group: argparse._ArgumentGroup | Parser) -> None:
    group.add_argument(
        "--cluster",
        choices=("slurm", "local"),
        help="slurm, or processes of this machine, one after the other, to try it out (slurm)",
    )
    group.add_argument(
        "--slurm",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="parameters of submitit: partition=gpu gpus_per_node=1 timeout_min=240 account=...",
    )


def _several_processes(parameters: Sequence[str]) -> list[str]:
    """Those that ask for several."""
    return [text for text in parameters if text.startswith(SEVERAL_PROCESSES) and not text.endswith("=1")]


def _check_executor(executor: str) -> None:
    """Whether the library of an executor is installed."""
    extra = EXECUTORS[executor]
    if extra and importlib.util.find_spec(executor) is None:
        raise ConfigError(f'{executor} is not installed: pip install "rgbx[{extra}]"')


def _add_submit(parser: Parser) -> None:
    _add_cluster(parser)
    parser.add_argument("--array", type=positive, metavar="N", help="N jobs, each with --shard I/N of test or predict")
    parser.add_argument("--jobs-dir", metavar="DIR", default="work_dirs/jobs", help="for logs (work_dirs/jobs)")
    parser.add_argument("--wait", action="store_true", help="until the jobs have ended")
    _add_shared(parser, "--device")
    parser.add_argument("command", nargs="+", metavar="-- COMMAND", help="what to do: -- train CONFIG ...")


def _check_submit(arguments: argparse.Namespace) -> None:
    name, *words = arguments.command
    name = ALIASES.get(name, name)
    if name not in SUBMITTED:
        raise ConfigError(f"rgbx submit carries out {', '.join(SUBMITTED)}; found {name!r}")
    if "--overwrite" in words:
        raise ConfigError("--overwrite would begin anew whenever the job is requeued; name another --work-dir or --out")
    if arguments.array and name not in SHARDED:
        raise ConfigError(f"--array is of {' and '.join(SHARDED)}, whose work is divided; found {name!r}")
    if arguments.array and any(word.split("=")[0] == "--shard" for word in words):
        raise ConfigError("--array gives each job its --shard; leave one of them out")
    _check_executor("submitit")
    if name in ("train", "predict") and "--resume" not in words:  # the others go on by themselves
        words.append("--resume")
    if several := _several_processes(arguments.slurm):
        if name == "study":
            raise ConfigError(f"--slurm {several[0]}: a run of a study is one process; found several")
        if name != "predict" and not any(word.split("=")[0] == "--launcher" for word in words):
            raise ConfigError(f"--slurm {several[0]} starts several processes: add --launcher pytorch to {name}")
    arguments.command = [name, *words]
    shard = ["--shard", f"1/{arguments.array}"] if arguments.array else []
    parse(name, [*words, *shard], [])  # what is wrong with it is told before it waits in a queue


def _add_compare(parser: Parser) -> None:
    parser.add_argument("a", metavar="A", help="a results.json")
    parser.add_argument("b", metavar="B", help="another, of the same protocol and images; the table tells B minus A")
    parser.add_argument("--heads", nargs="+", metavar="NAME", help="heads to compare (all that both have)")
    parser.add_argument("--force", action="store_true", help="compare although protocol or dataset differ, and say so")
    parser.add_argument("--json", metavar="FILE", help="also write the comparison there, in the files' own units")
    parser.add_argument("--draws", type=int, default=2000, metavar="N", help="bootstrap draws (2000)")
    parser.add_argument("--level", type=float, default=0.95, metavar="P", help="of the intervals (0.95)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (0)")


def _check_compare(arguments: argparse.Namespace) -> None:
    for path in (arguments.a, arguments.b):
        existing_file(path, "result file")


def _add_report(parser: Parser) -> None:
    parser.add_argument("results", metavar="RESULTS_JSON", help="written by rgbx test")
    parser.add_argument("folder", metavar="DIR", help="where the report goes; an earlier one is replaced")


def _check_report(arguments: argparse.Namespace) -> None:
    existing_file(arguments.results, "result file")


def _add_convert(parser: Parser) -> None:
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    asymfusion = formats.add_parser(
        "asymfusion",
        help="RefineNet on ResNet-50, -101 or -152 of AsymFusion's authors",
        description="Convert a checkpoint of github.com/yikaiw/AsymFusion. ResNet depth, class count and number of "
        "modalities are read off its tensors; each of them must have its place, and all that are there are reported.",
    )
    cen = formats.add_parser(
        "cen",
        help="the same of CEN, whose blocks exchange channels",
        description="Convert a checkpoint of github.com/yikaiw/CEN, semantic_segmentation. Its tensors have the names "
        "of AsymFusion's: which network a file is of, nothing in it says.",
    )
    for each in (asymfusion, cen):
        each.add_argument("source", type=Path, metavar="IN", help="their file, such as model-best.pth.tar")
        each.add_argument("out", type=Path, metavar="OUT", help="the checkpoint to write, such as asymfusion_r101.pth")
        each.add_argument(
            "--modalities",
            nargs="+",
            choices=("rgb", "depth"),
            help="what the file must hold, in the order in which the authors' code was given them (rgb depth)",
        )
        each.add_argument("--num-classes", type=int, metavar="K", help="what the file must hold (any)")
        each.add_argument("--report", type=Path, metavar="FILE", help="write what became of every key there, as JSON")
    slim = formats.add_parser(
        "slim",
        help="a checkpoint of rgbx without optimizer and history, with weights of 16 bits",
        description="Write a checkpoint for predicting and handing on: without optimizer, schedules, history, config, "
        "and with weights of 16 bits.",
    )
    slim.add_argument(
        "source", type=Path, metavar="IN", help="a checkpoint of rgbx, or a work directory: its best, else its last"
    )
    slim.add_argument("out", type=Path, metavar="OUT", help="the checkpoint to write, such as rooms.pth")
    for each in (asymfusion, cen, slim):
        each.add_argument("--force", action="store_true", help="replace files that exist")
        each.add_argument(
            "--trust",
            action="store_true",
            help="read a file that holds arbitrary Python objects, which can run any code",
        )


def _check_convert(arguments: argparse.Namespace) -> None:
    if arguments.format == "slim":
        find_result(arguments.source)
    else:
        existing_file(arguments.source, "checkpoint")


def _add_reproduce(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="of a published network (lists them)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="the authors' checkpoint (says where it lies)")
    parser.add_argument("--sha256", metavar="HEX", help="refuse a file of another digest")
    parser.add_argument("--work-dir", metavar="DIR", help="converted weights and results (work_dirs/reproduce/NAME)")
    _add_shared(parser, "--data-root", "--trust")


def _check_reproduce(arguments: argparse.Namespace) -> None:
    if arguments.weights is not None:
        existing_file(arguments.weights, "weight file")


def _add_models(parser: Parser) -> None:
    parser.add_argument(
        "--configs",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these, such as rooms/asymfusion_r18_rooms_160x120",
    )
    parser.add_argument(
        "--latency", action="store_true", help="measure parameters, operations and time here, with random weights"
    )
    parser.add_argument("--repeats", type=positive, default=10, metavar="N", help="timed passes of each (10)")
    parser.add_argument("--json", metavar="FILE", help="write what the models take there")
    parser.add_argument("--markdown", metavar="FILE", help="write the list as a page, with all scores")
    parser.add_argument("--device", default="auto", help=SHARED["--device"]["help"])
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    save = actions.add_parser(
        "save",
        help="a checkpoint as a folder that hubs take",
        description="Write FOLDER/model.safetensors, config.json and README.md, a model card. `rgbx.load` and every "
        "command take the folder as a checkpoint.",
    )
    push = actions.add_parser(
        "push",
        help="such a folder to the Hugging Face hub",
        description="Upload a checkpoint to OWNER/NAME of the Hugging Face hub, as the folder that save writes; others "
        "load it as hf-hub:OWNER/NAME. Log in before, by hf auth login.",
    )
    for each in (save, push):
        each.add_argument("checkpoint", help="a checkpoint, a work directory, or a folder of save")
    save.add_argument("folder", help="to write")
    push.add_argument("repository", metavar="OWNER/NAME", help="on the hub; made where it is not there")
    for each in (save, push):
        each.add_argument(
            "--results",
            nargs="+",
            default=[],
            metavar="FILE",
            help="result files of rgbx test, of this checkpoint, that the card tells",
        )
        each.add_argument("--license", metavar="NAME", help="as the hub names it, such as mit")
        each.add_argument("--trust", **SHARED["--trust"])
    save.add_argument("--overwrite", action="store_true", help="replace files that are there")
    push.add_argument("--private", action="store_true", help="for its owner alone; the owner's default otherwise")
    push.add_argument("--revision", metavar="BRANCH", help="the branch to write (main)")


def _check_models(arguments: argparse.Namespace) -> None:
    if arguments.action is None:
        for name in arguments.configs:
            existing_config(f"{name.removesuffix('.py')}.py")
        for path in (Path(text) for text in (arguments.json, arguments.markdown) if text):
            if path.is_dir():
                raise ConfigError(f"{path} is a folder; expected a file to write")
            refuse_unwritable(path, "write elsewhere")
        return
    stated = [f"--{name}" for name in ("configs", "latency", "json", "markdown") if getattr(arguments, name)]
    if stated:
        raise ConfigError(f"{stated[0]} is of the list of models; {arguments.action} takes none")
    find_result(arguments.checkpoint)
    for path in arguments.results:
        existing_file(path, "result file")
    if arguments.action == "push":
        hub_name(f"{HUB}{arguments.repository}" + (f"@{arguments.revision}" if arguments.revision else ""))


def _add_render_rooms(parser: Parser) -> None:
    parser.epilog = (
        "Writes OUT/{train,val,test}/{map}/000000.png. Frames that are there already are kept, so an interrupted run "
        "can be repeated; with --declare they are written again."
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to render into")
    parser.add_argument("--train", type=int, default=600, metavar="N", help="train frames (600)")
    parser.add_argument("--val", type=int, default=100, metavar="N", help="validation frames (100)")
    parser.add_argument("--test", type=int, default=200, metavar="N", help="test frames (200)")
    parser.add_argument("--size", type=_rendered_size, default=(120, 160), metavar="HxW", help="image size (120x160)")
    parser.add_argument("--seed", type=int, default=0, help="which world of scenes (0)")
    parser.add_argument(
        "--paints", choices=PAINTS, default="random", help="random, or the class of a surface says its colour (random)"
    )
    parser.add_argument(
        "--declare",
        action="store_true",
        help="write OUT/{rgb,depth,label}/SPLIT_000.png, lists and a dataset.toml instead, as data of one's own are",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument(
        "--contact-sheet", type=Path, metavar="PNG", help="also draw the first train frames, one per row"
    )


def _port(text: str) -> int:
    wrong = f"{text!r} is no port, 1 to 65535, or 0 for any that is free"
    if (port := _whole(text, 0, wrong)) > 65535:
        raise argparse.ArgumentTypeError(wrong)
    return port


def _add_serve(parser: Parser) -> None:
    parser.epilog = "Nothing that is sent is written or kept. Ctrl-C ends it."
    parser.add_argument("checkpoint", help=_CHECKPOINT)
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="0 takes any that is free (8000)")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="another lets other machines in (127.0.0.1)"
    )
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        help="open the page in a browser (where there is a screen)",
    )
    parser.add_argument(
        "--samples",
        metavar="FOLDER",
        help="frames to click on the page: a dataset's folder, or one with a folder for each map, such as FOLDER/rgb "
        "and FOLDER/depth, matched by stems",
    )
    parser.add_argument("--max-pixels", type=positive, default=1 << 22, metavar="N", help="of a frame (4194304)")
    parser.add_argument("--max-megabytes", type=positive, default=64, metavar="N", help="of the files of a frame (64)")
    parser.add_argument("--at-once", type=positive, default=2, metavar="N", help="frames computed side by side (2)")
    _add_shared(parser, "--device", "--trust")


def _check_serve(arguments: argparse.Namespace) -> None:
    find_result(arguments.checkpoint)
    if arguments.samples and not (folder := Path(arguments.samples)).is_dir():
        wrong = "is a file; expected a folder" if folder.exists() else f"no such folder{nearest_file(folder)}"
        raise FileNotFoundError(f"--samples {folder}: {wrong}")


COMMANDS: dict[str, Command] = {
    "init": Command(
        "plan a training of a folder within a budget of time",
        "init",
        "data/my_dataset --budget 1h",
        _add_init,
        _check_init,
    ),
    "train": Command(
        "train a config, or a folder by a plan, or resume a training",
        "train",
        "configs/rooms/asymfusion_r18_rooms_160x120.py --work-dir work_dirs/rooms",
        _add_train,
        _check_train,
    ),
    "test": Command(
        "score a checkpoint on the test split, by subsets of modalities",
        "evaluate",
        "configs/rooms/asymfusion_r18_rooms_160x120.py work_dirs/rooms --modalities rgb depth rgb+depth",
        _add_test,
        _check_test,
    ),
    "predict": Command(
        "predict on files, folders, lists, videos or a dataset",
        "predict",
        "work_dirs/rooms rgb=photos depth=depths --map depth scale=1000 --out predictions",
        _add_predict,
        _check_predict,
    ),
    "serve": Command(
        "try a model on a page of this machine, or by HTTP",
        "serve",
        "work_dirs/rooms --samples data/rooms/test --port 0",
        _add_serve,
        _check_serve,
    ),
    "translate": Command(
        "turn registered maps into files of another map",
        "translate",
        "work_dirs/normals --input rgb=photos depth=depths --out normals",
        _add_translate,
        _check_translate,
    ),
    "retrieve": Command(
        "search the frames of one sensor for what another one shows",
        "retrieve",
        "work_dirs/codes --index depth=depths --query rgb=photos --map depth scale=1000 --out found",
        _add_retrieve,
        _check_retrieve,
    ),
    "doctor": Command(
        "look for what is wrong with a dataset",
        "doctor",
        "data/my_dataset --contact-sheet sheet.png",
        _add_doctor,
        _check_doctor,
    ),
    "prepare": Command(
        "bring a downloaded public dataset into its folders",
        "prepare",
        "mfnet downloads/ir_seg_dataset data/mfnet",
        _add_prepare,
        _check_prepare,
    ),
    "profile": Command(
        "measure a model: parameters, operations, time and memory",
        "profile",
        "work_dirs/rooms --size 120x160 --modalities rgb rgb+depth",
        _add_profile,
        _check_profile,
    ),
    "export": Command(
        "write a model as files that run without rgbx",
        "export",
        "work_dirs/rooms --format onnx --modalities rgb+depth --out exported",
        _add_export,
        _check_export,
    ),
    "study": Command(
        "run a declared grid of methods and seeds, and tabulate it",
        "study",
        "configs/studies/rooms.py --data-root data/rooms --dry-run",
        _add_study,
        _check_study,
    ),
    "submit": Command(
        "carry out a command as a job of Slurm",
        "submit",
        "--slurm partition=gpu gpus_per_node=1 -- train configs/rooms/asymfusion_r18_rooms_160x120.py",
        _add_submit,
        _check_submit,
    ),
    "compare": Command(
        "say whether two results differ by more than chance",
        "compare",
        "work_dirs/a/results.json work_dirs/b/results.json",
        _add_compare,
        _check_compare,
    ),
    "report": Command(
        "write report.html and CSV files from a result file",
        "report",
        "work_dirs/rooms/results.json reports/rooms",
        _add_report,
        _check_report,
    ),
    "convert": Command(
        "turn another program's checkpoint into rgbx's, or slim one",
        "convert",
        "asymfusion model-best.pth.tar asymfusion_r101.pth",
        _add_convert,
        _check_convert,
    ),
    "reproduce": Command(
        "test published weights beside their published scores",
        "reproduce",
        "cen-r101-nyudv2",
        _add_reproduce,
        _check_reproduce,
    ),
    "models": Command(
        "list rgbx's own models; save one as a folder, push it to a hub",
        "models",
        "save work_dirs/rooms shared/rooms --license mit",
        _add_models,
        _check_models,
    ),
    "render-rooms": Command(
        "render a dataset of synthetic rooms",
        "render_rooms",
        "data/rooms --train 60 --val 10 --test 20 --size 60x80",
        _add_render_rooms,
    ),
}
ALIASES = {"evaluate": "test"}
# commands whose process keeps its memory
WITH_NETWORKS = (
    "init",
    "train",
    "test",
    "predict",
    "serve",
    "translate",
    "retrieve",
    "profile",
    "export",
    "models",
    "reproduce",
)

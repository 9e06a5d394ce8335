"""Loading a config file so that every mistake in it is named, with its file and line."""

from __future__ import annotations

import argparse
import ast
import importlib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyAttr, LazyObject

from rgbx._text import nearest
from rgbx.cli.errors import ConfigError
from rgbx.cli.options import TOP_LEVEL, apply_options, parse_options

DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that every command with a config has."""
    parser.add_argument("config", help="config file, such as configs/rooms/....py")
    parser.add_argument("--work-dir", help="where logs and checkpoints go")
    parser.add_argument("--data-root", help="root folder of every dataset of the config")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="A.B=VALUE", help="override values of the config"
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="read checkpoints and pretrained weights that hold arbitrary Python objects, which can run any code",
    )
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch"),
        default="none",
        help="pytorch: one of the processes that torchrun started",
    )


def load_config(path: str | Path, *, options: Sequence[str] = (), data_root: str | None = None) -> Config:
    """Reads a config in mmengine's new style and checks it.

    `data_root`, at the top level of a config or given here, becomes the `root` of every dataset,
    whatever a base config had there. Overrides follow, so that a single dataset can differ. The modules
    that `custom_imports` names are imported last.

    Args:
        path: the config file.
        options: overrides as "a.b.c=value".
        data_root: overrides the config's `data_root`.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: anything wrong in the file, its bases, its imports or the overrides.
    """
    overrides = parse_options(options)
    data_root = data_root or overrides.pop("data_root", None)
    config = _parse(Path(path))
    _drop_modules(config)
    _check_names(config, path)
    for lazy in lazy_objects(config._cfg_dict):
        _check_import(lazy)
    root = data_root or config.get("data_root")
    if root is not None:
        config.data_root = str(root)
        set_roots(config, str(root), required=data_root is not None)
    apply_options(config, overrides)
    _import_modules(config.get("custom_imports") or {"imports": []})
    return config


def read_values(path: str | Path) -> dict[str, Any]:
    """What a file in the style of a config defines, in plain containers; nothing that it imports is carried out.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: anything wrong in the file or its bases.
    """
    config = _parse(Path(path))
    _drop_modules(config)
    values = dict.items(config._cfg_dict)
    return {name: _plain(value) for name, value in values if name not in config._imported_names}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in dict.items(value)}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _import_modules(custom: Any) -> None:
    """Imports what a config names in `custom_imports`, so that the fusion methods defined there are known."""
    names = custom.get("imports") if isinstance(custom, dict) else None
    if not isinstance(names, (list, tuple)) or set(custom) != {"imports"}:
        raise ConfigError(f"custom_imports is {custom!r}; expected dict(imports=[...]) with names of modules")
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"custom_imports: cannot import {name}: {error}; is its folder in the environment's PYTHONPATH?"
            ) from error


def set_roots(config: Config, root: str, *, required: bool = False) -> None:
    """Sets the root folder of all datasets of a config.

    Raises:
        ConfigError: `required`, and no dataset has a `root`.
    """
    found = [
        node
        for loader in DATALOADERS
        if isinstance(config.get(loader), dict)
        for node in _dicts(config[loader].get("dataset"))
        if "root" in node
    ]
    if required and not found:
        raise ConfigError("no dataset of this config has a root to set")
    for node in found:
        node["root"] = root


def _dicts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _dicts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _dicts(item)


def _parse(path: Path) -> Config:
    if not path.is_file():
        siblings = [item.name for item in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise FileNotFoundError(f"config {path} does not exist{nearest(path.name, siblings)}")
    files: dict[Path, Path] = {}
    _check_chain(path, files)
    try:
        return Config.fromfile(path, lazy_import=True, format_python_code=False)
    except Exception as error:  # a config is code: anything can happen in it
        raise ConfigError(_explain(error, path, files)) from error


def _check_chain(path: Path, files: dict[Path, Path], above: tuple[Path, ...] = ()) -> set[str]:
    """Reads a config and its bases without carrying them out.

    Args:
        path: the config.
        files: of the chain so far, by their resolved paths; those of this config are added.
        above: the files that have it as their base.

    Returns:
        The names that the config defines.

    Raises:
        ConfigError: a file that is no Python, a base that does not exist or lacks a name that is imported from it.
    """
    files[path.resolve()] = path
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno}: {error.msg}") from error
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {alias.asname or alias.name for node in tree.body for alias in getattr(node, "names", ())}
    for imported in _base_imports(tree):
        base = path.parent.joinpath(*[".."] * (imported.level - 1), *str(imported.module).split("."))
        base = base.with_name(f"{base.name}.py")
        if not base.is_file():
            raise ConfigError(f"{path}: its base config {base} does not exist")
        if base.resolve() in (*above, path.resolve()):
            raise ConfigError(f"{path}: its base config {base} has this one as its base")
        known = _check_chain(base, files, (*above, path.resolve()))
        for alias in imported.names:
            if alias.name not in (*known, "*"):
                raise ConfigError(f"{path}: its base config does not define {alias.name!r}{nearest(alias.name, known)}")
            names |= known if alias.name == "*" else {alias.asname or alias.name}
    return names


def _base_imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    """The relative imports below `with read_base():`; bases in packages are left to mmengine."""
    for block in tree.body:
        call = block.items[0].context_expr if isinstance(block, ast.With) else None
        if isinstance(block, ast.With) and isinstance(call, ast.Call) and getattr(call.func, "id", "") == "read_base":
            yield from (node for node in block.body if isinstance(node, ast.ImportFrom) and node.level)


def _explain(error: Exception, path: Path, files: Mapping[Path, Path]) -> str:
    """One sentence with file and line for an error raised while a config was run."""
    where, text = str(path), str(error)
    for frame in traceback.extract_tb(error.__traceback__):
        if (file := files.get(Path(frame.filename).resolve())) is not None:
            where = f"{file}, line {frame.lineno}"
    if isinstance(error, RuntimeError) and not text:
        return (
            f"{where}: a config cannot call what it imports, as imports are only carried out "
            "when the run is built; write the value itself"
        )
    return f"{where}: {type(error).__name__}: {text}"


def _drop_modules(config: Config) -> None:
    """`import x` of a built-in module leaves the module among the config's values."""
    for name, value in list(dict.items(config._cfg_dict)):
        if isinstance(value, ModuleType):
            del config._cfg_dict[name]


def _check_names(config: Config, path: str | Path) -> None:
    for name in dict.keys(config._cfg_dict):
        if name not in TOP_LEVEL and name not in config._imported_names and name[0] != "_":
            raise ConfigError(
                f"{path}: unknown name {name!r} at the top level"
                f"{nearest(name, TOP_LEVEL)} (begin the names of your own variables "
                "with an underscore)"
            )


def lazy_objects(value: Any) -> Iterator[LazyObject | LazyAttr]:
    """All imports that a config's values refer to, in order, without carrying them out."""
    if isinstance(value, (LazyObject, LazyAttr)):
        yield value
    elif isinstance(value, dict):
        for item in dict.values(value):  # ConfigDict.values would carry the imports out
            yield from lazy_objects(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from lazy_objects(item)


def _check_import(lazy: LazyObject | LazyAttr) -> None:
    module = lazy.module
    name = lazy.name if isinstance(lazy, LazyAttr) else lazy._imported
    where = lazy.location or "config"
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{where}: cannot import {module}: {error}") from error
    if name is not None and not hasattr(found, name):
        try:
            importlib.import_module(f"{module}.{name}")
        except ImportError:
            raise ConfigError(f"{where}: {module} has no {name!r}{nearest(name, dir(found))}") from None


def without_initial_weights(config: Config) -> None:
    """Keeps the builder from loading pretrained weights that a checkpoint will replace."""
    if isinstance(config.model, ConfigDict) and "pretrained" in config.model:
        config.model["pretrained"] = None

"""Loading a config file so that every mistake in it is named, with its file and line."""

from __future__ import annotations

import ast
import copy
import importlib.util
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import mmengine.config.config
from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyAttr, LazyObject

from rgbx._choices import DATALOADERS
from rgbx._files import existing_file
from rgbx._text import nearest, nearest_file
from rgbx._types import Options
from rgbx.cli.arguments import existing_config, existing_root, shipped_configs
from rgbx.cli.checks import check_form
from rgbx.cli.errors import ConfigError
from rgbx.cli.options import TOP_LEVEL, apply_options, known_names, parse_options
from rgbx.datasets.files import FileDataset

OF_WORKERS = ("persistent_workers", "prefetch_factor", "multiprocessing_context")


def load_config(path: str | Path, *, options: Sequence[str] = (), data_root: str | None = None) -> Config:
    """Reads a config in mmengine's new style and checks it.

    `dataset`, at the top level of a config, has what the datasets of all loaders share, and every loader has the
    sampler and the collation of rgbx where it names none. `data_root`, at the top level or given here, becomes the
    `root` of every dataset, whatever a base config had there. Overrides follow, of `dataset` before those of a
    single loader. The modules that `custom_imports` names are imported last.

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
    _complete_loaders(config, path)
    root = data_root or config.get("data_root")
    if root is not None:
        config.data_root = str(root)
        set_roots(config, str(root), required=data_root is not None)
    apply_options(config, _for_every_loader(config, overrides))
    for loader in _loaders(config).values():
        if not loader.get("num_workers"):
            for name in OF_WORKERS:  # there are none, and torch refuses to be asked for it
                loader.pop(name, None)
    _import_modules(config.get("custom_imports") or {"imports": []})
    check_form(config, path)
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


def _plain(value: object) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in dict.items(value)}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value


def _import_modules(custom: object) -> None:
    """Imports what a config names in `custom_imports`, so that the fusion methods defined there are known."""
    names = custom.get("imports") if isinstance(custom, dict) and len(custom) == 1 else None
    if not isinstance(names, (list, tuple)):
        raise ConfigError(f"custom_imports is {custom!r}; expected dict(imports=[...]) with names of modules")
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"custom_imports: cannot import {name}: {error}; is its folder in the environment's PYTHONPATH?"
            ) from error
        except (Exception, SystemExit) as error:  # the module's own
            raise ConfigError(f"custom_imports: importing {name!r} failed: {type(error).__name__}: {error}") from error


def set_roots(config: Config, root: str, *, required: bool = False) -> None:
    """Sets the root folder of all datasets of a config.

    Raises:
        ConfigError: `required`, and no dataset has a `root`.
    """
    found = [node for loader in _loaders(config).values() for node in _dicts(loader.get("dataset")) if "root" in node]
    if required and not found:
        raise ConfigError("no dataset of this config has a root to set")
    for node in found:
        node["root"] = root


def check_roots(config: Config, *loaders: str) -> None:
    """Whether the folders that datasets read from are there.

    Args:
        config: with its overrides.
        loaders: whose datasets; all where none is named.

    Raises:
        FileNotFoundError: one is not.
    """
    for name, loader in _loaders(config).items():
        for node in _dicts(loader.get("dataset")) if name in (loaders or DATALOADERS) else ():
            kind, root = node.get("type"), node.get("root")
            if isinstance(kind, type) and issubclass(kind, FileDataset) and isinstance(root, (str, Path)):
                existing_root(root)


def _loaders(config: Config) -> dict[str, ConfigDict]:
    return {name: config[name] for name in DATALOADERS if isinstance(config.get(name), dict)}


def _complete_loaders(config: Config, path: str | Path) -> None:
    """What loaders leave to `dataset` and to rgbx; what they say themselves counts."""
    shared = config._cfg_dict.pop("dataset", None)
    for name in DATALOADERS:
        if not isinstance(config.get(name), (dict, type(None))):
            raise ConfigError(f"{path}: {name} is {config[name]!r}; expected dict(...)")
    if not isinstance(shared, (dict, type(None))):
        raise ConfigError(f"{path}: dataset is {shared!r}; expected dict(...) with what the loaders' datasets share")
    for name, loader in _loaders(config).items():
        training = name == "train_dataloader"
        if "batch_sampler" not in loader:
            loader.setdefault("sampler", ConfigDict(type=LazyObject("rgbx.datasets", "EpochSampler"), shuffle=training))
        loader.setdefault("collate_fn", ConfigDict(type=LazyObject("rgbx.transforms", "collate")))
        if training:
            loader.setdefault("persistent_workers", True)
        if shared is not None:
            _share(loader.setdefault("dataset", ConfigDict()), shared)


def _share(own: ConfigDict, shared: ConfigDict) -> None:
    """Gives a loader's dataset what it does not say itself; a dataset in another one takes it, not what is around."""
    if isinstance(own.get("dataset"), dict) and "dataset" not in shared:
        _share(own["dataset"], shared)
        return
    around = known_names(shared, ("dataset",)) if isinstance(shared.get("dataset"), dict) else None
    if around and "type" not in own:
        inner = {key: own.pop(key) for key in list(dict.keys(own)) if key not in around}
        own["dataset"] = ConfigDict({**inner, **own.get("dataset", {})})
        _share(own["dataset"], shared["dataset"])
    for key, value in dict.items(shared):
        own.setdefault(key, copy.deepcopy(value))


def _for_every_loader(config: Config, overrides: Options) -> dict[str, Any]:
    """Overrides with those of `dataset` written out for every loader, before those of one."""
    general = [key for key in overrides if key.partition(".")[0] == "dataset"]
    spread = {f"{loader}.{key}": overrides[key] for key in general for loader in _loaders(config)}
    return {**spread, **{key: value for key, value in overrides.items() if key not in general}}


def _dicts(value: object) -> Iterator[Any]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _dicts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _dicts(item)


def _parse(path: Path) -> Config:
    path = existing_config(path)
    if '"' in str(path.absolute()):  # mmengine puts it into code
        raise ConfigError(f"{path.absolute()}: no config can be read from a path with a quotation mark: rename it")
    files: dict[Path, Path] = {}
    _check_chain(path, files)
    try:
        return Config.fromfile(path, lazy_import=True, format_python_code=False)
    except (Exception, SystemExit) as error:  # a config is code: anything can happen in it
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
        tree = ast.parse(existing_file(path, "config").read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno or 1}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is not UTF-8 ({error.reason} at byte {error.start})") from error
    except (RecursionError, MemoryError) as error:
        raise ConfigError(f"{path}: brackets or blocks stand in each other without end") from error
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {alias.asname or alias.name for node in tree.body for alias in getattr(node, "names", ())}
    for imported in _base_imports(tree):
        base = _base_file(path, imported)
        if not base.is_file():
            raise ConfigError(f"{path}: its base config {base} does not exist{nearest_file(base)}")
        if base.resolve() in (*above, path.resolve()):
            raise ConfigError(f"{path}: its base config {base} has this one as its base")
        known = _check_chain(base, files, (*above, path.resolve()))
        for alias in imported.names:
            if alias.name not in (*known, "*"):
                raise ConfigError(f"{path}: its base config does not define {alias.name!r}{nearest(alias.name, known)}")
            names |= known if alias.name == "*" else {alias.asname or alias.name}
    return names


def _base_imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    """The imports below `with read_base():`."""
    for block in tree.body:
        call = block.items[0].context_expr if isinstance(block, ast.With) else None
        if isinstance(block, ast.With) and isinstance(call, ast.Call) and getattr(call.func, "id", "") == "read_base":
            yield from (node for node in block.body if isinstance(node, ast.ImportFrom))


def _base_file(path: Path, imported: ast.ImportFrom) -> Path:
    """The file that a config imports as its base, relative to its own or from a package."""
    first, *names = str(imported.module).split(".")
    folder = path.parent.joinpath(*[".."] * (imported.level - 1), first) if imported.level else package_folder(first)
    file = Path(folder, *names)
    return file.with_name(f"{file.name}.py")


def package_folder(package: str) -> str:
    """Where `package.configs...` lies, from which a config may import its bases.

    Raises:
        ConfigError: there is no such package.
    """
    if package == "rgbx":
        return str(shipped_configs().parent)
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"a base config is imported from {package!r}, which is no installed package")
    return str(found.submodule_search_locations[0])


# mmengine's own way needs pkg_resources, which setuptools has given up, and does not know where a checkout has configs.
mmengine.config.config.get_installed_path = package_folder


def _explain(error: BaseException, path: Path, files: Mapping[Path, Path]) -> str:
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
    name = getattr(error, "name", None) or (error.args[0] if isinstance(error, KeyError) and error.args else None)
    missing = re.search(r"no attribute '(\w+)'", text)  # mmengine's does not tell its name
    near = nearest(str(missing[1] if missing else name), _words(files)) if missing or name else ""
    return f"{where}: {type(error).__name__}: {text}{near}"


def _words(files: Mapping[Path, Path]) -> set[str]:
    """What a config and its bases name: variables, arguments and keys."""
    words: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                words.add(node.id)
            elif isinstance(node, ast.keyword) and node.arg:
                words.add(node.arg)
            elif isinstance(node, ast.Dict):
                words |= {
                    key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
                }
    return words


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


def lazy_objects(value: object) -> Iterator[LazyObject | LazyAttr]:
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
        raise ConfigError(f"{where}: cannot import {module}: {error}{_near_module(error)}") from error
    except (Exception, SystemExit) as error:  # the module's own
        raise ConfigError(f"{where}: importing {module} failed: {type(error).__name__}: {error}") from error
    if name is not None and not hasattr(found, name):
        try:
            importlib.import_module(f"{module}.{name}")
        except ImportError:
            raise ConfigError(f"{where}: {module} has no {name!r}{nearest(name, dir(found))}") from None


def _near_module(error: ImportError) -> str:
    """The nearest of the modules that lie beside the one that was not found."""
    parent, _, name = (error.name or "").rpartition(".")
    beside = getattr(sys.modules.get(parent), "__path__", None)
    return nearest(name, (found.name for found in pkgutil.iter_modules(beside))) if beside else ""


def without_initial_weights(config: Config) -> None:
    """Keeps the builder from loading pretrained weights that a checkpoint will replace."""
    if isinstance(config.model, ConfigDict) and "pretrained" in config.model:
        config.model["pretrained"] = None

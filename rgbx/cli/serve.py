"""Serves a model on this machine: a page to try it, and a JSON endpoint."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import socket
import sys
import threading
import tomllib
import webbrowser
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import rgbx
from rgbx._runs import HUB, WEIGHTS
from rgbx._types import Options
from rgbx.cli.errors import ConfigError, command
from rgbx.cli.sources import Source, open_dataset, open_paths
from rgbx.datasets.folder import DECLARATION
from rgbx.models import MultimodalModel, load
from rgbx.models.folder import find_checkpoint
from rgbx.models.inputs import map_inputs
from rgbx.profile.measure import find_device

try:
    import python_multipart  # noqa: F401  starlette reads forms by it
    import uvicorn

    from rgbx.serve.app import Limits, Sample, build_app, is_loopback
except ModuleNotFoundError as error:
    raise ImportError(f'rgbx serve needs {error.name}: pip install "rgbx[serve]"') from error

SHOWN = 24  # samples on the page, at most
LAST_PORT = 65535


@command("serve")
def main(arguments: argparse.Namespace) -> int:
    """Binds the port, loads, serves until Ctrl-C; exit code 0, 2 for a user's error."""
    checkpoint = find_checkpoint(arguments.checkpoint)
    with closing(bind(arguments.host, arguments.port)) as listener:
        model = load(checkpoint, device=find_device(arguments.device), trust=arguments.trust)
        folder = Path(arguments.samples) if arguments.samples else shipped_samples(model)
        samples = list_samples(folder, model) if folder else []
        limits = Limits(arguments.max_megabytes << 20, arguments.max_pixels, arguments.at_once)
        app = build_app(
            model, title_of(arguments.checkpoint, checkpoint), samples=samples, host=arguments.host, limits=limits
        )
        address = address_of(listener, arguments.host)

        def tell() -> None:
            print(f"{checkpoint} is served at {address} until Ctrl-C", flush=True)
            if not is_loopback(arguments.host):
                print(
                    f"warning: --host {arguments.host} lets other machines in, and there is no password: whoever "
                    "reaches the port can use the model",
                    file=sys.stderr,
                )
            if arguments.open if arguments.open is not None else _has_screen():
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what is wrong with a form its answer tells
        with suppress(KeyboardInterrupt):  # how a server is ended
            _Server(app, tell).run(sockets=[listener])
    return 0


def title_of(said: str, checkpoint: Path) -> str:
    """What the page calls a model: its name on the hub, its folder, or folder and file; no path of this machine."""
    if said.startswith(HUB):
        return said
    checkpoint = checkpoint.absolute()
    return checkpoint.parent.name if checkpoint.name == WEIGHTS else "/".join(checkpoint.parts[-2:]).lstrip("/")


class _Server(uvicorn.Server):
    """Tells that it can be reached once it can."""

    def __init__(self, app: object, tell: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,  # type: ignore[arg-type]
                log_config=None,  # uvicorn's own closes every other handler of the process
                log_level="warning",
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=3,
            )
        )
        self.tell = tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.tell()


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, at which nothing listens yet.

    Raises:
        ConfigError: a host that is not known, or a port that is taken; the next one that is free is told.
    """
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError):
        raise ConfigError(f"--host {host}: no such address or name") from None
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(place)
        found.listen()
    except OSError as error:
        found.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise ConfigError(
                f"--host {host}: {os.strerror(error.errno or 0)}; expected an address of this machine"
            ) from None
        why = "is in use" if error.errno == errno.EADDRINUSE else "may be opened by the administrator alone"
        raise ConfigError(f"port {port} of {host} {why}: give --port {_next_free(host, port)}") from None
    return found


def _next_free(host: str, port: int) -> int:
    """The next port that can be had, from 1024 on, which users may open; 0, which takes any, where there is none."""
    for number in range(max(port + 1, 1024), LAST_PORT + 1):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, number))
                tried.listen()
            except OSError:
                continue
            return number
    return 0


def address_of(listener: socket.socket, host: str) -> str:
    """What a browser opens; of a socket at all addresses, by the name of this machine."""
    port = listener.getsockname()[1]
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"


def _has_screen() -> bool:
    on_screen = sys.platform in ("darwin", "win32") or any(os.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY"))
    return sys.stdout.isatty() and on_screen


def shipped_samples(model: MultimodalModel) -> Path | None:
    """The folder of the frames that belong to rgbx, if they have the classes of the model."""
    package = Path(rgbx.__file__).parent
    places = (package / "samples", package.parent / "data" / "samples")
    folder = next((place for place in places if (place / DECLARATION).is_file()), None)
    if folder is None:
        return None
    classes = tomllib.loads((folder / DECLARATION).read_text("utf-8"))["classes"]["names"]
    return folder if tuple(classes) == tuple(model.trained_on.get("classes", ())) else None


def list_samples(folder: Path, model: MultimodalModel) -> list[Sample]:
    """The first frames of a folder, see `--samples`.

    Raises:
        ConfigError: frames that are not a file for each map, or files of a kind that options cannot tell.
        FileNotFoundError, ValueError: see `rgbx.cli.sources`.
    """
    folders = {name: folder / name for name in model.modalities if (folder / name).is_dir()}
    declared = (folder / DECLARATION).is_file() or not folders
    source = open_dataset(folder, wanted=model.modalities) if declared else open_paths(folders, colours=())
    said = {name: words for name in source.maps if (words := _said(folder, name, source, model))}
    found = []
    for frame in source.read(range(min(SHOWN, len(source.ids)))):
        files = {name: file for name, file in frame.values.items() if isinstance(file, Path)}
        if set(files) != set(frame.values):
            raise ConfigError(f"--samples {folder}: frame {frame.sample_id} has maps that are no files of their own")
        found.append(Sample(frame.sample_id, files, said))
    return found


def _said(folder: Path, name: str, source: Source, model: MultimodalModel) -> Options:
    """What has to be said of a map's files, where the checkpoint does not say it."""
    if name not in source.inputs:
        return {}
    known, own = source.inputs[name].known, map_inputs([name], {}, model.trained_on)[name].known
    options = known.as_dict() if known else None
    if known is None or options is None:
        raise ConfigError(
            f"--samples {folder}: this dataset reads {name} in a way of its own; expected another, or a folder that "
            f"holds the folders {' and '.join(source.maps)}"
        )
    return {} if own == known else {"unit": known.unit, **options}

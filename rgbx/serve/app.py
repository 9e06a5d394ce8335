"""A model behind HTTP on this machine: a page, and the JSON endpoint that it uses.

Nothing is written to disk and nothing of a request is kept: bodies are read into memory, within limits, and files are
decoded there, after their headers have said how large they are.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import socket
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import cv2
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rgbx import __version__
from rgbx._files import FileInMemory, read_file
from rgbx._text import nearest, one_of
from rgbx._types import Options
from rgbx.evaluate.result_form import Json
from rgbx.maps.colour import colour_input
from rgbx.maps.files import encode_png
from rgbx.models import MultimodalModel, Predictor
from rgbx.models.inputs import WORDS, Frame, MapError, map_inputs, split_arguments
from rgbx.models.multimodal import hearing
from rgbx.models.result import predict_frames
from rgbx.serve.answers import KINDS, frame_answer, model_answer
from rgbx.serve.page import build_page
from rgbx.tasks import ENSEMBLE

SCHEMA = "schema.json"
WORDS_OF_REQUESTS = ("answer", "branches", "heads")  # beside maps and their options
LONGEST_WORD = 1000
MOST_PARTS = 100
MOST_WAITING = 256  # requests, at most
_DIGITS = 20  # of a number, which say whether it is too large
READ_SECONDS = 60  # for the body of a request
THUMBNAIL = 160  # pixels of the longest side
SAFE = {  # headers of every answer
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class Limits:
    """What requests may ask of this machine.

    Attributes:
        most_bytes: of a request.
        most_pixels: of a frame.
        at_once: how many frames are computed side by side; others wait.
    """

    most_bytes: int = 64 << 20
    most_pixels: int = 1 << 22
    at_once: int = 2

    @property
    def most_held(self) -> int:
        """Bytes of all requests that are read or wait."""
        return 8 * self.most_bytes


@dataclass(frozen=True)
class Sample:
    """A frame that the page offers: its name, the file of each map, and what is said of how they are stored."""

    name: str
    files: Mapping[str, Path]
    said: Mapping[str, Options]


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        text: what is told, a sentence.
        name: of the map that it is about.
    """

    def __init__(self, status: int, text: str, name: str | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.name = status, text, name


class Asked(NamedTuple):
    """What a request asks for: maps and options by their arguments' names, kinds of answers, and some heads or all."""

    arguments: dict[str, object]
    kinds: tuple[str, ...]
    branches: bool
    heads: list[str] | None


def build_app(
    model: MultimodalModel,
    checkpoint: str,
    *,
    samples: Sequence[Sample] = (),
    host: str = "127.0.0.1",
    limits: Limits | None = None,
) -> ASGIApp:
    """The application, for a server such as uvicorn.

    Args:
        model: in evaluation mode; its threads share it.
        checkpoint: the name that the page shows.
        samples: what the page offers.
        host: that the server listens on; on loopback it answers to loopback's names alone.
        limits: see `Limits`.
    """
    service = _Service(model, checkpoint, samples, limits or Limits())
    page = build_page(checkpoint)
    schema = Path(__file__).with_name(SCHEMA).read_bytes()

    async def show_page(_: Request) -> Response:
        return Response(page.html, media_type="text/html", headers={"content-security-policy": page.policy})

    async def show_schema(_: Request) -> Response:
        return Response(schema, media_type="application/schema+json")

    async def show_model(_: Request) -> Response:
        return _json(service.told)

    async def say_well(_: Request) -> Response:
        return _json({"status": "ok"})

    routes = [
        Route("/", show_page),
        Route("/model", show_model),
        Route("/healthz", say_well),
        Route(f"/{SCHEMA}", show_schema),
        Route("/predict", service.predict, methods=["POST"]),
        Route("/samples/{number}.png", service.thumbnail),
        Route("/samples/{number}/{name}", service.sample_file),
    ]
    handlers = {RefusedError: _told, HTTPException: _told_by_http, 500: _told_of_failure}
    return _Guard(Starlette(routes=routes, exception_handlers=handlers), host)


class _Service:
    """Reads requests and answers them by a model, so many at once as its limits allow."""

    def __init__(self, model: MultimodalModel, checkpoint: str, samples: Sequence[Sample], limits: Limits) -> None:
        self.model, self.samples, self.limits = model, samples, limits
        self.turns = anyio.CapacityLimiter(limits.at_once)
        self.held, self.waiting = 0, 0
        self.told: dict[str, Json] = {
            "rgbx": __version__,
            "checkpoint": checkpoint,
            **model_answer(model),
            "limits": {"bytes": limits.most_bytes, "pixels": limits.most_pixels},
            "samples": [
                {
                    "name": sample.name,
                    "files": {name: file.name for name, file in sample.files.items()},
                    "said": {name: dict(words) for name, words in sample.said.items()},
                }
                for sample in samples
            ],
        }

    async def predict(self, request: Request) -> Response:
        """Answers a frame."""
        with self._room_for(request):
            asked = await self._read(request)
            body = await anyio.to_thread.run_sync(self._answer, asked, limiter=self.turns)
        return Response(body, media_type="application/json")

    async def thumbnail(self, request: Request) -> Response:
        """A small picture of the first map of a sample."""
        sample = self._sample(request)
        return Response(
            await anyio.to_thread.run_sync(self._thumbnail, sample, limiter=self.turns), media_type="image/png"
        )

    async def sample_file(self, request: Request) -> Response:
        """The file of a sample's map, as it lies there."""
        sample, name = self._sample(request), request.path_params["name"]
        if name not in sample.files:
            raise RefusedError(404, f"sample {sample.name!r} has no {name!r}; it has {', '.join(sample.files)}")
        data = await anyio.to_thread.run_sync(read_file, sample.files[name])
        return Response(data, media_type="application/octet-stream")

    def _sample(self, request: Request) -> Sample:
        number = request.path_params["number"]
        if not number.isdecimal() or int(number[:_DIGITS]) >= len(self.samples):
            raise RefusedError(404, f"there is no sample {number[:LONGEST_WORD]}; there are {len(self.samples)}")
        return self.samples[int(number)]

    def _thumbnail(self, sample: Sample) -> bytes:
        name, file = next(iter(sample.files.items()))
        item = map_inputs([name], sample.said, self.model.trained_on)[name]
        found = {key: x.numpy() for key, x in item.read(file, where=str(file)).items()}
        picture = colour_input(name, found[name], found.get(f"{name}_valid"), item.spec)
        scale = min(1.0, THUMBNAIL / max(picture.shape[:2]))
        size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
        return encode_png(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))

    @contextmanager
    def _room_for(self, request: Request) -> Iterator[None]:
        """Counts the bytes of a request as long as it is held; refuses more than there is room for."""
        length = request.headers.get("content-length", "")
        size = int(length[:_DIGITS]) if length.isdecimal() else self.limits.most_bytes
        if size > self.limits.most_bytes:
            raise self._too_large(size)
        if self.held + size > self.limits.most_held or self.waiting >= MOST_WAITING:
            raise RefusedError(503, f"{self.waiting} requests are waiting, as many as there is room for: ask again")
        self.held, self.waiting = self.held + size, self.waiting + 1
        try:
            yield
        finally:
            self.held, self.waiting = self.held - size, self.waiting - 1

    def _too_large(self, size: int) -> RefusedError:
        return RefusedError(
            413, f"the request has {size} bytes or more; at most {self.limits.most_bytes} are read: send smaller files"
        )

    async def _body(self, request: Request) -> AsyncGenerator[bytes, None]:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self.limits.most_bytes:
                raise self._too_large(size)
            yield part

    async def _read(self, request: Request) -> Asked:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("multipart/form-data", "application/json"):
            raise RefusedError(
                415, f"the request is of type {kind or 'none'!r}; expected multipart/form-data or application/json"
            )
        try:
            with anyio.fail_after(READ_SECONDS):
                if kind == "application/json":
                    return self._asked_by_json(b"".join([part async for part in self._body(request)]))
                form = await _InMemory(
                    request.headers, self._body(request), max_files=MOST_PARTS, max_fields=MOST_PARTS
                ).parse()
                return self._asked_by_form([(key, await self._part(key, value)) for key, value in form.multi_items()])
        except (MultiPartException, ValueError) as error:
            raise RefusedError(400, f"the request is no multipart/form-data: {error}") from None
        except ClientDisconnect:
            raise RefusedError(400, "the request ended before all of it was there") from None
        except TimeoutError:
            raise RefusedError(408, f"the request was not there after {READ_SECONDS} s") from None

    async def _part(self, key: str, value: str | UploadFile) -> str | FileInMemory:
        if isinstance(value, str):
            return value
        return self._file(value.filename or key, await value.read())

    def _file(self, name: str, data: bytes) -> FileInMemory:
        """A file that is named by its last part, without what could break a line."""
        last = name.replace("\\", "/").rpartition("/")[2]
        shown = "".join(character for character in last if character.isprintable())[:100]
        return FileInMemory(shown or "file", data, self.limits.most_pixels)

    def _asked_by_form(self, parts: Sequence[tuple[str, str | FileInMemory]]) -> Asked:
        arguments: dict[str, object] = {}
        words: dict[str, list[str]] = {}
        for key, value in parts:
            if isinstance(value, FileInMemory):
                if key in arguments:
                    raise RefusedError(400, f"{key} is given twice; expected one file of a frame", self._map_of(key))
                arguments[key] = value
            else:
                words.setdefault(key, []).extend(value.split(","))
        given = {key: words.pop(key) for key in WORDS_OF_REQUESTS if key in words}
        for key, texts in words.items():
            arguments[key] = self._option(key, texts)
        return self._checked(arguments, given)

    def _option(self, key: str, texts: Sequence[str]) -> object:
        """The value of an option of a map that was given as text."""
        option = next((word for word in WORDS if key.endswith(f"_{word}")), "")
        if not option:
            return ",".join(texts)
        try:
            values = [WORDS[option](text.strip()) for text in texts]
        except (KeyError, ValueError):
            raise RefusedError(
                400, f"{key} is {','.join(texts)[:LONGEST_WORD]!r}; expected {_expected(option)}", self._map_of(key)
            ) from None
        if len(values) > 1 and option != "missing":
            raise RefusedError(400, f"{key} is given twice; which is it?", self._map_of(key))
        return tuple(values) if option == "missing" else values[0]

    def _asked_by_json(self, body: bytes) -> Asked:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, f"the request is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise RefusedError(400, f"the request is a {type(found).__name__}; expected an object with a map")
        given = {key: found.pop(key) for key in WORDS_OF_REQUESTS if key in found}
        arguments = {key: self._decoded(key, value) if self._is_map(key) else value for key, value in found.items()}
        for key, value in arguments.items():
            if isinstance(value, dict) or (isinstance(value, list) and not key.endswith("_missing")):
                raise RefusedError(400, f"{key} is a {type(value).__name__}; expected a value", self._map_of(key))
        return self._checked(arguments, given)

    def _decoded(self, key: str, value: object) -> FileInMemory:
        try:
            if isinstance(value, str):
                return self._file(key, base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            pass
        raise RefusedError(400, f"{key} is no base64; expected the bytes of a file as such", self._map_of(key))

    def _checked(self, arguments: dict[str, object], given: Mapping[str, object]) -> Asked:
        """What is asked for; maps are files, and nothing else is, so that no request names a file of this machine."""
        for key, value in arguments.items():
            if self._is_map(key) != isinstance(value, FileInMemory):
                expected = f"a file, by curl -F {key}=@FILE" if self._is_map(key) else "a value"
                found = "a file" if isinstance(value, FileInMemory) else "text"
                if self._is_map(key) or any(key.endswith(f"_{word}") for word in WORDS):
                    raise RefusedError(400, f"{key} is {found}; expected {expected}", self._map_of(key))
        kinds = _words("answer", given.get("answer", []))
        for kind in kinds:
            if kind not in KINDS:
                raise RefusedError(400, f"answer is {kind!r}; expected some of {one_of(KINDS, kind)}")
        heads = list(_words("heads", given.get("heads", [])))
        return Asked(arguments, kinds or ("ids",), _truth(given.get("branches", False)), heads or None)

    def _is_map(self, key: str) -> bool:
        return key.removesuffix("_valid") in self.model.modalities

    def _map_of(self, key: str) -> str | None:
        """The map that an argument is about; None for others."""
        names = sorted(self.model.modalities, key=len, reverse=True)
        return next((name for name in names if key == name or key.startswith(f"{name}_")), None)

    def _answer(self, asked: Asked) -> bytes:
        """The JSON of an answer; in a thread of its own."""
        start, model = time.perf_counter(), self.model
        try:
            maps, options = split_arguments(asked.arguments, model.modalities)
            inputs = map_inputs(model.modalities, options, model.trained_on)
            predictor = Predictor(model, heads=asked.heads, names=None if asked.branches else [ENSEMBLE])
            with hearing() as heard:
                (result,) = predict_frames(
                    predictor,
                    inputs,
                    iter([Frame("frame", maps)]),
                    about=model.trained_on,
                    batch_size=1,
                    keep_probability=False,
                )
            found = frame_answer(result, asked.kinds, branches=asked.branches)
        except MapError as error:
            raise RefusedError(422, str(error), error.name) from error
        except ValueError as error:
            raise RefusedError(422, str(error)) from error
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            raise RefusedError(503, "the memory was not enough for a frame of this size; send a smaller one") from error
        found["warnings"] = [{"map": name, "text": text} for name, text in heard]
        found["seconds"] = round(time.perf_counter() - start, 4)
        return json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


class _InMemory(MultiPartParser):
    """A parser that keeps files in memory, however large: how large they may be, the limit of the body says."""

    spool_max_size = sys.maxsize
    _charset = property(lambda _: "utf-8", lambda _, said: None)  # of names and words, whatever codec a request says


class _Guard:
    """Answers to names of this machine alone, and not to pages of others; every answer has `SAFE` and a policy."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app, self.is_local = app, is_loopback(host)
        self.names = {"localhost"} if self.is_local else {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SAFE)
                headers.setdefault("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
            await send(message)

        refused = self._refused(Headers(scope=scope))
        app = self.app if refused is None else _json({"error": refused, "map": None}, 403)
        await app(scope, receive, send_safely)

    def _refused(self, headers: Headers) -> str | None:
        """Why a request is not let in, so that no page of the web reaches this by a name of its own or by a form."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return f"this is not {host[:LONGEST_WORD]!r}: open the address that rgbx serve has printed"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return f"pages of {origin[:LONGEST_WORD]!r} may not ask this; scripts do without the header Origin"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback or not self.is_local
        except ValueError:
            return False


def is_loopback(host: str) -> bool:
    """Whether a name or an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _expected(option: str) -> str:
    """What the text of an option of a map should be, for messages."""
    texts = {"unit": "a unit", "key": "a name", "bits": "8 or 16"}
    return texts.get(option) or ("true or false" if option in ("holes", "normalise", "clips") else "a number")


def _words(name: str, given: object) -> tuple[str, ...]:
    """The words of a field: of a list, or of texts with spaces between them."""
    listed = given if isinstance(given, (list, tuple)) else [given]
    texts = [text for text in listed if isinstance(text, str)]
    if len(texts) < len(listed):
        raise RefusedError(400, f"{name} is {str(given)[:LONGEST_WORD]}; expected a list of words")
    return tuple(dict.fromkeys(word for text in texts for word in text.split()))


def _truth(given: object) -> bool:
    value = given[0] if isinstance(given, list) and len(given) == 1 else given
    if isinstance(value, bool) or value in ("true", "false"):
        return value in (True, "true")
    raise RefusedError(400, f"branches is {str(value)[:LONGEST_WORD]!r}; expected true or false")


def _json(value: Json, status: int = 200) -> Response:
    text = json.dumps(value, ensure_ascii=False)
    return Response(text.encode(errors="backslashreplace"), status, media_type="application/json")


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _json({"error": error.text, "map": error.name}, error.status)


async def _told_by_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, known = request.scope["path"], ("/", "/predict", "/model", f"/{SCHEMA}", "/healthz")
    hint = "" if path in known else nearest(path, known)
    text = f"{request.method} {path[:LONGEST_WORD]}: {error.detail.lower()}{hint}"
    return _json({"error": text, "map": None}, error.status_code)


async def _told_of_failure(_: Request, error: Exception) -> Response:
    return _json({"error": "rgbx has failed at this; the terminal that serves it shows where", "map": None}, 500)

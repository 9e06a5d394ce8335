"""`rgbx serve`: what it prints, whom it lets in, how it ends, and what it refuses before anything is loaded."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn

from rgbx.cli.main import main
from rgbx.cli.serve import list_samples, shipped_samples, title_of
from rgbx.serve.app import is_loopback

SAMPLES = Path(__file__).parents[2] / "data/samples"
ROOMS = str(SAMPLES / "rooms.pth")


@pytest.fixture
def quiet():
    """No log, whose handlers other tests of this process may have left."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("own_loop", "quiet")
def test_it_serves_until_ctrl_c(tmp_path, monkeypatch, capfd):
    """At a free port, with the samples that are the model's; and ends quietly."""
    monkeypatch.chdir(tmp_path)
    served, serve = [], uvicorn.Server.main_loop

    async def ask_and_end(self):
        address = "http://{}:{}/".format(*self.servers[0].sockets[0].getsockname())
        loop = asyncio.create_task(serve(self))
        async with httpx.AsyncClient(base_url=address) as client:
            served.extend([address, await client.get("healthz"), await client.get("model")])
            os.kill(os.getpid(), signal.SIGINT)
            await loop

    monkeypatch.setattr(uvicorn.Server, "main_loop", ask_and_end)
    assert main(["serve", ROOMS, "--port", "0"]) == 0
    address, health, model = served
    assert capfd.readouterr() == (f"{ROOMS} is served at {address} until Ctrl-C\n", "")
    assert health.json() == {"status": "ok"} and len(model.json()["samples"]) == 8
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_told_with_one_that_is_free(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", ROOMS, "--port", str(port)]) == 2
    error = capsys.readouterr().err
    free = int(re.fullmatch(rf"error: port {port} of 127\.0\.0\.1 is in use: give --port (\d+)\n", error)[1])
    with socket.create_server(("127.0.0.1", free)):
        assert free > port or free == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.pth"], "nowhere.pth: no such file"),
        ([ROOMS, "--samples", "nowhere"], "--samples nowhere: no such folder"),
        ([ROOMS, "--samples", ROOMS], f"--samples {ROOMS}: is a file; expected a folder"),
        ([ROOMS, "--host", "no.such.host.invalid"], "--host no.such.host.invalid: no such address or name"),
        ([ROOMS, "--host", "192.0.2.1"], "--host 192.0.2.1: Cannot assign requested address"),
    ],
)
def test_what_cannot_be_served_is_told(words, told, capsys):
    assert main(["serve", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_port_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["serve", ROOMS, "--port", "65536"])
    assert "'65536' is no port" in capsys.readouterr().err


@pytest.mark.usefixtures("own_loop", "quiet")
def test_who_lets_others_in_is_warned(monkeypatch, capsys):
    async def end(self):
        """Ends the server as soon as it can be reached."""

    monkeypatch.setattr(uvicorn.Server, "main_loop", end)
    assert main(["serve", ROOMS, "--host", "0.0.0.0", "--port", "0", "--no-open"]) == 0
    captured = capsys.readouterr()
    assert f"http://{socket.gethostname()}:" in captured.out
    assert captured.err.startswith("warning: --host 0.0.0.0 lets other machines in") and captured.err.count("\n") == 1
    assert [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "0.0.0.0", "example.org")] == [
        *[True] * 3,
        *[False] * 2,
    ]


def test_samples_are_those_of_a_dataset_or_of_folders(rooms, model, tmp_path):
    """Said of their files is what the checkpoint does not say."""
    assert shipped_samples(rooms) == SAMPLES and shipped_samples(model) is None
    declared = list_samples(SAMPLES, model)  # whose training had 5000 steps a metre, where the samples have 1000
    assert [sample.name for sample in declared] == [f"test_{i:03d}" for i in range(8)]
    assert declared[0].said == {"depth": {"unit": "metre", "scale": 1000.0}}
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.zeros((4, 4, 3) if name == "rgb" else (4, 4), np.uint8))
    (sample,) = list_samples(tmp_path, model)
    assert (sample.name, dict(sample.files), sample.said) == (
        "a", {name: tmp_path / name / "a.npy" for name in ("rgb", "depth")}, {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "file", "title"),
    [
        ("work_dirs/a", "/home/x/work_dirs/a/best.pth", "a/best.pth"),
        ("shared/rooms", "/home/x/shared/rooms/model.safetensors", "rooms"),
        ("hf-hub:owner/name@v1", "/home/x/.cache/snapshots/1f/model.safetensors", "hf-hub:owner/name@v1"),
        ("/a.pth", "/a.pth", "a.pth"),
    ],
)
def test_the_page_names_no_path_of_this_machine(said, file, title):
    assert title_of(said, Path(file)) == title

"""docs/serve.md does what it says: its commands serve, and its requests are answered as the model predicts."""

from __future__ import annotations

import base64
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from page_commands import PAGES, arguments_of, in_blocks, in_text
from served import served

import rgbx
from rgbx.cli.main import main
from rgbx.models.inputs import OPTIONS
from rgbx.serve.app import build_app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/serve.md").read_text()
ADDRESS = "http://127.0.0.1:8000"
COMMANDS = sorted(
    {
        line
        for page in PAGES
        for line in (*in_blocks(page), *in_text(page))
        if (arguments_of(line) or [""])[0] == "serve"
    }
)
RGB, DEPTH = (ROOT / f"data/samples/{name}/test_000.png" for name in ("rgb", "depth"))


@pytest.fixture(scope="module")
def expected():
    return rgbx.load(ROOT / "data/samples/rooms.pth").predict(rgb=RGB, depth=DEPTH)["labels"]


@pytest.fixture(scope="module")
def address():
    with served(build_app(rgbx.load(ROOT / "data/samples/rooms.pth"), "rooms.pth")) as found:
        yield found


@pytest.mark.usefixtures("own_loop")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_serve(command, tmp_path, monkeypatch, capsys):
    async def end(self):
        """Ends the server as soon as it can be reached."""

    monkeypatch.setattr(uvicorn.Server, "main_loop", end)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    words = arguments_of(command)
    if not (checkpoint := Path(words[1])).exists():
        file = checkpoint if checkpoint.suffix else checkpoint / "epoch_1.pth"
        file.parent.mkdir(parents=True)
        shutil.copy("data/samples/rooms.pth", file)
    if "--samples" in words:
        for name in ("rgb", "depth"):
            (folder := Path(words[words.index("--samples") + 1], name)).mkdir(parents=True)
            shutil.copy(f"data/samples/{name}/test_000.png", folder)
    assert main([*words, "--port", "0"]) == 0
    assert "until Ctrl-C" in capsys.readouterr().out


def test_the_form_of_curl(address, expected):
    words = shlex.split(re.search(r"^curl .*?[^\\]$", PAGE, re.MULTILINE | re.DOTALL)[0].replace("\\\n", " "))
    fields = [word.partition("=")[::2] for option, word in pairwise(words) if option == "-F"]
    files = {name: (ROOT / value[1:]).read_bytes() for name, value in fields if value.startswith("@")}
    data = {name: value for name, value in fields if not value.startswith("@")}
    assert words[1] == f"{ADDRESS}/predict" and set(files) == {"rgb", "depth"} and len(data) == 2
    found = httpx.post(words[1].replace(ADDRESS, address), files=files, data=data, timeout=60).json()["heads"]["labels"]
    overlay = cv2.imdecode(np.frombuffer(base64.b64decode(found["overlay"]), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(overlay[..., ::-1], expected.overlay())


def test_the_python_of_the_page(address, expected, monkeypatch, capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(ROOT)
    names: dict = {}
    exec(block.replace(ADDRESS, address), names)
    assert np.array_equal(names["ids"], expected.ids)
    assert capsys.readouterr().out == f"(120, 160) {expected.areas['floor']}\n"


def test_every_option_of_the_command_and_of_maps_is_named():
    named = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert {"--samples", "--port", "--host", "--open", "--no-open", "--device", "--trust", "--at-once"} <= named
    assert set(re.findall(r"`depth_(\w+)`", PAGE)) <= {*OPTIONS}

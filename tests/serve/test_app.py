"""The endpoint answers what the model predicts, in the form of its schema, and refuses in sentences."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import struct
import sys
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import anyio
import cv2
import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from rgbx.models.inputs import OPTIONS
from rgbx.serve import app as served
from rgbx.serve.answers import KINDS
from rgbx.serve.app import Limits, build_app

SIZE = (40, 56)
SUBSETS = (("rgb", "depth"), ("rgb",), ("depth",))


@pytest.fixture(scope="module")
def schema(client):
    found = client.get("/schema.json").json()
    Draft202012Validator.check_schema(found)
    return found


@pytest.fixture(scope="module")
def check(schema):
    """Whether a value has the form that the schema gives an answer, or one of its parts."""

    def conforms(value, part=None):
        wanted = schema if part is None else {**schema["$defs"][part], "$defs": schema["$defs"]}
        Draft202012Validator(wanted).validate(value)
        return value

    return conforms


def image(text):
    return cv2.imdecode(np.frombuffer(base64.b64decode(text, validate=True), np.uint8), cv2.IMREAD_UNCHANGED)


def array(value):
    return np.frombuffer(base64.b64decode(value["base64"], validate=True), "<f4").reshape(value["shape"])


def opened(paths):
    return {name: (path.name, path.read_bytes()) for name, path in paths.items()}


@pytest.mark.parametrize("form", ["multipart", "json"])
@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_an_answer_is_what_the_model_predicts(client, model, frame, check, subset, form):
    paths = {name: frame[name] for name in subset}
    if form == "multipart":
        response = client.post("/predict", files=opened(paths), data={"answer": " ".join(KINDS), "branches": "true"})
    else:
        maps = {name: base64.b64encode(path.read_bytes()).decode() for name, path in paths.items()}
        response = client.post("/predict", json={**maps, "answer": list(KINDS), "branches": True})
    found = check(response.json())
    assert response.status_code == 200, found
    expected = model.predict(**paths)
    labels, head = expected["labels"], found["heads"]["labels"]
    assert found["size"] == list(SIZE) and list(found["maps"]) == list(subset)
    assert np.array_equal(image(head["ids"]), labels.ids)
    assert np.array_equal(image(head["overlay"])[..., ::-1], labels.overlay())
    assert np.abs(image(head["confidence_map"]) / 65535 - labels.confidence).max() <= 0.5 / 65535 + 1e-7
    assert {entry["name"]: entry["share"] for entry in head["classes"]} == {k: v for k, v in labels.areas.items() if v}
    for name, branch in labels.branches.items():
        assert np.array_equal(image(head["branches"][name]["ids"]), branch.ids)
    for name in ("normal", "dense"):
        values = array(found["heads"][name]["values"])
        assert np.array_equal(values, np.atleast_3d(expected[name].values))
    if "depth" in subset:
        steps = cv2.imread(str(frame["depth"]), cv2.IMREAD_UNCHANGED)
        metres = array(found["maps"]["depth"]["values"])[..., 0]
        assert np.array_equal(np.isnan(metres), steps == 0)
        np.testing.assert_allclose(metres[steps > 0], steps[steps > 0] / 5000, rtol=1e-6)
    if "rgb" in subset:
        assert np.array_equal(image(found["maps"]["rgb"]["picture"]), cv2.imread(str(frame["rgb"])))


def test_a_script_asks_for_what_it_wants(client, frame, check):
    found = check(client.post("/predict", files=opened(frame), data={"heads": "labels"}).json())
    assert list(found["heads"]) == ["labels"]
    assert {"ids"} == set(found["heads"]["labels"]) & {"ids", "overlay", "colours", "confidence_map", "branches"}
    assert "picture" not in found["maps"]["rgb"]


def written(suffix, values):
    if suffix in (".npy", ".npz"):
        file = io.BytesIO()
        np.save(file, values) if suffix == ".npy" else np.savez_compressed(file, depth=values)
        return file.getvalue()
    return cv2.imencode(suffix, values)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".npy", ".npz"])
def test_files_are_read_as_from_a_disk(client, model, tmp_path, suffix):
    depth = np.random.default_rng(1).integers(500, 4000, SIZE, np.uint16)
    file = tmp_path / f"depth{suffix}"
    file.write_bytes(written(suffix, depth))
    sent = {"depth": ("name says nothing.jpg", file.read_bytes())}
    answer = client.post("/predict", files=sent, data={"depth_scale": "1000", "depth_missing": "700,701"})
    expected = model.predict(depth=file, depth_scale=1000, depth_missing=(700, 701))
    assert np.array_equal(image(answer.json()["heads"]["labels"]["ids"]), expected["labels"].ids)


def png_of(width, height):
    """The beginning of a PNG of so many pixels, as if the rest were to come."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    end = b"IEND" + b""
    chunks = [struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))]
    chunks.append(struct.pack(">I", 0) + end + struct.pack(">I", zlib.crc32(end)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PNG8 = written(".png", np.full(SIZE, 90, np.uint8))
SMALL = written(".png", np.ones((9, 9), np.uint16))
REFUSED = {
    "no map": ({}, {"answer": "ids"}, 422, None, "no map"),
    "another map": ({"dpeth": ("a.png", PNG8)}, {}, 422, None, "did you mean 'depth'"),
    "no image": ({"rgb": ("a.png", b"hello")}, {}, 422, "rgb", "a.png: the file is damaged or no image"),
    "8 bits": ({"depth": ("b.png", PNG8)}, {}, 422, "depth", "b.png: expected one channel of 16 bits"),
    "sizes": ({"rgb": ("a.png", PNG8), "depth": ("b.png", SMALL)}, {}, 422, None, "must be registered"),
    "a path": ({"rgb": ("a.png", PNG8)}, {"depth": "/etc/passwd"}, 400, "depth", "-F depth=@FILE"),
    "a number": ({"rgb": ("a.png", PNG8)}, {"depth_scale": "many"}, 400, "depth", "expected a number"),
    "an option without its map": ({"rgb": ("a.png", PNG8)}, {"depth_scale": "5"}, 422, None, "not given it"),
    "a unit": ({"depth": ("b.png", PNG8)}, {"depth_unit": "meter"}, 422, "depth", "did you mean 'metre'"),
    "a kind": ({"rgb": ("a.png", PNG8)}, {"answer": "id"}, 400, None, "did you mean 'ids'"),
    "branches": ({"rgb": ("a.png", PNG8)}, {"branches": "all"}, 400, None, "true or false"),
    "a head": ({"rgb": ("a.png", PNG8)}, {"heads": "label"}, 422, None, "this model has"),
    "a file as an option": ({"rgb": ("a.png", PNG8), "rgb_key": ("k", b"x")}, {}, 400, "rgb", "is a file"),
    "pixels": ({"depth": ("b.png", png_of(30000, 30000))}, {}, 422, "depth", "65536 pixels are read"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_told_in_a_sentence(client, check, case):
    files, data, status, name, words = REFUSED[case]
    response = (
        client.post("/predict", files=files, data=data)
        if files
        else client.post("/predict", files={key: (None, value) for key, value in data.items()})
    )
    found = check(response.json(), "error")
    assert (response.status_code, found["map"]) == (status, name), found
    assert words in found["error"] and "\n" not in found["error"]


def asked(**options):
    return {"method": "POST", "url": "/predict", **options}


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (asked(content=b"x"), 415, "expected multipart/form-data"),
        (asked(json=[1]), 400, "expected an object"),
        (asked(json={"rgb": "/etc/passwd"}), 400, "no base64"),
        (asked(json={"rgb": 3}), 400, "no base64"),
        (asked(json={"rgb": "aGk=", "rgb_unit": {}}), 400, "rgb_unit is a dict"),
        (asked(content=b"{", headers={"content-type": "application/json"}), 400, "no JSON"),
        (asked(content=b"a", headers={"content-type": "multipart/form-data"}), 400, "oundary"),
        (dict(method="GET", url="/predict"), 405, "GET /predict: method not allowed"),
        (dict(method="GET", url="/modle"), 404, "did you mean '/model'"),
        (dict(method="GET", url="/samples/0.png"), 404, "there are 0"),
        (dict(method="GET", url="/", headers={"host": "evil.example"}), 403, "evil.example"),
        (dict(method="GET", url="/", headers={"host": "10.0.0.1:8000"}), 403, "10.0.0.1"),
        (asked(headers={"origin": "http://evil.example"}), 403, "evil.example"),
        (asked(headers={"origin": "null"}), 403, "null"),
        (asked(headers={"origin": "http://["}), 403, "http://["),
        (asked(content=rb'{"\ud800": {}}', headers={"content-type": "application/json"}), 400, "\ud800 is a dict"),
    ],
)  # fmt: skip
def test_other_requests_are_refused(client, check, request_, status, words):
    response = client.request(**request_)
    assert response.status_code == status
    assert words in check(response.json(), "error")["error"]
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.usefixtures("own_loop")
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_request_that_is_broken_off_is_no_failure(client, kind):
    headers = {"host": "127.0.0.1", "content-type": kind, "content-length": "1000"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    messages = [{"type": "http.request", "body": b"--x", "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": raw}
    anyio.run(client.app, scope, receive, send)
    assert sent[0]["status"] == 400 and b"ended before" in sent[1]["body"]


def test_no_value_of_json_makes_it_fail(client, check):
    odd = ("1", "true", "null", '"x"', "[1, [2]]", "{}", "1e400", "NaN", "1" + 400 * "0")
    fields = [*(f"depth_{option}" for option in OPTIONS), "answer", "branches", "heads", "rgb", "depth_valid", "other"]
    depth = base64.b64encode(SMALL).decode()
    for field, value in product(fields, odd):
        body = f'{{"depth": "{depth}", "{field}": {value}}}'
        response = client.post("/predict", content=body, headers={"content-type": "application/json"})
        assert response.status_code in (200, 400, 422), body
        check(response.json(), None if response.status_code == 200 else "error")


@pytest.mark.parametrize("host", ["localhost:8000", "[::1]:8000", "127.0.0.1"])
def test_names_of_this_machine_are_let_in(client, host):
    assert client.get("/healthz", headers={"host": host, "origin": f"http://{host}"}).json() == {"status": "ok"}


def test_elsewhere_than_on_loopback_addresses_are_let_in_and_names_of_others_are_not(model):
    ours = TestClient(build_app(model, "small.pth", host="0.0.0.0"), base_url="http://192.168.7.7:8000")
    assert ours.get("/healthz").status_code == 200
    assert ours.get("/healthz", headers={"host": "evil.example"}).status_code == 403


def test_a_body_is_read_no_further_than_it_may_be(model):
    small = TestClient(build_app(model, "small.pth", limits=Limits(most_bytes=5000)), base_url="http://127.0.0.1")
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="rgb"; filename="a"\r\n\r\n',
        *[b"x" * 1000] * 9,
        b"\r\n--b--\r\n",
    ]
    kind = {"content-type": "multipart/form-data; boundary=b"}
    whole = small.post("/predict", content=b"".join(parts), headers=kind)
    unsaid = small.post("/predict", content=iter(parts), headers=kind)
    assert [whole.status_code, unsaid.status_code] == [413, 413]
    assert "at most 5000" in whole.json()["error"] and "at most 5000" in unsaid.json()["error"]


def test_an_archive_of_zeros_is_not_unpacked(client):
    """32 MB in 32 kB; what is refused takes less memory than a sixteenth of it."""
    bomb = written(".npz", np.zeros((4096, 4096), np.uint16))
    assert len(bomb) < 1 << 16
    tracemalloc.start()
    response = client.post("/predict", files={"depth": ("b.npz", bomb)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert response.status_code == 422 and "at most 65536 are read" in response.json()["error"]
    assert peak < 2 << 20


def test_warnings_are_told_each_time(client, check):
    depth = written(".npy", np.full(SIZE, 900.0, np.float32))
    for _ in range(2):
        found = check(client.post("/predict", files={"depth": ("far.npy", depth)}, data={"depth_scale": "1"}).json())
        assert [(each["map"], "far.npy" in each["text"]) for each in found["warnings"]] == [("depth", True)]


def test_what_fails_is_told_and_the_next_is_answered(client, frame, check, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a mistake of rgbx")

    with monkeypatch.context() as patch:
        patch.setattr(served, "frame_answer", fail)
        response = client.post("/predict", files=opened(frame))
    assert response.status_code == 500 and "rgbx has failed" in check(response.json(), "error")["error"]
    assert client.post("/predict", files=opened(frame)).status_code == 200


def test_the_model_is_told(client, schema, check):
    found = check(client.get("/model").json(), "model")
    assert found["heads"]["labels"] == {"task": "classes", "classes": ["wall", "floor", "box", "ball", "lamp"]}
    assert found["maps"]["depth"]["stored"] == {"scale": 5000.0} and found["maps"]["depth"]["unit"] == "metre"
    assert found["limits"] == {"bytes": 1 << 20, "pixels": 1 << 16}
    assert list(KINDS) == schema["$defs"]["request"]["properties"]["answer"]["items"]["enum"]


def test_the_page_holds_all_that_it_needs(client):
    response = client.get("/")
    policy = dict(rule.strip().split(" ", 1) for rule in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        assert policy[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert set(re.findall(r"https?://[^\s'\"<)]+", response.text)) == {"http://www.w3.org/2000/svg"}
    assert response.headers["x-content-type-options"] == "nosniff" and response.headers["cache-control"] == "no-store"


def test_samples_are_files_and_pictures(address):
    sample = httpx.get(f"{address}/model").json()["samples"][3]
    assert sample == {"name": "test_003", "files": {"rgb": "test_003.png", "depth": "test_003.png"}, "said": {}}
    thumbnail = httpx.get(f"{address}/samples/3.png")
    assert cv2.imdecode(np.frombuffer(thumbnail.content, np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)
    assert httpx.get(f"{address}/samples/3/label").status_code == 404


class Writes:
    """What threads other than the main one open for writing or make, by the events that Python itself reports."""

    MADE = ("os.mkdir", "os.rename", "os.link", "os.symlink", "tempfile.mkstemp", "tempfile.mkdtemp", "shutil.copyfile")

    def __init__(self):
        self.found, self.on = [], False
        sys.addaudithook(self.see)

    def see(self, event, arguments):
        if not self.on or threading.current_thread() is threading.main_thread():
            return
        if event == "open" and "__pycache__" not in str(arguments[0]):  # what Python keeps of modules
            path, mode, flags = arguments
            if set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.found.append((event, path))
        elif event in self.MADE:
            self.found.append((event, arguments))


def in_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def test_nothing_is_written(address, tmp_path):
    """Also of a file above the size at which starlette's own parser takes one on the disk, 1 MB."""
    writes = Writes()
    rgb = written(".png", np.random.default_rng(0).integers(0, 256, (640, 800, 3), np.uint8))
    assert len(rgb) > 1.3e6
    writes.on = True
    answers = [
        httpx.post(f"{address}/predict", files={"rgb": ("a.png", rgb)}, data={"answer": " ".join(KINDS)}, timeout=60),
        httpx.post(f"{address}/predict", files={"rgb": ("a.png", b"broken")}),
        httpx.get(f"{address}/samples/0.png"),
        httpx.get(f"{address}/"),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200, 422, 200, 200]
    assert writes.found == []
    in_thread((tmp_path / "a.txt").write_text, "seen")
    writes.on = False
    assert [event for event, _ in writes.found] == ["open"]


def test_fifty_at_once_of_mixed_subsets_are_answered_right(serve, model):
    address, rng = serve(build_app(model, "small.pth")), np.random.default_rng(2)
    depths = [written(".png", rng.integers(5000, 20000, SIZE, np.uint16)) for _ in range(4)]
    photos = [written(".png", rng.integers(0, 256, (*SIZE, 3), np.uint8)) for _ in range(4)]
    frames = [(SUBSETS[index % 3], {"rgb": photos[index % 4], "depth": depths[index % 4]}) for index in range(50)]

    def ask(asked):
        subset, files = asked
        sent = {name: (f"{name}.png", files[name]) for name in subset}
        wanted = {"heads": "dense", "answer": "values"}
        response = httpx.post(f"{address}/predict", files=sent, data=wanted, timeout=120)
        return array(response.json()["heads"]["dense"]["values"])[..., 0]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, frames))
    expected = []
    for subset, files in frames[:12]:
        maps = {name: cv2.imdecode(np.frombuffer(files[name], np.uint8), cv2.IMREAD_UNCHANGED) for name in subset}
        maps = {name: x[..., ::-1] if name == "rgb" else x for name, x in maps.items()}
        expected.append(model.predict(**maps, heads=["dense"])["dense"].values)
    assert all(np.array_equal(values, expected[index % 12]) for index, values in enumerate(answers))
    assert len({values.tobytes() for values in expected}) == 12


def test_no_more_are_computed_at_once_than_may_be(address, monkeypatch):
    """Two wait for each other, so that one alone would never end; a third would be counted."""
    both, running, most = threading.Barrier(2), [], []
    predict = served.predict_frames

    def counted(*arguments, **options):
        running.append(1)
        most.append(len(running))
        both.wait(30)
        running.pop()
        return predict(*arguments, **options)

    monkeypatch.setattr(served, "predict_frames", counted)
    rgb = {"rgb": ("a.png", written(".png", np.zeros((32, 32, 3), np.uint8)))}
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: httpx.post(f"{address}/predict", files=rgb, timeout=60).status_code, range(6)))
    assert found == [200] * 6 and max(most) == 2


def test_more_than_can_be_held_is_refused(client, frame, check, monkeypatch):
    monkeypatch.setattr(served, "MOST_WAITING", 0)
    response = client.post("/predict", files=opened(frame))
    assert response.status_code == 503 and "ask again" in check(response.json(), "error")["error"]


def test_numbers_and_codecs_without_end(client, check):
    """Python refuses to read numbers of 5000 digits, and some of its codecs take the square of a text's length."""
    for path in ("/samples/{}.png", "/samples/{}/rgb"):
        for number in ("9" * 5000, "-1", "1.5"):
            response = client.get(path.format(number))
            assert response.status_code == 404 and "there is no sample" in check(response.json(), "error")["error"]
    assert client.post("/predict", headers={"content-length": "9" * 5000}).status_code == 413
    body = b'--x\r\nContent-Disposition: form-data; name="a\xff"\r\n\r\n-\xff\r\n--x--\r\n'
    for codec in ("punycode", "idna", "rot13", "unicode_escape"):
        kind = {"content-type": f"multipart/form-data; boundary=x; charset={codec}"}
        response = client.post("/predict", content=body, headers=kind)
        assert response.status_code == 422 and "was given 'aÿ'" in check(response.json(), "error")["error"]

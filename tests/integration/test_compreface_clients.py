"""CompreFace's clients against the real service, with real photos.

Its two packages make each of their calls, and the requests of Double Take and Viseron are sent as
these programs send them, byte by byte. Every answer is compared with what CompreFace 1.2 answers.
"""

import base64
import http.client
import http.server
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from PIL import Image
from platformdirs import user_cache_path

from tests.e2e.harness import RunningService, require, service
from tests.shared_data import photos

pytestmark = pytest.mark.integration

CLIENTS = Path(__file__).parent / "compreface_clients"
TOKEN, VIEWER = "00000000-0000-0000-0000-000000000002", "00000000-0000-0000-0000-000000000003"

# What CompreFace answers: a key that ends in "?" may be absent, a list has one kind of items.
BOX = {"probability": float, "x_max": int, "y_max": int, "x_min": int, "y_min": int}
FACE = {
    "box": BOX,
    "age?": {"probability": float, "high": int, "low": int},
    "gender?": {"probability": float, "value": str},
    "pose?": {"pitch": float, "roll": float, "yaw": float},
    "embedding?": [float],
    "landmarks?": [[int]],
    "execution_time?": {
        "detector": float,
        "calculator?": float,
        "age?": float,
        "gender?": float,
        "pose?": float,
    },
}
VERSIONS = {
    "detector": str,
    "calculator": str,
    "age?": str,
    "gender?": str,
    "pose?": str,
    "landmarks?": str,
}
EXAMPLE = {"image_id": str, "subject": str}
ERROR = {"message": str, "code": int}
RECOGNITION = {
    "result": [{**FACE, "subjects": [{"subject": str, "similarity": float}]}],
    "plugins_versions?": VERSIONS,
}
VERIFICATION = {
    "result": [{**FACE, "subject": str, "similarity": float}],
    "plugins_versions?": VERSIONS,
}
DETECTION = {"result": [FACE], "plugins_versions?": VERSIONS}
COMPARISON = {
    "result": [
        {
            "source_image_face": FACE,
            "face_matches": [{**FACE, "similarity": float}],
            "plugins_versions?": VERSIONS,
        }
    ]
}
EXAMPLES = {
    "faces": [EXAMPLE],
    "page_number": int,
    "page_size": int,
    "total_pages": int,
    "total_elements": int,
}
ANSWERS: Mapping[str, Any] = {
    "subjects.add": {"subject": str},
    "subjects.add again": ERROR,
    "subjects.update": {"updated": bool},
    "subjects.list": {"subjects": [str]},
    "faces.add a path": EXAMPLE,
    "faces.add bytes": EXAMPLE,
    "faces.add an address": EXAMPLE,
    "faces.list": EXAMPLES,
    "recognize": RECOGNITION,
    "recognize in full": RECOGNITION,
    "recognize the first": RECOGNITION,
    "faces.verify": VERIFICATION,
    "faces.verify in full": VERIFICATION,
    "detect": DETECTION,
    "detect in full": DETECTION,
    "verify": COMPARISON,
    "verify in full": COMPARISON,
    "verify base64": COMPARISON,
    "verify addresses": COMPARISON,
    "a wrong key": ERROR,
    "faces.delete": EXAMPLE,
    "faces.delete again": ERROR,
    "faces.delete several": [EXAMPLE],
    "faces.delete_all": {"deleted": int},
    "faces.delete all of them": {"deleted": int},
    "subjects.delete": {"subject": str},
    "subjects.delete again": ERROR,
    "subjects.delete_all": {"deleted": int},
}
IN_FULL = {"box", "age", "gender", "embedding", "landmarks", "execution_time"}


def conforms(value: Any, shape: Any, where: str = "") -> None:
    """Fail unless a value has a shape: no key is missing, and none is unknown."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        known = {key.rstrip("?") for key in shape}
        needed = {key for key in shape if not key.endswith("?")}
        assert needed <= set(value) <= known, f"{where}: {sorted(value)}"
        for key, inner in shape.items():
            if key.rstrip("?") in value:
                conforms(value[key.rstrip("?")], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for each in value:
            conforms(each, shape[0], f"{where}[]")
    elif shape is float:  # JSON's 1.0 may be written as 1
        assert type(value) in (int, float), where
    else:
        assert type(value) is shape, f"{where}: {value!r}"


@pytest.fixture(scope="module")
def facewire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("compreface")
    config = folder / "facewire.toml"
    config.write_text(
        "[compreface]\nenabled = true\n[deepstack]\nenabled = true\n"
        '[[cameras]]\nname = "demo"\nurl = "demo:"\ntarget_fps = 1\n'
    )
    arguments = [f"--config={config}", f"--gallery={folder / 'people'}"]
    with service("compreface", folder, *arguments, token=TOKEN, viewer_token=VIEWER) as running:
        yield running


@pytest.fixture(scope="module")
def photos_url() -> Iterator[str]:
    """Give the address of a web server with the photos."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(photos()))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def clients() -> Path:
    require("" if shutil.which("npm") else "no npm: apt-get install npm")
    folder = user_cache_path("facewire") / "test-compreface-clients"
    command = [str(CLIENTS / "install"), str(folder), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    require("" if done.returncode == 0 else f"the clients cannot be installed: {done.stderr}")
    return folder


@pytest.fixture
def nobody(facewire: RunningService) -> Iterator[None]:
    """Begin and end without people."""
    delete = partial(ask, facewire, "DELETE", "/api/v1/recognition/subjects", key=TOKEN)
    delete()
    yield
    delete()


def ask(
    facewire: RunningService,
    method: str,
    path: str,
    *,
    key: str = TOKEN,
    body: bytes | None = None,
    headers: Mapping[str, str] = {},
) -> tuple[int, Any]:
    """Return status and JSON of a request."""
    connection = http.client.HTTPConnection(urlsplit(facewire.url).netloc, timeout=120)
    try:
        connection.request(method, path, body, {"x-api-key": key, **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def as_base64(data: bytes, name: str = "file") -> dict[str, Any]:
    body = json.dumps({name: base64.b64encode(data).decode()}).encode()
    return {"body": body, "headers": {"content-type": "application/json"}}


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_every_call_of_their_packages(
    facewire: RunningService, clients: Path, photos_url: str, nobody: None, language: str
) -> None:
    port = str(urlsplit(facewire.url).port)
    arguments = [port, TOKEN, photos_url, str(photos())]
    if language == "python":
        command = [str(clients / "python" / "bin" / "python"), str(CLIENTS / "calls.py")]
    else:
        command = ["node", str(CLIENTS / "calls.mjs")]
        arguments.append(str(clients))
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == (24 if language == "python" else 27)
    for name, answer in answers.items():
        conforms(answer, ANSWERS[name], name)
    assert answers["subjects.list"] == {"subjects": ["Ada"]}
    names = ["Barack Obama", "Joe Biden", "Grace & Hopper"]
    if language == "python":  # it puts the name into the address as it is
        names[2] = "Grace"
    assert [each["subject"] for each in answers["faces.list"]["faces"]] == names
    assert answers["subjects.add again"]["code"] == 43
    assert answers["a wrong key"]["code"] == 10
    assert answers["faces.delete again"]["code"] == 44
    assert answers["faces.delete_all"] == {"deleted": 1}
    (obama,) = answers["recognize"]["result"]
    assert obama["subjects"][0]["subject"] == "Barack Obama"
    assert obama["subjects"][0]["similarity"] > 0.99
    (biden,) = answers["recognize in full"]["result"]
    assert biden["subjects"][0]["subject"] == "Joe Biden"
    assert len(biden["subjects"]) == 2
    assert biden["subjects"][1]["similarity"] < 0.5
    assert set(biden) == IN_FULL | {"subjects"}
    assert len(biden["embedding"]) == 128
    assert np.linalg.norm(biden["embedding"]) == pytest.approx(1, abs=1e-5)
    assert np.shape(biden["landmarks"]) == (5, 2)
    assert set(biden["execution_time"]) == {"detector", "calculator", "age", "gender"}
    assert biden["gender"]["value"] == "male"
    assert biden["age"]["low"] <= 78 <= biden["age"]["high"] + 10
    assert len(answers["recognize the first"]["result"]) == 1
    assert answers["faces.verify"]["result"][0]["similarity"] > 0.99
    assert answers["faces.verify in full"]["result"][0]["similarity"] < 0.5
    assert set(answers["detect in full"]["result"][0]) == IN_FULL
    assert answers["verify"]["result"][0]["face_matches"][0]["similarity"] < 0.5
    assert answers["verify in full"]["result"][0]["face_matches"][0]["similarity"] > 0.99


# Double Take: axios 0.21 and form-data 3 send a stream, so its length is unknown: it is in chunks.

DOUBLE_TAKE_HEADERS = (
    "Accept: application/json, text/plain, */*\r\n"
    "content-type: multipart/form-data; boundary=--------------------------601382640573462871098423"
    "\r\n"
    "{key}"
    "User-Agent: axios/0.21.4\r\n"
    "Host: {host}\r\n"
    "Connection: close\r\n"
    "Transfer-Encoding: chunked\r\n"
    "\r\n"
)
BOUNDARY = b"--------------------------601382640573462871098423"


def form_data(data: bytes, part: str = "file", fields: Mapping[str, str] = {}) -> bytes:
    """Return the body that form-data makes of a stream of a file."""
    head = (
        f'Content-Disposition: form-data; name="{part}"; filename="8f3e-snapshot.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = b"--%s\r\n%s%s\r\n" % (BOUNDARY, head.encode(), data)
    for name, value in fields.items():
        body += b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
            BOUNDARY,
            name.encode(),
            value.encode(),
        )
    return body + b"--%s--\r\n" % BOUNDARY


def send_raw(facewire: RunningService, request: bytes) -> tuple[int, Any]:
    """Send bytes as they are, and return status and JSON of the answer."""
    connection = http.client.HTTPConnection(urlsplit(facewire.url).netloc, timeout=120)
    connection.connect()
    try:
        connection.sock.sendall(request)
        answer = http.client.HTTPResponse(connection.sock)
        answer.begin()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def double_take(
    facewire: RunningService, line: str, body: bytes = b"", *, key: str = TOKEN
) -> tuple[int, Any]:
    header = f"x-api-key: {key}\r\n" if key else ""
    head = DOUBLE_TAKE_HEADERS.format(key=header, host=urlsplit(facewire.url).netloc)
    if not body:
        head = head.replace("Transfer-Encoding: chunked\r\n", "").replace("content-type", "x-none")
    pieces = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    end = b"0\r\n\r\n" if body else b""
    return send_raw(facewire, f"{line} HTTP/1.1\r\n{head}".encode() + chunks + end)


def test_double_take(facewire: RunningService, nobody: None) -> None:
    obama, hopper = ((photos() / f"{name}.jpg").read_bytes() for name in ("obama", "grace_hopper"))
    recognize = "POST /api/v1/recognition/recognize?face_plugins={}&det_prob_threshold=0.8"
    # its test at the start, with nobody known
    status, answer = double_take(facewire, recognize.format("undefined"), form_data(obama))
    assert status == 200
    conforms(answer, RECOGNITION)
    assert [face["subjects"] for face in answer["result"]] == [[]]
    # training
    train = "POST /api/v1/recognition/faces?subject="
    for name in ("barack", "grace%20hopper"):
        data = obama if name == "barack" else hopper
        status, answer = double_take(facewire, train + name, form_data(data))
        assert status == 201
        conforms(answer, EXAMPLE)
    gray = io.BytesIO()
    Image.new("RGB", (640, 480), "gray").save(gray, "jpeg")
    status, answer = double_take(facewire, f"{train}barack", form_data(gray.getvalue()))
    assert status == 400
    assert answer == {"message": "No face is found in the given image", "code": 28}
    # an event of Frigate
    line = recognize.format("mask,gender,age")
    status, answer = double_take(facewire, line, form_data(obama))
    conforms(answer, RECOGNITION)
    (face,) = answer["result"]
    assert face["subjects"][0]["subject"] == "barack"
    assert face["subjects"][0]["similarity"] >= 0.6
    box = face["box"]
    assert (box["x_max"] - box["x_min"]) * (box["y_max"] - box["y_min"]) >= 10_000
    assert face["gender"]["value"] == "male"
    status, answer = double_take(facewire, line, form_data(gray.getvalue()))
    assert (status, answer["code"]) == (400, 28)
    # several at once, from several cameras, as a viewer
    with ThreadPoolExecutor(6) as pool:
        call = partial(double_take, facewire, line, form_data(hopper), key=VIEWER)
        answers = [pool.submit(call) for _ in range(6)]
        assert {each.result()[0] for each in answers} == {200}
    # untraining
    status, answer = double_take(facewire, "DELETE /api/v1/recognition/faces?subject=barack")
    assert (status, answer) == (200, {"deleted": 1})


def test_double_take_with_deepstack(facewire: RunningService, nobody: None) -> None:
    obama = (photos() / "obama.jpg").read_bytes()
    face, key = "POST /v1/vision/face", {"api_key": TOKEN}
    body = form_data(obama, "image", {"userid": "barack", **key})
    assert double_take(facewire, f"{face}/register", body, key="") == (
        200,
        {"success": True, "code": 200, "message": "face added"},
    )
    body = form_data(obama, "image", key)
    status, answer = double_take(facewire, f"{face}/recognize", body, key="")
    assert status == 200
    (prediction,) = answer["predictions"]
    assert answer["success"] is True
    assert prediction["userid"] == "barack"
    assert prediction["confidence"] > 0.99
    assert prediction["x_min"] < prediction["x_max"]
    status, answer = double_take(facewire, f"{face}/recognize", form_data(obama, "image"), key="")
    assert (status, answer["success"]) == (401, False)
    body = form_data(b"", "image", {"userid": "barack", **key})
    status, answer = double_take(facewire, f"{face}/delete", body, key="")
    assert answer["success"] is True
    assert ask(facewire, "GET", "/api/v1/recognition/subjects") == (200, {"subjects": []})


# Viseron: requests and requests-toolbelt, by compreface-sdk

VISERON_BODY = (
    b"--d41d8cd98f00b204e9800998ecf8427e\r\n"
    b'Content-Disposition: form-data; name="file"; filename="image.jpg"\r\n\r\n'
    b"%s\r\n--d41d8cd98f00b204e9800998ecf8427e--\r\n"
)


def viseron(facewire: RunningService, line: str, data: bytes | None = None) -> tuple[int, Any]:
    body = b"" if data is None else VISERON_BODY % data
    kind = "Content-Type: multipart/form-data; boundary=d41d8cd98f00b204e9800998ecf8427e\r\n"
    head = (
        f"{line} HTTP/1.1\r\n"
        f"Host: {urlsplit(facewire.url).netloc}\r\n"
        "User-Agent: python-requests/2.31.0\r\n"
        "Accept-Encoding: gzip, deflate\r\n"
        "Accept: */*\r\n"
        "Connection: keep-alive\r\n"
        f"{kind if body else ''}"
        f"x-api-key: {TOKEN}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return send_raw(facewire, head.encode() + body)


def test_viseron(facewire: RunningService, nobody: None) -> None:
    faces = "/api/v1/recognition/faces?subject="
    for name in ("obama", "biden"):  # at its start, for each folder
        line = f"DELETE {faces}{name}"
        assert viseron(facewire, line) == (200, {"deleted": 0})
        data = (photos() / f"{name}.jpg").read_bytes()
        line = f"POST {faces}{name}&det_prob_threshold=0.8"
        status, answer = viseron(facewire, line, data)
        assert status == 201
        assert "message" not in answer
    line = (
        "POST /api/v1/recognition/recognize?&limit=0&det_prob_threshold=0.8&prediction_count=1"
        "&status=False"
    )
    status, answer = viseron(facewire, line, (photos() / "biden.jpg").read_bytes())
    assert status == 200
    for result in answer["result"]:
        subject = result["subjects"][0]
        assert subject["subject"] == "biden"
        assert subject["similarity"] >= 0.5
        assert set(result["box"]) == {"x_min", "y_min", "x_max", "y_max", "probability"}


def test_another_facewire_takes_its_people(
    facewire: RunningService, nobody: None, tmp_path: Path
) -> None:
    for name in ("obama", "biden"):
        data = (photos() / f"{name}.jpg").read_bytes()
        path = f"/api/v1/recognition/faces?subject={name}"
        assert ask(facewire, "POST", path, **as_base64(data))[0] == 201
    command = [str(Path(sys.executable).with_name("facewire")), "import", "compreface"]
    done = subprocess.run(
        [*command, facewire.url, f"--gallery={tmp_path / 'people'}"],
        env={**os.environ, "FACEWIRE_COMPREFACE_KEY": VIEWER, "FACEWIRE_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "photos: 2 taken, 0 already there, 0 refused" in done.stdout


# What other programs send besides


def test_curl_waits_until_it_may_send(facewire: RunningService, nobody: None) -> None:
    """A body of more than a megabyte is announced by Expect, RFC 9110 section 10.1.1."""
    data = (photos() / "obama.jpg").read_bytes()
    body = form_data(data + bytes(1_100_000))  # what follows the end of a JPEG is ignored
    connection = http.client.HTTPConnection(urlsplit(facewire.url).netloc, timeout=120)
    connection.putrequest("POST", "/api/v1/detection/detect?face_plugins=pose,landmarks")
    connection.putheader("x-api-key", TOKEN)
    connection.putheader("Expect", "100-continue")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY.decode()}")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    assert connection.sock.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(body)
    answer = http.client.HTTPResponse(connection.sock)
    answer.begin()
    assert answer.status == 200
    found = json.loads(answer.read())
    conforms(found, DETECTION)
    assert abs(found["result"][0]["pose"]["yaw"]) < 45
    connection.close()


def test_large_and_broken_photos(facewire: RunningService, nobody: None) -> None:
    path = "/api/v1/recognition/recognize"
    data = (photos() / "obama.jpg").read_bytes()
    status, answer = ask(facewire, "POST", path, **as_base64(data + bytes(20_000_000)))
    assert status == 200
    conforms(answer, RECOGNITION)
    for broken in (data[: len(data) // 2], bytes(20_000_000), b""):
        body = form_data(broken)
        kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
        status, answer = ask(facewire, "POST", path, body=body, headers=kind)
        assert (status, answer["code"]) == (400, 28)
    announced = {"content-length": str(97 * 2**20)}
    status, answer = ask(facewire, "POST", path, body=b"", headers=announced)
    assert (status, answer["code"]) == (400, 0)
    assert ask(facewire, "GET", "/api/v1/config", key="")[1]["clientMaxFileSize"] > 20_000_000


def test_an_exported_example_is_a_photo_to_enroll(facewire: RunningService, nobody: None) -> None:
    """What `img` answers can be sent to another service."""
    path = "/api/v1/recognition/faces?subject="
    data = (photos() / "obama.jpg").read_bytes()
    name = quote("अदिति / 李雷", safe="")
    status, example = ask(facewire, "POST", path + name, **as_base64(data))
    assert (status, example["subject"]) == (201, "अदिति / 李雷")
    connection = http.client.HTTPConnection(urlsplit(facewire.url).netloc, timeout=120)
    image = f"/api/v1/recognition/faces/{example['image_id']}/img"
    connection.request("GET", image, headers={"x-api-key": VIEWER})
    crop = connection.getresponse().read()
    connection.close()
    assert Image.open(io.BytesIO(crop)).size == (112, 112)
    recognize = "/api/v1/recognition/recognize?detect_faces=false"
    status, answer = ask(facewire, "POST", recognize, **as_base64(crop))
    assert answer["result"][0]["subjects"][0]["similarity"] > 0.999
    subject = f"/api/v1/recognition/subjects/{name}"
    assert ask(facewire, "DELETE", subject) == (200, {"subject": "अदिति / 李雷"})

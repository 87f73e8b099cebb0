"""CompreFace and Frigate as far as their HTTP APIs are used, on loopback.

Answers are those of exadel-inc/CompreFace 1.2 and blakeblackshear/frigate 0.18.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMPREFACE_KEY = "5b2c1f3e-7d4a-4f0e-9a51-0c3b7f6e2d18"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl"


@dataclass
class Request:
    """What a program was asked.

    Attributes:
        method: GET or POST.
        path: as sent, without the query.
        query: the first value of each parameter.
        headers: by name in lower case.
        content: of JSON; None for none.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: Any = None

    @property
    def parts(self) -> list[str]:
        return [unquote(part) for part in self.path.strip("/").split("/")]


@dataclass
class Reply:
    """What it answers: JSON, or bytes."""

    status: int = 200
    content: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answers = Callable[[Request], Reply]


@contextmanager
def served(answers: Answers) -> Iterator[str]:
    """Serve answers on a free port of 127.0.0.1; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            size = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(size)
            request = Request(
                self.command,
                parts.path,
                {key: values[0] for key, values in parse_qs(parts.query).items()},
                {key.lower(): value for key, value in self.headers.items()},
                json.loads(body) if body else None,
            )
            reply = answers(request)
            content = reply.content
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815 - names of the standard library

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class FakeCompreFace:
    """A recognition service with subjects and the images of their examples.

    Attributes:
        asked: every request.
        largest_page: examples of one page, however many are asked for.
    """

    def __init__(self, subjects: Mapping[str, list[bytes]], *, largest_page: int = 20) -> None:
        self.asked: list[Request] = []
        self.largest_page = largest_page
        self._subjects = list(subjects)
        self._images = {
            str(uuid.uuid5(uuid.NAMESPACE_OID, f"{subject}/{number}")): (subject, image)
            for subject, images in subjects.items()
            for number, image in enumerate(images)
        }

    def __call__(self, request: Request) -> Reply:
        self.asked.append(request)
        key = request.headers.get("x-api-key")
        if key is None:
            return Reply(400, {"message": "Missing header: x-api-key", "code": 20})
        if not re.fullmatch(r"[0-9a-f-]{36}", key):
            return Reply(400, {"message": "Service API key should be UUID", "code": 26})
        if key != COMPREFACE_KEY:
            return Reply(404, {"message": f"RECOGNITION service with API Key {key}", "code": 10})
        match request.parts:
            case ["api", "v1", "recognition", "subjects"]:
                return Reply(200, {"subjects": self._subjects})
            case ["api", "v1", "recognition", "faces"]:
                return Reply(200, self._page(request.query))
            case ["api", "v1", "recognition", "faces", image_id, "img"]:
                image = self._images.get(image_id, ("", b""))[1]
                return Reply(200, image, {"content-type": "application/octet-stream"})
        return Reply(404, {"message": "No static resource", "code": 0})

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        page, size = int(query["page"]), min(int(query["size"]), self.largest_page)
        faces = [
            {"image_id": image_id, "subject": subject}
            for image_id, (subject, _) in self._images.items()
        ]
        return {
            "faces": faces[page * size : (page + 1) * size],
            "page_number": page,
            "page_size": size,
            "total_pages": -(-len(faces) // size),
            "total_elements": len(faces),
        }


class FakeFrigate:
    """Frigate's face library and its events.

    Args:
        faces: files of each person.
        login: user and password that port 8971 asks for; None for port 5000.

    Attributes:
        asked: every request.
        refuse: statuses of the next answers to a sub label.
        labels: written sub labels, in order: event, name and score.
        written_at: when each was, seconds, monotonic.
    """

    def __init__(
        self,
        faces: Mapping[str, Mapping[str, bytes]] | None = None,
        *,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.asked: list[Request] = []
        self.refuse: list[int] = []
        self.labels: list[tuple[str, str, float]] = []
        self.written_at: list[float] = []
        self._lock = threading.Lock()
        self.config: dict[str, Any] = {"cameras": {}}
        self._faces = faces or {}
        self._login = login

    def __call__(self, request: Request) -> Reply:
        self.asked.append(request)
        if request.path == "/api/login" and request.method == "POST":
            login = request.content["user"], request.content["password"]
            if login != self._login:
                return Reply(401, {"message": "Login failed"})
            return Reply(200, b"", {"set-cookie": f"frigate_token={JWT}; HttpOnly; Path=/"})
        if self._login and request.headers.get("authorization") != f"Bearer {JWT}":
            return Reply(401, b"<html>401 Authorization Required</html>")
        match request.parts:
            case ["api", "faces"]:
                return Reply(200, {name: list(files) for name, files in self._faces.items()})
            case ["clips", "faces", name, file] if file in self._faces.get(name, {}):
                return Reply(200, self._faces[name][file], {"content-type": "image/webp"})
            case ["api", "config"]:
                return Reply(200, self.config)
            case ["api", "events", event, "sub_label"] if request.method == "POST":
                return self._label(event, request.content)
        return Reply(404, {"detail": "Not Found"})

    def _label(self, event: str, content: dict[str, Any]) -> Reply:
        with self._lock:
            if self.refuse:
                return Reply(self.refuse.pop(0), {"success": False, "message": "refused"})
            label, score = content["subLabel"], content["subLabelScore"]
            # Frigate's EventsSubLabelBody
            if not isinstance(label, str) or len(label) > 100 or not 0 < score <= 1:
                return Reply(422, {"detail": "not a sub label"})
            self.written_at.append(time.monotonic())
            self.labels.append((event, label, score))
        return Reply(200, {"success": True, "message": f"Event {event} sub label set"})

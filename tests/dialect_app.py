"""The application with the APIs of other programs, for their tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from fastapi import FastAPI
from starlette.testclient import TestClient

from gallery import Gallery
from stream.api.app import create_app
from stream.events.log import EventLog
from tests.fake_service import FakeService
from tests.fakes import EMBEDDING_SIZE, FakeRecognizer

HERE = "http://127.0.0.1:8080"
TOKEN, VIEWER = "correct horse battery", "only looking around"


@contextmanager
def fake_service(directory: Path) -> Iterator[FakeService]:
    """Open a service whose people and events are real, and whose recognizer is not."""
    with (
        Gallery.open(
            directory, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(directory) as event_log,
    ):
        event_log.follow(gallery)
        yield FakeService(gallery, event_log)


@cache
def _an_app(**settings: Any) -> FastAPI:
    """Return an application without a service; FastAPI needs 0.3 s for the first request."""
    return create_app(MagicMock(), **settings)


def opened(service: FakeService, **settings: Any) -> TestClient:
    """Return a client of an application with these settings."""
    app = _an_app(**settings)
    app.state.service = service
    return TestClient(app, base_url=HERE)

"""Clients of the HTTP API over a fake service: without a token, with one, and a viewer."""

import pytest
from starlette.testclient import TestClient

from gallery import Gallery
from stream.api.app import create_app
from stream.events.log import EventLog
from tests.fake_service import FakeService
from tests.fakes import EMBEDDING_SIZE, FakeRecognizer
from tests.unit.stream.api.asking import HERE, TOKEN


@pytest.fixture
def service(tmp_path):
    with (
        Gallery.open(
            tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        event_log.follow(gallery)
        yield FakeService(gallery, event_log)


@pytest.fixture
def client(service):
    with TestClient(create_app(service), base_url=HERE) as client:
        yield client


@pytest.fixture
def guarded(service):
    with TestClient(create_app(service, token=TOKEN), base_url=HERE) as client:
        yield client


@pytest.fixture
def viewer(service):
    app = create_app(service, token=TOKEN, viewer_token="only looking around")
    with TestClient(app, base_url=HERE) as client:
        client.post("/api/session", json={"token": "only looking around"})
        yield client

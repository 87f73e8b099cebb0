"""Visitors over HTTP."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from gallery import Gallery
from stream.api.app import create_app
from stream.events.log import EventLog
from stream.visitors import tables
from tests.fake_service import FakeService
from tests.fakes import EMBEDDING_SIZE, FakeRecognizer

HERE = "http://127.0.0.1"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    with (
        Gallery.open(
            tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        event_log.follow(gallery)
        service = FakeService(gallery, event_log)
        yield service
        service.search.search.close()


@pytest.fixture
def client(service: FakeService) -> Iterator[TestClient]:
    with TestClient(create_app(service), base_url=HERE) as client:  # type: ignore[arg-type]
        yield client


def found(service: FakeService, n: int) -> list[str]:
    """Add visitors; return their ids."""
    return [tables.found(service.event_log.connection, time.time())[1] for _ in range(n)]


def test_a_visitor_is_looked_up_by_its_name(service: FakeService, client: TestClient) -> None:
    ids = found(service, 2)
    answer = client.get("/api/visitors", params={"name": "visitor 2"}).json()
    assert [each["visitor_id"] for each in answer["visitors"]] == [ids[1]]
    assert client.get("/api/visitors", params={"name": "Ada"}).json()["visitors"] == []


def test_those_told_apart_are_merged_where_a_person_says_so(
    service: FakeService, client: TestClient
) -> None:
    one, other = found(service, 2)
    tables.keep_apart(service.event_log.connection, [(1, 2)])
    refused = client.post(f"/api/visitors/{other}/merge", json={"into": one})
    assert refused.status_code == 409
    assert "were told apart" in refused.json()["error"]
    answer = client.post(f"/api/visitors/{other}/merge", json={"into": one, "force": True})
    (merge,) = answer.json()["merges"]
    assert answer.json()["merged"] == [other] == [merge["visitor_id"]]
    assert (merge["name"], merge["similarity"]) == ("Visitor 2", None)
    assert merge["at"] is not None


def test_a_merge_is_undone_by_its_id(service: FakeService, client: TestClient) -> None:
    one, other, third = found(service, 3)
    for each in (other, third):
        client.post(f"/api/visitors/{each}/merge", json={"into": one})
    refused = client.post(f"/api/visitors/{one}/unmerge", json={"visitor_id": "0"})
    assert refused.status_code == 409
    answer = client.post(f"/api/visitors/{one}/unmerge", json={"visitor_id": other})
    assert [each["number"] for each in answer.json()["visitors"]] == [1, 2]
    answer = client.post(f"/api/visitors/{one}/unmerge")
    assert [each["number"] for each in answer.json()["visitors"]] == [1, 3]


def test_different_people_can_be_taken_back(service: FakeService, client: TestClient) -> None:
    found(service, 2)
    tables.propose(service.event_log.connection, 1, {2: 0.45})

    def n_open() -> int:
        return len(client.get("/api/visitors/proposals").json()["proposals"])

    (proposal,) = client.get("/api/visitors/proposals").json()["proposals"]
    path = f"/api/visitors/proposals/{proposal['proposal_id']}"
    assert client.post(path, json={}).status_code == 422
    assert client.post(path, json={"is_same": False}).json() == {"visitor": None}
    assert n_open() == 0
    assert client.post(path, json={"is_same": None}).json() == {"visitor": None}
    assert n_open() == 1
    assert client.post(path, json={"is_same": True}).json()["visitor"]["number"] == 1

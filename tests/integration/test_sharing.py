"""Past events go with the photos that are split off: real faces, as thumbnails of the log."""

import numpy as np
import pytest

from gallery import Gallery, Match, NewPhoto
from recognizer import open_recognizer, read_image
from stream.enrollment.enrollment import enroll_images, photo_item
from stream.events.log import EventLog
from stream.events.reassign import events_of_other
from stream.frames import Event, EventKind
from tests.shared_data import photos

pytestmark = pytest.mark.integration


def test_events_that_show_the_other_are_found(tmp_path):
    recognizer = open_recognizer()
    with (
        Gallery.open(
            tmp_path, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
        ) as gallery,
        EventLog.open(tmp_path) as log,
    ):
        log.follow(gallery)
        items = [photo_item(photos() / name, "Somebody") for name in ("obama.jpg", "biden.jpg")]
        somebody = enroll_images(recognizer, gallery, items, force=True).enrolled[0].identity
        kept = {}
        for name in ("obama2.jpg", "obama3.jpg", "biden.jpg"):
            face = recognizer.recognize([read_image(photos() / name)])[0][0]
            match = Match(somebody, 0.9)
            event = Event(EventKind.ENTER, "door", 1.0, "run-1", match, 0.5, face.crop, "")
            kept[name] = log.append(event, 1e9).id
        biden = gallery.photos.of(somebody.identity_id)[1]
        other = gallery.photos.split(somebody.identity_id, [biden.photo_id], "Joe Biden")
        found = events_of_other(
            recognizer,
            gallery,
            log.crops(somebody.identity_id),
            identity_id=somebody.identity_id,
            other_id=other.identity_id,
        )
        assert found == [kept["biden.jpg"]]
        log.reassign(found, other)
        assert [event.name for event in log.list()] == ["Joe Biden", "Somebody", "Somebody"]
        nobody = gallery.photos.add(
            "Nobody", [NewPhoto(np.ones(128, np.float32), None, "a" * 64, 1.0)]
        )[0]
        gallery.photos.remove(gallery.photos.of(nobody.identity_id)[0].photo_id)
        without = {"identity_id": somebody.identity_id, "other_id": nobody.identity_id}
        assert events_of_other(recognizer, gallery, log.crops("x"), **without) == []

"""Past events named with real models: from what version 1 kept, and from what is kept now."""

from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, Target
from recognizer import open_recognizer, read_image
from stream.enrollment.crops import enroll_known
from stream.events.log import EventLog
from stream.frames import Event, EventKind
from stream.naming import face_crop
from tests.shared_data import photos

pytestmark = pytest.mark.integration


def test_a_crop_alone_is_enrolled_as_well_as_one_with_its_embedding(tmp_path: Path) -> None:
    recognizer = open_recognizer()
    with (
        Gallery.open(
            tmp_path, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
        ) as gallery,
        EventLog.open(tmp_path) as log,
    ):
        log.follow(gallery)
        image = read_image(photos() / "obama.jpg")
        (found,) = recognizer.detect([image])
        crop = recognizer.align(image, found.landmarks[:1])[0]
        stranger = Event(
            EventKind.UNKNOWN,
            "door",
            1.0,
            "run-1",
            None,
            0.5,
            crop,
            embedding=recognizer.embed(crop[np.newaxis])[0],
            quality=recognizer.quality(image, found)[0],
        )
        event_id = log.append(stranger, 1e9).id
        now = log.face(event_id)
        log._connection.execute(
            "UPDATE events SET embedding = NULL, model_id = NULL, quality = NULL, "
            "crop_sha256 = NULL"
        )
        before = log.face(event_id)
        assert now is not None
        assert before is not None
        kept = face_crop(recognizer, now, "event 1")
        made = face_crop(recognizer, before, "event 1")
        assert float(kept.embedding @ made.embedding) > 0.97, "JPEG changes little"
        assert made.quality.sharpness == pytest.approx(kept.quality.sharpness, rel=0.3)
        limits = recognizer.limits
        obama = enroll_known(gallery, Target("Barack Obama"), [made], similarity=limits)
        (again,) = recognizer.recognize([read_image(photos() / "obama2.jpg")])
        ((match,),) = gallery.best(again[0].embedding[np.newaxis])
        assert match.identity == obama
        assert match.similarity > limits.pair

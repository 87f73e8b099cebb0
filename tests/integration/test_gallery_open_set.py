"""Real faces, one photo a person: the right people are named, strangers are not."""

import numpy as np
import pytest

from gallery import Gallery
from recognizer import Recognizer, open_recognizer, read_image
from stream.enrollment.enrollment import enroll_images, photo_item
from tests.shared_data import shared_data

pytestmark = pytest.mark.integration


def largest_faces(recognizer: Recognizer, paths) -> np.ndarray:
    embeddings = []
    for path in paths:
        faces = recognizer.recognize([read_image(path)])[0]
        sizes = [float(np.prod(face.box[2:] - face.box[:2])) for face in faces]
        embeddings.append(faces[int(np.argmax(sizes))].embedding)
    return np.stack(embeddings)


def test_ten_people_from_one_photo_each_among_strangers(tmp_path):
    recognizer = open_recognizer()
    people = {
        directory.name: sorted(directory.glob("*.jpg"))
        for directory in sorted(shared_data("lfw10_original").iterdir())
        if directory.is_dir()
    }
    strangers = [
        path
        for path in sorted(shared_data("lfw_mini_250").rglob("*.jpg"))
        if path.stem.rsplit("_", 1)[0] not in people
    ]
    with Gallery.open(
        tmp_path, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as gallery:
        items = [photo_item(photos[0], name) for name, photos in people.items()]
        report = enroll_images(recognizer, gallery, items)
        assert len(report.enrolled) == 10, report.rejected
        threshold = gallery.threshold_for(recognizer.threshold)
        rest = [(name, path) for name, photos in people.items() for path in photos[1:]]
        probes = largest_faces(recognizer, [path for _, path in rest])
        found = gallery.search(probes, threshold=threshold)
        named = [match.identity.name if match else None for match in found]
        right = np.mean([name == wanted for name, (wanted, _) in zip(named, rest, strict=True)])
        assert len(rest) == 90
        assert right >= 0.98
        unknown = gallery.search(largest_faces(recognizer, strangers), threshold=threshold)
        assert len(strangers) >= 150
        assert [match for match in unknown if match] == []

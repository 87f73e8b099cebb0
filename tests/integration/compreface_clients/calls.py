"""Every call of compreface-sdk against a service, printed as JSON: PORT KEY ADDRESS-OF-PHOTOS DIR.

Runs in an environment of its own, with that package.
"""

import json
import sys
from pathlib import Path
from typing import Any

from compreface import CompreFace  # type: ignore[import-not-found]


def main(port: str, key: str, photos_url: str, directory: str) -> dict[str, Any]:
    """Return the answer of each call."""
    photos = Path(directory)
    obama, biden = str(photos / "obama.jpg"), (photos / "biden.jpg").read_bytes()
    options = {
        "limit": 0,
        "det_prob_threshold": 0.8,
        "prediction_count": 2,
        "face_plugins": "age,gender,landmarks,calculator,mask",
        "status": True,
    }
    plain = CompreFace("http://127.0.0.1", port)
    full = CompreFace("http://127.0.0.1", port, options)
    recognition, full_recognition = (each.init_face_recognition(key) for each in (plain, full))
    subjects, faces = recognition.get_subjects(), recognition.get_face_collection()
    answers = {
        "subjects.add": subjects.add("Zoë #1"),
        "subjects.add again": subjects.add("Zoë #1"),
        "subjects.update": subjects.update("zoë %231", "Ada"),
        "subjects.list": subjects.list(),
        "faces.add a path": faces.add(obama, "Barack Obama"),
        "faces.add bytes": faces.add(biden, "Joe Biden", {"det_prob_threshold": 0.8}),
        "faces.add an address": faces.add(f"{photos_url}/grace_hopper.jpg", "Grace & Hopper"),
    }
    answers["faces.list"] = listed = faces.list()
    image_id = listed["faces"][0]["image_id"]
    answers |= {
        "recognize": recognition.recognize(obama),
        "recognize in full": full_recognition.recognize(biden),
        "recognize the first": recognition.recognize(biden, {"limit": 1, "status": False}),
        "faces.verify": faces.verify(obama, image_id),
        "faces.verify in full": faces.verify(biden, image_id, options),
        "detect": plain.init_face_detection(key).detect(obama),
        "detect in full": full.init_face_detection(key).detect(biden),
        "verify": plain.init_face_verification(key).verify(obama, biden),
        "verify in full": full.init_face_verification(key).verify(obama, obama),
        "a wrong key": plain.init_face_detection(key[::-1]).detect(obama),
        "faces.delete": faces.delete(image_id),
        "faces.delete again": faces.delete(image_id),
        "faces.delete_all": faces.delete_all("joe biden"),
        "subjects.delete": subjects.delete("Ada"),
        "subjects.delete again": subjects.delete("Ada"),
        "subjects.delete_all": subjects.delete_all(),
    }
    return answers


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))

"""Print who is in front of a camera, five times a second: scripts/webcam.py [URL [GALLERY]]."""

import sys
import time
from pathlib import Path

import numpy as np

from gallery import Gallery
from recognizer import open_recognizer
from stream.config import data_dir
from stream.errors import SourceError
from stream.naming import limits_for, threshold_for
from stream.sources import SourceSettings, open_source

url = sys.argv[1] if len(sys.argv) > 1 else "/dev/video0"
directory = Path(sys.argv[2]) if len(sys.argv) > 2 else data_dir() / "gallery"
recognizer = open_recognizer()
size = recognizer.embedding_size
with Gallery.open(directory, model_id=recognizer.model_id, embedding_size=size) as people:
    threshold, margin = threshold_for(recognizer, people), limits_for(recognizer, people).margin
    try:
        settings = SourceSettings(loop=False, target_fps=5)
        source = open_source(url, camera="webcam", clock=time.monotonic, settings=settings)
        while True:
            (faces,) = recognizer.recognize([source.read().image])
            probes = np.array([face.embedding for face in faces], np.float32).reshape(-1, size)
            matches = people.search(probes, threshold=threshold, margin=margin)
            print([match.identity.name if match else "unknown" for match in matches], flush=True)
    except SourceError as error:
        sys.exit(f"webcam: {error}")

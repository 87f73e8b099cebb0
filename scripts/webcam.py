"""Print who is in front of a camera, five times a second: scripts/webcam.py [URL [GALLERY]]."""

import sys
import time
from pathlib import Path

import numpy as np

from gallery import Gallery
from stream.cameras.source import SourceSettings, open_source
from stream.cli.settings import settings_for
from stream.enrollment.naming import limits_for, threshold_for
from stream.errors import StreamError

url, *given = sys.argv[1:] or ["/dev/video0"]
try:
    settings = settings_for(config=None, gallery=Path(given[0]) if given else None)
    size = (recognizer := settings.open_recognizer()).embedding_size
    pace = SourceSettings(loop=False, target_fps=5)
    source = open_source(url, clock=time.monotonic, settings=pace)
    where = settings.directory
    with Gallery.open(where, model_id=recognizer.model_id, embedding_size=size) as people:
        least, lead = threshold_for(recognizer, people), limits_for(recognizer, people).margin
        while True:
            (faces,) = recognizer.recognize([source.read().image])
            rows = np.array([face.embedding for face in faces], np.float32).reshape(-1, size)
            found = people.search(rows, threshold=least, margin=lead)
            print([m.identity.name if m else "unknown" for m in found], flush=True)
except StreamError as error:
    sys.exit(f"webcam: {error}")

"""Add people from folders of photos: scripts/enroll.py PEOPLE [GALLERY], PEOPLE/NAME/*.jpg."""

import sys
from pathlib import Path

from gallery import Gallery
from stream.cli.settings import settings_for
from stream.enrollment.enrollment import enroll_images
from stream.enrollment.folders import read_people_folder
from stream.errors import ConfigError

people = Path(sys.argv[1])
try:
    settings = settings_for(config=None, gallery=Path(sys.argv[2]) if sys.argv[2:] else None)
    directory = settings.to_write()
except ConfigError as error:
    sys.exit(f"enroll: {error}")
folder = read_people_folder(people)
recognizer = settings.open_recognizer()
size = recognizer.embedding_size
with Gallery.open(directory, model_id=recognizer.model_id, embedding_size=size) as gallery:
    report = enroll_images(recognizer, gallery, folder.items)
for photo in report.enrolled:
    print(f"{photo.label}: enrolled as {photo.identity.name}")
for refused in (*folder.rejected, *report.rejected):
    print(f"{refused.label}: {refused.detail}", file=sys.stderr)

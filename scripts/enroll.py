"""Add people from folders of photos: scripts/enroll.py PEOPLE [GALLERY], PEOPLE/NAME/*.jpg."""

import sys
from pathlib import Path

from gallery import Gallery
from recognizer import open_recognizer
from stream.config import data_dir
from stream.enrollment.enrollment import enroll_images
from stream.enrollment.folders import read_people_folder

people = Path(sys.argv[1])
directory = Path(sys.argv[2]) if len(sys.argv) > 2 else data_dir() / "gallery"
folder = read_people_folder(people)
recognizer = open_recognizer()
size = recognizer.embedding_size
with Gallery.open(directory, model_id=recognizer.model_id, embedding_size=size) as gallery:
    report = enroll_images(recognizer, gallery, folder.items)
for photo in report.enrolled:
    print(f"{photo.label}: enrolled as {photo.identity.name}")
for refused in (*folder.rejected, *report.rejected):
    print(f"{refused.label}: {refused.detail}", file=sys.stderr)

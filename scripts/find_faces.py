"""Save an aligned crop of every face in images: scripts/find_faces.py OUT IMAGE..."""

import sys
from pathlib import Path

import cv2

from recognizer import ImageError, open_recognizer, read_image

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
recognizer = open_recognizer()
for path in map(Path, sys.argv[2:]):
    try:
        image = read_image(path)
    except ImageError as error:
        print(f"find_faces: {error}", file=sys.stderr)
        continue
    (faces,) = recognizer.detect([image])
    for number, crop in enumerate(recognizer.align(image, faces.landmarks)):
        cv2.imwrite(str(out / f"{path.stem}-{number}.png"), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    print(f"{path}: {len(faces)} faces")

"""Measure the names given in a clip against manual labels.

    python scripts/name_clip.py CLIP ENROL_DIR [--labels scripts/name_clip.toml]

Enrolls ENROL_DIR/NAME.png or .jpg for each name of the labels, runs every frame through the live
pipeline at the clip's frame rate, and prints for each person how many of the frames with a frontal
and sufficiently large face have the right name, and which wrong names were given.
"""

import argparse
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np

from gallery import Gallery
from recognizer import open_recognizer
from stream.config import Config
from stream.enrollment.enrollment import enroll_images, photo_item
from stream.enrollment.naming import limits_for, threshold_for
from stream.frames import Frame, Track, TrackState
from stream.recognition.pipeline import Pipeline

LABELS = Path(__file__).with_suffix(".toml")


def main() -> None:
    """Print the table; exit 1 if any person is given a wrong name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("enrol", type=Path, metavar="ENROL_DIR")
    parser.add_argument("--labels", type=Path, default=LABELS)
    options = parser.parse_args()
    scenes = tomllib.loads(options.labels.read_text(encoding="utf-8"))["scene"]
    names = {person["name"] for scene in scenes for person in scene["people"]}
    photos = {file.stem: file for file in options.enrol.iterdir() if file.stem in names}
    if missing := sorted(names - photos.keys()):
        sys.exit(f"no photo of {', '.join(missing)} in {options.enrol}")
    verdicts, wrong = judge(options.clip, scenes, photos)
    print(f"{'':24}{'frames':>7}{'named':>7}{'undecided':>11}{'unknown':>9}{'not seen':>10}")
    for name in sorted(names):
        found = verdicts[name]
        print(
            f"{name:24}{found.total():7}{found['known']:7}{found['undecided']:11}"
            f"{found['unknown']:9}{found['not seen']:10}"
        )
    print(f"wrong names: {len(wrong)}")
    for line in wrong:
        print(f"  {line}")
    sys.exit(bool(wrong))


def judge(
    clip: Path, scenes: list[dict[str, Any]], photos: dict[str, Path]
) -> tuple[dict[str, Counter[str]], list[str]]:
    """Return for each person the states of the judged frames, and a line for each wrong name."""
    verdicts: dict[str, Counter[str]] = {name: Counter() for name in photos}
    wrong = []
    recognizer = open_recognizer()
    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery.open(
            Path(folder),
            model_id=recognizer.model_id,
            embedding_size=recognizer.embedding_size,
        ) as gallery,
        av.open(str(clip)) as film,
    ):
        report = enroll_images(
            recognizer, gallery, [photo_item(file, name) for name, file in photos.items()]
        )
        for refused in report.refused:
            sys.exit(f"{refused.label}: {refused.detail}")
        events = Config().events
        pipeline = Pipeline(
            recognizer,
            gallery,
            threshold=threshold_for(recognizer, gallery),
            margin=limits_for(recognizer, gallery).margin,
            confirm_s=events.confirm_s,
            absence_s=events.absence_s,
            camera_away_s=events.camera_away_s,
            cooldown_s=events.cooldown_s,
        )
        fps = float(film.streams.video[0].average_rate or 25)
        for number, picture in enumerate(film.decode(video=0)):
            frame = Frame(
                "clip",
                number,
                number / fps,
                np.asarray(picture.to_ndarray(format="rgb24"), np.uint8),
            )
            (result,) = pipeline.process([frame], frame.captured_at)
            people = [
                person
                for scene in scenes
                if scene["first"] <= number <= scene["last"]
                for person in scene["people"]
            ]
            for track in result.tracks:
                there = [person["name"] for person in people if is_in(track, person["area"])]
                if track.match is not None and track.match.identity.name not in there:
                    where = " ".join(f"{edge:.0f}" for edge in track.box)
                    wrong.append(f"frame {number}: {track.match.identity.name} at {where}")
            for person in people:
                if person["judged"]:
                    verdicts[person["name"]][state(result.tracks, person)] += 1
    return verdicts, wrong


def is_in(track: Track, area: list[float]) -> bool:
    """Whether the center of a face is within x1, y1, x2, y2."""
    x, y = (track.box[:2] + track.box[2:]) / 2
    return bool(area[0] <= x <= area[2] and area[1] <= y <= area[3])


def state(tracks: tuple[Track, ...], person: dict[str, Any]) -> str:
    """Return the naming state of the largest face in a person's area."""
    found = [track for track in tracks if is_in(track, person["area"])]
    if not found:
        return "not seen"
    largest = max(found, key=lambda track: float(track.box[3] - track.box[1]))
    if largest.state is TrackState.KNOWN and largest.match is not None:
        return "known" if largest.match.identity.name == person["name"] else "wrong"
    return str(largest.state)


if __name__ == "__main__":
    main()

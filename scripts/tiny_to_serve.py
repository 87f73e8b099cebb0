"""Train, export and use a small model: scripts/tiny_to_serve.py TRAIN PAIRS CROPS PEOPLE OUT.

Packs TRAIN/NAME/*.jpg, trains the recipe `tiny` on it, verifies it on the pairs of pairs.txt PAIRS
with photos CROPS before and after, exports it with the similarities of those pairs in its card,
adds it as a model, enrolls half of the photos PEOPLE/NAME/*.jpg, and identifies the other half. It
takes a minute or two on two CPU cores. A network this small, trained on so few people,
distinguishes strangers poorly, and facewire then gives no name rather than a wrong one. The last
line shows how to use the model with `facewire serve`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trainer.data.pairs import alternate, read_bin, write_bin

NAME = "tiny"


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("train", "pairs", "crops", "people", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--recipe", default=NAME)
    parser.add_argument("--set", action="append", default=[], help="section.key=value of it")
    wanted = parser.parse_args()
    began = time.monotonic()
    out = wanted.out
    faces, model, gallery = out / "faces", out / "model", out / "gallery"
    target = faces / f"{wanted.pairs.stem}.bin"

    packed = command("facewire-train", "pack", wanted.train, faces)
    print(f"packed {packed['images']} images of {packed['identities']} people")
    command("facewire-train", "pack", wanted.crops, target, "--pairs", wanted.pairs)
    write_bin(target, alternate(read_bin(target)))

    settings = [f'run.targets=["{target.stem}"]', *wanted.set]
    trained = command(
        *("facewire-train", "fit", wanted.recipe, "--data", faces, "--out", model),
        *(word for setting in settings for word in ("--set", setting)),
    )
    for moment, row in zip(("before", "after"), trained["results"], strict=True):
        mean, std = row["accuracy_flip"]["mean"], row["accuracy_flip"]["std"]
        print(f"accuracy {moment} training: {mean:.4f} +- {std:.4f}, {row['pairs']} pairs")

    onnx = out / f"{NAME}.onnx"
    card = command("facewire-train", "export", trained["checkpoint"], onnx, "--pairs", target)
    threshold = f"threshold {card['threshold']:.3f} at FAR {card['far']:g}"
    print(f"exported: off by {card['difference']:.1e}, {threshold}")
    command("facewire", "models", "add", onnx, "--name", NAME, "--replace")

    asked = divide(wanted.people, out / "enrol")
    kept = ("--gallery", gallery, "--model", NAME)
    enrolled = command("facewire", "enroll", "--folder", out / "enrol", *kept)
    print(f"enrolled {len(enrolled['enrolled'])} photos, refused {len(enrolled['rejected'])}")
    named = command("facewire", "identify", *asked, *kept)
    right = wrong = 0
    for answer in named:
        names = {face["match"]["name"] for face in answer["faces"] if face["match"]}
        person = Path(answer["image"]).parent.name
        right += person in names
        wrong += bool(names - {person})
    print(f"identified {right} of {len(asked)} other photos, {wrong} with a wrong name")
    print(f"{time.monotonic() - began:.0f} s in all")
    print(f"facewire serve --model {NAME} --gallery {gallery}")


def command(program: str, *arguments: object) -> Any:
    """Run a facewire command and return its JSON document; its messages go to the terminal."""
    path = Path(sys.executable).with_name(program)
    done = subprocess.run(
        [path, *map(str, arguments), "--json"], stdout=subprocess.PIPE, check=False
    )
    if not done.stdout:  # `enroll` fails, with a report, if it rejected a photo
        sys.exit(f"tiny_to_serve: {program} {arguments[0]} failed")
    return json.loads(done.stdout)


def divide(people: Path, enrol: Path) -> list[Path]:
    """Copy every second photo of each person to `enrol`; return the others."""
    others = []
    for person in sorted(path for path in people.iterdir() if path.is_dir()):
        photos = sorted(person.iterdir())
        (enrol / person.name).mkdir(parents=True, exist_ok=True)
        for photo in photos[::2]:
            shutil.copy(photo, enrol / person.name)
        others += photos[1::2]
    return others


if __name__ == "__main__":
    main()

"""Every command in README.md and docs/ is run; see tests/written.py for how."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import av
import cv2
import numpy as np
import pytest

from recognizer import read_image
from recognizer.cache import default_cache
from stream.config import load_config
from tests.e2e.harness import PATIENCE_S, await_address
from tests.fake_programs import FakeCompreFace, FakeFrigate, served
from tests.shared_data import photos, shared_data
from tests.written import PAGES, ROOT, TABLE, Block, blocks_of, commands_of_table

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

BIN = Path(sys.executable).parent
HERE = "http://127.0.0.1:8080"

# These install and start or test everything: .ci/run and scripts/newcomer are their tests.
WHOLE = ["scripts/run", "scripts/test"]
VENV = [". .venv/bin/activate"]
# What this machine lacks, or must not do.
ELSEWHERE = {
    "a camera": ["facewire bench stream rtsp://192.0.2.8/live --seconds 10"],
    "an NVIDIA GPU": [
        "pip install '.[cuda]'",
        "pip uninstall --yes onnxruntime",
        "pip install --force-reinstall --no-deps 'onnxruntime-gpu>=1.31,<2'",
        "facewire check --device cuda",
        "facewire serve --device cuda",
    ],
    "docker": [
        "docker build --target cuda -t facewire-cuda .",
        "docker run --gpus all --network host -v facewire:/data"
        " -e FACEWIRE_TOKEN=correct-horse-battery facewire-cuda",
    ],
    "two machines": [
        "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint gpu1:29400"
        " --rdzv-id r100 --no-python facewire-train fit r100-arcface --data /shared/faces"
        " --out /shared/models/r100",
    ],
    "a broker of the system": [
        "sudo apt-get install --yes mosquitto mosquitto-clients",
        "sudo mosquitto_passwd -b -c /etc/mosquitto/passwords facewire correct-horse-battery",
        "sudo chown mosquitto /etc/mosquitto/passwords",
        "printf 'listener 1883\\npassword_file /etc/mosquitto/passwords\\n'"
        " | sudo tee /etc/mosquitto/conf.d/facewire.conf",
        "sudo systemctl restart mosquitto",
        "mosquitto_sub -u facewire -P correct-horse-battery -t 'facewire/#' -v",
        "mosquitto_sub -u facewire -P correct-horse-battery -t 'facewire/#' "
        "-t 'homeassistant/+/facewire/#' --remove-retained -W 5 -v",
    ],
    "installs torch": ["pip install '.[train]'", "pip install '.[train]'"],
}
LANGUAGES = {"crontab", "sh", "text", "json", "toml", "nginx", "python", "js", "yaml"}
MARKS = {"", "fails", "serve", "running", "programs", "endless", "shrunk", "whole", "venv"}


def all_blocks() -> list[tuple[Path, Block]]:
    return [(page, block) for page in PAGES for block in blocks_of(page)]


def test_every_block_is_of_a_known_kind():
    for page, block in all_blocks():
        assert block.language in LANGUAGES, f"{page.name}: {block.text}"
        mark = block.mark.partition(":")[0]
        assert mark in {*MARKS, "elsewhere"}, f"{page.name}: {block.mark}"
        assert block.language == "sh" or not mark, f"{page.name}: {block.text}"


def test_what_is_not_run_is_listed():
    skipped: dict[str, list[str]] = {}
    whole, venv = set(), set()
    for _, block in all_blocks():
        if block.mark.startswith("elsewhere: "):
            skipped.setdefault(block.mark.removeprefix("elsewhere: "), []).extend(block.lines)
        whole |= set(block.lines) if block.mark == "whole" else set()
        venv |= set(block.lines) if block.mark == "venv" else set()
    assert skipped == ELSEWHERE
    assert sorted(whole) == WHOLE
    assert sorted(venv) == VENV
    for line in WHOLE:
        assert os.access(ROOT / line, os.X_OK)


def test_commands_of_tables_are_found():
    page = ROOT / "docs" / "pages" / "from-insightface.md"
    (table,) = TABLE.findall(page.read_text("utf-8"))
    ours = list(commands_of_table(table))
    assert len(ours) == len(table.splitlines()) - 2 - table.count("| nothing to do")


class Home:
    """A folder with the files that the pages mention, and commands run in it."""

    def __init__(self, path: Path, stack: ExitStack, settings: str) -> None:
        self.path = path
        self._stack = stack
        self._url = ""
        self._programs: dict[str, str] = {}
        self.env = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "FACEWIRE_DATA": str(path / "data"),
            "FACEWIRE_CACHE": str(path / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        (path / "cache").mkdir()
        for entry in default_cache().iterdir():  # models that are added stay out of the user's
            if entry.name != "user":
                (path / "cache" / entry.name).symlink_to(entry)
        shutil.copytree(photos(), path / "photos")
        (path / "people" / "Grace Hopper").mkdir(parents=True)
        shutil.copy(photos() / "grace_hopper.jpg", path / "people" / "Grace Hopper")
        for receiver in (ROOT / "docs" / "receivers").iterdir():
            shutil.copy(receiver, path)
        (path / "clips").mkdir()
        write_clip(path / "clips" / "collins.mp4", photos() / "astronaut.png")
        shutil.copy(path / "clips" / "collins.mp4", path / "clips" / "yard.mp4")
        cv2.imwrite(str(path / "wall.png"), np.full((480, 640, 3), 120, np.uint8))
        (path / "facewire.toml").write_text(
            settings or (ROOT / "facewire.toml").read_text("utf-8"), "utf-8"
        )
        (path / "wrong.toml").write_text("[video]\nfps = 25\n")

    @property
    def url(self) -> str:
        """Return the address of a service with a camera, started at the first use."""
        if not self._url:
            log = self.path / "service.log"
            line = "facewire serve --camera door=demo: --port 0"
            if "[compreface]\nenabled = true" in (self.path / "facewire.toml").read_text("utf-8"):
                line += " --config facewire.toml"
            process = self.start(line, log)
            self._stack.callback(interrupt, process, log)
            self._url = await_address(process, log).rstrip("/")
        return self._url

    def beside_programs(self, line: str) -> str:
        """Return a command with the addresses of fake programs, started at the first use."""
        if not self._programs:
            grace = (self.path / "photos" / "grace_hopper.jpg").read_bytes()
            faces = {"Grace Hopper": {"1.webp": grace}}
            for address, program in (
                ("http://192.0.2.5:8000", FakeCompreFace({"Grace Hopper": [grace]})),
                ("http://192.0.2.6:5000", FakeFrigate(faces)),
            ):
                self._programs[address] = self._stack.enter_context(served(program))
            for folder in ("frigate/clips/faces", "double-take/.storage/train", "my_db"):
                (self.path / folder).mkdir(parents=True)
                shutil.copytree(self.path / "people", self.path / folder, dirs_exist_ok=True)
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.env[name] = value
        for address, url in self._programs.items():
            line = line.replace(address, url)
        return line

    def start(self, line: str, log: Path, **changed: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on; its output goes to a file."""
        with log.open("wb") as out:
            return subprocess.Popen(
                ["bash", "-c", f"exec env --default-signal=INT {line}"],
                cwd=self.path,
                env={**self.env, **changed},
                stdout=out,
                stderr=out,
            )

    def run(self, line: str, status: int = 0) -> tuple[str, str]:
        """Run a command to its end; returns all it printed, and what it answered."""
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.path,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, f"{line}\n{done.stderr}"
        return done.stderr + done.stdout, done.stdout


def interrupt(process: subprocess.Popen[bytes], log: Path) -> int:
    """End by Ctrl-C; return the exit status."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail(f"it did not stop:\n{log.read_text()}")


def write_clip(path: Path, photo: Path) -> None:
    """Write a film of two seconds that shows a photo."""
    image = read_image(photo)
    height, width = (side // 2 * 2 for side in image.shape[:2])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for seq in range(10):
            frame.pts = seq
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def add_training_data(home: Path) -> None:
    """Add people, pairs and an MXNet network, as the pages about training have them."""
    people = sorted(shared_data("train_mini_112").iterdir())
    for person in people[:20]:
        shutil.copytree(person, home / "faces-by-name" / person.name)
    shutil.copytree(people[20], home / "more-people" / people[20].name)
    (home / "crops").symlink_to(shared_data("lfw_fold1_aligned112"))
    lines = shared_data("lfw_fold1_pairs.txt").read_text().splitlines()
    few = [line for pair in zip(lines[1:11], lines[301:311], strict=True) for line in pair]
    (home / "pairs.txt").write_text("\n".join(["1\t10", *few]) + "\n")
    images = sorted((home / "crops").rglob("*.jpg"))[:3]
    rows = [f"{image.relative_to(home / 'crops')} {n} 1" for n, image in enumerate(images)]
    (home / "templates.txt").write_text("\n".join(rows) + "\n")
    (home / "template_pairs.txt").write_text("0 1 1\n0 2 0\n")
    for network, folder in (("y1", "model-y1-test2"), ("genderage", "genderage")):
        (home / "models" / folder).mkdir(parents=True)
        for end in ("symbol.json", "0000.params"):
            source = shared_data(f"models/{network}-{end}")
            shutil.copy(source, home / "models" / folder / f"model-{end}")


def add_reference_data(home: Home) -> None:
    """Add the folders of the reference's users: a set with .bin files, and genders and ages."""
    pytest.importorskip("torch")
    from trainer.data.recordio import Record, RecordWriter

    home.run("facewire-train pack people datasets/faces_emore")
    home.run("facewire-train pack crops datasets/faces_emore/lfw.bin --pairs pairs.txt")
    folder = home.path / "datasets" / "genderage"
    folder.mkdir(parents=True)
    (folder / "property").write_text("2,112,112\n")
    files = [f.read_bytes() for f in islice(sorted((home.path / "people").rglob("*.png")), 12)]
    with RecordWriter(folder / "train.rec") as writer:
        for key, image in enumerate(files, 1):
            writer.write(key, Record((key % 2, 20 + key), key, image))
        writer.write(len(files) + 1, Record((1, len(files) + 1), 0, b""))
        writer.write(0, Record((len(files) + 1, len(files) + 2), 0, b""))


def shrunk(line: str) -> str:
    """Return a command of training for a few steps, a small network, and two processes."""
    line = line.replace("--nproc-per-node 4", "--nproc-per-node 2")
    if "facewire-train adapt" in line:  # a small base, and a division of its people that gains
        line += " --base models/model-y1-test2/model,0 --threads 1 --resamples 200"
        return f"{line} --steps 60 --batch 12 --rate 1.5e-3 --seed 2"
    if "facewire-train fit" not in line:
        return line
    steps = 4 if "--resume" in line else 2
    settings = ["run.batch=6", f"run.steps={steps}", "run.verbose=2"]
    if "m1-triplet" not in line:
        settings.append("data.workers=0")
    if not re.search(r"fit (tiny|distill|genderage)", line):
        settings.append("backbone.name=m025")
    if "run.targets" not in line:
        settings.append("run.targets=[]")
    return line + "".join(f" --set '{setting}'" for setting in settings)


def in_words(text: str) -> list[str]:
    """Return lines without what differs from run to run: numbers, ids, times and spaces."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"\b[0-9a-f]{12,}\b", "0", text)
    text = re.sub(r"\d[\d.:TZ+-]*", "0", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_numbers_are_set_aside_and_words_are_not():
    shown = in_words("Ada  2  2026-11-26T22:16:01+00:00  496a4e64f0f8367b\n\n1 enrolled")
    assert shown == in_words("Ada 1 2027-01-02T03:04:05+00:00 00ffa64f0f8367b3\n3 enrolled")
    assert shown != in_words("Ada 1 2027-01-02T03:04:05+00:00 00ffa64f0f8367b3\n3 rejected")


def keys_of(value: object) -> object:
    """Return the form of JSON: keys of objects, the first item of lists."""
    if isinstance(value, dict):
        return {key: keys_of(each) for key, each in value.items()}
    if isinstance(value, list):
        return [keys_of(value[0])] if value else []
    return None


def status_of(url: str) -> int:
    try:
        with urlopen(url, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def run_serve(home: Home, line: str) -> None:
    log = home.path / "serve.log"
    process = home.start(f"{line} --port 0", log, FACEWIRE_DATA=str(home.path / "served"))
    try:
        url = await_address(process, log)
        assert status_of(url) in {200, 401}  # 401: the page is there and asks for the token
    finally:
        status = interrupt(process, log)
    said = log.read_text()
    assert status == 0, f"{line}\n{said}"
    assert "Traceback" not in said
    assert "password" not in said.replace("***", "")


def run_endless(home: Home, line: str) -> None:
    assert home.url
    line = re.sub(r"receiver\.(py|mjs)", r"\g<0> 0", line)  # 8090 may be taken
    log = home.path / "endless.log"
    process = home.start(line, log)
    try:
        until = time.monotonic() + PATIENCE_S
        while not log.read_text().strip():
            assert process.poll() is None, line
            assert time.monotonic() < until, f"{line} printed nothing"
            time.sleep(0.05)
    finally:
        status = interrupt(process, log)
    assert status in {0, 1, 130, -signal.SIGINT}, log.read_text()
    if "facewire" in line.split():
        assert "Traceback" not in log.read_text()


def run_block(home: Home, block: Block) -> tuple[str, str]:
    """Run the lines of a block; returns all they printed, and the last one's answer."""
    said, answer = "", ""
    for line in block.lines:
        if block.mark == "serve":
            run_serve(home, line)
        elif block.mark == "endless":
            run_endless(home, line)
        else:
            if block.mark == "running":
                line = line.replace(HERE, home.url)
            if block.mark == "programs":
                line = home.beside_programs(line)
            if block.mark == "shrunk":
                line = shrunk(line)
            printed, answer = home.run(line, 1 if block.mark == "fails" else 0)
            said += printed
    return said, answer


def settings_of(blocks: list[Block]) -> str:
    return "\n".join(block.text for block in blocks if block.language == "toml")


COMMANDING = [page for page in PAGES if any(b.language == "sh" for b in blocks_of(page))]


@pytest.mark.parametrize("page", COMMANDING, ids=lambda page: page.stem)
def test_commands_of_a_page_work_one_after_the_other(page: Path, tmp_path: Path):
    blocks = blocks_of(page)
    trains = any(block.mark == "shrunk" for block in blocks)
    with ExitStack() as stack:
        home = Home(tmp_path, stack, settings_of(blocks))
        if trains:
            pytest.importorskip("torch")
            add_training_data(tmp_path)
            if re.search("pack people|adapt .*--photos people", page.read_text("utf-8")):
                shutil.rmtree(tmp_path / "people")
                (tmp_path / "people").symlink_to("faces-by-name")
            if "datasets/" in page.read_text("utf-8"):
                add_reference_data(home)
        said = answer = ""
        for block in blocks:
            if block.language == "sh" and (block.mark in MARKS - {"whole", "venv"}):
                said, answer = run_block(home, block)
            elif block.language == "text" and said:
                printed = in_words(said)
                for line in in_words(block.text):
                    assert line in printed, f"not printed: {line}\nbut:\n" + "\n".join(printed)
            elif block.language == "json":
                shown, got = json.loads(block.text), json.loads(answer.splitlines()[-1])
                assert keys_of({**shown, "settings": 0}) == keys_of({**got, "settings": 0}), answer
            if block.language != "sh":
                said = ""
    if "--out marked" in page.read_text("utf-8"):
        assert (tmp_path / "marked" / "biden.jpg").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_of_a_page_are_settings(page: Path, tmp_path: Path):
    (tmp_path / "page.toml").write_text(settings_of(blocks_of(page)), "utf-8")
    load_config(tmp_path / "page.toml")


def test_json_of_pages_is_json():
    for _, block in all_blocks():
        if block.language == "json":
            json.loads(block.text)
        if block.language == "toml":
            tomllib.loads(block.text)

import json
import os
from pathlib import Path

import pytest

from stream.cameras.store import FILE_NAME, CameraStore
from stream.config import CameraConfig
from stream.errors import CameraStoreError

DOOR = CameraConfig(name="door", url="rtsp://user:hunter2@192.0.2.7/live")
YARD = CameraConfig(name="yard", url="yard.mp4")
SHED = CameraConfig(name="shed", url="shed.mp4", region=(0.0, 0.1, 0.5, 1.0), rotation=90)


def edit(**settings: object) -> str:
    """Return the file of one camera that was added, some of its settings by hand."""
    camera = {**CameraConfig(name="a", url="a.mp4").model_dump(mode="json"), **settings}
    return json.dumps([{"name": "a", "configured": None, "camera": camera}])


def changed(camera: CameraConfig, **settings: object) -> CameraConfig:
    return camera.model_copy(update=settings)


def test_without_a_file_cameras_are_as_configured(tmp_path: Path) -> None:
    assert CameraStore.open(tmp_path, []).cameras() == []
    assert CameraStore.open(tmp_path, [DOOR, YARD]).cameras() == [DOOR, YARD]
    assert list(tmp_path.iterdir()) == []


def test_edits_are_there_at_the_next_start(tmp_path: Path) -> None:
    store = CameraStore.open(tmp_path, [DOOR, YARD])
    turned = changed(DOOR, rotation=180)
    store.put(turned)
    store.put(SHED)
    store.remove("yard")
    assert store.cameras() == [turned, SHED]
    assert CameraStore.open(tmp_path, [DOOR, YARD]).cameras() == [turned, SHED]


def test_what_is_configured_afterwards_wins(tmp_path: Path) -> None:
    store = CameraStore.open(tmp_path, [DOOR, YARD])
    store.put(changed(DOOR, rotation=180))
    store.put(SHED)
    store.remove("yard")
    edited, configured_too = changed(DOOR, target_fps=5.0), changed(SHED, rotation=0)
    again = CameraStore.open(tmp_path, [edited, changed(YARD, loop=False), configured_too])
    assert again.cameras() == [edited, changed(YARD, loop=False), configured_too]


def test_edits_of_cameras_that_are_not_configured_for_a_while_are_kept(tmp_path: Path) -> None:
    turned = changed(DOOR, rotation=180)
    CameraStore.open(tmp_path, [DOOR, YARD]).put(turned)
    elsewhere = CameraStore.open(tmp_path, [YARD])  # such as by flags, for a test
    assert elsewhere.cameras() == [YARD]
    elsewhere.put(SHED)
    again = CameraStore.open(tmp_path, [DOOR, YARD])
    assert again.cameras() == [turned, YARD, SHED]
    again.reconfigure([YARD])
    again.reconfigure([DOOR])
    assert again.cameras() == [turned, SHED]
    again.reconfigure([])
    again.put(changed(DOOR, loop=False))  # another camera of that name
    assert CameraStore.open(tmp_path, []).cameras() == [SHED, changed(DOOR, loop=False)]


def test_a_camera_changed_back_or_removed_leaves_no_trace(tmp_path: Path) -> None:
    store = CameraStore.open(tmp_path, [DOOR])
    store.put(changed(DOOR, rotation=180))
    store.put(DOOR)
    store.put(SHED)
    store.remove("shed")
    assert json.loads((tmp_path / FILE_NAME).read_text()) == []


def test_nobody_else_can_read_the_passwords(tmp_path: Path) -> None:
    (tmp_path / "cameras.part").write_text("left by a power cut")
    (tmp_path / "cameras.part").chmod(0o644)
    store = CameraStore.open(tmp_path, [])
    store.put(DOOR)
    assert "hunter2" in (tmp_path / FILE_NAME).read_text()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    (tmp_path / FILE_NAME).chmod(0o644)  # such as by a backup that was copied back
    CameraStore.open(tmp_path, [])
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "{}", "1", "null", "[1]", "[" * 100_000, '[{"name": "a"}]'),
        '[{"name": "a", "configured": null, "camera": {"x": 1}}]',
        edit(url="/x\ud800"),
        edit(name="b"),
        edit(name="a b"),
        edit(rotation=45),
        edit(rotation="NaN"),
        edit(target_fps=float("nan")),
        edit(target_fps=float("inf")),
        edit(min_face_px=2**63),
        edit(min_face_px=True),
        edit(region=[0, 0, 1]),
        edit(enabled=[]),
        edit()[:-1] + "," + edit()[1:],
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(CameraStoreError, match=r"cameras\.json is damaged .*: move it away"):
        CameraStore.open(tmp_path, [DOOR])


def test_a_file_written_by_hand_may_begin_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xef\xbb\xbf" + edit().encode())
    assert [camera.name for camera in CameraStore.open(tmp_path, []).cameras()] == ["a"]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)
    with pytest.raises(CameraStoreError, match=r"cannot read .*cameras\.json: is a named pipe"):
        CameraStore.open(tmp_path, [])


def test_a_disk_that_does_not_take_it_changes_nothing(tmp_path: Path) -> None:
    store = CameraStore.open(tmp_path / "gone", [DOOR])
    with pytest.raises(CameraStoreError, match="cannot save the cameras"):
        store.put(SHED)
    assert store.cameras() == [DOOR]


def test_an_edited_configuration_is_taken_in_while_running(tmp_path: Path) -> None:
    store = CameraStore.open(tmp_path, [DOOR, YARD])
    store.put(changed(DOOR, rotation=180))
    store.put(SHED)
    store.reconfigure([changed(DOOR, loop=False), SHED])
    assert store.cameras() == [changed(DOOR, loop=False), SHED]


def test_a_renamed_camera_is_kept_in_one_step(tmp_path: Path) -> None:
    store = CameraStore.open(tmp_path, [DOOR])
    front = changed(DOOR, name="front")
    store.rename("door", front)
    assert store.cameras() == [front]
    assert CameraStore.open(tmp_path, [DOOR]).cameras() == [front]
    store.rename("front", DOOR)
    assert json.loads((tmp_path / FILE_NAME).read_text()) == []


@pytest.mark.parametrize(
    "settings", [{"url": "/x\ud800"}, {"target_fps": float("nan")}, {"min_face_px": 5000}]
)
def test_what_the_next_start_could_not_read_is_not_written(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    store = CameraStore.open(tmp_path, [])
    store.put(YARD)
    # Past the checks of the configuration, as another kind of bad value may come one day.
    with pytest.raises(CameraStoreError, match="cannot save the camera"):
        store.put(changed(DOOR, **settings))
    assert store.cameras() == [YARD]
    assert CameraStore.open(tmp_path, []).cameras() == [YARD]

from pathlib import Path

import pytest

pytest.importorskip("tensorboardX")

from tensorboardX.proto.event_pb2 import Event

from trainer.training.tensorboard import EventLog

# of a file that TensorBoard 2.21 read: it dropped what an older file held from step 21 on
HEADER = (
    "1800000000000000a37f4b22090000000000000c401a0d627261696e2e4576656e743a32fd43f5f6"
    "0f000000000000006d532b09090000000000000c4010153a0208018da926fb"
)


def events(path):
    """Read events as TensorBoard's documentation has them: length, its CRC, bytes, their CRC."""
    content = path.read_bytes()
    while content:
        size = int.from_bytes(content[:8], "little")
        yield Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]


def test_what_is_added_is_read_back(tmp_path):
    log = EventLog(tmp_path / "new", now=1.5)
    assert not log.path.exists()
    log.add(300, {"train/loss": 0.5, "é": 0.25}, now=2.0)
    log.add(0, {}, now=2.5)
    first, second, third = events(log.path)  # readable before it is closed
    log.close()
    assert (first.wall_time, first.file_version) == (1.5, "brain.Event:2")
    assert (second.wall_time, second.step) == (2.0, 300)
    assert {v.tag: v.simple_value for v in second.summary.value} == {"train/loss": 0.5, "é": 0.25}
    assert (third.wall_time, len(third.summary.value)) == (2.5, 0)


def test_a_run_that_goes_on_voids_what_came_after_its_checkpoint(tmp_path):
    older, log = EventLog(tmp_path, now=1.0), EventLog(tmp_path, now=3.5, purge_step=21)
    assert older.path.name < log.path.name
    log.add(21, {"x": 1.0}, now=4.0)
    log.close()
    older.close()  # nothing was added: no file
    assert not older.path.exists()
    assert log.path.read_bytes().startswith(bytes.fromhex(HEADER))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_the_callers_to_know(tmp_path):
    log = EventLog(tmp_path, now=1.0)
    log.path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        log.add(1, {"x": 1.0}, now=2.0)
    log.close()

import struct

import pytest

from trainer.training.tensorboard import EventLog, crc32c

# of a file that TensorBoard 2.21 read: it dropped what an older file held from step 21 on
HEADER = (
    "1800000000000000a37f4b22090000000000000c401a0d627261696e2e4576656e743a32fd43f5f6"
    "0f000000000000006d532b09090000000000000c4010153a0208018da926fb"
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA)],
)
def test_checksums_are_those_of_rfc_3720(data, expected):
    assert crc32c(data) == expected


def unmasked(masked):
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def records(content):
    while content:
        (size, check), content = struct.unpack("<QI", content[:12]), content[12:]
        assert unmasked(check) == crc32c(struct.pack("<Q", size))
        data, (check,) = content[:size], struct.unpack("<I", content[size : size + 4])
        assert unmasked(check) == crc32c(data)
        yield data
        content = content[size + 4 :]


def whole(data):
    """Read a number of seven bits a byte; returns it and what follows."""
    number = shift = 0
    while True:
        byte, data = data[0], data[1:]
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, data


def fields(data):
    """Decode a message of protocol buffers; bytes stay bytes."""
    found = []
    while data:
        key, data = whole(data)
        match key & 7:
            case 0:
                value, data = whole(data)
            case 1:
                value, data = struct.unpack("<d", data[:8])[0], data[8:]
            case 2:
                size, data = whole(data)
                value, data = data[:size], data[size:]
            case _:
                value, data = struct.unpack("<f", data[:4])[0], data[4:]
        found.append((key >> 3, value))
    return found


def test_what_is_added_is_read_back(tmp_path):
    log = EventLog(tmp_path / "new", now=1.5)
    assert not log.path.exists()
    log.add(300, {"train/loss": 0.5, "é": 0.25}, now=2.0)
    log.add(0, {}, now=2.5)
    first, second, third = [fields(r) for r in records(log.path.read_bytes())]
    assert first == [(1, 1.5), (3, b"brain.Event:2")]
    assert second[:2] == [(1, 2.0), (2, 300)]
    values = [dict(fields(value)) for _, value in fields(second[2][1])]
    assert values == [{1: b"train/loss", 2: 0.5}, {1: "é".encode(), 2: 0.25}]
    assert third == [(1, 2.5), (5, b"")]


def test_a_run_that_goes_on_voids_what_came_after_its_checkpoint(tmp_path):
    older, log = EventLog(tmp_path, now=1.0), EventLog(tmp_path, now=3.5, purge_step=21)
    assert older.path.name < log.path.name
    log.add(21, {"x": 1.0}, now=4.0)
    assert log.path.read_bytes().startswith(bytes.fromhex(HEADER))

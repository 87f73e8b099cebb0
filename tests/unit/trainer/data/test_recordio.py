import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.framing import MAGIC_BYTES, encode_parts, read_payload
from trainer.data.index import read_index
from trainer.data.recordio import Record, RecordReader, RecordWriter, pack_record, unpack_record
from trainer.errors import RecordError

# written by mxnet.recordio.MXIndexedRecordIO 1.9.1 from RECORDS
GOLDEN = bytes.fromhex(
    "0a23d7ce1b00000000000000000040400100000000000000000000000000000061626300"
    "0a23d7ce200000000200000000000000020000000000000007000000000000000000803f00002040"
    "0a23d7ce18000020000000000000a0400300000000000000000000000000000"
    "00a23d7ce000000400a23d7ce000000400a23d7ce0300006061626300"
    "0a23d7ce20000020000000000000a04004000000000000000000000000000000780a23d7ce797a31"
    "0a23d7ce00000060"
    "0a23d7ce20000000020000000000000000000000000000000000000000000000000080400000a040"
)
GOLDEN_INDEX = "1\t0\n2\t36\n3\t76\n4\t136\n0\t184\n"
RECORDS = {
    1: Record((3.0,), 1, b"abc"),
    2: Record((1.0, 2.5), 2, b"", second_id=7, is_vector=True),
    3: Record((5.0,), 3, MAGIC_BYTES * 3 + b"abc"),
    4: Record((5.0,), 4, b"x" + MAGIC_BYTES + b"yz1" + MAGIC_BYTES),
    0: Record((4.0, 5.0), 0, b"", is_vector=True),
}


def write(path: Path) -> Path:
    with RecordWriter(path) as writer:
        for key, record in RECORDS.items():
            writer.write(key, record)
    return path


def test_writes_what_mxnet_writes(tmp_path):
    path = write(tmp_path / "a.rec")
    assert path.read_bytes() == GOLDEN
    assert path.with_suffix(".idx").read_text() == GOLDEN_INDEX


def test_reads_what_mxnet_writes(tmp_path):
    (tmp_path / "a.rec").write_bytes(GOLDEN)
    (tmp_path / "a.idx").write_text(GOLDEN_INDEX)
    with RecordReader(tmp_path / "a.rec") as reader:
        for key in (4, 0, 3, 1, 2):
            assert reader.read(key) == RECORDS[key]


def test_an_empty_file_has_no_records(tmp_path):
    with RecordWriter(tmp_path / "a.rec"):
        pass
    assert (tmp_path / "a.rec").read_bytes() == b""
    assert RecordReader(tmp_path / "a.rec").offsets == {}


@given(st.lists(st.sampled_from([b"", b"a", b"abcd", MAGIC_BYTES, MAGIC_BYTES[:2]])))
def test_any_payload_comes_back(tmp_path_factory, pieces):
    payload = b"".join(pieces)
    path = tmp_path_factory.mktemp("r") / "one"
    path.write_bytes(encode_parts(payload))
    with path.open("rb") as stream:
        assert read_payload(stream, name="one") == payload
        assert read_payload(stream, name="one") is None


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=40),
)
def test_any_record_comes_back(labels, record_id, image):
    record = Record(tuple(labels), record_id, image, is_vector=len(labels) > 1)
    assert unpack_record(pack_record(record)) == record


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda data: data[:190], "cut off at byte 184"),
        (lambda data: data[:-3], "cut off at byte 184"),
        (lambda data: data[:184], "ends before record 0"),
        (lambda data: data[:184] + b"junk" + data[188:], "no record at byte 184"),
        (lambda data: data[:184] + MAGIC_BYTES + bytes(4), "shorter than its header"),
        (lambda data: data[:184] + MAGIC_BYTES + b"\0\0\0\x60" + data[192:], "out of order"),
        (lambda data: data[:184] + MAGIC_BYTES + b"\0\0\0\x80" + data[192:], "out of order"),
        (lambda data: data[:192] + b"\x09" + data[193:], "too short for 9 labels"),
    ],
)
def test_damage_is_named(tmp_path, damage, expected):
    path = write(tmp_path / "a.rec")
    path.write_bytes(damage(GOLDEN))
    reader = RecordReader(path)
    assert reader.read(1) == RECORDS[1]
    with pytest.raises(RecordError, match=expected):
        reader.read(0)
    reader.close()


def test_an_unknown_key_and_missing_files_are_named(tmp_path):
    with pytest.raises(RecordError, match="cannot read"):
        RecordReader(tmp_path / "none.rec")
    path = write(tmp_path / "a.rec")
    reader = RecordReader(path)
    with pytest.raises(RecordError, match="no record 9"):
        reader.read(9)
    path.unlink()
    with pytest.raises(RecordError, match="cannot read"):
        reader.read(1)


@pytest.mark.parametrize("text", ["1 5\n", "1\t-5\n", "key\t1\n", "\n"])
def test_a_wrong_index_is_named_by_line(tmp_path, text):
    (tmp_path / "a.idx").write_text("1\t0\n" + text)
    with pytest.raises(RecordError, match="line 2"):
        read_index(tmp_path / "a.idx")


def test_an_index_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.idx").write_bytes(b"\xff\xfe\n")
    with pytest.raises(RecordError, match="not an index"):
        read_index(tmp_path / "a.idx")


def test_a_cut_off_last_index_line_is_passed_over(tmp_path):
    (tmp_path / "a.idx").write_text("1\t0\n2\t3")
    assert read_index(tmp_path / "a.idx") == {1: 0}


def test_a_pickled_reader_reads(tmp_path):
    reader = RecordReader(write(tmp_path / "a.rec"))
    assert pickle.loads(pickle.dumps(reader)).read(3) == RECORDS[3]
    reader.close()


def test_records_longer_than_the_format_are_refused(monkeypatch):
    monkeypatch.setattr("trainer.data.framing.MAX_PART", 8)
    with pytest.raises(RecordError, match="longer than the format"):
        encode_parts(bytes(9))


@pytest.mark.parametrize(
    "text",
    [
        "1\t0\n2\t40\n7\t80\n",
        "1\t0\r\n2\t40\r\n7\t80\r\n",
        " 1\t0 \n2\t40\n7\t80\n",
        "1\t5\n2\t40\n1\t0\n7\t80\n",
        "1\t0\n2\t40\n7\t80\n8\t1",
    ],
    ids=["plain", "Windows", "spaces", "a key twice", "cut off"],
)
def test_an_index_may_be_written_in_some_ways(text, tmp_path):
    (tmp_path / "a.idx").write_bytes(text.encode())
    index = read_index(tmp_path / "a.idx")
    assert dict(index) == {1: 0, 2: 40, 7: 80}
    assert [key in index for key in (0, 1, 2, 3, 7, 8, -1, 2**40, "1")] == [
        *(False, True, True, False, True),
        *[False] * 4,
    ]
    with pytest.raises(KeyError):
        index[3]


@pytest.mark.parametrize("order", [(3, 1, 2), (2**40, 5, 2**33), (7,)])
def test_an_index_keeps_the_order_of_the_file(order, tmp_path):
    lines = [f"{key}\t{2**35 + i}" for i, key in enumerate(order)]
    (tmp_path / "a.idx").write_text("\n".join(lines) + "\n")
    index = read_index(tmp_path / "a.idx")
    assert list(index) == list(order)
    assert [index[key] for key in order] == [2**35 + i for i in range(len(order))]


@pytest.mark.parametrize(
    "line",
    ["1\t99999999999999999999", "99999999999999999999\t1", "1\t-5", "1 5", "1\t5\t6", "\t", "1\t"],
)
def test_a_wrong_line_of_an_index_is_named(line, tmp_path):
    (tmp_path / "a.idx").write_text(f"0\t0\n{line}\n")
    with pytest.raises(RecordError, match="line 2: expected KEY<tab>OFFSET"):
        read_index(tmp_path / "a.idx")


def test_an_index_of_millions_takes_a_few_bytes_a_record(tmp_path):
    """MS1M's 5.8 million: 0.8 GB as a dictionary, and 0.55 GB in each worker that was forked."""
    n = 300_000
    (tmp_path / "a.idx").write_text("".join(f"{key}\t{key * 8000}\n" for key in range(n)))
    tracemalloc.start()
    index = read_index(tmp_path / "a.idx")
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(index) == n
    assert held <= 9 * n

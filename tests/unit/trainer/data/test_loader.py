import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from trainer.data.faceset import FaceSet, FaceSetWriter, encode
from trainer.data.loader import Augmentation, Classes, Plan, batches
from trainer.errors import DataError, RecordError

PLAIN = Augmentation(mirror=False, color=0, cutoff=0)
ALL = Augmentation(mirror=True, color=2, cutoff=20)


@pytest.fixture
def faces(tmp_path):
    rng = np.random.default_rng(0)
    with FaceSetWriter(tmp_path) as writer:
        for _ in range(5):
            writer.add([encode(rng.integers(0, 256, (112, 112, 3), np.uint8)) for _ in range(3)])
    return FaceSet(tmp_path)


def take(n, *arguments, **options):
    return list(itertools.islice(batches(*arguments, **options), n))


def assert_equal(a, b):
    assert len(a) == len(b)
    for (pixels, labels), (other_pixels, other_labels) in zip(a, b, strict=True):
        assert torch.equal(pixels, other_pixels)
        assert torch.equal(labels, other_labels)


def test_an_epoch_has_every_image_once_and_the_next_another_order(faces):
    labels = torch.cat([labels for _, labels in take(6, faces, Plan(15, 5, seed=1), PLAIN)])
    first, second = labels.view(2, 15).tolist()
    assert sorted(first) == sorted(second) == sorted([0, 1, 2, 3, 4] * 3)
    assert first != second


@pytest.mark.parametrize("change", [PLAIN, ALL])
def test_a_seed_gives_the_same_batches_and_another_seed_others(faces, change):
    assert_equal(take(4, faces, Plan(15, 4, 7), change), take(4, faces, Plan(15, 4, 7), change))
    other = take(1, faces, Plan(15, 4, 8), change)
    assert not torch.equal(other[0][0], take(1, faces, Plan(15, 4, 7), change)[0][0])


def test_a_resumed_position_goes_on_across_the_epoch(faces):
    plan = Plan(15, 4, 3)
    assert_equal(take(7, faces, plan, ALL)[2:], take(5, faces, plan, ALL, start=2))


def test_forked_workers_read_what_one_process_reads(faces):
    faces.read(int(faces.keys[0]))  # the file is open before the fork
    plan = Plan(15, 4, 3)
    assert_equal(take(6, faces, plan, ALL), take(6, faces, plan, ALL, workers=2))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_is_named_whoever_reads_it(faces, workers):
    data = bytearray(faces.path.read_bytes())
    at = faces.reader.offsets[4] + 8 + 24
    data[at : at + 64] = bytes(64)
    faces.path.write_bytes(data)
    with pytest.raises(RecordError, match="record 4: the image cannot be decoded"):
        take(3, faces, Plan(15, 5, 0), PLAIN, workers=workers)


def test_two_ranks_see_together_what_one_sees(faces):
    (whole,) = take(1, faces, Plan(15, 4, 5), PLAIN)
    parts = [take(1, faces, Plan(15, 2, 5, rank, 2), PLAIN)[0] for rank in range(2)]
    assert torch.equal(whole[1], torch.cat([labels for _, labels in parts]))


def test_too_few_images_for_a_batch_are_refused():
    with pytest.raises(DataError, match="15 images do not fill a batch of 16"):
        Plan(15, 8, 0, 0, 2)


def test_labels_after_the_class_are_given_where_wanted(tmp_path):
    image = encode(np.zeros((112, 112, 3), np.uint8))
    with FaceSetWriter(tmp_path) as writer:
        writer.add([image] * 2, [(1, 30), (0, 40)])
    (batch,) = take(1, FaceSet(tmp_path), Plan(2, 2, 0), PLAIN, classes=Classes(n_labels=2))
    assert sorted(batch[1].tolist()) == [[0, 40], [1, 30]]


def damage(faces, *keys):
    data = bytearray(faces.path.read_bytes())
    for key in keys:
        at = faces.reader.offsets[key] + 8 + 24
        data[at : at + 64] = bytes(64)
    faces.path.write_bytes(data)


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_images_are_left_out_and_named_once(faces, workers, caplog):
    damage(faces, 4, 9)
    plan = Plan(15, 5, 0)
    found = take(6, faces, plan, ALL, workers=workers, max_damaged=2)
    lines = [line for line in caplog.messages if line.startswith("left out: ")]
    assert len(lines) == 2
    assert "record 4: the image cannot be decoded" in " ".join(lines)
    assert "record 9: " in " ".join(lines)
    assert_equal(found, take(6, faces, plan, ALL, max_damaged=2))  # with any number of workers
    assert all(len(labels) == 5 for _, labels in found)


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_damaged_images_end_the_run_in_one_line(faces, workers):
    damage(faces, 4, 9, 10)
    with pytest.raises(RecordError, match=r"after 2 others that were left out$") as caught:
        take(6, faces, Plan(15, 5, 0), PLAIN, workers=workers, max_damaged=2)
    assert "\n" not in str(caught.value)


def test_a_batch_of_nothing_but_damage_ends_the_run(faces):
    damage(faces, *range(1, 16))
    with pytest.raises(RecordError, match="the image cannot be decoded"):
        take(1, faces, Plan(15, 5, 0), PLAIN, max_damaged=100)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_beyond_the_classes_is_named(faces, workers):
    with pytest.raises(RecordError, match=r"record \d+: its label 4 is none of 4 classes"):
        take(3, faces, Plan(15, 5, 0), PLAIN, workers=workers, classes=Classes(n_classes=4))


def test_labels_may_be_numbered_anew(faces):
    classes = Classes(n_classes=5, values=np.arange(5.0))
    plain = take(3, faces, Plan(15, 5, 0), PLAIN)
    assert_equal(take(3, faces, Plan(15, 5, 0), PLAIN, classes=classes), plain)

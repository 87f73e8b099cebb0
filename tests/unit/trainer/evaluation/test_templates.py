from pathlib import Path

import numpy as np
import pytest

from trainer.data.templates import TemplatePairs, Templates
from trainer.errors import DataError
from trainer.evaluation import templates as module
from trainer.evaluation.templates import (
    template_distances,
    template_embeddings,
    template_lines,
    templates_to_json,
    verify_templates,
)
from trainer.evaluation.verification import roc
from trainer.verify import POINTS_DRAWN, thinned


def as_templates(rows):
    """Index rows of (image, template, media) as the reader does."""
    images = list(dict.fromkeys(image for image, _, _ in rows))
    ids = list(dict.fromkeys(template for _, template, _ in rows))
    media = list(dict.fromkeys((template, m) for _, template, m in rows))
    return Templates(
        path=Path("tid.txt"),
        images=tuple(Path(str(image)) for image in images),
        lines=tuple(range(1, len(images) + 1)),
        image_of_row=np.array([images.index(image) for image, _, _ in rows]),
        media_of_row=np.array([media.index((template, m)) for _, template, m in rows]),
        template_of_media=np.array([ids.index(template) for template, _ in media]),
        index={template: place for place, template in enumerate(ids)},
    )


def slow_template(embeddings, rows, template):
    """IJB's embedding of a template in plain loops over its media; None without a face."""
    by_media = {}
    for image, t, media in rows:
        if t == template and not np.isnan(embeddings[image]).any():
            by_media.setdefault(media, []).append(embeddings[image])
    total = None
    for frames in by_media.values():
        mean = np.mean(frames, axis=0)
        total = mean if total is None else total + mean
    return None if total is None else total / np.sqrt(np.dot(total, total))


def synthetic(seed=0, people=12):
    """Give each person two templates, of one to three media, of one to four images."""
    rng = np.random.default_rng(seed)
    embeddings, rows, owner = [], [], {}
    for person in range(people):
        center = rng.normal(size=16)
        for template in (2 * person + 100, 2 * person + 101):
            owner[template] = person
            for media in range(rng.integers(1, 4)):
                for _ in range(rng.integers(1, 5)):
                    rows.append((len(embeddings), template, media))
                    size = rng.uniform(5, 15)
                    embeddings.append((center + rng.normal(0, 1.2, 16)) * size)
    rows = [rows[i] for i in rng.permutation(len(rows))]
    order = [image for image, _, _ in rows]
    by_image = np.array(embeddings)
    return by_image, by_image[order], rows, owner


def test_it_is_the_protocol_in_plain_loops():
    by_image, embeddings, rows, owner = synthetic()
    lost = sorted(owner)[3]
    for place, (image, template, _) in enumerate(rows):
        if template == lost or image % 9 == 0:  # one whole template, and some of the others
            by_image[image] = embeddings[place] = np.nan
    templates = as_templates(rows)
    ids = sorted(owner)
    combos = [(a, b) for k, a in enumerate(ids) for b in ids[k + 1 :]]
    same = np.array([owner[a] == owner[b] for a, b in combos])
    index = templates.index
    pairs = TemplatePairs(
        "ijb",
        np.array([index[a] for a, _ in combos]),
        np.array([index[b] for _, b in combos]),
        same,
    )
    result = verify_templates(embeddings, templates, pairs)

    slow = {t: slow_template(by_image, rows, t) for t in ids}
    gone = {t for t, unit in slow.items() if unit is None}
    assert lost in gone
    similarity = [np.nan if {a, b} & gone else float(np.dot(slow[a], slow[b])) for a, b in combos]
    np.testing.assert_allclose(1 - result.distances / 2, similarity, atol=1e-12)
    impostors = sorted(
        (s for s, one in zip(similarity, same, strict=True) if not one and s == s), reverse=True
    )
    genuine = [s for s, one in zip(similarity, same, strict=True) if one]
    assert [p.far for p in result.points] == [0.1]
    (point,) = result.points
    limit = impostors[int(0.1 * len(impostors))]
    assert point.impostors == len(impostors)
    assert point.tar == sum(s > limit for s in genuine) / len(genuine)
    assert 0 < point.tar < 1
    assert result.undetected_templates == len(gone)
    assert result.undetected == int(np.isnan(embeddings[:, 0]).sum())


def test_a_video_weighs_as_much_as_a_photo():
    rows = [(0, 1, 1), *((i, 1, 2) for i in range(1, 6))]
    embeddings = np.array([[3.0, 0]] + [[0, 3.0]] * 5)
    np.testing.assert_allclose(
        template_embeddings(embeddings, as_templates(rows)), [[np.sqrt(0.5)] * 2]
    )


def test_lengths_of_images_count_within_a_template():
    """As in insightface's evaluation: the raw embeddings are averaged, not unit ones."""
    units = template_embeddings(
        np.array([[3.0, 0], [0, 4.0]]), as_templates([(0, 1, 1), (1, 1, 2)])
    )
    np.testing.assert_allclose(units, [[0.6, 0.8]])


def test_templates_of_one_image_and_shared_images_are_fine():
    rows = [(0, 1, 1), (1, 2, 1), (0, 3, 8), (1, 3, 8)]
    units = template_embeddings(np.array([[2.0, 0], [0, 2.0]]), as_templates(rows))
    np.testing.assert_allclose(units, [[1, 0], [0, 1], [np.sqrt(0.5)] * 2])


def test_distances_in_parts_are_those_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    units = rng.normal(size=(9, 4))
    a, b = rng.integers(0, 9, 50), rng.integers(0, 9, 50)
    whole = template_distances(units, a, b)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 7)
    np.testing.assert_array_equal(template_distances(units, a, b), whole)


def test_a_far_that_the_pairs_do_not_allow_is_refused():
    _, embeddings, rows, _ = synthetic(people=3)
    pairs = TemplatePairs("few", np.array([0, 0]), np.array([1, 2]), np.array([True, False]))
    templates = as_templates(rows)
    with pytest.raises(DataError, match=r"few cannot tell TAR at FAR 0\.001.* takes 10000"):
        verify_templates(embeddings, templates, pairs, fars=[1e-3])
    for far in (0.0, -1.0, 2.0, float("nan")):
        with pytest.raises(DataError, match=r"must be above 0 and at most 1"):
            verify_templates(embeddings, templates, pairs, fars=[far])
    result = verify_templates(embeddings, templates, pairs)
    assert templates_to_json(result)["tar_at_far"] == []
    assert "takes 100 pairs of two people" in template_lines(result)[-1]


def test_ten_million_impostors_reach_a_far_of_a_millionth():
    from trainer.evaluation.verification import operating_points

    rng = np.random.default_rng(0)
    distances = np.concatenate([rng.uniform(0, 2, 1000), rng.uniform(1, 4, 10_000_000)])
    points = operating_points(distances, np.arange(len(distances)) < 1000, None, target="t")
    assert [p.far for p in points] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    limit = 2 - 2 * points[-1].threshold
    assert (distances[1000:] < limit).sum() == 10


def test_a_curve_of_many_points_keeps_its_shape():
    rng = np.random.default_rng(0)
    is_same = rng.random(60_000) < 0.5
    every_far, every_tar = roc(rng.uniform(0, 4, 60_000) + ~is_same, is_same)
    far, tar = thinned(every_far, every_tar)
    assert 100 < len(far) <= POINTS_DRAWN < len(every_far)
    np.testing.assert_array_equal(far[[0, -1]], every_far[[0, -1]])
    # each point that is kept is the highest of the curve at its FAR
    highest = every_tar[np.searchsorted(every_far, far, side="right") - 1]
    np.testing.assert_array_equal(tar, highest)
    few = every_far[:9], every_tar[:9]
    assert thinned(*few) == few

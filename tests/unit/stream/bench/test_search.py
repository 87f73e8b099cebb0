import numpy as np

from stream.bench.search import bench_search


def test_a_small_gallery_is_measured(tmp_path):
    parts = []
    figures = bench_search(tmp_path, 1000, n_exact=500, progress=parts.append)
    assert figures.n_templates == 1000
    assert figures.kind == "flat"
    assert figures.top1 == 1.0
    assert figures.n_probes == 500
    assert 0 < figures.one_ms <= figures.one_p95_ms
    assert figures.rss_mib > 1
    assert figures.file_mib > 0.5
    assert parts[-1] == 1.0


def test_people_are_mixed_from_faces_and_searched_by_them(tmp_path):
    rng = np.random.default_rng(0)
    faces = rng.standard_normal((30, 16)).astype(np.float32)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    figures = bench_search(tmp_path, 1000, embedding_size=16, faces=faces, n_exact=100)
    assert (figures.n_probes, figures.top1) == (100, 1.0)
    assert figures.first_start_s > 0


def test_a_very_large_gallery_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("gallery.large_index.LARGE_ROWS", 500)
    figures = bench_search(tmp_path, 1000, embedding_size=16, n_exact=100)
    assert (figures.kind, figures.top1) == ("pq", 1.0)

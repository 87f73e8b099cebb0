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

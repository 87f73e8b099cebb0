from pathlib import Path

from stream.bench.past import bench_past


def test_the_search_over_past_sightings_is_measured(tmp_path: Path) -> None:
    figures = bench_past(tmp_path, 2_000, embedding_size=32, n_searches=10, n_exact=10)
    assert figures.exact == 1.0
    assert figures.n_exact == 10
    assert figures.search_p95_ms >= figures.search_ms > 0
    assert figures.append_ms > 0
    assert figures.index_mib > 2_000 * 32 / 2**20

from pathlib import Path

import numpy as np

from stream.bench.past import bench_past
from stream.events.search_index import SearchIndex


def test_the_search_over_past_sightings_is_measured(tmp_path: Path) -> None:
    figures = bench_past(tmp_path, 2_000, embedding_size=32, n_searches=10, n_exact=100)
    assert figures.exact == 1.0
    assert figures.n_exact == 100
    assert figures.search_p95_ms >= figures.search_ms > 0
    assert figures.append_ms > 0
    assert figures.index_mib > 2_000 * 32 / 2**20


def test_a_search_that_misses_sightings_is_not_called_exact(tmp_path: Path, monkeypatch) -> None:
    def put(self, ids, cameras, at, templates) -> None:
        kept = ids % 10 != 0
        names = [name for name, is_kept in zip(cameras, kept, strict=True) if is_kept]
        original(self, ids[kept], names, at[kept], templates[kept])

    original = SearchIndex.put
    monkeypatch.setattr(SearchIndex, "put", put)
    faces = np.eye(32, dtype=np.float32)
    figures = bench_past(tmp_path, 2_000, embedding_size=32, faces=faces, n_searches=1, n_exact=100)
    assert figures.exact < 0.9

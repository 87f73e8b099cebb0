import pytest

from stream.cli.common import counted, counting


def test_a_bar_counts_on_a_terminal_from_its_first_call_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    with counted("photos") as progress:
        assert capsys.readouterr().err == ""
        progress(1, 32)
        progress(32, 32)
    shown = capsys.readouterr()
    assert "photos" in shown.err
    assert "32/32" in shown.err
    assert shown.out == ""


def test_a_bar_of_a_known_total_shows_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with counting("enrolling", 2) as count_one:
        count_one()
        count_one()
    assert "2/2" in capsys.readouterr().err


def test_no_bar_is_written_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with counted("photos") as progress:
        progress(1, 2)
    assert capsys.readouterr().err == ""

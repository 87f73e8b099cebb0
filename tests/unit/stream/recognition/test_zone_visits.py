from stream.recognition.zone_visits import ZoneVisits


def visits(*frames: tuple[str, ...], every_s: float = 0.1) -> ZoneVisits:
    made = ZoneVisits()
    for number, zones in enumerate(frames):
        made.update(zones, 10.0 + number * every_s)
    return made


def test_a_face_that_comes_into_view_in_a_zone_is_in_it_at_once() -> None:
    made = visits(("porch",))
    assert (made.current, made.entered) == (("porch",), ("porch",))


def test_a_zone_is_entered_after_a_moment_and_kept() -> None:
    out, porch, both = (), ("porch",), ("path", "porch")
    assert visits(out, porch, porch).entered == ()
    assert visits(out, porch, porch, porch).entered == ("porch",)
    gone = visits(out, *[porch] * 3, *[both] * 3, out)
    assert (gone.current, gone.entered) == ((), ("porch", "path"))


def test_a_box_that_trembles_at_the_outline_enters_nothing() -> None:
    assert visits((), *[("porch",), ("porch",), ()] * 10).entered == ()


def test_a_slow_camera_needs_a_second_frame() -> None:
    assert visits((), ("porch",), every_s=1.0).entered == ()
    assert visits((), ("porch",), ("porch",), every_s=1.0).entered == ("porch",)

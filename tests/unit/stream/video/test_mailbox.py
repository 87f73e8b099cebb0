import threading

import pytest

from stream.video.mailbox import LatestMailbox, MailboxClosed


def test_empty_gives_none() -> None:
    assert LatestMailbox[int]().get(0) is None


@pytest.mark.parametrize(
    ("put", "got", "dropped"), [([1], 1, 0), ([1, 2], 2, 1), (list(range(10)), 9, 9)]
)
def test_the_newest_wins_and_the_rest_is_counted(put: list[int], got: int, dropped: int) -> None:
    mailbox: LatestMailbox[int] = LatestMailbox()
    for item in put:
        mailbox.put(item)
    assert mailbox.get(0) == got
    assert mailbox.get(0) is None
    assert mailbox.dropped == dropped


def test_none_is_dropped_when_every_item_is_read() -> None:
    mailbox: LatestMailbox[int] = LatestMailbox()
    for item in range(5):
        mailbox.put(item)
        assert mailbox.get(0) == item
    assert mailbox.dropped == 0


def test_the_last_item_outlives_the_close() -> None:
    mailbox: LatestMailbox[int] = LatestMailbox()
    mailbox.put(1)
    mailbox.close()
    mailbox.put(2)
    assert mailbox.get(0) == 1
    with pytest.raises(MailboxClosed):
        mailbox.get(0)


@pytest.mark.parametrize("end", ["put", "close"])
def test_a_waiting_reader_is_woken(end: str) -> None:
    mailbox: LatestMailbox[int] = LatestMailbox()
    got: list[int | str | None] = []

    def read() -> None:
        try:
            got.append(mailbox.get(30))
        except MailboxClosed:
            got.append("closed")

    reader = threading.Thread(target=read)
    reader.start()
    if end == "put":
        mailbox.put(7)
    else:
        mailbox.close()
    reader.join(5)
    assert got == [7 if end == "put" else "closed"]


def test_nothing_is_lost_uncounted_between_threads() -> None:
    mailbox: LatestMailbox[int] = LatestMailbox()
    n = 2000
    got: list[int] = []

    def read() -> None:
        while True:
            try:
                item = mailbox.get(5)
            except MailboxClosed:
                return
            assert item is not None
            got.append(item)

    reader = threading.Thread(target=read)
    reader.start()
    for item in range(n):
        mailbox.put(item)
    mailbox.close()
    reader.join(5)
    assert got == sorted(set(got))
    assert got[-1] == n - 1
    assert len(got) + mailbox.dropped == n


def test_a_larger_mailbox_keeps_the_newest_in_order() -> None:
    mailbox = LatestMailbox[int](size=3)
    for item in range(5):
        mailbox.put(item)
    assert [mailbox.get(0.0) for _ in range(4)] == [2, 3, 4, None]
    assert mailbox.dropped == 2

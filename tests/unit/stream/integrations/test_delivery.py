from stream.integrations.delivery import LONGEST_DELAY_S, MAX_TRIES, retry_delay


def test_delays_double_up_to_a_minute() -> None:
    delays = [retry_delay(attempt) for attempt in range(20)]
    assert delays[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(delays) == LONGEST_DELAY_S
    assert sum(delays[: MAX_TRIES - 1]) > 120, "a receiver may restart for two minutes"

import pytest

from stream.budget import Budget, Client
from stream.errors import BusyError

ADMIN = Client("192.0.2.1", is_admin=True)


def viewer(number: int = 0) -> Client:
    return Client(f"198.51.100.{number}", is_admin=False)


def fill(budget: Budget, client: Client | None, n: int = 1000) -> int:
    """Take places until there are no more for a client; returns how many."""
    for taken in range(n):
        try:
            budget.take(client)
        except BusyError:
            return taken
    return n


def test_one_viewer_takes_half_at_most_and_gives_it_back() -> None:
    budget = Budget("viewers", 100)
    assert fill(budget, viewer()) == 50
    with pytest.raises(BusyError, match=r"too many viewers from 198\.51\.100\.0"):
        budget.take(viewer())
    budget.give_back(viewer())
    budget.take(viewer())
    assert len(budget) == 50


def test_all_viewers_together_leave_a_fifth_to_administrators() -> None:
    budget = Budget("viewers", 100)
    assert sum(fill(budget, viewer(number)) for number in range(5)) == 80
    assert fill(budget, ADMIN) == 20
    with pytest.raises(BusyError, match="too many viewers: 100 are connected"):
        budget.take(ADMIN)


def test_a_viewer_and_an_administrator_of_one_address_are_two() -> None:
    budget = Budget("pages", 10)
    same = Client(ADMIN.address, is_admin=False)
    assert (fill(budget, same), fill(budget, ADMIN)) == (5, 5)


@pytest.mark.parametrize("places", [1, 2, 3])
def test_few_places_are_places(places: int) -> None:
    assert fill(Budget("viewers", places), viewer()) >= 1
    assert fill(Budget("viewers", places), ADMIN) >= 1
    assert fill(Budget("viewers", places), None) == places


def test_nobody_is_remembered_who_has_left() -> None:
    budget = Budget("viewers", 100)
    for number in range(200):
        budget.take(viewer(number))
        budget.give_back(viewer(number))
    assert len(budget) == 0
    assert not budget._taken

"""Secrets of rules: shown as ***, and each kept by the webhook that it belongs to."""

from typing import Any

import pytest

from stream.config import RuleConfig
from stream.config.rules import WebhookAction
from stream.schemas.rules import shown_action, with_secrets

A, B, C = "https://ntfy.sh/topic-a", "https://ntfy.sh/topic-b", "https://ntfy.sh/topic-c"
OTHER = "https://chat.example/hook"


def hook(url: str, **headers: str) -> dict[str, Any]:
    return {"type": "webhook", "url": url, "headers": headers}


def rule(*then: dict[str, Any]) -> RuleConfig:
    return RuleConfig.model_validate({"name": "r", "then": list(then)})


def shown(before: RuleConfig) -> list[dict[str, Any]]:
    return [shown_action(action) for action in before.then]


def saved(before: RuleConfig, *then: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    after = with_secrets(rule(*then), before).then
    return [(each.url, dict(each.headers)) for each in after if isinstance(each, WebhookAction)]


def test_each_of_several_webhooks_of_a_host_keeps_its_own_secret() -> None:
    before = rule(hook(A, Token="a"), hook(OTHER, Token="o"), hook(B, Token="b"))
    first, other, second = shown(before)
    assert first["url"] == second["url"] == "https://ntfy.sh/***"
    expected = [(A, {"Token": "a"}), (OTHER, {"Token": "o"}), (B, {"Token": "b"})]
    assert saved(before, first, other, second) == expected
    assert saved(before, other, first, second) == [expected[1], expected[0], expected[2]]
    assert saved(before, first, second, {"type": "push"}) == [expected[0], expected[2]]
    assert saved(before, {**first, "url": C}, second) == [(C, {"Token": "a"}), expected[2]]


def test_which_of_several_webhooks_is_meant_is_not_guessed() -> None:
    before = rule(hook(A), hook(B))
    first, second = shown(before)
    for then in ([second], [first, hook(C)], [first, second, second]):
        with pytest.raises(ValueError, match=r"enter the address in full.* at https://ntfy\.sh$"):
            saved(before, *then)
    assert saved(before, hook(B)) == [(B, {})]
    same = rule(hook(A), hook(A))
    assert saved(same, shown(same)[0]) == [(A, {})]
    with pytest.raises(ValueError, match="enter the address and headers in full"):
        saved(same, *shown(same), shown(same)[0])


@pytest.mark.parametrize(
    "then",
    [
        hook(C, Token="***"),
        hook("https://evil.example/***", Token="***"),
        hook("https://evil.example/x", Token="***"),
        hook("http://chat.example/hook", Token="***"),
        hook("https://chat.example:8443/hook", Token="***"),
        hook("https://chat.example/x/***"),
        hook("https://chat.example/***", Other="***"),
    ],
)
def test_a_secret_goes_to_no_other_address(then: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="enter the address and headers in full"):
        saved(rule(hook(OTHER, Token="o")), then)


def test_headers_of_an_address_that_is_shown_in_full_are_kept() -> None:
    before = rule(hook("https://h.example", Token="1"), hook("https://h.example"))
    assert saved(before, *shown(before)) == [
        ("https://h.example", {"Token": "1"}),
        ("https://h.example", {}),
    ]

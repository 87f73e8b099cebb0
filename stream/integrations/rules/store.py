"""Storage of the rules that are made and edited on the page, in a separate file.

The file overrides the configuration and holds, for each rule that was added, changed or removed,
its settings (null if removed) and its configuration at that time (null if not configured). If the
configuration of a rule is edited afterwards, the configuration applies: the last edit wins.
"""

import errno
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from gallery.private_files import keep_private
from recognizer import read_file
from stream.config.rules import RuleConfig
from stream.config_file import MAX_BYTES, describe
from stream.errors import RuleStoreError, RuleStoreFullError, UnknownRuleError
from stream.private_text import write_private

FILE_NAME = "rules.json"


class Edit(BaseModel):
    """An edit of one rule.

    Attributes:
        rule_id: the rule's id.
        configured: its configuration at the time of the edit.
        rule: its settings after the edit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule_id: str
    configured: RuleConfig | None
    rule: RuleConfig | None


EDITS = TypeAdapter(list[Edit])


def configured_id(name: str) -> str:
    """Return the id of a rule of the configuration."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def new_id() -> str:
    """Return the id of a rule that is to be added."""
    return secrets.token_hex(6)


class RuleStore:
    """The rules of a service: the configured ones with later edits applied.

    Args:
        directory: the gallery's.
        configured: the rules of the configuration.

    Raises:
        RuleStoreError: if the file is unreadable or damaged.
    """

    def __init__(self, directory: Path, configured: Sequence[RuleConfig]) -> None:
        self._path = directory / FILE_NAME
        self._configured = {configured_id(rule.name): rule for rule in configured}
        keep_private(self._path)  # it holds addresses with secrets
        try:
            edits = EDITS.validate_json(read_file(self._path, max_bytes=MAX_BYTES))
        except FileNotFoundError:
            edits = []
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise RuleStoreError(f"cannot read {self._path}: {why}") from error
        except ValidationError as error:
            # Not chained: the message may hold a secret.
            raise RuleStoreError(
                f"{describe(error, f'{self._path} is damaged or of another version')}: move it "
                "away to begin with the configured rules"
            ) from None
        self._edits = {edit.rule_id: edit for edit in edits}

    def rules(self) -> dict[str, RuleConfig]:
        """Return the rules by id: the configured ones first, then the added."""
        rules: dict[str, RuleConfig] = {}
        for rule_id in {**self._configured, **self._edits}:
            configured, edit = self._configured.get(rule_id), self._edits.get(rule_id)
            rule = configured
            if edit is not None and edit.configured == configured:
                rule = edit.rule
            if rule is not None:
                rules[rule_id] = rule
        return rules

    def get(self, rule_id: str) -> RuleConfig:
        """Return a rule.

        Raises:
            UnknownRuleError: if there is none.
        """
        try:
            return self.rules()[rule_id]
        except KeyError:
            raise UnknownRuleError(rule_id) from None

    def is_configured(self, rule_id: str) -> bool:
        """Return whether a rule is in the configuration."""
        return rule_id in self._configured

    def put(self, rule_id: str, rule: RuleConfig | None) -> None:
        """Store a rule that was added or changed, None if it was removed.

        Raises:
            RuleStoreError: if it cannot be written.
        """
        configured = self._configured.get(rule_id)
        edits = dict(self._edits)
        if rule == configured:
            edits.pop(rule_id, None)
        else:
            edits[rule_id] = Edit(rule_id=rule_id, configured=configured, rule=rule)
        self._write(edits)
        self._edits = edits

    def _write(self, edits: Mapping[str, Edit]) -> None:
        # Defaults are not written, so that they are those of a later version.
        dumped = [
            {**edit.model_dump(mode="json", exclude_unset=True), "rule_id": edit.rule_id}
            for edit in edits.values()
        ]
        try:
            write_private(self._path, json.dumps(dumped, indent=2) + "\n")
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = RuleStoreFullError if is_full else RuleStoreError
            raise kind(f"cannot save the rules to {self._path}: {error.strerror}") from error

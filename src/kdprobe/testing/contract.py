"""The error that every check raises: one sentence that tells the plugin's author what is wrong."""

from __future__ import annotations


class ContractError(AssertionError):
    """A plugin violates its contract; the message says how."""


def require(condition: object, sentence: str) -> None:
    """Raises `ContractError` with the sentence unless the condition holds.

    Raises:
        ContractError: The condition does not hold.
    """
    if not condition:
        raise ContractError(sentence)

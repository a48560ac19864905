"""What every check of the kit raises: one sentence that tells the plugin's author what is wrong."""

from __future__ import annotations


class ContractError(AssertionError):
    """A plugin does not keep a contract; the message says which, and what it did instead."""


def require(condition: object, sentence: str) -> None:
    """Raises the sentence unless the condition holds.

    Raises:
        ContractError: It does not hold.
    """
    if not condition:
        raise ContractError(sentence)

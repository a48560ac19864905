"""Secrets that people put into arguments and configs: left out of what is written, blacked out in what is said.

A secret is what stands under a name such as `api_key`, in a header such as `Authorization`, or before the `@` of an
address. All that are found are remembered, so that no message repeats them.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

from kdprobe.errors import KdprobeError

BLACKED_OUT = "[secret]"
_NAME = re.compile(
    r"(\w+_)?(api_?key|(access|secret|private|subscription|auth|client)_?key|(api|auth|access|bearer|refresh|hf)_?token"
    r"|password|passwd|passphrase|secret|credentials?|authorization)"
)
_HEADERS = re.compile(r"(\w+_)?headers?")
_HEADER_NAME = re.compile(r".*(key|token|auth|secret|cookie|password|credential|signature).*")
_SHAPE = re.compile(
    r"\b(?:sk-(?=[\w-]*\d)[\w-]{16,}|hf_\w{24,}|gh[pousr]_\w{24,}|xox[a-z]-[\w-]{16,}|AIza[\w-]{30,}|AKIA[0-9A-Z]{16}\b"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
)
"""How keys of well-known services look: OpenAI, Hugging Face, GitHub, Slack, Google, AWS; and JSON web tokens."""
_USER = re.compile(r"(?<=://)[^/?#\s@]+@")
_QUERY = re.compile(r"(?<=[?&])((?:\w+[-_])?(?:key|token|secret|password|sig|signature))=([^&#\s]+)", re.IGNORECASE)
_ENVIRONMENT = re.compile(r"(.*_)?(API_?KEY|ACCESS_?KEY|SECRET|TOKEN|PASSWORD)")
_SHORTEST = 6
"""Shorter texts are not remembered: blacking them out would spoil ordinary words."""
_remembered: set[str] = set()


def without_secrets(data: Any) -> Any:
    """Data without what stands under names of secrets, and without users and keys in addresses.

    What is left is the same whichever secrets are given, and where none are.

    Raises:
        KdprobeError: Something that looks like a key stands under another name. Leaving it out would make one of two
            settings that differ in it.
    """
    return _cleaned(data, _NAME, "")


def said(text: str) -> str:
    """Text for people to read, with every secret that is known blacked out."""
    for secret in sorted(_remembered | _of_environment(), key=len, reverse=True):
        text = text.replace(secret, BLACKED_OUT)
    return _USER.sub(f"{BLACKED_OUT}@", _SHAPE.sub(BLACKED_OUT, text))


def _cleaned(data: Any, names: re.Pattern[str], path: str) -> Any:
    if isinstance(data, Mapping):
        kept = {}
        for key, value in data.items():
            name = _name(key)
            is_headers = _HEADERS.fullmatch(name) is not None
            is_secret = names.fullmatch(name) or (is_headers and isinstance(value, str))
            if is_secret and _remember(value):
                continue
            kept[key] = _cleaned(value, _HEADER_NAME if is_headers else names, f"{path}.{key}" if path else str(key))
        return kept
    if isinstance(data, list | tuple):
        cleaned = [_cleaned(value, names, path) for value in data]
        return cleaned if isinstance(data, list) else tuple(cleaned)
    return _cut(data, path) if isinstance(data, str) else data


def _cut(text: str, path: str) -> str:
    for user in _USER.findall(text):
        _remember_user(user.removesuffix("@"))
    for _, value in _QUERY.findall(text):
        _remember(value)
    text = _QUERY.sub(r"\1=", _USER.sub("", text))
    if _SHAPE.search(text):
        raise KdprobeError(
            f"What {path or 'an argument'} holds looks like a key, and would be written into files.",
            "Put it into an environment variable, or under a name such as api_key, which is never written.",
        )
    return text


def _remember_user(user: str) -> None:
    """Remembers `name:password`, as it is written in an address and as it is sent."""
    plain = unquote(user)
    _remember([user, user.partition(":")[2], plain.partition(":")[2], b64encode(plain.encode()).decode()])


def _remember(value: Any) -> bool:
    """Remembers what stands under a name of a secret; false where nothing there could be one."""
    texts = list(_texts(value))
    # Of `Bearer KEY`, the key alone, too.
    _remembered.update(part for text in texts for part in (text, text.split()[-1]) if len(part) >= _SHORTEST)
    return bool(texts)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        # lm-eval reads a key of digits as a number.
        yield str(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _name(key: Any) -> str:
    """`api_key`, however it is written: `apiKey`, `X-API-Key`, `API KEY`."""
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(key))).lower()


@cache
def _of_environment() -> frozenset[str]:
    return frozenset(
        value for name, value in os.environ.items() if _ENVIRONMENT.fullmatch(name.upper()) and len(value) >= _SHORTEST
    )

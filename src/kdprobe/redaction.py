"""Redacts secrets in arguments and configs: they are left out of files and blacked out in messages.

A secret is a value under a name such as `api_key`, in a header such as `Authorization`, or before the `@` of a URL. All
secrets found are remembered, so that no message repeats them.
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
"""Patterns of keys of well-known services (OpenAI, Hugging Face, GitHub, Slack, Google, AWS) and JSON web tokens."""
_USER = re.compile(r"(?<=://)[^/?#\s@]+@")
_QUERY = re.compile(r"(?<=[?&])((?:\w+[-_])?(?:key|token|secret|password|sig|signature))=([^&#\s]+)", re.IGNORECASE)
_ENVIRONMENT = re.compile(r"(.*_)?(API_?KEY|ACCESS_?KEY|SECRET|TOKEN|PASSWORD)")
_SHORTEST = 6
"""Shorter texts are not remembered, because blacking them out would garble ordinary words."""
_remembered: set[str] = set()


def without_secrets(data: Any) -> Any:
    """Data without values under names of secrets, and without users and keys in URLs.

    The result does not depend on which secrets are given, or whether any are.

    Raises:
        KdprobeError: A value that looks like a key is passed under an unrelated name. Leaving it out would give
            settings that differ only in this value the same key.
    """
    return _cleaned(data, _NAME, "")


def said(text: str) -> str:
    """Text for display, with every known secret blacked out."""
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
            f"The value of {path or 'an argument'} looks like a secret key and would be written to files.",
            "Put it in an environment variable, or under a name such as api_key, whose value is never written.",
        )
    return text


def _remember_user(user: str) -> None:
    """Remembers `name:password`, as written in a URL and as sent to the server."""
    plain = unquote(user)
    _remember([user, user.partition(":")[2], plain.partition(":")[2], b64encode(plain.encode()).decode()])


def _remember(value: Any) -> bool:
    """Remembers the value under a name of a secret; false if the value cannot be one."""
    texts = list(_texts(value))
    # Of `Bearer KEY`, the key alone is remembered as well.
    _remembered.update(part for text in texts for part in (text, text.split()[-1]) if len(part) >= _SHORTEST)
    return bool(texts)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        # lm-eval parses a key that consists of digits as a number.
        yield str(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _name(key: Any) -> str:
    """A name in snake case: `apiKey` becomes `api_key`, `X-API-Key` becomes `x_api_key`."""
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(key))).lower()


@cache
def _of_environment() -> frozenset[str]:
    return frozenset(
        value for name, value in os.environ.items() if _ENVIRONMENT.fullmatch(name.upper()) and len(value) >= _SHORTEST
    )

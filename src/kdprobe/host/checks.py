"""Checks of a plugin before it is used; every fault is reported in a sentence for its author."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from kdprobe.errors import quoted
from kdprobe.host import hookspecs
from kdprobe.host.guard import IncompatibleError, PluginError
from kdprobe.host.hook_api import GROUP, HOOK_API, OLDEST_HOOK_API
from kdprobe.host.hookspecs import HOOKS, OBSERVER
from kdprobe.host.specs import ProblemSourceSpec, Spec

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""`OWNER/NAME`, as models, adapters and data sets are called on the Hub."""
_ALL_HOOKS = (*HOOKS, OBSERVER)


def check_plugin(plugin: object, own_version: str) -> None:
    """Checks a plugin's hooks without calling any of them.

    Raises:
        IncompatibleError: It was written for a hook API that this kdprobe does not have yet, or no longer has.
        PluginError: It is a class, or has no hooks, an unknown hook, or a hook that cannot be called.
    """
    if inspect.isclass(plugin):
        raise PluginError(
            f"Its entry point names the class {plugin.__name__}; it must name a module, or an instance of the class."
        )
    _check_api(getattr(plugin, "kdprobe_api", HOOK_API), own_version)
    hooks = dict(_marked(plugin))
    for name, function in hooks.items():
        _check_hook(name, function)
    for name in _ALL_HOOKS:
        if name not in hooks and inspect.isroutine(getattr(plugin, name, None)):
            raise PluginError(f"{name} is not marked as a hook: write @hookimpl above it.")
    if not hooks:
        raise PluginError(f"It implements no kdprobe hook; the hooks are {', '.join(_ALL_HOOKS)}.")


def check_spec(spec: object, hook: str) -> Spec:
    """Checks a record returned by a hook, and returns it.

    Raises:
        PluginError: It has the wrong type, or one of its fields is invalid.
    """
    expected = HOOKS[hook]
    if not isinstance(spec, expected):
        raise PluginError(f"{hook} must yield {expected.__name__} records, not {type(spec).__name__}.")
    label = f"The {expected.__name__} {spec.name!r}"
    if not isinstance(spec.name, str) or not NAME.fullmatch(spec.name):
        raise PluginError(f"{label} needs a name made of letters, digits, dots, dashes and underscores.")
    if not isinstance(spec.summary, str) or not spec.summary.strip() or "\n" in spec.summary:
        raise PluginError(f"{label} needs a one-line summary.")
    if not callable(spec.build):
        raise PluginError(f"{label}: build must be a function that takes the options, not {type(spec.build).__name__}.")
    _check_options(spec.options, label)
    if isinstance(spec, ProblemSourceSpec) and spec.dataset is not None and not HUB_ID.fullmatch(str(spec.dataset)):
        raise PluginError(f"{label}: dataset must be an id on the Hub, such as openai/gsm8k, not {spec.dataset!r}.")
    return spec


def _check_api(required: object, own_version: str) -> None:
    if not isinstance(required, int) or isinstance(required, bool) or required < 1:
        raise PluginError(
            f"Its kdprobe_api must be a positive integer, as in kdprobe_api = {HOOK_API}, not {required!r}."
        )
    if required > HOOK_API:
        raise IncompatibleError(
            f"It needs hook API {required}, but kdprobe {own_version} has {HOOK_API}: upgrade kdprobe, or install an "
            "older version of the plugin."
        )
    if required < OLDEST_HOOK_API:
        raise IncompatibleError(
            f"It was written for hook API {required}, but kdprobe {own_version} has {HOOK_API}: upgrade the plugin, or "
            "install an older kdprobe."
        )


def _marked(plugin: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Names and functions of everything marked with @hookimpl."""
    for attribute in dir(plugin):
        function = getattr(plugin, attribute, None)
        options = getattr(function, f"{GROUP}_impl", None) if inspect.isroutine(function) else None
        if isinstance(options, dict) and callable(function):
            name = options.get("specname") or attribute
            if options.get("wrapper") or options.get("hookwrapper"):
                raise PluginError(f"{name} is a hook wrapper, which kdprobe does not support: use plain @hookimpl.")
            yield name, function


def _check_hook(name: str, function: Callable[..., Any]) -> None:
    if name not in _ALL_HOOKS:
        suggestions = difflib.get_close_matches(name, _ALL_HOOKS, n=1, cutoff=0.5)
        hint = f"did you mean {suggestions[0]}?" if suggestions else f"the hooks are {', '.join(_ALL_HOOKS)}."
        raise PluginError(f"{name} is not a kdprobe hook; {hint}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f"{name} is async; a hook must be a plain function.")
    expected = list(inspect.signature(getattr(hookspecs, name)).parameters)
    parameters = inspect.signature(function).parameters.values()
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    if required != expected:
        raise PluginError(
            f"{name}({', '.join(required)}) has the wrong signature: it must be {name}({', '.join(expected)})."
        )


def _check_options(options: Any, label: str) -> None:
    if options is None:
        return
    from pydantic import BaseModel

    if not (inspect.isclass(options) and issubclass(options, BaseModel)):
        kind = f"the class {options.__name__}" if inspect.isclass(options) else f"an object of {type(options).__name__}"
        raise PluginError(f"{label}: options must be a pydantic model, not {kind}.")
    try:
        _write_schema(options)
    except Exception as error:
        fault = quoted(error)
        raise PluginError(f"{label}: its options {options.__name__} are not valid: {fault}.") from error


@lru_cache(maxsize=512)
def _write_schema(options: Any) -> None:
    """Generates the schema of options, which takes milliseconds, once per process."""
    options.model_json_schema()

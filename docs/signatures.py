"""Signatures as the source has them: of functions, of methods, and of what makes an object of a class."""

from __future__ import annotations

import ast

from sources import Source, lineage

_LINE = 100
"""Longer signatures have one parameter a line."""


def call(name: str, source: Source, function: ast.FunctionDef) -> str:
    """A function under the name that it is called by; `self` and `cls` are left out."""
    returned = f" -> {source.written(function.returns)}" if function.returns else ""
    return _wrapped(name, _parameters(source, function.args), returned)


def constructor(name: str, source: Source, statement: ast.ClassDef) -> str:
    """How an object is made: from the parameters of `__init__`, or from the fields; a protocol is not made."""
    if any(source.written(base) == "Protocol" for base in statement.bases):
        return f"class {name}(Protocol)"
    classes = lineage(source, statement)
    for home, each in reversed(classes):
        for function in each.body:
            if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                return _wrapped(name, _parameters(home, function.args))
    fields = [
        _field(home, line)
        for home, each in classes
        for line in each.body
        if isinstance(line, ast.AnnAssign) and not home.written(line.annotation).startswith("ClassVar")
    ]
    by_name = any("kw_only=True" in source.written(decorator) for decorator in statement.decorator_list)
    return _wrapped(name, ["*", *fields] if by_name else fields)


def arguments_of_field(line: ast.AnnAssign) -> dict[str, ast.expr]:
    """The arguments of a `field(...)` of dataclasses or a `Field(...)` of pydantic; none for other fields."""
    value = line.value
    if not isinstance(value, ast.Call) or ast.unparse(value.func) not in {"field", "Field"}:
        return {}
    return {str(keyword.arg): keyword.value for keyword in value.keywords}


def _wrapped(name: str, parameters: list[str], returned: str = "") -> str:
    line = f"{name}({', '.join(parameters)}){returned}"
    if len(line) <= _LINE:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), f"){returned}"])


def _parameters(source: Source, given: ast.arguments) -> list[str]:
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    shown = [_parameter(source, each, default) for each, default in zip(positional, defaults, strict=True)]
    if given.vararg:
        shown.append(f"*{source.written(given.vararg)}")
    elif given.kwonlyargs:
        shown.append("*")
    shown += [_parameter(source, each, value) for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg:
        shown.append(f"**{source.written(given.kwarg)}")
    return shown[1:] if positional and positional[0].arg in {"self", "cls"} else shown


def _parameter(source: Source, given: ast.arg, default: ast.expr | None) -> str:
    return source.written(given) + (f" = {source.written(default)}" if default else "")


def _field(source: Source, line: ast.AnnAssign) -> str:
    default = source.written(line.value) if line.value else ""
    if arguments := arguments_of_field(line):
        default = source.written(arguments["default"]) if "default" in arguments else ""
        if made := arguments.get("default_factory"):
            default = source.written(made.body) if isinstance(made, ast.Lambda) else f"{source.written(made)}()"
    return f"{source.written(line.target)}: {source.written(line.annotation)}" + (f" = {default}" if default else "")

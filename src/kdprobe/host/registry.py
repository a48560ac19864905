"""What the discovered plugins provide, by kind and name, with helpful errors for wrong names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdprobe.console.messages import warn
from kdprobe.errors import KdprobeError, UsageError, quoted
from kdprobe.host.candidates import folder_candidates
from kdprobe.host.choice import BLOCK, Choice
from kdprobe.host.discovery import discover
from kdprobe.host.guard import results_kept_clean
from kdprobe.host.packages import package_of
from kdprobe.host.provider import Provider
from kdprobe.host.specs import KINDS, Spec
from kdprobe.host.stage import FinishedStage
from kdprobe.host.state.unchanged import unchanged
from kdprobe.host.suggestions import suggested
from kdprobe.words import enumerated

SINGULAR = {
    "strategies": "strategy",
    "teachers": "teacher",
    "distillers": "distiller",
    "analyses": "analysis",
    "head-metrics": "head metric",
    "problem-sources": "problem source",
    "extractors": "extractor",
    "tasks": "task",
    "engines": "engine",
    "executors": "executor",
}


@dataclass(frozen=True)
class Entry:
    """A spec and the plugin it comes from."""

    spec: Spec
    provider: Provider


class Host:
    """The plugins of this process.

    Args:
        providers: The discovered plugins; by default discovery runs now.
        choice: Which plugins to use; by default the environment decides.

    Raises:
        KdprobeError: There are unusable plugins in strict mode.

    Attributes:
        choice: Which plugins to use.
        providers: The plugins, including unusable ones.
        folders: The folders loaded besides that of the choice.
        added: The plugins created in this process, which no other process has.
    """

    def __init__(self, providers: list[Provider] | None = None, choice: Choice | None = None) -> None:
        self.choice = choice or Choice.of_environment()
        self.providers = discover(choice=self.choice) if providers is None else providers
        self.choice.enforce(self.providers)
        self.folders: list[Path] = []
        self.added: list[Provider] = []
        _tell(self.providers)

    def load_folder(self, folder: Path) -> None:
        """Also loads the plugins of a folder, unless they are already loaded.

        Raises:
            UsageError: The folder does not exist.
            KdprobeError: As for the host itself.
        """
        self.folders.append(folder)
        sources = {provider.source for provider in self.providers}
        new = [candidate for candidate in folder_candidates(folder) if candidate.source not in sources]
        more = discover(new, self.choice, loaded=self.providers)
        self.choice.enforce(more)
        _tell(more)
        self.providers = [*self.providers, *more]

    def add(self, provider: Provider) -> None:
        """Adds a plugin created in this process.

        Raises:
            UsageError: A name that it provides already exists.
        """
        for kind, names in provider.provides.items():
            if taken := [name for name in names if name in self.names(kind)]:
                raise UsageError(f"The {SINGULAR[kind]} {taken[0]!r} already exists.", "Rename the function.")
        self.providers = [*self.providers, provider]
        self.added.append(provider)

    def names(self, kind: str) -> list[str]:
        """The names provided for a kind, in order of discovery."""
        return list(dict.fromkeys(entry.spec.name for entry in self._entries(kind)))

    def unique_names(self, kind: str) -> list[str]:
        """The names that exactly one plugin provides."""
        all_names = [entry.spec.name for entry in self._entries(kind)]
        return [name for name in all_names if all_names.count(name) == 1]

    def get(self, kind: str, name: str) -> Entry:
        """The spec with this kind and name.

        Raises:
            UsageError: No plugin provides it (the error suggests a similar name and lists broken plugins), or more
                than one does.
        """
        if kind not in {spec.kind for spec in KINDS}:
            raise KdprobeError(f"{kind!r} is not a kind of plugin.")
        entries = [entry for entry in self._entries(kind) if entry.spec.name == name]
        if len(entries) == 1:
            return entries[0]
        if entries:
            sources = enumerated(sorted(entry.provider.source for entry in entries))
            others = ",".join(entry.provider.name for entry in entries[1:])
            raise UsageError(
                f"The {SINGULAR[kind]} {name!r} is provided by {sources}.",
                f"Keep only one of them, or set {BLOCK}={others}.",
            )
        raise UsageError(f"There is no {SINGULAR[kind]} named {name!r}.", self._hint(kind, name))

    def conflicts(self, provider: Provider) -> list[str]:
        """Names that another plugin also provides, one sentence each."""
        return [
            f"The {SINGULAR[kind]} {name!r} is also provided by {entry.provider.source}."
            for kind, names in provider.provides.items()
            for name in names
            for entry in self._entries(kind)
            if entry.spec.name == name and entry.provider is not provider
        ]

    def options(self, kind: str, name: str, raw: dict[str, Any]) -> Any:
        """Validates raw options against the spec's model; unknown options are errors unless the model allows them.

        Raises:
            UsageError: As raised by `get`, or options were given to a spec without options, or its model fails to
                validate.
            pydantic.ValidationError: The options have errors.
        """
        entry = self.get(kind, name)
        model = entry.spec.options
        if model is None:
            if raw:
                raise UsageError(f"The {SINGULAR[kind]} {name!r} does not accept options.", f"Remove {', '.join(raw)}.")
            return None
        from pydantic import ValidationError

        try:
            return model.model_validate(raw, extra=None if "extra" in model.model_config else "forbid")
        except ValidationError:
            raise
        except Exception as error:
            raise UsageError(
                f"The {SINGULAR[kind]} {name!r} failed to validate its options: {quoted(error)}.",
                f"This is a bug in {entry.provider.source}.",
            ) from error

    def build(self, kind: str, name: str, options: Any) -> Any:
        """Builds the object itself from validated options.

        Raises:
            KdprobeError: As raised by `get`, or the plugin fails to build it.
        """
        entry = self.get(kind, name)
        try:
            with results_kept_clean():
                return entry.spec.build(options)
        except KdprobeError:
            raise
        except (Exception, SystemExit) as error:
            raise KdprobeError(
                f"The {SINGULAR[kind]} {name!r} could not be built: {quoted(error)}.",
                f"It comes from {entry.provider.source}; use --debug for the traceback.",
            ) from error

    def create(self, kind: str, name: str, raw: dict[str, Any] | None = None) -> Any:
        """Builds the object itself from raw options, after validating them; raises like `options` and `build`."""
        return self.build(kind, name, self.options(kind, name, raw or {}))

    def all(self, kind: str) -> dict[str, Any]:
        """Everything of a kind that can be built without options, by name; prints a note about anything else."""
        built = {}
        for name in self.names(kind):
            try:
                with unchanged(name) as undone:
                    built[name] = self.create(kind, name)
                if undone:
                    warn(f"Building the {SINGULAR[kind]} {name!r} changed {', '.join(undone)}; the change was undone.")
            except (KdprobeError, ValueError) as error:
                warn(f"Skipped: {error}")
        return built

    def notify(self, stage: FinishedStage) -> None:
        """Notifies every observer of a finished stage; a failing observer causes a note, never a failed run."""
        for provider in self.providers:
            for observer in provider.observers:
                try:
                    with results_kept_clean():
                        observer(stage)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - a tracker must not cost hours of work
                    warn(f"The observer of {provider.source} failed after {stage.kind} {stage.name}: {quoted(error)}")

    def _entries(self, kind: str) -> list[Entry]:
        return [Entry(spec, provider) for provider in self.providers for spec in provider.specs if spec.kind == kind]

    def _hint(self, kind: str, name: str) -> str:
        package = package_of(kind, name)
        unused = [provider for provider in self.providers if provider.status != "ok"]
        for provider in unused:
            if provider.source in {package, f"kdprobe-{name}"} or provider.name == name:
                return f"It should come from {provider.source}, which is {provider.status}: {provider.reason}"
        if package is not None:
            return f"Install or upgrade the package that provides it: pip install --upgrade {package}"
        names = self.names(kind)
        suggestion = suggested(name, names)
        hint = suggestion or f"Available: {', '.join(names) or 'none'}."
        if unused:
            reasons = len(unused) <= _MOST_REASONS
            listed = "; ".join(f"{p.name} ({p.reason.rstrip('.')})" if reasons else p.name for p in unused)
            hint += f" Not loaded: {listed}. `kdprobe plugins` shows why."
        elif not suggestion:
            hint += f" If a plugin provides it, install that plugin; its package may be named kdprobe-{name}."
        return hint


def _tell(providers: Iterable[Provider]) -> None:
    for provider in providers:
        if provider.undone:
            warn(provider.undone_sentence)


_MOST_REASONS = 3

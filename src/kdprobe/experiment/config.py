"""The sections of an experiment's config."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from kdprobe.evaluation.protocol import RETENTION_TASK
from kdprobe.experiment.arm_names import display_name
from kdprobe.experiment.config_checks import GOLD, OWN, TEXT_FILE, listed_seeds
from kdprobe.experiment.evaluations.config import EvaluationConfig
from kdprobe.experiment.executors.config import ResourcesConfig
from kdprobe.experiment.section import Plugged, Section, Seed, Temperature, named
from kdprobe.experiment.tune.config import TuneConfig
from kdprobe.host.checks import HUB_ID
from kdprobe.models.conversation import DEFAULT_DATE, OWN_ARGUMENTS, Conversation
from kdprobe.models.devices.placement import PlacementOptions
from kdprobe.models.reference import SMOLLM2, Dtype, Precision, Quantization
from kdprobe.redaction import without_secrets

EMBEDDED = Path(__file__).parent / "embedded.toml"
ALL_STRATEGIES = ["none", "teacher", "ground-truth", "confidence"]
ALL_ANALYSES = [
    *("heads", "divergence", "association", "confidence", "drift", "output_divergence", "logit_lens"),
    *("priming_map", "priming_heads", "priming_gain", "contrast", "geometry", "ablation", "patching", "circuits"),
    "attribution",
]
"""kdprobe's own analyses that need no further package."""
CONTRASTING = frozenset({"contrast"})
"""Those that need a problem source with counterfactuals."""
ALL_TASKS = [{"name": RETENTION_TASK, "role": "retention", "margin": 0.05}]
"""What `--full` asks of students besides the deciding task, if the config has no retention task of its own."""
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class ProblemsConfig(Section):
    """The source of the problems, and how many to use."""

    source: str
    options: dict[str, Any] = Field(default_factory=dict)
    transfer: int = Field(ge=1, le=2**31, description="Number of problems the teacher answers.")
    test: int = Field(ge=1, le=2**31, description="Number of problems the students are tested on.")


class StudentConfig(Section, PlacementOptions):
    """The base model of the students."""

    model: str = SMOLLM2
    revision: str | None = None
    # Left out of the data unless it is stated, because a run's name is a digest of them.
    hub_id: str | None = Field(default=None, pattern=f"^{HUB_ID.pattern}$", exclude_if=lambda stated: stated is None)
    dtype: Dtype = Field(default="auto", description="Dtype of the merged weights in evaluation.")
    # Left out of the data unless it is chosen, because a run's name is a digest of them.
    quantization: Quantization | None = Field(
        default=None,
        description="Quantise the weights when they are loaded, with bitsandbytes, to 4 bits (`nf4`) or 8 (`int8`).",
        exclude_if=lambda chosen: chosen is None,
    )


class TeacherConfig(Plugged):
    """The teacher that answers the transfer problems."""

    name: str = "transformers"


class ConversationConfig(Section):
    """How messages become text, besides the model's chat template; the same for teacher, training and test."""

    system: str | None = Field(default=None, description="System message for conversations without one.")
    date: dt.date = Field(
        default=DEFAULT_DATE, description="The date passed to templates that use one; the system clock is never used."
    )
    template_arguments: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments of the template, such as `enable_thinking`."
    )

    @field_validator("date", mode="before")
    @classmethod
    def _is_day(cls, value: Any) -> Any:
        is_day = isinstance(value, dt.date) and not isinstance(value, dt.datetime)
        if not is_day and not (isinstance(value, str) and _DAY.fullmatch(value)):
            raise ValueError("must be a date such as 2026-11-25")
        return value

    @field_validator("template_arguments")
    @classmethod
    def _are_the_templates(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(OWN_ARGUMENTS & arguments.keys()):
            raise ValueError(f"must not contain {', '.join(taken)}, which kdprobe sets itself")
        try:
            json.dumps(arguments)
        except TypeError as error:
            # transformers would give the template the name of the value's type.
            raise ValueError(
                "must contain only strings, numbers, booleans, lists and tables; write dates as strings"
            ) from error
        return arguments

    @property
    def conversation(self) -> Conversation:
        """The conversation settings as models take them."""
        return Conversation(self.system, self.date, self.template_arguments)


class TransferConfig(Section):
    """How the teacher decodes, how much of its distributions is kept, and which answers students are trained on."""

    max_new_tokens: int = Field(default=512, ge=1)
    temperature: Temperature = Field(default=0.0, description="Sampling temperature; 0 decodes greedily.")
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: Seed = 0
    top_logprobs: int = Field(default=64, ge=1, description="Log-probabilities kept per position (k).")
    # Left out of the data unless it is chosen, because a run's name is a digest of them.
    tail: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Keep fewer log-probabilities where they leave at most this mass outside; for forward KL only.",
        exclude_if=lambda tail: tail is None,
    )
    samples: int = Field(default=1, ge=1, description="Answers per problem.")
    texts: str = Field(default=OWN, description="The texts on which the teacher's distribution is computed.")
    # Left out of the data unless it is chosen, because a run's name is a digest of them.
    parts: int = Field(
        default=1,
        ge=1,
        le=100_000,
        description="Number of stages that share the problems of a strategy.",
        exclude_if=lambda parts: parts == 1,
    )
    filter: Literal["none", "correct", "matched"] = Field(
        default="none", description="Which answers students are trained on."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("several samples need a temperature above 0: greedy answers are all the same")
        if self.samples > 1 and (self.texts == GOLD or self.texts.endswith(TEXT_FILE)):
            raise ValueError(
                "several samples require the teacher's own answers; texts from elsewhere are the same in every sample"
            )
        return self

    @property
    def sampling(self) -> dict[str, Any]:
        """The arguments for a `Sampling`."""
        return self.model_dump(exclude={"samples", "texts", "filter", "parts"})


class StrategyConfig(Plugged):
    """A prompt strategy; a plain string in the config is its name."""

    label: str | None = Field(default=None, pattern=_NAME, description="Its name in this run.")

    @property
    def display_name(self) -> str:
        """The label; without one, `unprimed` for the strategy `none`, and the name of any other."""
        return display_name(self.name, self.label)


class DistillConfig(Plugged):
    """How students are distilled."""

    name: str = "logits"
    dtype: Dtype = Field(
        default="auto", description="Dtype of the frozen base during training; the adapter is float32."
    )


class ControlsConfig(Section):
    """The control arms that primed students are compared with."""

    untrained: bool = True
    fine_tuned: bool = True
    fine_tune_options: dict[str, Any] = Field(default_factory=dict, description="Options of the distiller `fine-tune`.")


class AnalysisConfig(Plugged):
    """An analysis; a plain string in the config is its name."""


class ProbeConfig(Section):
    """What is examined inside the students."""

    problems: int = Field(default=16, ge=1, description="Number of test problems, starting with the first.")
    batch_size: int = Field(default=8, ge=1)
    # Left out of the data unless it is chosen, because a run's name is a digest of them.
    dtype: Precision = Field(
        default="float32",
        description="Dtype of the students' weights; only analyses of attention and of weights can use 16 bits.",
        exclude_if=lambda dtype: dtype == "float32",
    )
    analyses: list[Annotated[AnalysisConfig, BeforeValidator(named)]] = Field(
        default_factory=lambda: [AnalysisConfig(name="heads")]
    )


class Experiment(Section):
    """A whole experiment."""

    name: str = Field(pattern=_NAME)
    seeds: Annotated[list[Seed], BeforeValidator(listed_seeds)] = Field(default=[0], min_length=1)
    plugins: str | None = Field(default=None, description="Folder with plugins, relative to the config.")
    plugin_versions: dict[str, str] = Field(
        default_factory=dict,
        description='Version range required of each package or plugin, as in `kdprobe-trl = ">=0.2"`.',
    )
    problems: ProblemsConfig
    student: StudentConfig = StudentConfig()
    teacher: TeacherConfig
    conversation: ConversationConfig = ConversationConfig()
    transfer: TransferConfig = TransferConfig()
    strategies: list[Annotated[StrategyConfig, BeforeValidator(named)]] = Field(min_length=1)
    distill: DistillConfig = DistillConfig()
    controls: ControlsConfig = ControlsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    probe: ProbeConfig = ProbeConfig()
    tune: TuneConfig = TuneConfig()
    # Left out of the data unless something is stated, because a run's name is a digest of them.
    resources: ResourcesConfig = Field(default=ResourcesConfig(), exclude_if=lambda stated: not stated.changes_keys)


def to_data(experiment: Experiment) -> dict[str, Any]:
    """The config as plain data with all defaults, without secrets and without settings that no run depends on.

    The latter are `tune`, `plugins` and `plugin_versions`: the plugins used are recorded by version and source.
    """
    unneeded = {"tune", "plugins", "plugin_versions"}
    return without_secrets(experiment.model_dump(mode="json", exclude=unneeded))  # type: ignore[no-any-return]

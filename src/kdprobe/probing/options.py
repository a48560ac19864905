"""Options of the attention analyses and those of outputs; fast to import, so that listing plugins stays fast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class HeadsOptions(BaseModel):
    """Options of `heads`."""

    model_config = ConfigDict(extra="forbid")

    metric: str = Field(default="entropy", description="The head metric that decides whether heads moved.")
    smallest_effect: float = Field(
        default=0.05, ge=0, description="The smallest change of interest in that metric, in its unit."
    )
    permutations: int = Field(default=10_000, ge=100, description="Permutations of the sign-flip test.")
    control: int = Field(
        default=3,
        ge=0,
        description="Number of random updates, each as large as the student's own. The number of heads that they move "
        "is compared with the number moved by the student's own update; p can reach 0.05 with at least 19 of them.",
    )


class DivergenceOptions(BaseModel):
    """Options of `divergence`."""

    model_config = ConfigDict(extra="forbid")

    smallest_effect: float = Field(
        default=0.01, ge=0, description="The smallest Jensen-Shannon divergence of interest, in nats."
    )


class AssociationOptions(BaseModel):
    """Options of `association`."""

    model_config = ConfigDict(extra="forbid")

    metric: str = Field(default="entropy", description="The head metric.")
    strata: int = Field(
        default=4, ge=1, description="Groups of problems of similar length; comparisons are made within groups."
    )


class ConfidenceOptions(BaseModel):
    """Options of `confidence`."""

    model_config = ConfigDict(extra="forbid")

    bins: int = Field(default=10, ge=2, description="Confidence bins of equal width.")


class AttentionOptions(BaseModel):
    """Options of `attention`."""

    model_config = ConfigDict(extra="forbid")

    heads: list[tuple[int, int]] = Field(
        default=[],
        description="Heads as [layer, head]; by default the three that vary most between students on this problem.",
    )
    problem: int = Field(default=0, ge=0, description="Index of the problem, from 0.")


class DriftOptions(BaseModel):
    """Options of `drift`."""

    model_config = ConfigDict(extra="forbid")

    students: list[str] = Field(default=[], description="Students or arms; by default all.")
    max_new_tokens: int = Field(default=64, ge=1, description="Token budget of a sample.")
    samples: int = Field(default=2, ge=1, description="Samples per prompt; two or more show the error from sampling.")
    batch_size: int = Field(default=32, ge=1, description="Samples generated at once.")
    neutral: list[str] = Field(default=[], description="Neutral prompts; by default 32 everyday requests.")


class OutputDivergenceOptions(BaseModel):
    """Options of `output_divergence`."""

    model_config = ConfigDict(extra="forbid")

    students: list[str] = Field(default=[], description="Students or arms; by default all.")
    pairs: bool = Field(default=False, description="Also compare these students with each other.")
    smallest_effect: float = Field(
        default=0.01, gt=0, description="The smallest Jensen-Shannon divergence of interest per token, in nats."
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        description="Threshold in nats: two students diverge at the first token where their Jensen-Shannon divergence "
        "exceeds this threshold; by default, at the first token where their greedy next tokens differ.",
    )


class ContrastOptions(BaseModel):
    """Options of `contrast`."""

    model_config = ConfigDict(extra="forbid")

    problems: int = Field(
        default=16, ge=1, description="Number of pairs, from the first problems that have an aligned counterfactual."
    )
    students: list[str] = Field(default=[], description="Students or arms; by default all.")
    reads: Literal["steps", "answer"] = Field(
        default="steps",
        description="What precedes the answer: the gold steps of the problem or of its counterfactual, whichever is "
        "read (`steps`), or only the opening of an answer, directly after the question (`answer`).",
    )
    layers: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        default=8, description="Number of layers to patch, evenly spaced from the first to the last, or `all`."
    )
    heads: Literal["none", "all_positions", "by_position"] = Field(
        default="all_positions",
        description="Patch the heads of these layers: not at all, at all positions together, or also by position.",
    )


class PrimingMapOptions(BaseModel):
    """Options of `priming_map`."""

    model_config = ConfigDict(extra="forbid")

    problems: int = Field(
        default=32, ge=1, description="Number of training problems whose responses are read, starting with the first."
    )
    smallest_effect: float = Field(
        default=0.01, gt=0, description="The smallest KL divergence of interest per token, in nats."
    )


class PrimingHeadsOptions(BaseModel):
    """Options of `priming_heads`."""

    model_config = ConfigDict(extra="forbid")

    problems: int = Field(
        default=8, ge=1, description="Number of training problems whose responses are read, starting with the first."
    )
    neutral: int = Field(
        default=19,
        ge=1,
        le=39,
        description="Number of neutral texts that the priming is compared with; p = 0.05 needs at least 19.",
    )
    smallest_divergence: float = Field(
        default=0.01,
        ge=0,
        description="The smallest excess of interest, over neutral texts, in Jensen-Shannon divergence, in nats.",
    )
    smallest_share: float = Field(
        default=0.01, ge=0, description="The smallest excess of interest, over neutral texts, in share of attention."
    )


class PrimingGainOptions(BaseModel):
    """Options of `priming_gain`."""

    model_config = ConfigDict(extra="forbid")

    problems: int = Field(
        default=256, ge=1, description="Number of test problems that the teacher reads, starting with the first."
    )


class LogitLensOptions(BaseModel):
    """Options of `logit_lens`."""

    model_config = ConfigDict(extra="forbid")

    problems: int = Field(default=8, ge=1, description="Number of problems, starting with the first.")
    students: list[str] = Field(default=[], description="Students or arms; by default all.")

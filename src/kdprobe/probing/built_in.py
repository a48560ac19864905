"""kdprobe's own analyses: what each needs, and the module that runs it."""

from __future__ import annotations

from typing import Any

from kdprobe.probing.analysis import Need
from kdprobe.probing.interventions.options import (
    AblationOptions,
    AttributionOptions,
    CircuitsOptions,
    PatchingOptions,
    ShapleyOptions,
)
from kdprobe.probing.options import (
    AssociationOptions,
    AttentionOptions,
    ConfidenceOptions,
    ContrastOptions,
    DivergenceOptions,
    DriftOptions,
    HeadsOptions,
    LogitLensOptions,
    OutputDivergenceOptions,
    PrimingGainOptions,
    PrimingHeadsOptions,
    PrimingMapOptions,
)

_PATTERNS: frozenset[Need] = frozenset({"patterns"})
_READING: frozenset[Need] = frozenset({"students", "problems"})
_SCORED: frozenset[Need] = frozenset({"students", "problems", "scores"})
_CONTRASTING: frozenset[Need] = frozenset({"counterfactuals"})
_TEACHING: frozenset[Need] = frozenset({"teaching"})
BUILT_IN: tuple[tuple[str, str, frozenset[Need], Any, str], ...] = (
    ("heads", "attention.heads", _PATTERNS, HeadsOptions, "All head metrics with intervals, and which heads moved"),
    (
        "divergence",
        "attention.divergence",
        _PATTERNS,
        DivergenceOptions,
        "How far students' attention diverges, head by head",
    ),
    ("attention", "attention.maps", _PATTERNS, AttentionOptions, "What chosen heads attend to, token by token"),
    (
        "association",
        "attention.association",
        _SCORED | _PATTERNS,
        AssociationOptions,
        "Is a head's metric associated with correct answers? Needs scores",
    ),
    (
        "confidence",
        "outputs.confidence",
        _SCORED,
        ConfidenceOptions,
        "Is a student more confident in its correct answers? Needs scores",
    ),
    (
        "drift",
        "drift.analysis",
        _READING,
        DriftOptions,
        "How far students' next-token distributions moved from the untrained model's, without labels",
    ),
    (
        "output_divergence",
        "outputs.differences.analysis",
        _READING,
        OutputDivergenceOptions,
        "Where students' next-token distributions differ on the same text, token by token",
    ),
    (
        "logit_lens",
        "outputs.lens.analysis",
        _READING,
        LogitLensOptions,
        "What every layer would predict if it were the last, and where students differ",
    ),
    (
        "priming_map",
        "priming.analysis",
        _TEACHING,
        PrimingMapOptions,
        "Where priming changes the teacher's next-token distributions, before any training; needs an experiment",
    ),
    (
        "priming_heads",
        "priming.heads.analysis",
        _TEACHING,
        PrimingHeadsOptions,
        "Which of the teacher's attention heads move when it is primed, before any training; needs an experiment",
    ),
    (
        "priming_gain",
        "priming.gain.analysis",
        _SCORED | _TEACHING,
        PrimingGainOptions,
        "Does what priming changes in the teacher predict what it changes in the student? Needs an experiment",
    ),
    (
        "contrast",
        "contrast.analysis",
        _READING | _CONTRASTING,
        ContrastOptions,
        "Where a student carries the answer, by patching from the same problem with different numbers",
    ),
    (
        "geometry",
        "weights.geometry",
        frozenset({"students"}),
        None,
        "How much training changed every head's QK and OV circuits, from the weights",
    ),
    (
        "ablation",
        "interventions.ablation",
        _READING,
        AblationOptions,
        "Which heads a student relies on, and how far they changed",
    ),
    (
        "patching",
        "interventions.patching",
        _READING,
        PatchingOptions,
        "Which heads carry the gain from training",
    ),
    (
        "circuits",
        "circuits.analysis",
        _READING,
        CircuitsOptions,
        "Which circuits' weights carry the gain from training",
    ),
    (
        "attribution",
        "outputs.logit_attribution",
        _READING,
        AttributionOptions,
        "What every head contributes directly to the logits of the gold tokens",
    ),
    (
        "shapley",
        "outputs.shapley",
        _READING,
        ShapleyOptions,
        "Which words of the question carry the gold solution; needs captum",
    ),
)
"""Name, module below `kdprobe.probing`, needs, options and summary."""

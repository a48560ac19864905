"""What every built-in analysis does with its models, counted from the loops of its code in `kdprobe.probing`.

Each function counts as its comment says. `read` and the like are for all students and problems together; a pass that
starts in the middle counts by the layers that it runs. What depends on results, such as the layers of the heads that
rank first, is taken to be drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from kdprobe.experiment.costs.predictions import (
    attribution,
    confidence,
    drift,
    logit_lens,
    output_divergence,
    shapley,
)
from kdprobe.experiment.costs.primings import priming_gain, priming_heads, priming_map
from kdprobe.experiment.costs.sweeps import partly, scored, slopes, sweep
from kdprobe.experiment.costs.work import Subject, Work
from kdprobe.students.student import UNTRAINED

_KINDS = 4
"""Kinds of circuits of attention: Q, K, V and O."""
_IN_QUESTION, _IN_STEPS = 2, 4
"""Parts of a text that `contrast` patches: words and numbers of the question; the template after it, and words, numbers
and operators of the steps."""
_STARTS = 3
"""How many beginnings of a text `contrast` reads only once: up to the question's numbers, the steps and the answer."""
_COPIES = 2
"""How many times the patterns of all layers are kept: the first student's, and a sum over students."""


def heads(of: Subject) -> Work:
    """Every student reads every problem; random updates of trained students read them as often as `control` says."""
    draws = of.options.get("control", 0) * len(of.trained)
    return _patterns(of, len(of.arms) + draws, of.problems)


def divergence(of: Subject) -> Work:
    """Every student reads every batch, while the patterns of the first one are kept."""
    return _patterns(of, len(of.arms), of.problems) + Work(kept=_COPIES * of.patterns)


def association(of: Subject) -> Work:
    """Every student reads every problem."""
    return _patterns(of, len(of.arms), of.problems)


def attention(of: Subject) -> Work:
    """Every student reads one problem; and once more before, to find the heads that vary most, if none are named."""
    passes = 1 if of.options.get("heads") else 2
    return _patterns(of, passes * len(of.arms), 1) + Work(fixed=_COPIES * of.patterns)


def geometry(of: Subject) -> Work:
    """No text is read: two triangular factors of every head's weights, in float64, for both circuits and the change."""
    return _norms(of, len(of.trained))


def ablation(of: Subject) -> Work:
    """The change of trained students, then heads of every student: its clean outputs, and the sweep.

    With `accuracy`, each student also answers the other problems: whole, without its top, and without random heads.
    """
    trained = len(of.others)
    side_by_side = _patterns(of, 1 + trained, of.used) + Work(kept=_COPIES * of.patterns) if trained else Work()
    work = side_by_side + _norms(of, trained)
    for name in of.chosen:
        work += scored(of) + sweep(of, moved=name in of.others) + Work(merged=int(name != UNTRAINED))
    if of.options.get("accuracy"):
        new = min(of.options["max_new_tokens"], of.answer)
        asked = 3 * len(of.chosen) * ((of.problems - of.used) or of.problems)
        gold = Work(asked * of.length, asked / of.batch, asked * of.solution, length=of.length, batch=of.batch)
        work += gold + Work(answers=asked, new=new, prompt=of.prompt)
    return work + Work(fixed=of.copies + of.outputs * 4)


def patching(of: Subject) -> Work:
    """The first student's outputs, those of every other student, and a sweep of each pair for every direction."""
    directions = len(of.options["into"])
    each = scored(of) + sweep(of, moved=False).times(directions)
    # All are loaded to compare their shapes, then the first and, for each other student, the source and the receivers.
    merged = (2 + directions) * len(of.others) + (1 + directions * len(of.others) if of.arms[0][0] != UNTRAINED else 0)
    copies = 3 * of.outputs * 4
    return (
        scored(of)
        + each.times(len(of.others))
        + Work(merged=merged, fixed=of.copies + copies, host=2 * of.head_outputs)
    )


def circuits(of: Subject) -> Work:
    """Of every trained student and its base: both are scored, and updates are switched on in one, off in the other.

    Groups: Q, K, V, O and all of attention; likewise MLPs and all together, if training changed MLPs; with `layers`,
    the attention of each layer and its MLP, from that layer on. Single circuits: those that all
    problems select, which the earlier folds mostly select too. The gradients of both are taken, with the product of
    every changed weight and what it reads, and those of the base once more for patching.
    """
    mlps, sizes = of.changes_mlps, of.sizes
    groups = _KINDS + 1 + (2 if mlps else 0)
    by_layer = sizes.layers * (2 if mlps else 1) if of.options["layers"] else 0
    every = sizes.layers * (2 * sizes.heads + 2 * sizes.kv_heads)
    exact = every if of.options["exact"] == "all" else min(of.options["exact"], every)
    # Both models: scored, and clean once for the groups and once for single circuits.
    switched = scored(of).times(2 * (3 + groups)) + partly(of, 2 * (by_layer + exact), of.upper())
    screened = slopes(of, of.projections).times(2)
    patched = scored(of) + slopes(of, 2 * of.outputs)
    one = switched + screened + patched + Work(merged=2)
    held = Work(fixed=of.copies + of.outputs * 4, host=of.head_outputs)
    return one.times(len(of.trained)) + _norms(of, len(of.trained)) + held


def contrast(of: Subject) -> Work:
    """Untrained model and students: each site of each pair is a pass from its layer, and its first position, on.

    The first number, before which the two runs are the same, is taken to be halfway through the prompt, and the answer
    to be at the end of the solution. The residual stream at all positions is patched in the first and the last layer
    only. Both runs are read, and every beginning twice, to compare the score and to record the rest.
    """
    options, sizes, pairs = of.options, of.sizes, of.used
    count = sizes.layers if options["layers"] == "all" else min(options["layers"], sizes.layers)
    # The layers are evenly spaced from the first to the last.
    upper = count * (1 + 1 / sizes.layers) / 2 if count > 1 else 1.0
    steps = of.solution if options["reads"] == "steps" else 0.0
    everywhere = of.prompt / 2 + steps
    in_steps = _IN_STEPS if steps else 1
    parts, part_tokens = _IN_QUESTION + in_steps + 1, _IN_QUESTION * everywhere + in_steps * steps + 1
    per_head, head_tokens = {
        "none": (0, 0.0),
        "all_positions": (1, everywhere),
        "by_position": (1 + parts, everywhere + part_tokens),
    }[options["heads"]]
    # Residual streams and MLPs at every part, MLPs and heads at all positions.
    tokens = upper * (2 * part_tokens + everywhere + sizes.heads * head_tokens)
    tokens += (1 + 1 / sizes.layers) * everywhere + 2 * (of.prompt + steps) + _STARTS * (of.prompt / 2 + 2 * everywhere)
    sites = count * (2 * parts + 1 + sizes.heads * per_head) + 2
    shared = 2 * _STARTS + min(per_head, _STARTS) * math.ceil(sizes.heads / of.batch)
    once = Work(
        read=pairs * tokens,
        passes=pairs * (upper * shared + 2 + 3 * _STARTS),
        rows=pairs * (sites + 2 + 2 * _STARTS),
        length=of.length,
        batch=of.batch,
        # Of both runs: the residual stream, and what attention and the MLP of every layer write.
        fixed=2 * 3 * of.longest * sizes.layers * sizes.hidden * of.width + of.copies,
    )
    students = len(of.trained)
    return once.times(1 + students) + Work(merged=students)


ANALYSES: Mapping[str, Callable[[Subject], Work]] = MappingProxyType({
    each.__name__: each
    for each in (
        *(heads, divergence, association, attention, confidence, drift, output_divergence, logit_lens, geometry),
        *(ablation, patching, circuits, attribution, contrast, shapley, priming_map, priming_heads, priming_gain),
    )
})  # fmt: skip
"""Every built-in analysis by name."""


def _patterns(of: Subject, students: int, problems: int) -> Work:
    """Students read problems in TransformerLens; a layer's patterns exist before and after the softmax, and a copy."""
    read, passes = students * problems * of.length, students * math.ceil(problems / of.batch)
    bridged, batch = min(students, len(of.arms)), min(of.batch, problems)
    return Work(read, passes, bridged=bridged, length=of.length, batch=batch, each=3 * of.pattern)


def _norms(of: Subject, students: int) -> Work:
    """Eight products of every head's weights with as many columns as a head has, in float64, which is half as fast.

    Adapters are read beside their base, and not merged.
    """
    tokens = 2 * 4 * of.sizes.head_dim * of.outputs / of.sizes.active
    return Work(read=students * tokens)

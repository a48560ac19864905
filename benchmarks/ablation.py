"""Exact ablation of heads that keeps everything before the head, against one forward pass per head.

    python benchmarks/ablation.py [--problems 8] [--stride 5] [--skip batched bridge] [--threads N] [--json FILE]

Sets every head of SmolLM2-135M-Instruct to zero, in float32, and computes the log-probability of gold solutions: of
GSM8K if KDPROBE_GSM8K names its folder, else of procedural problems, which are shorter:

    restarted    `interventions.exact_effects`: starts after the head's attention, all heads of a layer together
    singly       the same, one head at a time: with the same shapes, and so the same rounding, as `forward`
    forward      a forward pass per head and problem, z set to zero in a hook, logits at the answer's rows only
    batched      the same with all problems in one padded batch
    bridge       the same in TransformerLens: `run_with_hooks` on `hook_z`, with `logits_to_keep`

`--stride 5` takes all heads of every fifth layer, chosen so that their mean depth is that of all layers; `--stride 1`
takes all heads. The slow variants alternate layer by layer; `restarted` goes through all layers before and after them,
and its two times are averaged; `singly` comes last. Their unmodified passes count in full, so a subset makes them look
slower than they are. Differences from the effects of `forward` are reported for single problems and for means over
problems. Memory is the peak of a separate process above what it held before (Linux). The floor is the ratio of the
numbers of multiplications, including those of attention.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from peak_memory import peak_in_child, peak_of
from result_file import write_result

WAYS = ("restarted", "singly", "forward", "batched", "bridge")
MODEL = "smollm2-135m-instruct"
TEMPLATES = [6, 26, 31, 43]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--stride", type=int, default=5)
    parser.add_argument("--skip", nargs="*", choices=("singly", "batched", "bridge"), default=[])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    if given.memory_of:
        print(peak(given.memory_of, given))
        return
    setting = Setting(given)
    ways = [way for way in WAYS if way not in given.skip]
    seconds, apart = times(setting, ways)
    memory = {way: child(way, given) for way in ways}
    print(f"{len(setting.sequences)} problems, {setting.tokens} tokens, {setting.answers} of them in answers")
    print(f"{len(setting.layers) * setting.heads} heads of {len(setting.layers)} layers")
    print(f"{'way':<11}{'s':>9}{'ratio':>7}{'MiB':>7}{'largest difference: one problem':>33}{'mean':>9}")
    for way in ways:
        ratio = seconds[way] / seconds["restarted"]
        print(
            f"{way:<11}{seconds[way]:>9.2f}{ratio:>7.2f}{memory[way]:>7.0f}{apart[way][0]:>33.1e}{apart[way][1]:>9.1e}"
        )
    print(f"floor by multiplications: {setting.floor():.2f}")
    if given.json:
        result = {"asked": vars(given) | {"json": None}, "seconds": seconds, "mebibytes": memory, "apart": apart}
        write_result(given.json, result | {"floor": setting.floor()})


class Setting:
    """The student, what it reads, and which layers' heads are ablated."""

    def __init__(self, given: argparse.Namespace) -> None:
        from kdprobe.host.registry import Host
        from kdprobe.models.load import load, load_tokenizer
        from kdprobe.models.reference import resolve
        from kdprobe.problems.draw import draw
        from kdprobe.problems.sources.gsm8k import FOLDER_VARIABLE
        from kdprobe.students.sequence import problem_sequences

        self.record = resolve(MODEL)
        self.student = load(self.record, dtype="float32")
        source = ("gsm8k", {}) if os.environ.get(FOLDER_VARIABLE) else ("gsm-symbolic", {"templates": TEMPLATES})
        drawn = draw(Host().create("problem-sources", *source), transfer=1, test=given.problems)
        self.sequences = problem_sequences(load_tokenizer(self.record), drawn.test)
        config = self.student.model.config
        self.heads: int = config.num_attention_heads
        self.layers = range(given.stride // 2, config.num_hidden_layers, given.stride)

    @property
    def tokens(self) -> int:
        """Number of tokens read in one pass over all problems, without the end of turn."""
        return sum(len(one.ids) - 1 for one in self.sequences)

    @property
    def answers(self) -> int:
        """Rows with logits."""
        return sum(len(one.ids) - 1 - one.begin for one in self.sequences)

    def floor(self) -> float:
        """Multiplications of a forward pass divided by those of a restarted one, averaged over all layers."""
        config = self.student.model.config
        wide, heads, shared = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        projections = 2 * wide * wide + 2 * wide * wide * shared // heads
        mlp = 3 * wide * config.intermediate_size
        pairs = sum(len(one.ids) ** 2 for one in self.sequences) / 2
        layer = self.tokens * (projections + mlp) + pairs * 2 * wide
        logits = self.answers * wide * config.vocab_size
        depth = config.num_hidden_layers
        return (depth * layer + logits) / ((depth - 1) / 2 * layer + self.tokens * mlp + logits)


def restarted(setting: Setting, donor: Any, batch_size: int) -> Any:
    """Log-probability without each head minus with all, `[sequence, head]`."""
    from kdprobe.console import progress
    from kdprobe.probing.interventions.exact_effects import exact_effects
    from kdprobe.probing.interventions.forward import reader

    heads = [(layer, head) for layer in setting.layers for head in range(setting.heads)]
    with reader(setting.student) as reading, progress("restarted") as bar:
        found = exact_effects(reading, setting.sequences, donor, heads, batch_size=batch_size, bar=bar)
    return found[:, :, 0]


def forward_each(way: str, setting: Setting, layer: int, bridged: Any) -> Any:
    """Log-probability without each head of a layer, `[sequence, head]`, from a forward pass each."""
    import torch

    if way == "bridge":
        return torch.stack([in_bridge(setting, bridged, layer, head) for head in range(setting.heads)], dim=1)
    groups = [[one] for one in setting.sequences] if way == "forward" else [setting.sequences]
    projection = setting.student.model.model.layers[layer].self_attn.o_proj
    width = projection.in_features // setting.heads
    columns = []
    for head in range(setting.heads):
        hook = projection.register_forward_pre_hook(lambda _module, given, head=head: (without(given[0], head, width),))
        columns.append(torch.cat([log_p(setting, setting.student.model, group) for group in groups]))
        hook.remove()
    return torch.stack(columns, dim=1)


def without(z: Any, head: int, width: int) -> Any:
    """The input of the output projection, with a head's columns set to zero."""
    z = z.clone()
    z[..., head * width : (head + 1) * width] = 0
    return z


def log_p(setting: Setting, model: Any, group: Any) -> Any:
    """Log-probability of gold solutions, `[sequence]`, from one padded forward pass with logits at answers only."""
    import torch

    from kdprobe.models.batching import right_padded

    ids, mask = right_padded([one.ids[:-1] for one in group], setting.student.tokenizer.pad_token_id, "cpu")
    first = min(one.begin for one in group) - 1
    rows = torch.arange(first, ids.shape[1] - 1)
    padded = {"attention_mask": mask} if len(group) > 1 else {}
    logits = model(input_ids=ids, logits_to_keep=rows, use_cache=False, **padded).logits
    return torch.stack([solution(one, logits[row], first) for row, one in enumerate(group)])


def solution(one: Any, logits: Any, first: int) -> Any:
    """Log-probability of one gold solution from the logits of its rows, the first of which is `first`."""
    import torch

    targets = torch.tensor(one.ids[one.begin : -1])
    kept = logits[one.begin - 1 - first :][: len(targets)]
    chosen = kept.gather(1, targets[:, None])[:, 0]
    return (chosen.double() - kept.float().logsumexp(dim=-1).double()).sum()


def in_bridge(setting: Setting, bridged: Any, layer: int, head: int) -> Any:
    """The same in TransformerLens, a problem at a time."""
    import torch

    def zero(z: Any, hook: Any) -> Any:  # noqa: ARG001 - called by name
        z[:, :, head] = 0
        return z

    found = []
    for one in setting.sequences:
        ids = torch.tensor([one.ids[:-1]])
        rows = torch.arange(one.begin - 1, ids.shape[1] - 1)
        logits = bridged.bridge.run_with_hooks(
            ids, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)], return_type="logits", logits_to_keep=rows
        )
        found.append(solution(one, logits[0], one.begin - 1))
    return torch.stack(found)


def prepared(way: str, setting: Setting) -> Any:
    """What a variant needs before it is timed: a donor of zeros, or the student in TransformerLens."""
    from kdprobe.console import progress
    from kdprobe.probing.interventions.forward import head_outputs, reader
    from kdprobe.probing.interventions.replacement import ablated
    from kdprobe.students.bridge import boot
    from kdprobe.students.student import Student

    if way == "bridge":
        return boot(Student("base", setting.record), [one.ids for one in setting.sequences[:2]])
    # The other variants read the sequences once, so that weights paged in from disk do not count as their memory.
    with reader(setting.student) as reading, progress(way) as bar:
        return ablated(head_outputs(reading, setting.sequences, bar=bar), "zero")


def times(setting: Setting, ways: list[str]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Seconds of every variant, and its largest difference from `forward`, per problem and on average."""
    import torch

    ready = {way: prepared(way, setting) for way in ways}
    seconds = dict.fromkeys(ways, 0.0)
    found: dict[str, list[Any]] = {way: [] for way in ways}

    def timed(way: str, work: Any) -> Any:
        started = time.perf_counter()
        result = work()
        seconds[way] += time.perf_counter() - started
        return result

    with torch.no_grad():
        clean = {
            "forward": torch.cat([log_p(setting, setting.student.model, [one]) for one in setting.sequences]),
            "batched": log_p(setting, setting.student.model, setting.sequences),
        }
        clean["bridge"] = clean["forward"]
        timed("restarted", lambda: restarted(setting, ready["restarted"], setting.heads))
        slow = [way for way in ways if way not in {"restarted", "singly"}]
        for place, layer in enumerate(setting.layers):
            for way in slow if place % 2 else reversed(slow):
                log_ps = timed(way, lambda way=way, layer=layer: forward_each(way, setting, layer, ready[way]))
                found[way].append(log_ps - clean[way][:, None])
        effects = {way: torch.cat(columns, dim=1) for way, columns in found.items() if columns}
        effects["restarted"] = timed("restarted", lambda: restarted(setting, ready["restarted"], setting.heads))
        if "singly" in ways:
            effects["singly"] = timed("singly", lambda: restarted(setting, ready["singly"], 1))
    seconds["restarted"] /= 2
    apart = {way: effects[way] - effects["forward"] for way in ways}
    return seconds, {way: (float(d.abs().max()), float(d.mean(dim=0).abs().max())) for way, d in apart.items()}


def child(way: str, given: argparse.Namespace) -> float:
    """Peak memory of one variant in a separate process, in MiB."""
    return peak_in_child(__file__, f"--problems={given.problems}", "--memory-of", way)


def peak(way: str, given: argparse.Namespace) -> float:
    """Peak of this process above what it held before, over the heads of one layer, in MiB."""
    import torch

    setting = Setting(given)
    ready = prepared(way, setting)
    setting.layers = setting.layers[:1]
    with torch.no_grad():
        if way in {"restarted", "singly"}:
            return peak_of(lambda: restarted(setting, ready, setting.heads if way == "restarted" else 1))
        return peak_of(lambda: forward_each(way, setting, setting.layers[0], ready))


if __name__ == "__main__":
    main()

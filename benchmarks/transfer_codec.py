"""What a transfer set costs on disk, and what it loses of the teacher: KL in nats, and loss and gradient against dense.

    python benchmarks/transfer_codec.py [--teacher primed|plain] [--problems 96] [--tokens 80] [--json FILE]

The teacher answers word problems under the strategy `ground-truth`: that of the embedded experiment, or the plain small
model, whose distributions are less peaked. Its answers are written with a fixed k, and with as few tokens as leave
several tails. Then the stored rows are compared with dense ones, in the loss and its gradient with respect to the
logits of the small model, which reads the bare question.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq

K = 64
TEMPERATURES = (1.0, 2.0, 4.0)
TAILS = (1e-3, 3e-4, 1e-4, 1e-5, 1e-6)
CHOSEN_TAIL = 1e-4
DENSE_POSITIONS = 256
OBJECTIVES = {
    "forward-kl": {},
    "reverse-kl": {},
    "skew-kl": {"skew": 0.1},
    "skew-reverse-kl": {"skew": 0.1},
    "jsd": {"beta": 0.5},
}


def main() -> None:
    """Prints the tables, and writes them as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", choices=["primed", "plain"], default="primed")
    parser.add_argument("--problems", type=int, default=96)
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    made, teacher, prompts = captured(arguments.teacher, arguments.problems, arguments.tokens)
    tokens = sum(len(response.token_ids) for response in made.responses)
    print(f"teacher: {arguments.teacher}, {tokens} response tokens, V = {made.vocabulary}, k = {K}")
    print(f"a dense row in half precision: {2 * made.vocabulary} bytes")
    data = {
        "tokens": tokens,
        "fixed": fixed(made, tokens),
        "resolutions": resolutions(made),
        "tails": tails(made, tokens),
        "dense": against_dense(made, teacher, prompts),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(data, indent=2, default=float), encoding="utf-8")


def captured(kind: str, problems: int, tokens: int) -> tuple[Any, Any, Any]:
    """The transfer set in memory, the teacher, and the prompts by problem."""
    from kdprobe.host.registry import Host
    from kdprobe.models.load import load_tokenizer
    from kdprobe.teachers import Sampling
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher
    from kdprobe.transfer.capture import Setting, capture

    host = Host()
    options = host.options("problem-sources", "gsm-symbolic", {"templates": [6, 26, 31, 43]})
    source = host.build("problem-sources", "gsm-symbolic", options)
    drawn = [problem for problem, _ in zip(source("transfer"), range(problems), strict=False)]
    render = host.build("strategies", "ground-truth", None)
    adapter = {"adapter": "kdprobe:embedded-teacher"} if kind == "primed" else {}
    model = TransformersOptions(model="smollm2-135m-instruct", dtype="float32", batch_size=48, **adapter)
    teacher = TransformersTeacher(model)
    sampling = Sampling(tokens, top_logprobs=K, temperatures=TEMPERATURES)
    setting = Setting(sampling, {"strategy": "ground-truth", "vocabulary": len(load_tokenizer(teacher.record))})
    prompts = {problem.id: render(problem) for problem in drawn}
    return capture(teacher, drawn, prompts, setting), teacher, prompts


def written(responses: Any, vocabulary: int, *, predict: bool = True) -> dict[str, float]:
    """Bytes on disk: of the whole file, of its columns, and of the dictionary."""
    from kdprobe.transfer.rows_writer import DICTIONARY, write_rows

    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        write_rows(responses, vocabulary, file, predict=predict)
        known = pq.ParquetFile(file).metadata
        sizes: dict[str, float] = {"whole": file.stat().st_size}
        for group in range(known.num_row_groups):
            for column in map(known.row_group(group).column, range(known.num_columns)):
                name = column.path_in_schema.split(".")[0]
                sizes[name] = sizes.get(name, 0) + column.total_compressed_size
        sizes["dictionary"] = len(known.metadata.get(DICTIONARY.encode(), b""))
    return sizes


def fixed(made: Any, tokens: int) -> dict[str, float]:
    """Bytes per token of every column with a fixed k, and with ids stored as they are."""
    sizes = written(only(made.responses, (1.0,)), made.vocabulary)
    plain = written(only(made.responses, (1.0,)), made.vocabulary, predict=False)
    print(f"\nthe whole transfer set at T = 1: {sizes['whole'] / tokens:.1f} bytes/token, of which")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[1:8]:
        print(f"    {name:<20}{size / tokens:>8.1f}")
    print(f"without a dictionary: {plain['whole'] / tokens:.1f}, of which ids {plain['top_ranks'] / tokens:.1f}")
    return {name: size / tokens for name, size in sizes.items()} | {"plain_ids": plain["top_ranks"] / tokens}


def only(responses: Any, temperatures: tuple[float, ...], tail: float | None = None) -> Any:
    """The responses with the tails at these temperatures, cut to a tail."""
    from kdprobe.transfer.adaptive import fewest

    def change(response: Any) -> Any:
        rows = replace(response.rows, tail_logmass={t: response.rows.tail_logmass[t] for t in temperatures})
        return replace(response, rows=rows if tail is None else fewest(rows, tail))

    return responses.changed(change)


def resolutions(made: Any) -> list[dict[str, float]]:
    """What rounding log-probabilities costs: KL over the k + 1 cells at T = 1, with the exact tail."""
    logprobs = np.concatenate([response.rows.logprobs for response in made.responses]).astype(np.float64)
    kept = np.log(-np.expm1(np.concatenate([response.rows.tail_logmass[1.0] for response in made.responses])))

    def renormalised(values: Any) -> Any:
        return values - (np.logaddexp.reduce(values, axis=-1) - kept)[:, None]

    print(f"\n{'log-probabilities in steps of':<32}{'mean KL':>10}{'largest KL':>12}")
    table = []
    for per_nat in (1024, 256, 64, 16):
        p, q = renormalised(logprobs), renormalised(np.rint(logprobs * per_nat) / per_nat)
        cost = (np.exp(p) * (p - q)).sum(axis=-1)
        table.append({"per_nat": per_nat, "mean": cost.mean(), "largest": cost.max()})
        ours = " nat (ours)" if per_nat == 256 else " nat"
        print(f"{f'1/{per_nat}{ours}':<32}{cost.mean():>10.1e}{cost.max():>12.1e}")
    return table


def tails(made: Any, tokens: int) -> list[dict[str, float]]:
    """Bytes, k and truncation KL with as few tokens as leave a tail at T = 1, and at T = 1 and 2."""
    print(f"\n{'tail':<8}{'at T':<8}{'bytes/token':>12}{'mean k':>8}{'at the most':>12}{'truncation KL':>15}")
    table = []
    for temperatures in ((1.0,), (1.0, 2.0)):
        for tail in (None, *TAILS):
            cut = only(made.responses, temperatures, tail)
            size = written(cut, made.vocabulary)["whole"] / tokens
            rows = [response.rows for response in cut]
            counts = np.concatenate([(row.ids >= 0).sum(axis=1) for row in rows])
            mass = np.exp(np.concatenate([row.tail_logmass[1.0] for row in rows]).astype(np.float64))
            kl = float(-np.log1p(-mass).mean())
            full = float((counts == K).mean())
            table.append(
                {"tail": tail, "temperatures": temperatures, "bytes": size, "k": counts.mean(), "full": full, "kl": kl}
            )
            named = "fixed k" if tail is None else f"{tail:g}"
            at = ", ".join(f"{t:g}" for t in temperatures)
            print(f"{named:<8}{at:<8}{size:>12.1f}{counts.mean():>8.1f}{full:>12.1%}{kl:>15.1e}")
    print("(truncation KL at T = 1: the loss if the tail were dropped; it is kept, as one cell)")
    return table


def against_dense(made: Any, teacher: Any, prompts: Any) -> list[dict[str, Any]]:
    """Loss and gradient of stored rows against dense ones, for every objective and temperature."""
    import torch

    from kdprobe.distill.objectives import Objective, SparseLogprobs

    theirs, ours, rows = dense_rows(made, teacher, prompts)
    labels = torch.zeros(len(theirs), dtype=torch.long)

    def measured(objective: Any, given: Any) -> tuple[Any, Any]:
        logits = ours.clone().requires_grad_()
        loss = objective.dense(logits, labels, given)["loss"]
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        return loss.detach(), gradient

    print(
        f"\nagainst dense rows at {len(theirs)} positions; errors of the loss in nats, of the gradient relative to it"
    )
    print(f"{'objective':<18}{'T':>3}{'dense loss':>12}  {'rows':<14}{'mean error':>11}{'largest':>10}{'gradient':>10}")
    table = []
    for kind, parameters in OBJECTIVES.items():
        for temperature in TEMPERATURES:
            objective = Objective(0.0, kind, temperature, parameters)  # type: ignore[arg-type]
            logprobs = (theirs / temperature).log_softmax(-1)
            every = torch.arange(logprobs.shape[1]).expand_as(logprobs)
            nothing = torch.full((len(logprobs),), -torch.inf)
            exact, slope = measured(objective, SparseLogprobs(every, logprobs, nothing, temperature))
            for name, kept in rows.items():
                if name != "fixed k" and (kind != "forward-kl" or temperature != 1):
                    continue
                loss, gradient = measured(objective, kept(temperature))
                error, off = (loss - exact).abs(), float((gradient - slope).norm() / slope.norm())
                row = {"kind": kind, "temperature": temperature, "rows": name, "loss": exact.mean(), "gradient": off}
                table.append({**row, "error": error.mean(), "largest": error.max()})
                print(
                    f"{kind:<18}{temperature:>3g}{exact.mean():>12.4f}  {name:<14}{error.mean():>11.1e}"
                    f"{error.max():>10.1e}{off:>10.1e}"
                )
    return table


def dense_rows(made: Any, teacher: Any, prompts: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Logits of teacher and student `[positions, V]`, and the stored rows by temperature, for some answers."""
    import torch

    from kdprobe.distill.examples import Example, collate
    from kdprobe.distill.objectives import SparseLogprobs
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load_tokenizer
    from kdprobe.teachers import Sampling
    from kdprobe.teachers.teacher import Passage
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher
    from kdprobe.transfer.transfer_set import read, write

    lengths = np.cumsum([len(response.token_ids) for response in made.responses])
    some = made.responses[: int(np.searchsorted(lengths, DENSE_POSITIONS)) + 1]
    tokenizer = load_tokenizer(teacher.record)
    student = TransformersTeacher(TransformersOptions(model="smollm2-135m-instruct", dtype="float32"))

    def logits(model: Any, side: str) -> Any:
        whole = Sampling(1, top_logprobs=made.vocabulary)
        passages = [
            Passage(each.id, prompt_ids(tokenizer, getattr(prompts[each.id], side)), each.token_ids.tolist())
            for each in some
        ]
        found = dict(model.score(passages, whole))
        rows = [
            torch.empty(found[each.id].ids.shape).scatter(
                1, torch.from_numpy(found[each.id].ids).long(), torch.from_numpy(found[each.id].logprobs)
            )
            for each in some
        ]
        return torch.cat(rows)

    def stored(tail: float | None) -> Any:
        with TemporaryDirectory() as folder:
            kept = some if tail is None else only(some, (1.0,), tail)
            write(replace(made, responses=kept, manifest={**made.manifest, "tokenizer": ""}), Path(folder))
            back = [response.rows for response in read(Path(folder)).responses]

        def at(temperature: float) -> Any:
            examples = [Example.of_response("", [0], [0] * len(row.ids), lambda row=row: row) for row in back]
            batch = collate(examples, 0, temperature)
            return SparseLogprobs.from_stored(
                batch["teacher_ids"], batch["teacher_logprobs"], batch["teacher_tail"], temperature
            )

        return at

    rows = {"fixed k": stored(None), f"tail {CHOSEN_TAIL:g}": stored(CHOSEN_TAIL)}
    return logits(teacher, "teacher"), logits(student, "student"), rows


if __name__ == "__main__":
    main()

"""Rows with the fewest tokens that leave a small tail, and what that and every cut costs in loss and gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdprobe.distill.examples import Example, collate
from kdprobe.distill.objectives import Objective, SparseLogprobs
from kdprobe.distill.sparse_kd import sparse_kd_loss
from kdprobe.teachers.teacher import NO_TOKEN, Response, SparseRows
from kdprobe.teachers.top_k_capture import top_k
from kdprobe.transfer.adaptive import fewest
from kdprobe.transfer.codec import Layout, from_table, to_table
from kdprobe.transfer.dictionary import Dictionary

V, K, ROWS = 300, 64, 6
TEMPERATURES = (1.0, 2.0, 4.0)
OBJECTIVES = {
    "forward-kl": {},
    "reverse-kl": {},
    "skew-kl": {"skew": 0.2},
    "skew-reverse-kl": {"skew": 0.2},
    "jsd": {"beta": 0.3},
}
few = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**31)


def logits(seed, spread=6.0):
    """Teacher's logits `[rows, V]`, some rows more peaked than others, and those of a student close to it."""
    random = np.random.default_rng(seed)
    teacher = random.normal(0, 1, (ROWS, V)) * np.linspace(1, spread, ROWS)[:, None]
    return torch.from_numpy(teacher), torch.from_numpy(teacher + random.normal(0, 1, (ROWS, V)))


def captured(teacher, k=K):
    """Rows as a teacher gives them."""
    top = top_k(teacher, k, TEMPERATURES)
    return SparseRows(
        ids=top.ids.numpy(),
        logprobs=top.logprobs.numpy(),
        tail_logmass={t: tail.numpy() for t, tail in zip(TEMPERATURES, top.tails, strict=True)},
        token_logprobs=top.logprobs[:, 0].numpy(),
    )


def taught(rows, temperature):
    """Rows as the loss gets them, through the batch of an example."""
    example = Example.of_response("p", [1], [0] * len(rows.ids), lambda: rows)
    batch = collate([example], 0, temperature)
    return SparseLogprobs.from_stored(
        batch["teacher_ids"], batch["teacher_logprobs"], batch["teacher_tail"], temperature
    )


def stored(rows):
    """Rows after they were on disk."""
    response = Response("p", "", np.arange(len(rows.ids)), finished=True, rows=rows)
    dictionary = Dictionary.of([response], V)
    return from_table(to_table([response], Layout.of([response], V, dictionary)), dictionary)[0].rows


def trained(teacher, student, objective):
    """Loss and gradient with respect to the student's logits, as training computes them."""
    hidden = student.clone().requires_grad_()
    loss = sparse_kd_loss(
        hidden, torch.eye(V, dtype=student.dtype), torch.zeros(ROWS, dtype=torch.long), teacher, objective
    )
    loss["loss"].sum().backward()
    return loss["loss"].detach(), hidden.grad


def dense(teacher, student, objective):
    """Loss and gradient on the whole distribution, by the definition in the module of the divergences."""
    hidden = student.clone().requires_grad_()
    loss = between(
        (teacher / objective.temperature).softmax(-1), (hidden / objective.temperature).softmax(-1), objective
    )
    (objective.temperature**2 * loss).sum().backward()
    return objective.temperature**2 * loss.detach(), hidden.grad


def between(p, q, objective):
    def kl(a, b):
        return (a * (a / b).log()).sum(-1)

    _, weight = next(iter(objective.parameters.items()), ("", 0.0))
    match objective.kind:
        case "forward-kl" | "skew-kl":
            return kl(p, weight * p + (1 - weight) * q)
        case "reverse-kl" | "skew-reverse-kl":
            return kl(q, weight * q + (1 - weight) * p)
        case "jsd":
            middle = weight * p + (1 - weight) * q
            return weight * kl(p, middle) + (1 - weight) * kl(q, middle)


@few
@given(seeds, st.sampled_from([1e-1, 1e-3, 1e-5]), st.sampled_from([1, 5, K, V]))
def test_as_few_tokens_are_kept_as_leave_the_tail_at_every_temperature(seed, tail, k):
    teacher, _ = logits(seed)
    rows = fewest(captured(teacher, k), tail)
    counts = (rows.ids != NO_TOKEN).sum(axis=1)
    order = teacher.argsort(dim=-1, descending=True)
    masses = [(teacher / t).softmax(-1).gather(1, order).numpy() for t in TEMPERATURES]
    for row, count in enumerate(counts):
        assert rows.ids[row, :count].tolist() == order[row, :count].tolist()
        assert np.isneginf(rows.logprobs[row, count:]).all()
        outside = [mass[row, count:].sum() for mass in masses]
        assert count == k or max(outside) <= tail * (1 + 1e-4)
        assert count == 1 or max(mass[row, count - 1 :].sum() for mass in masses) > tail * (1 - 1e-4)
        found = [np.exp(np.float64(rows.tail_logmass[t][row])) for t in TEMPERATURES]
        np.testing.assert_allclose(found, outside, rtol=2e-4, atol=1e-12)
    assert rows.ids.shape[1] == counts.max()


@few
@given(seeds, st.sampled_from(TEMPERATURES), st.sampled_from([*OBJECTIVES]))
def test_what_a_cut_loses_of_loss_and_gradient_is_the_divergence_inside_the_tail(seed, temperature, kind):
    """That is, the mass of the tail times the divergence within it, for both directions; both computed densely."""
    teacher, student = logits(seed)
    objective = Objective(0.0, kind, temperature, OBJECTIVES[kind])
    cut = SparseLogprobs.from_logits(teacher, K, temperature)
    loss, slope = trained(cut, student, objective)
    outside = torch.ones_like(teacher).scatter(1, cut.ids, 0).bool()
    hidden = student.clone().requires_grad_()
    p, q = ((each / temperature).softmax(-1)[outside].view(ROWS, V - K) for each in (teacher, hidden))
    merged = [each.sum(-1, keepdim=True) for each in (p, q)]
    lost = temperature**2 * (between(p, q, objective) - between(*merged, objective))
    lost.sum().backward()
    exact, exact_slope = dense(teacher, student, objective)
    torch.testing.assert_close(loss + lost.detach(), exact, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(slope + hidden.grad, exact_slope, rtol=1e-8, atol=1e-9)
    assert (lost >= -1e-12).all()


@few
@given(seeds, st.sampled_from(TEMPERATURES), st.sampled_from([1e-2, 1e-4, 1e-6]))
def test_the_teachers_tail_bounds_the_gradient_of_forward_kl(seed, temperature, tail):
    teacher, student = logits(seed, spread=30.0)
    objective = Objective(0.0, "forward-kl", temperature)
    rows = fewest(captured(teacher), tail)
    _, slope = trained(taught(rows, temperature), student, objective)
    _, exact = dense(teacher, student, objective)
    mass = np.exp(rows.tail_logmass[temperature].astype(np.float64))
    # Of T^2 D, whose gradient has the factor T^2 / T; the rest is the teacher's float32.
    bound = 2 * temperature * torch.from_numpy(mass) + 1e-4
    assert ((slope - exact).abs().sum(-1) <= bound).all()


@few
@given(seeds, st.sampled_from(TEMPERATURES), st.sampled_from([*OBJECTIVES]), st.sampled_from([None, 1e-3]))
def test_what_is_stored_gives_the_loss_and_the_gradient_of_what_was_captured(seed, temperature, kind, tail):
    """Up to the rounding to 1/256 nat, which changes the gradient of the forward KL by at most 1/256 in all."""
    teacher, student = logits(seed)
    objective = Objective(0.0, kind, temperature, OBJECTIVES[kind])
    rows = captured(teacher) if tail is None else fewest(captured(teacher), tail)
    loss, slope = trained(taught(rows, temperature), student, objective)
    back, back_slope = trained(taught(stored(rows), temperature), student, objective)
    near = 1 / 256 if kind == "forward-kl" else 1 / 16
    assert ((slope - back_slope).abs().sum(-1) <= near).all()
    torch.testing.assert_close(back, loss, rtol=0, atol=near * temperature)


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("width", [K, V])
def test_rows_filled_up_are_worth_what_they_are_without(kind, width):
    """Also beside a row that keeps the whole vocabulary."""
    teacher, student = logits(0)
    objective = Objective(0.4, kind, 2.0, OBJECTIVES[kind])
    cuts = [SparseLogprobs.from_logits(teacher[row : row + 1], k, 2.0) for row, k in enumerate([3, 1, width, 7, 9, 20])]

    def filled(values, fill):
        return torch.cat([torch.nn.functional.pad(each, (0, width - each.shape[1]), value=fill) for each in values])

    together = SparseLogprobs(
        filled([cut.ids for cut in cuts], NO_TOKEN),
        filled([cut.logprobs for cut in cuts], -torch.inf),
        torch.cat([cut.tail_logmass for cut in cuts]),
        2.0,
    )
    labels = torch.arange(ROWS)
    found, hidden = [], [student.clone().requires_grad_() for _ in range(3)]
    found.append(sparse_kd_loss(hidden[0], torch.eye(V, dtype=torch.float64), labels, together, objective)["loss"])
    found.append(objective.dense(hidden[1], labels, together)["loss"])
    alone = [objective.dense(hidden[2][row : row + 1], labels[row : row + 1], cuts[row])["loss"] for row in range(ROWS)]
    found.append(torch.cat(alone))
    for loss in found:
        loss.sum().backward()
    for loss, each in zip(found[:2], hidden[:2], strict=True):
        torch.testing.assert_close(loss, found[2], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(each.grad, hidden[2].grad, rtol=1e-9, atol=1e-9)

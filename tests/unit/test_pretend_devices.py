"""Pretended GPUs are as strict as real ones."""

import pytest

torch = pytest.importorskip("torch")

from pretend_devices import CPU, FIRST, SECOND, pretended_gpus  # noqa: E402


@pytest.fixture(autouse=True)
def gpus():
    with pretended_gpus():
        yield


def test_tensors_are_where_they_were_made_and_moved():
    here = torch.arange(4.0, device=FIRST)
    there = here.to("cuda:1")
    assert (here.device, there.device, (there * 2)[1:].device) == (FIRST, SECOND, SECOND)
    assert torch.nn.Parameter(there).detach().view(2, 2).device == SECOND
    assert there.cpu().device == torch.zeros(2).device == CPU
    assert torch.ones_like(there, device=FIRST).device == here.new_zeros(2).device == FIRST
    there += 1
    assert here.tolist() == [0, 1, 2, 3]
    assert there.to(torch.float64).device == SECOND
    assert here.to(there).device == SECOND


@pytest.mark.parametrize(
    "mix",
    [
        lambda one, other: one + other,
        lambda one, other: torch.cat([one, other]),
        torch.equal,
        lambda one, other: torch.nn.functional.linear(one[None], other[None]),
        lambda one, other: torch.where(one > 0, one, other),
        lambda one, other: one.gather(0, other.long()),
        lambda one, other: one[other.long()],
        lambda one, other: one.index_select(0, other.long()),
        lambda one, other: one.__setitem__(one > 0, other[1:]),
        lambda one, other: torch.stack([one, other.cpu()]),
        lambda one, _: one.numpy(),
    ],
)
def test_mixed_devices_are_refused(mix):
    one = torch.arange(4.0, device=FIRST)
    with pytest.raises((RuntimeError, TypeError), match=r"same device|convert"):
        mix(one, one.to(SECOND))


def test_what_real_gpus_allow_is_allowed():
    one = torch.arange(4.0, device=FIRST)
    assert (one + torch.tensor(1.0)).device == one[torch.tensor([1, 2])].device == FIRST
    one.copy_(torch.ones(4, device=SECOND))
    one[1:] = torch.zeros(3)
    assert one.tolist() == [1, 0, 0, 0]


def test_gradients_are_where_their_tensors_are():
    one = torch.ones(2, device=FIRST, requires_grad=True)
    (found,) = torch.autograd.grad((one.to(SECOND) * 3).sum(), [one])
    assert found.device == FIRST
    assert found.tolist() == [3, 3]

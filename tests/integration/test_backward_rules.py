"""The backward rules of RelP and GIM on tiny models, against models in which the rules' constants are constants."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdprobe.console import progress

ARCHITECTURES = ["llama", "qwen3", "gemma2", "phi3", "gpt2"]
MORE = ["gpt_neox", "olmo2", "falcon", "starcoder2", "stablelm", "cohere", "granite", "mistral", "glm4"]
SCREENS = ["relp", "gim"]


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    """The rules are those of a benchmark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield


@pytest.fixture(scope="module")
def rules():
    from backward_rules import GIM, RELP

    return {"relp": RELP, "gim": GIM}


@pytest.fixture(scope="module")
def sequences(tiny_record, problems):
    from kdprobe.models.load import load_tokenizer
    from kdprobe.students.sequence import problem_sequences

    return problem_sequences(load_tokenizer(tiny_record), problems[:2])


def loaded(record, attention=None):
    from kdprobe.models.load import load

    return load(record, dtype="float32", attention=attention)


def slopes(torch, student, sequence, rules=None):
    """One clean run, and the gradient of the solution's log-probability at every attention output."""
    from backward_rules import Rules, backward_rules

    from kdprobe.probing.interventions.attribution_patching import gradients_from_the_first_layer
    from kdprobe.probing.interventions.forward import clean_run, reader

    with reader(student) as reading, torch.enable_grad(), gradients_from_the_first_layer(reading):
        with backward_rules(student.model, reading.anatomy, rules or Rules()):
            run = clean_run(reading, sequence)
        found = torch.autograd.grad(run.log_p[0], run.attended)
    return run, [slope[0] for slope in found]


@pytest.mark.parametrize("attention", [None, "eager"])
@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MORE])
def test_forward_values_are_unchanged_to_the_bit(architecture, name, attention, torch, model_of, sequences, rules):
    student = loaded(model_of(architecture), attention)
    clean, plain = slopes(torch, student, sequences[0])
    run, changed = slopes(torch, student, sequences[0], rules[name])
    for ours, theirs in zip([run.log_p, *run.inputs, *run.attended, *run.z],
                            [clean.log_p, *clean.inputs, *clean.attended, *clean.z], strict=True):  # fmt: skip
        assert torch.equal(ours, theirs)
    assert (changed[0] - plain[0]).abs().max() > 1e-3 * plain[0].abs().max()
    # Afterwards, gradients are the model's own again.
    for ours, theirs in zip(slopes(torch, student, sequences[0])[1], plain, strict=True):
        assert torch.equal(ours, theirs)


class Reference:
    """Rewrites a model so that plain gradients are those of the rules, with the architectures' own formulas."""

    def __init__(self, torch, model, rules):
        self.torch, self.rules = torch, rules
        for module in model.modules():
            name = type(module).__name__
            if name.endswith("RMSNorm"):
                weight = 1 + module.weight if name.startswith("Gemma") else module.weight
                epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
                module.forward = lambda x, weight=weight, epsilon=epsilon: self.rms(x, weight, epsilon)
            elif name == "LayerNorm":
                module.forward = lambda x, module=module: self.centred(x, module)
            elif name.endswith("MLP"):
                module.forward = lambda x, module=module: self.mlp(x, module)
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        ALL_ATTENTION_FUNCTIONS.register("reference", self.attention)
        model.config._attn_implementation = "reference"

    def constant(self, x, given):
        return x.detach() if given else x

    def rms(self, x, weight, epsilon):
        return x * self.constant((x**2).mean(-1, keepdim=True).add(epsilon).rsqrt(), self.rules.norms) * weight

    def centred(self, x, module):
        x = x - x.mean(-1, keepdim=True)
        scale = (x**2).mean(-1, keepdim=True).add(module.eps).rsqrt()
        return x * self.constant(scale, self.rules.norms) * module.weight + module.bias

    def mlp(self, x, module):
        activation = module.act if hasattr(module, "act") else getattr(module, "act_fn", None) or module.activation_fn

        def activate(x):
            return x * (activation(x) / x).detach() if self.rules.activations else activation(x)

        if hasattr(module, "c_fc"):
            return module.c_proj(activate(module.c_fc(x)))
        if hasattr(module, "gate_up_proj"):
            gate, up = module.gate_up_proj(x).chunk(2, dim=-1)
        else:
            gate, up = module.gate_proj(x), module.up_proj(x)
        product = activate(gate) * up
        return module.down_proj(product / 2 + product.detach() / 2)

    def attention(self, module, query, key, value, mask, scaling=None, softcap=None, **_):
        torch = self.torch
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        size = scores.shape[-1]
        scores = scores.masked_fill(torch.ones(size, size).triu(1).bool(), -torch.inf)
        if self.rules.patterns == "constant":
            return (scores.softmax(-1).detach() @ value).transpose(1, 2).contiguous(), None
        cold = scores.softmax(-1).detach()
        # The gradient of a softmax at a higher temperature, without the factor 1 / T; the value of the cold one.
        warm = (scores / self.rules.patterns).softmax(-1) * self.rules.patterns
        warm = warm / 2 if self.rules.attention else warm
        output = (cold + warm - warm.detach()) @ value
        if self.rules.attention:
            output = output / 2 + output.detach() / 2
        return output.transpose(1, 2).contiguous(), None


def largest_error(torch, record, sequence, rules, attention=None, *, of=None):
    """The largest difference from the reference's gradients, relative to their size; it follows `of`, if given."""
    student, other = loaded(record, attention), loaded(record)
    student.model.double()
    other.model.double()
    run, found = slopes(torch, student, sequence, rules)
    Reference(torch, other.model, of or rules)
    expected_run, expected = slopes(torch, other, sequence)
    torch.testing.assert_close(run.log_p, expected_run.log_p, rtol=1e-6, atol=0)
    return max(
        float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("attention", [None, "eager"])
@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_models_with_constants(architecture, name, attention, torch, model_of, sequences, rules):
    assert largest_error(torch, model_of(architecture), sequences[0], rules[name], attention) < 1e-4


@pytest.mark.parametrize("wrong", [{"norms": False}, {"patterns": 1.5}, {"activations": True}, {"attention": False}])
def test_a_wrong_rule_is_found(wrong, torch, model_of, sequences, rules):
    of = replace(rules["gim"], **wrong)
    assert largest_error(torch, model_of("llama"), sequences[0], rules["gim"], of=of) > 1e-3


@pytest.mark.parametrize("part", ["norms", "patterns", "activations", "gates", "attention"])
def test_every_rule_changes_the_gradient(part, torch, model_of, sequences):
    """A rule that did nothing would be found."""
    from backward_rules import Rules

    student = loaded(model_of("llama"))
    changed = slopes(torch, student, sequences[0], Rules(**{part: 2.0 if part == "patterns" else True}))[1]
    plain = slopes(torch, student, sequences[0])[1]
    assert (changed[0] - plain[0]).abs().max() > 1e-3 * plain[0].abs().max()


def test_a_soft_maximum_with_temperature_by_hand(torch):
    """Scores 0, log 3, pattern 1/4, 3/4; at temperature 2, 1 : sqrt(3)."""
    from backward_rules import GIM, _pattern

    scores = torch.tensor([0.0, np.log(3)], dtype=torch.float64, requires_grad=True)
    pattern = _pattern(scores, scores.softmax(-1), replace(GIM, attention=False))
    torch.testing.assert_close(pattern.detach(), torch.tensor([0.25, 0.75], dtype=torch.float64))
    (slope,) = torch.autograd.grad(pattern[1], scores)
    warm = np.sqrt(3) / (1 + np.sqrt(3))
    torch.testing.assert_close(slope, torch.tensor([-1.0, 1.0], dtype=torch.float64) * warm * (1 - warm))


@pytest.mark.parametrize(
    ("architecture", "part"),
    [("mixtral", "the MLP"), ("gpt_oss", "the MLP"), ("opt", None)],
)
def test_what_the_rules_do_not_know_is_refused(architecture, part, torch, model_of, sequences, rules):
    from kdprobe.errors import KdprobeError

    student = loaded(model_of(architecture))
    for each in rules.values():
        if part is None:
            slopes(torch, student, sequences[0], each)
        else:
            with pytest.raises(KdprobeError, match=f"do not cover {part} of this architecture"):
                slopes(torch, student, sequences[0], each)


def test_in_a_linear_model_all_screens_are_exact(torch, model_of, sequences, rules):
    """Without norms and with uniform attention and a linear MLP, the score is linear in the heads' outputs."""
    from backward_rules import Rules, backward_rules

    from kdprobe.probing.interventions.attribution_patching import screened_effects
    from kdprobe.probing.interventions.exact_effects import exact_effects
    from kdprobe.probing.interventions.forward import Reader, head_outputs, reader
    from kdprobe.probing.interventions.replacement import ablated

    class Linear(Reader):
        def score(self, sequence, copies=1, mask=None):
            ids = torch.tensor([sequence.ids_without_end]).expand(copies, -1)
            logits = self.student.model(input_ids=ids, use_cache=False).logits
            return logits[:, -1, :2].double()

    student = loaded(model_of("gpt2", activation_function="linear"))
    for block in student.model.transformer.h:
        block.ln_1, block.ln_2 = torch.nn.Identity(), torch.nn.Identity()
        block.attn.c_attn.weight.data[:, : 2 * 32] = 0
    student.model.transformer.ln_f = torch.nn.Identity()
    heads = [(layer, head) for layer in range(2) for head in range(4)]
    with reader(student) as given, progress("test", 1) as bar:
        reading = Linear(given.student, given.anatomy, given.matrix)
        donor = ablated(head_outputs(reading, sequences, bar=bar), "mean")
        exact = exact_effects(reading, sequences, donor, heads, batch_size=4, bar=bar).unflatten(1, (2, 4))
        found = {}
        for name, each in {"gradient": Rules(), **rules}.items():
            with backward_rules(student.model, given.anatomy, each):
                found[name] = screened_effects(reading, sequences, donor, bar=bar)
    assert exact.abs().min() > 1e-4
    for name in ("gradient", "relp"):
        np.testing.assert_allclose(found[name], exact, atol=1e-4 * exact.abs().max())
    # GIM takes half of what goes through the values of later layers.
    np.testing.assert_allclose(found["gim"][:, 1], exact[:, 1], atol=1e-4 * exact.abs().max())


def test_measures_of_agreement_by_hand():
    import screens

    exact = np.array([-4.0, -3.0, -2.0, 0.1, *np.linspace(1, 3, 40)])
    assert screens.measures(exact, exact / 2, -1, 0.25) == pytest.approx([1, 1, 0, 1, 1])
    assert screens.measures(exact, -exact, -1, 0.25) == pytest.approx([-1, -1, 1, 0, 0])
    # The smallest effect does not count; of the others, one of 43 has the wrong sign.
    wrong = exact * np.where(np.arange(44) == 1, -1, 1)
    assert screens.measures(np.where(exact == 0.1, -0.1, exact), wrong, -1, 0.25)[2] == pytest.approx(1 / 43)
    # Ablation ranks by the largest decrease, patching into the base by the largest increase.
    shifted = exact.copy()
    shifted[0] = 5
    assert screens.measures(exact, shifted, -1, 0.25)[3:] == pytest.approx([0.9, 0.9])
    assert screens.measures(exact, shifted, 1, 0.25)[3:] == pytest.approx([0.9, 1.0])


def test_screens_are_compared_with_gradients_problem_by_problem():
    import screens

    plain, other = np.full((3, 5), 0.5), np.full((3, 5), 0.25)
    other[:, 0], plain[:, 2], other[:, 2] = [0.1, 0.2, 0.3], np.nan, np.nan
    plain[0, 2], other[0, 2] = 0.0, 1.0
    found = screens.compared({"gradient": plain, "relp": other}, "relp")
    assert found[0].value == pytest.approx(0.2)
    assert found[0].difference == pytest.approx(-0.3)
    # Student's interval with two degrees of freedom: 4.303 standard errors of 0.1 / sqrt(3).
    assert found[0].interval.high - found[0].difference == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert not found[1].interval.known
    assert (found[2].value, found[2].difference) == (1.0, 1.0)
    assert not screens.compared({"gradient": plain}, "gradient")[0].interval.known

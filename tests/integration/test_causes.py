"""Replacing heads of the tiny model, against hooks in TransformerLens and explicit arithmetic."""

import numpy as np
import pytest

from kdprobe.console import progress

SHAPE = (2, 4)
HEADS = [(layer, head) for layer in range(SHAPE[0]) for head in range(SHAPE[1])]


@pytest.fixture(scope="module")
def sequences(tiny_record, problems):
    from kdprobe.models.load import load_tokenizer
    from kdprobe.students.sequence import problem_sequences

    return problem_sequences(load_tokenizer(tiny_record), problems[:3])


def run(function, *arguments, **known):
    with progress("test", 1) as bar:
        return function(*arguments, **known, bar=bar)


def outputs_of(student, sequences):
    from kdprobe.probing.interventions.forward import head_outputs, reader

    with reader(student) as reading:
        return run(head_outputs, reading, sequences)


@pytest.fixture
def base(tiny_record):
    from kdprobe.models.load import load

    return load(tiny_record, dtype="float32")


@pytest.fixture
def trained(tiny_student):
    """A student whose adapter changes only attention."""
    return tiny_student(["q_proj", "k_proj", "v_proj", "o_proj"]).load(dtype="float32")


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_exact_ablation_is_that_of_hooks_in_transformer_lens(kind, torch, base, tiny_record, sequences):
    from kdprobe.probing.interventions.exact_effects import exact_effects
    from kdprobe.probing.interventions.forward import reader
    from kdprobe.probing.interventions.replacement import ablated
    from kdprobe.students.bridge import boot
    from kdprobe.students.student import Student

    donor = ablated(outputs_of(base, sequences), kind)
    with reader(base) as reading:
        effects = run(exact_effects, reading, sequences, donor, HEADS, batch_size=3).numpy()

    bridge = boot(Student("base", tiny_record), [one.ids for one in sequences[:2]]).bridge
    inputs = [torch.tensor([one.ids[:-1]]) for one in sequences]
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(SHAPE[0])]
    with torch.inference_mode():
        caches = [bridge.run_with_cache(ids, names_filter=lambda name: name in names)[1] for ids in inputs]
    means = {name: torch.cat([cache[name][0] for cache in caches]).mean(dim=0) for name in names}
    for place, (one, ids) in enumerate(zip(sequences, inputs, strict=True)):

        def log_p(hooks=(), ids=ids, one=one):
            with torch.inference_mode():
                logits = bridge.run_with_hooks(ids, fwd_hooks=list(hooks), return_type="logits")[0, :-1]
            found = logits.double().log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            return np.array([found[one.begin - 1 :].sum(), sum(found[token - 1] for token in one.value)])

        clean = log_p()
        for number, (layer, head) in enumerate(HEADS):

            def replace(z, hook, layer=layer, head=head):
                z[:, :, head] = 0 if kind == "zero" else means[names[layer]][head]
                return z

            expected = log_p([(names[layer], replace)]) - clean
            np.testing.assert_allclose(effects[place, number], expected, atol=1e-4)
    assert np.abs(effects).max() > 0.1


def test_patching_every_head_carries_the_whole_gain(base, trained, sequences):
    """The students differ only in attention, so one with all head outputs of the other equals the other."""
    from kdprobe.probing.interventions.forward import reader
    from kdprobe.probing.interventions.joint_effects import joint_effects
    from kdprobe.probing.interventions.replacement import patched

    better = outputs_of(trained, sequences)
    with reader(base) as reading:
        effect = run(joint_effects, reading, sequences, patched(better), [HEADS], batch_size=2)[:, 0]
    gain = better.log_p - outputs_of(base, sequences).log_p
    np.testing.assert_allclose(effect, gain, atol=1e-4)
    assert gain.abs().min() > 1e-2


def test_sets_of_one_head_have_the_exact_effects(base, trained, sequences):
    from kdprobe.probing.interventions.exact_effects import exact_effects
    from kdprobe.probing.interventions.forward import reader
    from kdprobe.probing.interventions.joint_effects import joint_effects
    from kdprobe.probing.interventions.replacement import patched

    donor = patched(outputs_of(trained, sequences))
    with reader(base) as reading:
        alone = run(exact_effects, reading, sequences, donor, HEADS[::-1], batch_size=3)
        together = run(joint_effects, reading, sequences, donor, [[head] for head in HEADS[::-1]], batch_size=3)
    np.testing.assert_allclose(alone, together, atol=1e-4)


def test_the_screen_is_the_derivative_of_the_exact_effect(torch, base, trained, sequences):
    """The central difference along the direction of the donor equals what one backward pass gives."""
    from kdprobe.probing.interventions.attribution_patching import screened_effects
    from kdprobe.probing.interventions.exact_effects import exact_effects
    from kdprobe.probing.interventions.forward import reader
    from kdprobe.probing.interventions.replacement import Donor, patched

    base.model.double()
    trained.model.double()
    own, other = outputs_of(base, sequences), outputs_of(trained, sequences)
    step = 1e-2
    # With W_O of its own, the way from z to the other's z is straight.
    goal = Donor(other.z, own.matrices)
    ends = []
    with reader(base) as reading:
        slope, itself = (run(screened_effects, reading, sequences, donor) for donor in (goal, patched(own)))
        for way in (step, -step):
            near = Donor([z + way * (there - z) for z, there in zip(own.z, other.z, strict=True)], own.matrices)
            ends.append(run(exact_effects, reading, sequences, near, HEADS, batch_size=8))
    moved = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(slope.flatten(1, 2), moved, rtol=1e-2, atol=5e-3)
    assert slope.abs().max() > 0.1
    # A head that is replaced by itself changes nothing.
    assert itself.abs().max() < 1e-10


def test_what_is_hooked_is_unhooked(torch, base, sequences):
    from kdprobe.probing.interventions.exact_effects import exact_effects
    from kdprobe.probing.interventions.forward import reader
    from kdprobe.probing.interventions.replacement import ablated

    ids = torch.tensor([sequences[0].ids])
    with torch.no_grad():
        before = base.model(input_ids=ids).logits
        with reader(base) as reading:
            donor = ablated(run_outputs(reading, sequences), "zero")
            run(exact_effects, reading, sequences, donor, HEADS, batch_size=8)
        torch.testing.assert_close(base.model(input_ids=ids).logits, before, rtol=0, atol=0)


def run_outputs(reading, sequences):
    from kdprobe.probing.interventions.forward import head_outputs

    return run(head_outputs, reading, sequences)


def architectures():
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    shared = {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
    return {
        "gpt2": transformers.GPT2Config(n_layer=3, n_head=4, n_embd=32, vocab_size=400),
        "gpt-neox": transformers.GPTNeoXConfig(**sizes, vocab_size=400),
        "gemma2": transformers.Gemma2Config(**sizes, **shared, vocab_size=400, sliding_window=16),
        "qwen3": transformers.Qwen3Config(**sizes, **shared, vocab_size=400),
    }


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox", "gemma2", "qwen3"])
def test_restarting_is_exact_in_other_architectures(name, torch, tiny_record, base, sequences):
    """Conv1D projections and biases, parallel residuals, soft caps and sliding windows, norms on queries and keys."""
    from dataclasses import replace

    from transformers import AutoModelForCausalLM

    from kdprobe.probing.interventions.exact_effects import exact_effects
    from kdprobe.probing.interventions.forward import reader
    from kdprobe.probing.interventions.joint_effects import joint_effects
    from kdprobe.probing.interventions.replacement import ablated

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(architectures()[name])
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    other = replace(base, model=model.eval())
    donor = ablated(outputs_of(other, sequences), "mean")
    heads = [(layer, head) for layer in range(3) for head in range(4)]
    with reader(other) as reading:
        alone = run(exact_effects, reading, sequences, donor, heads, batch_size=4)
        together = run(joint_effects, reading, sequences, donor, [[head] for head in heads], batch_size=4)
    np.testing.assert_allclose(alone, together, atol=1e-4)
    assert alone.abs().max() > 1e-2


def test_heads_that_do_not_add_up_are_refused(torch, base, sequences):
    from kdprobe.errors import KdprobeError
    from kdprobe.probing.interventions.exact_effects import exact_effects
    from kdprobe.probing.interventions.forward import reader
    from kdprobe.probing.interventions.replacement import ablated

    class Gated(torch.nn.Linear):
        def forward(self, z):
            return super().forward(z).tanh()

    projection = base.model.model.layers[1].self_attn.o_proj
    projection.__class__ = Gated
    donor = ablated(outputs_of(base, sequences), "zero")
    with reader(base) as reading, pytest.raises(KdprobeError, match="do not add up"):
        run(exact_effects, reading, sequences, donor, HEADS, batch_size=8)


def test_random_sets_have_as_many_heads():
    from kdprobe.probing.interventions.joint_effects import random_sets

    top = [(0, 1), (0, 3), (5, 2)]
    free = random_sets(top, (30, 9), 50, same_layers=False, seed=0)
    bound = random_sets(top, (30, 9), 50, same_layers=True, seed=0)
    for drawn in (*free, *bound):
        assert len(set(drawn)) == 3
        assert all(layer < 30 and head < 9 for layer, head in drawn)
    assert {tuple(sorted(layer for layer, _ in drawn)) for drawn in bound} == {(0, 0, 5)}
    assert len({tuple(drawn) for drawn in free}) > 40
    assert random_sets(top, (30, 9), 3, same_layers=False, seed=1) != free[:3]


def test_heads_can_be_ablated_and_patched_in_students_that_were_probed(tiny_model, make_adapter, problem_files):
    import kdprobe
    from kdprobe.probing import ablated, exact_effects, head_outputs, patched, reader

    options = {name: {"exact": "all", "random_sets": 0, "problems": 2} for name in ("ablation", "patching")}
    probed = kdprobe.probe(
        str(tiny_model),
        adapters={"trained": make_adapter(tiny_model, 0)},
        problems=problem_files[1],
        limit=2,
        analyses=["ablation", "patching"],
        options=options | {"patching": {**options["patching"], "into": ["first"]}},
    )
    base, student = probed.students.values()
    sequences = student.sequences()
    assert student.sequences(limit=1) == base.sequences()[:1] == sequences[:1]
    with reader(student.load(dtype="float32")) as reading:
        outputs = run(head_outputs, reading, sequences)
        lost = run(exact_effects, reading, sequences, ablated(outputs, "mean"), HEADS, batch_size=8)
    with reader(base.load(dtype="float32")) as reading:
        gained = run(exact_effects, reading, sequences, patched(outputs), HEADS, batch_size=8)

    for analysis, name, found in (("ablation", "trained", lost), ("patching", base.name, gained)):
        table = probed.table(analysis, analysis)
        table = table[(table["student"] == name) & (table["method"] == "exact")]
        for target, metric in enumerate(("log_p_gold_solution", "log_p_gold_value")):
            rows = table[table["metric"] == metric].set_index(["problem", "layer", "head"])["value"]
            for index, sequence in enumerate(sequences):
                wanted = [rows[sequence.id, *head] for head in HEADS]
                np.testing.assert_allclose(found[index, :, target], wanted, atol=1e-4)

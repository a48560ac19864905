"""Random updates in place of a student's own: their size, what they leave unchanged, and which students have them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from kdprobe.host.registry import Host
from kdprobe.models.chatter import quiet
from kdprobe.models.reference import resolve
from kdprobe.probing.analysis import AnalysisContext, run_analysis
from kdprobe.probing.attention.moved import count_moved
from kdprobe.probing.attention.threshold import Threshold
from kdprobe.probing.metrics.measure import measure_student
from kdprobe.probing.metrics.metric import head_metrics_of
from kdprobe.students.sequence import problem_sequences
from kdprobe.students.student import Student

TARGETS = ["q_proj", "v_proj", "down_proj", "embed_tokens"]


@pytest.fixture(scope="module")
def sequences(tiny_record, problems):
    from kdprobe.models.load import load_tokenizer

    return problem_sequences(load_tokenizer(tiny_record), problems)


@pytest.fixture(scope="module")
def wide(tiny_model, make_adapter):
    """A LoRA of the embeddings too, without the embeddings themselves, which PEFT would save."""
    with quiet():
        folder = make_adapter(tiny_model, 2, r=3, use_rslora=True, target_modules=TARGETS)
    file = folder / "adapter_model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if ".lora_" in name}, file, {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def students(tiny_model, tiny_record, make_adapter, wide):
    with quiet():
        biased = make_adapter(tiny_model, 3, lora_bias=True)
    return [
        Student("untrained", tiny_record),
        Student("first", tiny_record, make_adapter(tiny_model, 1)),
        Student("wide", tiny_record, wide),
        Student("biased", tiny_record, biased),
        Student("dora", tiny_record, make_adapter(tiny_model, 4, use_dora=True)),
    ]


@pytest.fixture
def bridges(students, sequences):
    from kdprobe.students.bridges import Bridges

    return Bridges(students, [sequence.ids for sequence in sequences[:2]])


def changes(torch, bridged):
    """What the active adapter adds to each weight it changes, `[out, in]`, read off from what the layer computes."""
    found = {}
    for name, module in bridged.take().model.named_modules():
        # Other students' adapters are attached to other layers too.
        if hasattr(module, "lora_A") and any(adapter in module.lora_A for adapter in module.active_adapters):
            every = torch.eye(module.in_features)
            none = torch.zeros(1, module.in_features)
            with torch.inference_mode():
                base = module.get_base_layer()(every)
                bias = module(none) - module.get_base_layer()(none)
                found[name] = (module(every) - base - bias).T.double(), bias[0].double()
    return found


def weights_of(bridged):
    return {name: weight.detach().clone() for name, weight in bridged.take().model.state_dict().items()}


@pytest.mark.parametrize("name", ["first", "wide", "biased", "dora"])
def test_a_random_update_has_the_size_of_the_students_own_and_other_directions(torch, bridges, name):
    assert bridges.has_factors(name)
    own = changes(torch, bridges.boot(name))
    before = weights_of(bridges.boot(name))
    with bridges.randomised(name, "seed") as student:
        random = changes(torch, student)
    assert own.keys() == random.keys() != set()
    for layer, (change, bias) in own.items():
        drawn, drawn_bias = random[layer]
        assert torch.linalg.norm(change) > 0.1
        torch.testing.assert_close(torch.linalg.norm(drawn), torch.linalg.norm(change), rtol=1e-4, atol=0)
        torch.testing.assert_close(torch.linalg.norm(drawn_bias), torch.linalg.norm(bias), rtol=1e-4, atol=1e-5)
        values, drawn_values = torch.linalg.svdvals(change), torch.linalg.svdvals(drawn)
        if name == "dora":
            # Magnitudes give the student's own change full rank; the random one keeps the rank of its factors.
            assert (drawn_values[:2] > 0.01).all()
            assert drawn_values[2:].max() < 1e-4
        else:
            torch.testing.assert_close(drawn_values, values, rtol=1e-3, atol=1e-5)
        cosine = (change * drawn).sum() / torch.linalg.norm(change) ** 2
        assert abs(cosine) < 0.5
    after = weights_of(bridges.boot(name))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_an_embeddings_update_has_the_same_singular_values(torch, bridges):
    def update(bridged):
        (module,) = [one for one in bridged.take().model.modules() if len(getattr(one, "lora_embedding_A", ()))]
        ids = torch.arange(module.get_base_layer().num_embeddings)
        with torch.inference_mode():
            return torch.linalg.svdvals((module(ids) - module.get_base_layer()(ids)).double())

    own = update(bridges.boot("wide"))
    with bridges.randomised("wide", "seed") as student:
        torch.testing.assert_close(update(student), own, rtol=1e-3, atol=1e-5)


def test_a_failure_leaves_the_student_as_it_was(torch, bridges):
    before = weights_of(bridges.boot("dora"))

    def fail():
        with bridges.randomised("dora", "seed") as student:
            assert not all(torch.equal(before[key], value) for key, value in weights_of(student).items())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    after = weights_of(bridges.boot("dora"))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_singular_vectors_are_uniform(torch):
    from kdprobe.models.merging.random_update import redrawn

    generator = torch.Generator().manual_seed(0)
    a, b = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0], [1.5]])
    drawn = torch.stack([torch.matmul(*reversed(redrawn(a, b, generator))) for _ in range(4_000)])
    torch.testing.assert_close(torch.linalg.matrix_norm(drawn), torch.full((4_000,), 3.0).double())
    # Uniform directions: every entry has mean 0 and mean square norm^2 / (2 * 3).
    assert drawn.mean(dim=0).abs().max() < 0.08
    torch.testing.assert_close(drawn.square().mean(dim=0), torch.full((2, 3), 9 / 6).double(), rtol=0.1, atol=0)


@pytest.fixture
def probed(problems):
    host = Host()
    metrics = head_metrics_of(host)

    def probe(students, **options):
        options = {"control": 3, "smallest_effect": 0.01, **options}
        context = AnalysisContext(students=students, problems=problems[:8], head_metrics=metrics)
        analysis = host.build("analyses", "heads", host.options("analyses", "heads", options))
        return run_analysis("heads", analysis, context)

    return probe


def test_random_updates_depend_on_no_other_student_and_change_nothing_else(probed, students):
    untrained, first, wide, biased, _ = students
    one = probed([untrained, first, wide, biased])
    other = probed([untrained, biased, wide, first])
    without = probed([untrained, first, wide, biased], control=0)
    drawn = one.tables["random_updates"]
    assert drawn.columns.tolist() == ["student", "against", "draw", "moved"]
    assert len(drawn) == 9
    again = other.tables["random_updates"].sort_values(["student", "draw"], ignore_index=True)
    assert drawn.sort_values(["student", "draw"], ignore_index=True).equals(again)
    assert drawn["moved"].max() > 0
    assert "random_updates" not in without.tables
    for name in ("heads", "heads_by_problem", "differences"):
        assert one.tables[name].equals(without.tables[name])
    assert one.summary["control"]["first"]["random_updates"] == drawn["moved"][:3].tolist()
    said = "\n".join(one.statements)
    assert said.count("3 random updates of the same size moved") == 3
    assert "the student's update is replaced by one in random directions" in said
    assert "Random weight updates of the same size as a student's own were not tried" in "\n".join(without.statements)


def test_every_student_and_draw_has_random_updates_of_its_own(probed, students, monkeypatch):
    """Students of one arm would otherwise be moved in the same directions, and their mean as much as each of them."""
    from kdprobe.students import bridges as module

    seeds, original = [], module.random_update
    monkeypatch.setattr(module, "random_update", lambda *given: seeds.append(given[2]) or original(*given))
    probed(students[:3])
    assert len(seeds) == len(set(seeds)) == 6


def test_seeds_of_an_arm_are_averaged_as_its_students_are(probed, students, problems):
    untrained, first, wide, *_ = students
    arm = [replace(first, arm="arm", seed=0), replace(wide, arm="arm", seed=1)]
    found = probed([untrained, *arm])
    drawn = found.tables["random_updates"]
    assert drawn["student"].tolist() == ["arm"] * 3
    # The same from the values of each student, under each of its random updates.
    metrics = {"entropy": head_metrics_of(Host())["entropy"]}
    context = AnalysisContext(students=[untrained, *arm], problems=problems[:8])
    base = measure_student(context.bridges.boot("untrained"), context.sequences, metrics, batch_size=8)["entropy"]
    for draw, moved in enumerate(drawn["moved"]):
        values = []
        for student in arm:
            with context.bridges.randomised(student.name, f"0 {student.name} {draw}") as random:
                values.append(measure_student(random, context.sequences, metrics, batch_size=8)["entropy"])
        bar = Threshold(found.summary["threshold"]["value"], stated=False)
        assert bar.value > 0.01
        assert count_moved(np.mean(values, axis=0) - base, bar, permutations=10_000, seed=0) == moved


def test_students_without_a_lora_next_to_their_base_say_that_they_have_no_random_updates(
    probed, students, tiny_model, tiny_record, make_adapter, other_families, tmp_path
):
    folder = tmp_path / "merged"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: weight * 1.05 for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    saved = make_adapter(tiny_model, 6, modules_to_save=["lm_head"])
    untrained, first, *_ = students
    found = probed(
        [
            untrained,
            Student("twin", tiny_record),
            Student("whole", resolve(str(folder))),
            Student("saved", tiny_record, saved),
            first,
        ]
    )
    assert set(found.tables["random_updates"]["student"]) == {"first"}
    said = [sentence for sentence in found.statements if "no random updates" in sentence]
    assert [sentence.split(":")[0] for sentence in said] == ["whole", "saved"]
    assert all("the student's update is not a separate LoRA" in sentence for sentence in said)
    assert not any("DoRA" in sentence for sentence in found.statements)
    # Compared with a trained student, nobody's update is the difference; the untrained student has none.
    found = probed([first, untrained, Student("other", tiny_record, make_adapter(tiny_model, 7))])
    assert "random_updates" not in found.tables
    said = [sentence for sentence in found.statements if "no random updates" in sentence]
    assert len(said) == 1
    assert "other: no random updates, because the student is not compared with the model that it was" in said[0]


def test_a_student_trained_with_dora_is_said_to_have_updates_of_another_rank(probed, students):
    untrained, first, *_, dora = students
    found = probed([untrained, first, dora], control=1)
    (said,) = [sentence for sentence in found.statements if "DoRA" in sentence]
    assert said.startswith("dora: trained with DoRA, whose learned magnitudes can raise the rank of the update above")
    assert said.endswith("the same norm as the student's own, but not the same singular values.")


def test_patterns_from_files_have_no_random_updates(run_cli, tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        patterns = np.tril(random.uniform(0.1, 1, (6, 2, 3, 9, 9)))
        patterns /= patterns.sum(-1, keepdims=True)
        np.savez(tmp_path / f"{name}.npz", **{f"prompt_{index}": prompt for index, prompt in enumerate(patterns)})
    files = [f"--patterns={name}={tmp_path / f'{name}.npz'}" for name in ("a", "b")]
    found = json.loads(run_cli("probe", *files, "--json"))["analyses"]["heads"]
    assert found["control"] == {}
    assert sum("no random updates" in sentence for sentence in found["statements"]) == 1

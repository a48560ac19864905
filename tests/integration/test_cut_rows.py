"""`transfer.tail`: rows cut to what forward KL needs, and the objectives that they are refused to."""

import json
import tomllib

import numpy as np
import pytest

import kdprobe
from kdprobe.errors import KdprobeError

TAIL = 0.3
REFUSED = r"keeps only as many log-probabilities per position as forward KL needs, but the distiller "


@pytest.fixture(scope="module")
def config(torch, tiny_model, tiny_config):
    """A config as data, with rows cut to a tail and other options of the distiller."""
    data = tomllib.loads(tiny_config(tiny_model, strategies='["teacher"]').read_text())

    def make(name="logits", tail=TAIL, **options):
        transfer = {**data["transfer"], "top_logprobs": 300} | ({} if tail is None else {"tail": tail})
        options = {**data["distill"]["options"], **options}
        probe = {**data["probe"], "analyses": []}
        return {**data, "transfer": transfer, "distill": {"name": name, "options": options}, "probe": probe}

    return make


def taught(data, root):
    """The transfer set of an experiment, and the loss at the first step of training on it."""
    from kdprobe.experiment.store import Store
    from kdprobe.transfer.transfer_set import read

    store = Store(root)
    store.prepare()
    arm = next(arm for arm in kdprobe.plan(data, store=root).details.arms if arm.transfer)
    for stage in (arm.transfer, arm.distill):
        store.make(stage)
    history = json.loads((store.folder(arm.distill) / "training.json").read_text())["history"]
    return read(store.folder(arm.transfer)), history[0]["loss"]


def test_an_experiment_keeps_as_few_tokens_as_leave_the_tail(config, tmp_path):
    cut, low = taught(config(temperature=2.0), tmp_path)
    whole, high = taught(config(tail=None, temperature=2.0), tmp_path)
    assert cut.manifest["sampling"]["tail"] == TAIL
    assert whole.manifest["sampling"]["tail"] is None
    for response, complete in zip(cut.responses, whole.responses, strict=True):
        counts = (response.rows.ids >= 0).sum(axis=1)
        assert (counts < 300).all()
        for temperature in (1.0, 2.0):
            assert (np.exp(response.rows.tail_logmass[temperature]) <= TAIL * (1 + 1e-6)).all()
        for row, count in enumerate(counts):
            assert response.rows.ids[row, :count].tolist() == complete.rows.ids[row, :count].tolist()
    # Merging cells can only lower the divergence.
    assert 0 < low < high


@pytest.mark.parametrize("divergence", ["reverse-kl", "skew-kl", "skew-reverse-kl", "jsd"])
def test_other_divergences_are_refused_before_anything_is_captured(config, tmp_path, divergence):
    with pytest.raises(KdprobeError, match=REFUSED + "'logits' needs more"):
        kdprobe.plan(config(divergence=divergence), store=tmp_path)
    assert kdprobe.plan(config(tail=None, divergence=divergence), store=tmp_path)


def test_a_study_with_other_divergences_is_refused_before_it_begins(config, tmp_path):
    data = config()
    space = {"divergence": ["forward-kl", "jsd"]}
    with pytest.raises(KdprobeError, match=REFUSED):
        kdprobe.tune({**data, "tune": {"validation": 2, "space": space}}, store=tmp_path)
    assert not [*tmp_path.glob("stages/*/*")]


def test_a_distiller_that_reads_only_text_takes_them(config, tmp_path):
    assert kdprobe.plan(config("sequence"), store=tmp_path)


def test_a_distiller_of_a_plugin_takes_them_if_it_says_so(config, tmp_path, monkeypatch):
    from kdprobe.distill.builtin import LogitsDistiller

    monkeypatch.delattr(LogitsDistiller, "takes_cut_rows")
    with pytest.raises(KdprobeError, match=REFUSED):
        kdprobe.plan(config(), store=tmp_path)


def test_a_set_captured_for_less_is_refused_by_whoever_trains_on_it(distil, capture_set):
    cut = capture_set(tail=0.2, temperatures=(1.0,))
    assert cut.manifest["sampling"]["tail"] == 0.2
    assert np.isfinite(distil("logits", transfer=cut).adapter_norm)
    with pytest.raises(KdprobeError, match=r"With transfer.tail = 0.2, .* forward KL needs"):
        distil("logits", transfer=cut, divergence="reverse-kl")
    with pytest.raises(KdprobeError, match=r"does not contain the tail mass at temperature 2\.0"):
        distil("logits", transfer=cut, temperature=2.0)

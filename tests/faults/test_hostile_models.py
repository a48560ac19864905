"""Hostile models, GGUF files, adapters and templates: a one-sentence error, in bounded time, without side effects."""

import os
import resource
import shutil
from functools import partial

import pytest
from commands import command
from hostile_models import (
    ADAPTER_CONFIG,
    CONFIG,
    EVIL,
    SPECIAL,
    TEMPLATES,
    TOKENIZER_CONFIG,
    fields,
    gguf_files,
    json_files,
    put,
    special,
    tensors,
)

from kdprobe.testing.models import write_random_adapter

ALL = bool(os.environ.get("KDPROBE_ALL_FAULTS"))
"""Whether every case is tried; otherwise one of each kind."""
SECONDS = 100
MEMORY = 16 * 2**30
JSON = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]


def confined(folder):
    """The setup of a fork: it works, caches and logs in a folder, and its memory and time are limited."""
    os.chdir(folder)
    os.environ.update(KDPROBE_CACHE=f"{folder}/cache", HOME=str(folder), KDPROBE_TEMPLATE_SECONDS="2")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@pytest.fixture(scope="module")
def tried(torch, tiny_model, problem_files, tmp_path_factory):
    """Runs an evaluation for each case: changes to copies of a sound folder, by name. All must give a short error.

    Where a field may be ignored, as one is that nothing reads, it may also end well.
    """
    root = tmp_path_factory.mktemp("hostile")
    adapter = write_random_adapter(tiny_model, root / "adapter")

    def ends_in_a_sentence(arguments, *, ignored):
        work = root / "work"
        work.mkdir()
        asked = ["--problems", problem_files[1], "--limit", 1, "--max-new-tokens", 2, "--batch-size", 1]
        done = command(
            "eval",
            *arguments,
            *asked,
            "--store",
            work / "store",
            folder=root,
            seconds=SECONDS,
            first=partial(confined, work),
        )
        left = {file.name for file in work.iterdir()} - {"cache", "store", ".cache", ".config"}
        shutil.rmtree(work)
        said = [line for line in done.err.splitlines() if line.startswith("kdprobe: ")]
        fine = not left and ((done.code in {1, 2} and said) or (ignored and done.code == 0))
        return None if fine and "Traceback" not in done.err and "please report" not in done.err else (done, left)

    def check(cases, sound=tiny_model, arguments=lambda target: [target], name="target", *, ignored=False):
        cases = list(cases)
        assert cases
        wrong = {}
        for label, change in cases if ALL else cases[:1]:
            target = root / name
            if sound:
                shutil.copytree(sound, target)
            change(target)
            if found := ends_in_a_sentence(arguments(target), ignored=ignored):
                wrong[label] = found
            shutil.rmtree(target) if target.is_dir() and not target.is_symlink() else target.unlink()
        assert not wrong

    check.adapter, check.base = adapter, tiny_model
    return check


def placed(cases):
    """Cases that put a content into a file of the folder."""
    return [
        (label, lambda target, file=file, content=content: put(target / file.name, content))
        for label, file, content in cases
    ]


def with_code(cases):
    """The same, with Python files in the folder that would leave a trace if they were run."""
    return [
        (label, lambda target, change=change: (put(target / "evil.py", EVIL), change(target)))
        for label, change in cases
    ]


def in_place_of(names):
    return [
        (f"{name} is {kind}", lambda target, name=name, kind=kind: special(target / name, kind))
        for name in names
        for kind in SPECIAL
    ]


def test_json_of_a_model_is_damaged(tried, tiny_model):
    tried(placed(json_files(tiny_model, JSON)))


def test_a_configuration_has_absurd_values(tried, tiny_model):
    tried(with_code(placed(fields(tiny_model, "config.json", CONFIG))), ignored=True)


def test_a_tokenizer_has_absurd_values(tried, tiny_model):
    tried(with_code(placed(fields(tiny_model, "tokenizer_config.json", TOKENIZER_CONFIG))), ignored=True)


def test_a_template_is_hostile(tried):
    tried(
        [
            (label, lambda target, text=text: put(target / "chat_template.jinja", text))
            for label, text in TEMPLATES.items()
        ]
    )


def test_weights_are_damaged(tried, tiny_model):
    states = tensors((tiny_model / "model.safetensors").read_bytes())
    tried(
        [
            (label, lambda target, content=content: put(target / "model.safetensors", content))
            for label, content in states.items()
        ]
    )


def test_an_index_of_weights_is_damaged(tried, tiny_model):
    wrong = ['{"weight_map": 5}', '{"weight_map": {"a": "../../x.safetensors"}}', '{"weight_map": {"a": [5]}}']
    index = "model.safetensors.index.json"
    tried(
        placed([*json_files(tiny_model, [index]), *((text, tiny_model / index, text) for text in wrong)]), ignored=True
    )


def test_something_else_is_in_the_place_of_a_file(tried):
    tried(in_place_of(["model.safetensors", "config.json", "tokenizer.json", "extra.json", "chat_template.jinja"]))


def test_a_gguf_file_is_damaged(tried, tmp_path):
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "sound.gguf", "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(32)
    writer.add_head_count(4)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b"])
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), np.float32))
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    states = gguf_files((tmp_path / "sound.gguf").read_bytes())
    damaged = [(label, lambda target, content=content: put(target, content)) for label, content in states.items()]
    others = [(kind, lambda target, kind=kind: special(target, kind)) for kind in SPECIAL]
    tried([*damaged, *others], sound=None, name="target.gguf")


def test_an_adapter_is_damaged(tried):
    adapter = tried.adapter
    ends = ['{"end_ids": 5}', '{"end_ids": ["x"]}', "{}", '{"end_ids": [1e999]}']
    states = tensors((adapter / "adapter_model.safetensors").read_bytes())
    cases = [
        *placed(fields(adapter, "adapter_config.json", ADAPTER_CONFIG)),
        *placed(json_files(adapter, ["adapter_config.json", "kdprobe.json"])),
        *placed((text, adapter / "kdprobe.json", text) for text in ends),
        *(
            (label, lambda target, content=content: put(target / "adapter_model.safetensors", content))
            for label, content in states.items()
        ),
        *in_place_of(["adapter_config.json", "adapter_model.safetensors"]),
    ]
    tried(cases, sound=adapter, arguments=lambda target: [tried.base, "--adapter", target])

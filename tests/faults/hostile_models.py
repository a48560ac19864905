"""Hostile model folders, GGUF files and adapters: each is valid except for one thing."""

import json
import os
import shutil
import struct
from pathlib import Path

DEEP = "[" * 100_000 + "]" * 100_000
HUGE = 10**30
VALUES = {
    "no object": "[1, 2]",
    "a text": '"x"',
    "nothing": "",
    "cut": '{"model_type": "lla',
    "not UTF-8": b'{"model_type": "\xff\xfe"}',
    "deep": DEEP,
    "deep inside": '{"model_type": ' + DEEP + "}",
    "long number": '{"vocab_size": ' + "9" * 10_000 + "}",
}
"""Contents that may replace any JSON file."""
CONFIG = {
    "model_type": [5, ["llama"], "nope", "../../x", {}],
    "hidden_size": ["x", [32], -1, HUGE, 1e300],
    "num_attention_heads": [0, "4", -2, {}],
    "num_hidden_layers": [10**9, "2", -1],
    "vocab_size": [[300], "x", -5, 0],
    "architectures": [3, [3], {"a": 1}],
    "rope_parameters": ["x", {"rope_type": 5}, {"rope_type": "yarn", "factor": "x"}, [1]],
    "quantization_config": [
        [1],
        {"quant_method": 5},
        {"quant_method": "nope"},
        {"quant_method": "gptq", "bits": "x"},
        "x",
    ],
    "auto_map": [{"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}, 5],
    "max_position_embeddings": ["x", -1, [512]],
    "dtype": ["nonsense", 5],
    "eos_token_id": ["x", [[1]], -7],
    "hidden_act": ["nope", 5],
    "rms_norm_eps": ["x", None],
}
"""Fields of `config.json` and values that they must not have."""
TOKENIZER_CONFIG = {
    "model_max_length": ["x", -1],
    "chat_template": [5, {"a": 1}, [1]],
    "auto_map": [{"AutoTokenizer": ["evil.Evil", None]}],
    "tokenizer_class": ["Nope", 5, "../../x"],
    "pad_token": [5, ["x"], {"content": 5}],
    "eos_token": [[1], {"a": 1}],
    "added_tokens_decoder": [5, {"x": 5}],
}
ADAPTER_CONFIG = {
    "peft_type": [5, "NOPE", [1], None],
    "r": ["x", -1, 10**9, [8], 0, 1e300],
    "lora_alpha": [[1], "x", None],
    "target_modules": [5, {"a": 1}, [1, 2], "(x+x+)+y", "(", []],
    "base_model_name_or_path": [5, [1]],
    "rank_pattern": [5, {"q_proj": "x"}],
    "layers_to_transform": ["x", [10**9]],
    "use_dora": ["x", [1]],
}
_MARK = "kdprobe_was_here"
"""The name of a file that hostile code would write into the working folder."""
EVIL = f"open({_MARK!r}, 'w').close()\n"
TEMPLATES = {
    "does not end": "{% if",
    "unknown filter": "{{ messages | nope }}",
    "unknown function": "{{ nope() }}",
    "divides by zero": "{{ 1 / 0 }}",
    "no such message": "{{ messages[99].content.x }}",
    "refuses": "{{ raise_exception('no') }}",
    "attribute attack": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals attack": "{{ cycler.__init__.__globals__.os.system('touch " + _MARK + "') }}",
    "includes a file": "{% include '/etc/passwd' %}",
    "long range": "{% for i in range(10**12) %}{% endfor %}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "doubling": "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "multiplied text": "{{ 'x' * (10 ** 11) }}",
    "large power": "{{ 9 ** (9 ** 9) }}",
    "centred text": "{{ 'x' | center(10 ** 11) }}",
    "indented text": "{{ ('x\n' * 100000) | indent(10 ** 7) }}",
    "formatted text": "{{ '%0100000000000d' % 5 }}",
    "slow expression": "{% for a in range(99999) %}{% for b in range(99999) %}{{ messages | tojson | upper }}"
    "{% endfor %}{% endfor %}",
}


def folder_with(model, target, **files):
    """A copy of a model's folder with files replaced; `None` removes one. `__` in a name stands for a dot."""
    shutil.copytree(model, target)
    for name, content in files.items():
        put(target / name.replace("__", "."), content)
    return target


def put(file, content):
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())


def changed(file, name, value):
    """The text of a JSON file with one field changed."""
    return json.dumps({**json.loads(file.read_text()), name: value})


def json_files(folder, names):
    """Each of these files with each invalid JSON content: name mapped to the file and its content."""
    for name in names:
        for state, content in VALUES.items():
            yield f"{name} is {state}", folder / name, content


def fields(folder, name, values):
    """Each field of a JSON file with each of its values: name mapped to the file and its content."""
    for field, known in values.items():
        for value in known:
            shown = str(value)[:40]
            yield f"{name} {field} = {shown}", folder / name, changed(folder / name, field, value)


def tensors(content):
    """A file of safetensors, damaged in each of these ways."""
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]

    def written(changes=None, text=None):
        raw = (text or json.dumps({**header, **(changes or {})})).encode()
        return struct.pack("<Q", len(raw)) + raw + data

    first = next(name for name in header if name != "__metadata__")
    entry = header[first]
    return {
        "is empty": b"",
        "has half a length": content[:4],
        "has half a header": content[: 8 + size // 2],
        "has half its data": content[: 8 + size + len(data) // 2],
        "has an absurd length": struct.pack("<Q", 2**62) + content[8:],
        "has a header of lists": written(text="[1]"),
        "has a header that is deep": written(text=DEEP),
        "has a header of text": written(text="x" * 50),
        "has an unknown dtype": written({first: {**entry, "dtype": "Q7"}}),
        "has a negative shape": written({first: {**entry, "shape": [-1]}}),
        "has another shape": written({first: {**entry, "shape": [1]}}),
        "has offsets outside": written({first: {**entry, "data_offsets": [0, 2**50]}}),
        "has overlapping tensors": written({first: {**entry, "data_offsets": [4, 8]}}),
        "has a tensor twice": written({f"{first}.other": entry}),
        "is a pickle": b"\x80\x04cposix\nsystem\n(Vtouch " + _MARK.encode() + b"\ntR.",
    }


def gguf_files(sound):
    """GGUF files damaged in each of these ways, from the bytes of a valid one."""
    magic, version = b"GGUF", struct.pack("<I", 3)

    def text(value):
        return struct.pack("<Q", len(value)) + value

    def file(tensors, pairs):
        return magic + version + struct.pack("<QQ", tensors, len(pairs)) + b"".join(pairs)

    architecture = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    states = {
        "is empty": b"",
        "has half a magic": magic[:2],
        "is a magic alone": magic,
        "is of another version": magic + struct.pack("<I", 99) + sound[8:],
        "is of no known kind": b"NOPE" + sound[4:],
        "has 2^60 tensors": magic + version + struct.pack("<QQ", 2**60, 1) + architecture,
        "has 2^60 keys": magic + version + struct.pack("<QQ", 1, 2**60) + architecture,
        "has a key of 2^60 bytes": magic + version + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**60),
        "has a value of no known type": file(0, [text(b"x") + struct.pack("<I", 77)]),
        "has an array of 2^60 texts": file(0, [text(b"x") + struct.pack("<IIQ", 9, 8, 2**60)]),
        "has an array of 2^60 numbers": file(0, [text(b"x") + struct.pack("<IIQ", 9, 4, 2**60)]),
        "has no architecture": file(0, []),
        "has an unknown architecture": file(0, [text(b"general.architecture") + struct.pack("<I", 8) + text(b"nope")]),
        "has a number as architecture": file(0, [text(b"general.architecture") + struct.pack("<II", 4, 5)]),
        "has an architecture alone": file(0, [architecture]),
        "has the same key twice": file(0, [architecture, architecture]),
    }
    cuts = {f"is cut after {share}%": sound[: len(sound) * share // 100] for share in (1, 5, 20, 60, 99)}
    flipped = bytearray(sound)
    flipped[24:600] = bytes(byte ^ 0x55 for byte in flipped[24:600])
    return states | cuts | {"has a damaged header": bytes(flipped)}


def special(target: Path, kind):
    """Replaces a file with something that is not a regular file."""
    target.unlink(missing_ok=True)
    match kind:
        case "a named pipe":
            os.mkfifo(target)
        case "an endless device":
            target.symlink_to("/dev/zero")
        case "a folder":
            target.mkdir()
        case "a loop of links":
            target.symlink_to(target.name)
        case "a dangling link":
            target.symlink_to("nowhere")
        case "a terminal":
            target.symlink_to("/dev/tty")


SPECIAL = ("a named pipe", "an endless device", "a folder", "a loop of links", "a dangling link", "a terminal")

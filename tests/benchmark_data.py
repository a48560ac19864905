"""Small local data in the schema of public benchmarks, in folders where lm-eval's own YAML finds them."""

import json
from pathlib import Path

import lm_eval.tasks
import yaml

SHIPPED = Path(lm_eval.tasks.__file__).parent
_WORDS = ["river", "stone", "amber", "window", "garden", "copper", "lantern", "meadow", "silver", "harbor"]


def write_benchmarks(folder):
    """Writes ARC-Easy, HellaSwag, MMLU, LAMBADA, WikiText and IFEval, a few documents each."""
    _write(folder / "allenai/ai2_arc", {"ARC-Easy": {part: [_arc(part, i) for i in range(6)] for part in _PARTS}})
    _write(folder / "Rowan/hellaswag", {"default": {part: [_swag(i) for i in range(6)] for part in _PARTS[:2]}})
    _write(folder / "cais/mmlu", {name: {"test": _mmlu(name, 3), "dev": _mmlu(name, 5)} for name in _subjects()})
    lambada = [{"text": f"The {_word(i)} stood by the {_word(i + 3)} and saw the {_word(i + 5)}"} for i in range(6)]
    _write(folder / "EleutherAI/lambada_openai", {"default": {"test": lambada}})
    pages = [{"page": f" = {_word(i)} = \n The {_word(i)} , near {_word(i + 1)} . " * (i + 1)} for i in range(5)]
    _write(folder / "EleutherAI/wikitext_document_level", {"wikitext-2-raw-v1": dict.fromkeys(_PARTS, pages)})
    _write(folder / "google/IFEval", {"default": {"train": [_instruction(i) for i in range(4)]}})


_PARTS = ("train", "validation", "test")


def _write(folder, configs):
    """A data set as a local folder, whose README names the files of each configuration, as on the Hub."""
    listed = []
    for name, parts in configs.items():
        (folder / name).mkdir(parents=True)
        for part, rows in parts.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / name / f"{part}.jsonl").write_text(text, encoding="utf-8")
        files = [{"split": part, "path": f"{name}/{part}.jsonl"} for part in parts]
        listed.append({"config_name": name, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': listed})}---\n", encoding="utf-8")


def _word(index):
    return _WORDS[index % len(_WORDS)]


def _arc(part, index):
    question = f"Which {part} thing is number {index}: a {_word(index)} or a {_word(index + 1)}?"
    texts = [_word(index + k) for k in range(4)]
    return {
        "id": f"{part}{index}",
        "question": question,
        "answerKey": "ABCD"[index % 4],
        "choices": {"text": texts, "label": list("ABCD")},
    }


def _swag(index):
    endings = [f"looks at the {_word(index + k)} for {k + 2} days." for k in range(4)]
    return {
        "ind": index,
        "activity_label": "Waiting",
        "ctx_a": f"A man sees a {_word(index)}.",
        "ctx_b": "he",
        "ctx": "",
        "endings": endings,
        "source_id": str(index),
        "split": "val",
        "split_type": "indomain",
        "label": str(index % 4),
    }


def _subjects():
    files = (SHIPPED / "mmlu/default").glob("mmlu_*.yaml")
    return sorted(name for file in files if (name := yaml.safe_load(file.read_text()).get("dataset_name")))


def _mmlu(subject, size):
    return [
        {
            "question": f"In {subject}, is {i} a {_word(i)}?",
            "subject": subject,
            "answer": i % 4,
            "choices": [f"{_word(i + k)} {k}" for k in range(4)],
        }
        for i in range(size)
    ]


def _instruction(index):
    return {
        "key": index,
        "prompt": f"Write about a {_word(index)} without any commas.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    }

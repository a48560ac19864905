"""A user's own multiple-choice task: YAML over a local JSON Lines file."""

import json
from itertools import permutations

YAML = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}} Answer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list: [{{metric: acc}}]
"""


def write_task(folder, name, rows):
    folder.mkdir(exist_ok=True)
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / f"{name}.yaml").write_text(YAML.format(name=name, data=data), encoding="utf-8")


def questions(count):
    words = ["".join(letters) for letters in permutations("river", 5)]
    return [
        {"question": f"What is number {i}?", "choices": [words[(7 * i + 11 * k) % 120] for k in range(8)], "gold": 0}
        for i in range(count)
    ]

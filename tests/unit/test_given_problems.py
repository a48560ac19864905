"""The errors for problems that cannot be used."""

import pytest

import kdprobe
from kdprobe.api.given.inputs import problem_source
from kdprobe.errors import KdprobeError, UsageError


def test_a_problem_file_of_another_type_is_no_plugin(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("question,answer\nWhat is 2 + 2?,#### 4\n")
    with pytest.raises(UsageError, match=r"mine\.csv is not a \.jsonl file\. Write problems as JSON lines"):
        problem_source(None, file, {})


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("{}/none.json", "does not exist. Check the path."),
        ("{}/", "is not a .jsonl file. Write problems as JSON lines"),
    ],
)
def test_a_path_is_not_taken_for_the_name_of_a_plugin(path, said, tmp_path):
    from kdprobe.host.registry import Host

    with pytest.raises(UsageError) as told:
        problem_source(Host(), path.format(tmp_path), {})
    assert said in str(told.value)
    assert "pip install" not in str(told.value)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [("4", "line `#### value`: here `#### 4`."), (4, "here `#### 4`."), ("It is four", "a line `#### value`.")],
)
def test_a_bare_value_is_told_how_to_be_written(answer, hint):
    with pytest.raises(KdprobeError) as told:
        kdprobe.Problem.from_gsm8k("1", {"question": "What is 2 + 2?", "answer": answer})
    assert str(told.value).endswith(hint)

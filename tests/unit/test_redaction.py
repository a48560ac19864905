"""Secrets are left out of files and blacked out in messages; nothing else is changed."""

import pytest

from kdprobe import redaction
from kdprobe.console import note
from kdprobe.console.streams import visible
from kdprobe.errors import KdprobeError
from kdprobe.experiment.stages.stage import Stage
from kdprobe.redaction import said, without_secrets

LIKE_A_KEY = "sk-proj-0123456789abcdefABCDEF"


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(redaction, "_remembered", set())


NAMES = ["api_key", "apiKey", "API-KEY", "openai_api_key", "auth_token", "access_token", "password", "client_secret"]
NAMES += ["secret", "authorization", "hf_token", "secret_key", "db_password", "credentials"]


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_under_the_name_of_a_secret_is_left_out_and_said_by_nobody(name, capsys):
    data = {"model": "m", "inner": [{name: "correct-horse", "n": 1}]}
    assert without_secrets(data) == {"model": "m", "inner": [{"n": 1}]}
    assert visible("it said correct-horse") == "it said [secret]"
    note("Bearer correct-horse!")
    assert capsys.readouterr().err == "Bearer [secret]!\n"


ORDINARY = {
    "max_tokens": 5,
    "tokenizer": "folder",
    "key_variable": "OPENAI_API_KEY",
    "token": "<eos>",
    "end_token": "</s>",
    "custom_prefix_token_id": 3,
    "gold_tokens": "7",
    "key": "a",
    "sort_keys": "b",
    "author": "c",
    "password": None,
    "secret": True,
    "text": "Ask ask-somebody for a risk-free-example-of-a-sum, Basic arithmetic",
    "url": "https://host:8000/v1?model=a@b&top=3",
    "values": [1.5, None, ("x",)],
}


def test_all_else_is_left_as_it_is():
    assert without_secrets(ORDINARY) == ORDINARY
    assert said(str(ORDINARY)) == str(ORDINARY)


@pytest.mark.parametrize("name", ["header", "headers", "extra_headers", "default-headers"])
def test_headers_that_are_keys_are_left_out(name):
    headers = {"X-Api-Key": "abcdefgh", "Authorization": "Bearer zyxwvuts", "Cookie": "a=bcdefg", "X-Key": "12345678"}
    assert without_secrets({name: {**headers, "Accept": "text/plain"}}) == {name: {"Accept": "text/plain"}}
    assert said("abcdefgh zyxwvuts 12345678") == "[secret] [secret] [secret]"
    # A text of headers is not taken apart.
    assert without_secrets({name: '{"X-Api-Key": "abcdefgh"}'}) == {}


@pytest.mark.parametrize(
    ("address", "left", "secrets"),
    [
        ("https://me:p%40ssword@host/v1", "https://host/v1", ["p%40ssword", "p@ssword"]),
        ("http://token-of-mine@host:8000", "http://host:8000", ["token-of-mine"]),
        ("https://host/v1?key=abcdefgh&n=1", "https://host/v1?key=&n=1", ["abcdefgh"]),
        ("https://host/?api-key=abcdefgh#x", "https://host/?api-key=#x", ["abcdefgh"]),
    ],
)
def test_users_and_keys_in_addresses_are_left_out(address, left, secrets):
    assert without_secrets({"base_url": address}) == {"base_url": left}
    for secret in secrets:
        assert secret not in said(f"Cannot reach {address}: {secret} is wrong")


def test_what_looks_like_a_key_under_another_name_is_refused():
    with pytest.raises(KdprobeError, match=r"teacher\.options\.pass looks like a secret key") as refused:
        without_secrets({"teacher": {"options": {"pass": LIKE_A_KEY}}})
    assert LIKE_A_KEY not in str(refused.value)
    assert said(LIKE_A_KEY) == "[secret]"


def test_a_key_of_digits_and_a_short_one_are_left_out_too():
    assert without_secrets({"api_key": 1234567890, "password": "abc"}) == {}
    assert said("1234567890") == "[secret]"
    assert said("abc of sums") == "abc of sums"


def test_secrets_of_the_environment_are_not_said(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "from-the-environment")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-is-no-secret")
    redaction._of_environment.cache_clear()
    try:
        assert said("from-the-environment, false-is-no-secret") == "[secret], false-is-no-secret"
    finally:
        monkeypatch.undo()
        redaction._of_environment.cache_clear()


def test_a_config_s_secrets_are_in_no_record_and_no_message(tmp_path, capsys):
    from kdprobe.cli import _run
    from kdprobe.experiment.config import Experiment, to_data

    def config(key):
        options = {"base_url": f"https://me:{key}@host/v1", "api_key": key, "headers": {"X-Key": key, "Accept": "*/*"}}
        data = {"name": "x", "problems": {"source": "jsonl", "transfer": 1, "test": 1}, "strategies": ["none"]}
        return Experiment.model_validate({**data, "teacher": {"name": "served", "options": options}})

    record = to_data(config("correct-horse"))
    assert record["teacher"]["options"] == {"base_url": "https://host/v1", "headers": {"Accept": "*/*"}}
    # The run's name is made of it.
    assert to_data(config("battery-staple")) == record
    file = tmp_path / "x.toml"
    file.write_text('name = "x"\n[teacher.options]\napi_key = "staple-of-horses"\nbatch_size = "staple-of-horses"\n')
    assert _run(["plan", str(file), "--store", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "(got '[secret]')" in err
    assert "staple-of-horses" not in err


def test_a_stage_has_one_key_whichever_secrets_it_was_given():
    def stage(**options):
        return Stage("transfer", "none", {"teacher": {"url": "https://host", **options}}, (), print)

    assert stage(api_key="one").key == stage(api_key="two").key == stage().key
    assert stage(url="https://me:one@host").key == stage().key
    assert stage(url="https://other").key != stage().key
    assert stage(api_key="one").settings == {"teacher": {"url": "https://host"}}

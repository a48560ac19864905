"""A scripted server, and options that point to it."""

import pytest
from served import ServedModel, serving

from kdprobe.models import load_tokenizer
from kdprobe.testing import host_with

pytest_plugins = ["kdprobe.testing"]


@pytest.fixture(scope="session")
def tokenizer(tiny_record):
    return load_tokenizer(tiny_record)


@pytest.fixture
def server(tokenizer):
    with serving(ServedModel(tokenizer)) as running:
        yield running


@pytest.fixture
def options(server, tiny_model, monkeypatch):
    """Options for the server, without waiting between attempts."""
    monkeypatch.setattr("kdprobe_openai.server.FIRST_WAIT", 0.01)
    return {"base_url": server.url, "model": "small", "tokenizer": str(tiny_model), "timeout": 2}


@pytest.fixture
def make(options):
    """A teacher, with further options."""
    host = host_with("kdprobe_openai")
    return lambda **more: host.create("teachers", "openai", {**options, **more})

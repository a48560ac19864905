"""A chat completion, and how the teacher `openai` and lm-eval's chat model read one, without a network."""

import copy
import json
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from unittest.mock import patch

from kdprobe.errors import KdprobeError
from kdprobe.files import json_of
from kdprobe.models.load import load_tokenizer
from kdprobe.models.reference import resolve
from kdprobe.teachers import Request, Sampling
from kdprobe.teachers.checking import checked
from kdprobe.transfer.codec import Layout, from_table, to_table
from kdprobe.transfer.dictionary import Dictionary

PLUGIN = Path(__file__).parents[1] / "plugins" / "kdprobe-openai"
SAMPLING = Sampling(max_new_tokens=64, top_logprobs=6)


def chat_completion(folder):
    """The reply of a server whose model is in a folder, with log-probabilities and everything else that is read."""
    sys.path[:0] = [path for path in (str(PLUGIN / "src"), str(PLUGIN / "tests")) if path not in sys.path]
    from served import ServedModel

    reply = ServedModel(load_tokenizer(resolve(str(folder)))).answer({"top_logprobs": 6, "logprobs": True})
    reply["choices"][0] |= {"index": 0}
    reply["usage"]["completion_tokens_details"] = {"reasoning_tokens": 0}
    return json.dumps({**reply, "prompt_token_ids": [1, 5, 7]}).encode()


@cache
def _teacher(folder):
    from kdprobe.testing import host_with

    told = {"base_url": "http://nowhere/v1", "model": "any", "tokenizer": str(folder), "attempts": 1}
    teacher = host_with("kdprobe_openai").create("teachers", "openai", told)
    assert teacher._tokens.texts
    return teacher


def read_by_teacher(file):
    """Reads a reply as in the capture of a transfer set, up to the table that is written."""
    import httpx

    from kdprobe_openai.server import Server

    async def reply(*_):
        return httpx.Response(200, content=file.read_bytes())

    # What it learns of its server it is not to keep.
    teacher = copy.copy(_teacher(file.parents[1]))
    requests = [Request("p", [{"role": "user", "content": "What is 3 + 4?"}])]
    with patch.object(Server, "_reply", reply), patch("httpx.AsyncClient", lambda **_: nullcontext()):
        responses = list(checked(requests, teacher.respond(requests, SAMPLING)))
    from_table(to_table(responses, Layout.of(responses, 400)), Dictionary.empty(400))


def completions(_folder):
    """The reply of a server to three plain prompts."""
    return json.dumps({"choices": [{"index": index, "text": f"It is {index}."} for index in (2, 0, 1)]}).encode()


def chat_by_lm_eval(file):
    """Reads a reply as an evaluation reads a chat completion."""
    (text,) = _by_lm_eval("LocalChatCompletion", file)
    assert text is None or isinstance(text, str)


def texts_by_lm_eval(file):
    """Reads a reply as an evaluation reads completions."""
    assert all(isinstance(text, str) for text in _by_lm_eval("LocalCompletionsAPI", file))


def _by_lm_eval(kind, file):
    from lm_eval.models import openai_completions

    from kdprobe.evaluation.recording import Recording

    recorded = type("Recorded", (Recording, getattr(openai_completions, kind)), {})
    model = recorded.__new__(recorded)
    model.think_end_token = None
    try:
        reply = json_of(file.read_bytes())
    except ValueError as error:
        raise KdprobeError("The reply is not JSON.") from error
    return model.parse_generations(reply)

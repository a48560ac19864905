"""Options of the teacher `openai`."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

OWN_FIELDS = frozenset(
    {"model", "messages", "temperature", "top_p", "seed", "n", "stream", "logprobs", "top_logprobs"}
    | {"max_tokens", "max_completion_tokens"}
)
"""Fields that kdprobe sets in a request; `extra` must not override them."""


class ServerOptions(BaseModel):
    """Which server and model answer, and how they are queried."""

    model_config = ConfigDict(extra="forbid")

    base_url: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="The server's address up to /v1, such as http://localhost:8000/v1; or a list of the addresses of "
        "servers that run the same model and share the requests."
    )
    model: str = Field(description="The server's name for the model.")
    tokenizer: str = Field(
        description="A model with the student's tokenizer (alias, folder, GGUF file or Hub id): usually the student's."
    )
    tokenizer_revision: str | None = Field(default=None, description="The tokenizer's commit on the Hub.")
    revision: str | None = Field(
        default=None,
        description="Your label for the current version of the server's model. A server cannot prove which weights it "
        "runs, so change this when they change; the teacher is then queried again.",
    )
    key_variable: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="The environment variable that holds the key, never the key itself.",
    )
    log_probabilities: Literal["auto", "required", "never"] = Field(
        default="auto",
        description="required: reject a server whose log-probabilities cannot be used; never: use only text; auto: if "
        "most answers have usable ones, leave out the answers that lack them; otherwise use only text, from which only "
        "the distiller `sequence` can learn.",
    )
    unscaled: bool = Field(
        default=False,
        description="The server's log-probabilities are those at temperature 1, whatever temperature it samples at. "
        "Set this only if it is true of your server. To sample at a temperature other than 0 or 1, either set it or "
        "use only text.",
    )
    concurrency: int = Field(default=8, ge=1, description="Number of concurrent requests to each server.")
    requests_per_minute: float | None = Field(default=None, gt=0, description="Maximum rate of each server.")
    attempts: int = Field(default=6, ge=1, description="Attempts per request before the capture gives up.")
    timeout: float = Field(
        default=300, gt=0, description="Seconds without data from the server after which a request fails."
    )
    deadline: float = Field(default=3600, gt=0, description="Maximum time for one answer, in seconds.")
    largest_answer: float = Field(default=512, gt=0, description="Largest answer, in megabytes.")
    over_budget: int = Field(
        default=16,
        ge=0,
        description="Tokens by which an answer, without its thinking, may exceed the token budget; servers count "
        "differently.",
    )
    longest_wait: float = Field(
        default=300,
        gt=0,
        description="Longest wait, in seconds, that the server may ask for; if it asks for more, the capture gives up.",
    )
    budget_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="The server's field for the token budget."
    )
    leave_out: tuple[Literal["temperature", "top_p", "seed"], ...] = Field(
        default=(), description="Fields not to send, for servers that reject them; the server's own values then apply."
    )
    reasoning: Literal["drop", "prepend"] = Field(
        default="drop",
        description="How much of the thinking before an answer is taught to students. drop: none, and a warning says "
        "for how many answers; prepend: all of it, as the chat template of `tokenizer` writes it.",
    )
    extra: dict[str, Any] = Field(default_factory=dict, description="Additional fields of every request.")

    @field_validator("base_url")
    @classmethod
    def _are_addresses(cls, urls: str | list[str]) -> str | list[str]:
        found = [_address(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if len(set(found)) < len(found):
            raise ValueError("must not name a server twice")
        return found[0] if isinstance(urls, str) else found

    @field_validator("extra")
    @classmethod
    def _says_nothing_twice(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(OWN_FIELDS & extra.keys()):
            raise ValueError(f"must not contain {', '.join(taken)}, which the experiment sets")
        return extra

    @property
    def addresses(self) -> list[str]:
        """The addresses of all servers."""
        return [self.base_url] if isinstance(self.base_url, str) else self.base_url

    @property
    def servers(self) -> str:
        """All addresses, for messages."""
        return ", ".join(self.addresses)

    @property
    def one_server(self) -> str:
        """The server that a request went to, as the subject of a message; of several, it is unknown which."""
        return f"The server {self.servers}" if len(self.addresses) == 1 else f"One of the servers {self.servers}"


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must start with http:// or https:// and a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "must not contain a user name, key or query, because the address is saved; use key_variable for a key"
        )
    return url.rstrip("/")

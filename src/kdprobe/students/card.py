"""Model cards in Hugging Face's form: what a student is made of, how it was trained, and how well it did.

The metadata are those of https://huggingface.co/docs/hub/model-cards; a card never contains a local path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kdprobe.models.merging.files import write_base
from kdprobe.models.public_names import described, public_name
from kdprobe.models.reference import ModelRecord

CARD = "README.md"


@dataclass(frozen=True)
class Score:
    """A student's accuracy on the test problems of a run or of an evaluation.

    Attributes:
        dataset: Where the problems are from.
        dataset_id: The same as an id on the Hub, or `None`.
        correct: Number of correct answers.
        n: Number of answers.
        low: Lower end of the 95% interval of the accuracy, as a share.
        high: Upper end.
        extractor: What read the answers.
        samples: Number of answers to each problem.
    """

    dataset: str
    dataset_id: str | None
    correct: int
    n: int
    low: float
    high: float
    extractor: str
    samples: int = 1

    @property
    def sentence(self) -> str:
        """The score in words."""
        accuracy = f"{self.correct / self.n:.1%}, 95% CI {self.low:.1%} to {self.high:.1%}"
        if self.samples > 1:
            return (
                f"Of {self.n} answers to test problems from {self.dataset} ({self.samples} sampled per problem), "
                f"{self.correct} are correct ({accuracy}, over problems); answers were read by the extractor "
                f"`{self.extractor}`."
            )
        return (
            f"It solved {self.correct} of {self.n} test problems from {self.dataset} ({accuracy}); "
            f"answers were read by the extractor `{self.extractor}`."
        )


@dataclass(frozen=True)
class Card:
    """What a card says about a student.

    Attributes:
        name: The student's name.
        base: The model that it was trained from.
        library: What loads it: `peft` for an adapter, `transformers` for a whole model.
        methods: How its weights were changed, such as `LoRA`; empty for the base itself.
        training: How it was trained: a row for each fact; empty if that is not known.
        datasets: Ids on the Hub of the data that it was trained on.
        caution: What everyone who uses it must know; usually empty.
        score: How well it did, if it has been tested.
        run: The run that it belongs to, if it has one.
        config: That run's config as TOML, without secrets.
    """

    name: str
    base: ModelRecord
    library: Literal["peft", "transformers"]
    methods: Sequence[str]
    training: Mapping[str, str]
    datasets: Sequence[str] = ()
    caution: str = ""
    score: Score | None = None
    run: str = ""
    config: str = ""

    @property
    def text(self) -> str:
        """The card: metadata in YAML, then Markdown."""
        rows = "\n".join(f"| {key} | {_cell(value)} |" for key, value in self.training.items())
        parts = [
            f"---\n{self._metadata}\n---\n\n# {self.name}",
            f"**{self.caution}**" if self.caution else "",
            self._kind,
            self.score.sentence if self.score else "",
            f"## Training\n\n| | |\n| --- | --- |\n{rows}" if rows else "",
            self._reproduction,
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    @property
    def _kind(self) -> str:
        base, adapter = described(self.base), f"An adapter ({', '.join(self.methods)})"
        if self.library == "peft":
            return f"{adapter} for {base}."
        return f"{adapter} merged into {base}." if self.methods else f"A copy of {base}, without any training."

    @property
    def _reproduction(self) -> str:
        if not self.training:
            return "It was exported after an evaluation with kdprobe, which does not know how it was trained."
        if not self.run:
            return (
                "This card was written during training; `kdprobe export RUN/ARM --adapter FOLDER` writes one with the "
                "student's score and the config of its run."
            )
        return (
            f"## Reproduce\n\nIt is an arm of the kdprobe run `{self.run}`. With this config as `config.toml`:\n\n"
            f"```bash\nkdprobe run config.toml\n```\n\n```toml\n{self.config.strip()}\n```"
        )

    @property
    def _metadata(self) -> str:
        from huggingface_hub import EvalResult, ModelCardData

        results = None
        if self.score:
            results = [
                EvalResult(
                    task_type="text-generation",
                    dataset_type=self.score.dataset_id or self.score.dataset,
                    dataset_name=self.score.dataset,
                    metric_type="accuracy",
                    metric_name=f"Accuracy (95% CI {self.score.low:.4f} to {self.score.high:.4f}, n = {self.score.n})",
                    metric_value=self.score.correct / self.score.n,
                )
            ]
        data = ModelCardData(
            base_model=self.base.hub_id,
            library_name=self.library,
            pipeline_tag="text-generation",
            tags=[
                "kdprobe",
                *(["knowledge-distillation"] if self.training else []),
                *(method.lower() for method in self.methods),
            ],
            datasets=list(self.datasets) or None,
            model_name=self.name if results else None,
            eval_results=results,
        )
        return str(data.to_yaml()).strip()


def write_adapter_card(adapter: Path, card: Card) -> None:
    """Writes a card into an adapter's folder, and the base's public name into the adapter's configuration.

    It replaces the base name written by the program that created the configuration.
    """
    (adapter / CARD).write_text(card.text, encoding="utf-8")
    write_base(adapter, public_name(card.base))


def _cell(value: str) -> str:
    return " ".join(value.replace("|", "\\|").split())

"""Models: resolving names to weights, loading, conversations as token ids, and merging adapters."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports
from kdprobe.models.conversation import Conversation, prompt_ids, prompt_text, tokenizer_digest
from kdprobe.models.outline.device import concrete_dtype, default_device
from kdprobe.models.outline.tokenizers import TokenizerMatch, match_tokenizers
from kdprobe.models.processes import count as process_count
from kdprobe.models.reference import SMOLLM2, Dtype, ModelRecord, resolve
from kdprobe.models.thinking import served_thinking, split_thinking, without_thinking, written_text
from kdprobe.models.turn import is_end, response_ids

if TYPE_CHECKING:
    from kdprobe.models.adapters import AdapterRecord, resolve_adapter
    from kdprobe.models.batching import left_padded, right_padded
    from kdprobe.models.chatter import quiet
    from kdprobe.models.load import LoadedModel, declared_end_ids, load_tokenizer, model_folder
    from kdprobe.models.load import load as load_model
    from kdprobe.models.merging.files import lies_beside as only_adds
    from kdprobe.models.merging.merge import merge
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.models.adapters": ["AdapterRecord", "resolve_adapter"],
            "kdprobe.models.batching": ["left_padded", "right_padded"],
            "kdprobe.models.load": [
                "LoadedModel",
                "declared_end_ids",
                "load as load_model",
                "load_tokenizer",
                "model_folder",
            ],
            "kdprobe.models.merging.files": ["lies_beside as only_adds"],
            "kdprobe.models.merging.merge": ["merge"],
            "kdprobe.models.chatter": ["quiet"],
        },
    )

__all__ = [
    "SMOLLM2",
    "AdapterRecord",
    "Conversation",
    "Dtype",
    "LoadedModel",
    "ModelRecord",
    "TokenizerMatch",
    "concrete_dtype",
    "declared_end_ids",
    "default_device",
    "is_end",
    "left_padded",
    "load_model",
    "load_tokenizer",
    "match_tokenizers",
    "merge",
    "model_folder",
    "only_adds",
    "process_count",
    "prompt_ids",
    "prompt_text",
    "quiet",
    "resolve",
    "resolve_adapter",
    "response_ids",
    "right_padded",
    "served_thinking",
    "split_thinking",
    "tokenizer_digest",
    "without_thinking",
    "written_text",
]

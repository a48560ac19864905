"""Evaluation: models answer problems through lm-eval, all under one protocol, with a record per problem."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports

if TYPE_CHECKING:
    from kdprobe.evaluation.engines.engine import Decoded, Decoding, Engine, EngineStudent, Scored
    from kdprobe.evaluation.lm_eval_run import evaluate
    from kdprobe.evaluation.protocol import Protocol
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.evaluation.engines.engine": ["Decoded", "Decoding", "Engine", "EngineStudent", "Scored"],
            "kdprobe.evaluation.lm_eval_run": ["evaluate"],
            "kdprobe.evaluation.protocol": ["Protocol"],
        },
    )

__all__ = ["Decoded", "Decoding", "Engine", "EngineStudent", "Protocol", "Scored", "evaluate"]

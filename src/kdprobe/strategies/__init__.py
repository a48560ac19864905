"""Strategies: how a problem is put to the teacher (primed) and to the student (by default bare)."""

from kdprobe.strategies.prompt_pair import Message, PromptPair, Strategy, bare

__all__ = ["Message", "PromptPair", "Strategy", "bare"]

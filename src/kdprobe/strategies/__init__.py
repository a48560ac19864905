"""Strategies: the prompts for a problem, for the teacher (primed) and for the student (bare by default)."""

from kdprobe.strategies.prompt_pair import Message, PromptPair, Strategy, bare

__all__ = ["Message", "PromptPair", "Strategy", "bare"]

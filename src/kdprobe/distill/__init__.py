"""Distillation: objectives, the trainer, and the built-in distillers.

Submodules are imported by name (`kdprobe.distill.objectives`), so that listing plugins needs no torch.
"""

"""Models: what a name stands for, exactly; loading it; turning a conversation into token ids.

Submodules are imported by name, so that resolving a model needs no torch.
"""

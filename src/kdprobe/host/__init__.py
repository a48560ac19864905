"""The plugin host: hook specifications, the records that hooks return, guarded discovery.

Built-ins register through the same hooks as third-party packages. Nothing here imports torch.
"""

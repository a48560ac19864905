"""The plugin host: every installed plugin by kind and name, and the number of the hook API.

Built-ins register through the same hooks as third-party packages. Nothing here imports torch.
"""

from typing import TYPE_CHECKING

from kdprobe.host.hook_api import HOOK_API, OLDEST_HOOK_API
from kdprobe.lazy import lazy_exports

if TYPE_CHECKING:
    from kdprobe.host.registry import Host
else:
    __getattr__, __dir__ = lazy_exports(__name__, {"kdprobe.host.registry": ["Host"]})

__all__ = ["HOOK_API", "OLDEST_HOOK_API", "Host"]

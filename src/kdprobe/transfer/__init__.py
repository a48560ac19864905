"""Transfer sets: captures a teacher's answers under one strategy, and reads them back."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports

if TYPE_CHECKING:
    from kdprobe.transfer.capture import Setting
    from kdprobe.transfer.capture import capture as capture_transfer_set
    from kdprobe.transfer.responses import Responses
    from kdprobe.transfer.transfer_set import TransferSet
    from kdprobe.transfer.transfer_set import read as read_transfer_set
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.transfer.capture": ["Setting", "capture as capture_transfer_set"],
            "kdprobe.transfer.responses": ["Responses"],
            "kdprobe.transfer.transfer_set": ["TransferSet", "read as read_transfer_set"],
        },
    )

__all__ = ["Responses", "Setting", "TransferSet", "capture_transfer_set", "read_transfer_set"]

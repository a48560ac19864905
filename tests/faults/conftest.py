"""Everything in this folder damages, kills or attacks something, and is run by `make faults`."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    """Marks the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)

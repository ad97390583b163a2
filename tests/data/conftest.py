"""A client that fetches from the loopback interface."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fetch_client import Client

# Whatever proxy the machine has, the loopback interface is this side of it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


@pytest.fixture
def client(tmp_path: Path) -> "Client":
    """Fetches into a folder of its own."""
    from fetch_client import Client

    return Client(tmp_path / "downloads")

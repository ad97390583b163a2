"""Lets the tests here import photo_samples, loopback and fetch_client, whatever pytest's import mode."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fetch_client import Client

sys.path.insert(0, str(Path(__file__).parent))

# Whatever proxy the machine has, the loopback interface is this side of it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


@pytest.fixture
def client(tmp_path: Path) -> "Client":
    """Fetches into a folder of its own."""
    from fetch_client import Client

    return Client(tmp_path / "downloads")

"""Lets the tests here import photo_samples and loopback, whatever pytest's import mode."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# Whatever proxy the machine has, the loopback interface is this side of it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

"""Kaggle's competition: its address, the credentials of Kaggle's own clients, and what its refusals mean."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase, HTTPBasicAuth

from cvd.runtime.errors import InputError

COMPETITION = "dogs-vs-cats"
RULES = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"
_ENDPOINT = "https://www.kaggle.com"
_HOW_TO = (
    "make a token at https://www.kaggle.com/settings under API, and put it into ~/.kaggle/access_token "
    "or the environment's KAGGLE_API_TOKEN"
)


@dataclass(frozen=True)
class Credentials:
    """What authenticates a request, and the file or variable that it comes from."""

    auth: AuthBase
    origin: str


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def find_address() -> str:
    """Build the address of all of the competition's files in one zip; KAGGLE_API_ENDPOINT changes the host."""
    endpoint = os.environ.get("KAGGLE_API_ENDPOINT", _ENDPOINT).rstrip("/")
    return f"{endpoint}/api/v1/competitions/data/download-all/{COMPETITION}"


def is_kaggle(url: str) -> bool:
    """True for an address of Kaggle's host, which alone is given credentials."""
    return urlsplit(url)[:2] == urlsplit(find_address())[:2]


def find_credentials() -> Credentials:
    """Look where Kaggle's clients look (kaggle 2.2, kagglehub 1.0), in their order.

    KAGGLE_API_TOKEN, a token or a file that holds one; ~/.kaggle/access_token; KAGGLE_USERNAME and KAGGLE_KEY;
    kaggle.json in KAGGLE_CONFIG_DIR, ~/.kaggle or $XDG_CONFIG_HOME/kaggle; a valid login of `kaggle auth login`.

    Raises:
        InputError: there are none, or a file of them is damaged.
    """
    token = os.environ.get("KAGGLE_API_TOKEN", "")
    if token and not _is_file(token):
        return Credentials(_Bearer(_check(token, "KAGGLE_API_TOKEN")), "KAGGLE_API_TOKEN")
    home = Path.home() / ".kaggle"
    for path in [Path(token)] if token else [home / "access_token", home / "access_token.txt"]:
        if path.is_file() and (text := _read(path)):
            return Credentials(_Bearer(_check(text, str(path))), str(path))
    if credentials := _find_key() or _find_login(home / "credentials.json"):
        return credentials
    raise InputError(f"data.source kaggle needs your Kaggle credentials, and there are none: {_HOW_TO}")


def explain_refusal(status: int, message: str, origin: str = "") -> str:
    """Say what to do about Kaggle's refusal; `origin` of the credentials is "" for other hosts."""
    if "rules" in message or (origin and status == 403):
        return f"accept the competition's rules at {RULES} once, with the account that the credentials are of"
    return f"the credentials in {origin} are not valid: {_HOW_TO}" if origin and status == 401 else ""


def _find_key() -> Credentials | None:
    """Find the older pair of user name and key, in the environment before the file."""
    path, origin = _find_config_folder() / "kaggle.json", "KAGGLE_USERNAME and KAGGLE_KEY"
    pair = {name: os.environ.get(f"KAGGLE_{name.upper()}", "") for name in ("username", "key")}
    if not all(pair.values()) and path.is_file():
        filed, origin = _read_json(path), str(path)
        pair = {name: value or str(filed.get(name, "")) for name, value in pair.items()}
    if not any(pair.values()):
        return None
    for name, value in pair.items():
        if not value:
            raise InputError(f"Kaggle's credentials in {origin} lack the {name}: {_HOW_TO}")
    return Credentials(HTTPBasicAuth(*(_check(value, origin) for value in pair.values())), origin)


def _find_config_folder() -> Path:
    if given := os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(given)
    home = Path.home() / ".kaggle"
    return home if home.exists() else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"


def _find_login(path: Path) -> Credentials | None:
    if not path.is_file():
        return None
    filed = _read_json(path)
    try:
        end = datetime.fromisoformat(str(filed["access_token_expiration"]))
        if end.replace(tzinfo=end.tzinfo or UTC) > datetime.now(UTC):
            return Credentials(_Bearer(_check(str(filed["access_token"]), str(path))), str(path))
    except (KeyError, ValueError):
        pass
    raise InputError(f"Kaggle's login in {path} has expired: run `kaggle auth login` again, or {_HOW_TO}")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        filed = json.loads(_read(path))
    except json.JSONDecodeError:
        filed = None
    if not isinstance(filed, dict):
        raise InputError(f"Kaggle's credentials in {path} are not a JSON object: {_HOW_TO}")
    return filed


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Kaggle's credentials in {path} cannot be read: {error}") from error


def _check(secret: str, origin: str) -> str:
    secret = secret.strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise InputError(f"Kaggle's credentials in {origin} hold characters that no token has: {_HOW_TO}")
    return secret

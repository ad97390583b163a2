"""Kaggle's competition by Kaggle's own SDK: where its file is at the moment, credentials, and what refusals mean.

kagglesdk knows the service's host and route, reads tokens, and renews a login. It hands out an open reply and leaves
the file to its caller, so `fetch` does the rest: it tries again, resumes, checks and keeps. kagglehub 1.0, which stands
on it, tries once, resumes without If-Range, takes no known hash, and unpacks the archive and deletes it.
"""

import errno
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests

from cvd.data.sources import replies
from cvd.data.sources.partials import UnfinishedError
from cvd.data.sources.replies import PassingError
from cvd.runtime.errors import InputError

COMPETITION = "dogs-vs-cats"
PAGE = f"https://www.kaggle.com/competitions/{COMPETITION}/data"
AGENT = "cvd"  # how this client names itself
RULES = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"
_HOW_TO = (
    "make a token at https://www.kaggle.com/settings under API, and put it into ~/.kaggle/access_token "
    "or the environment's KAGGLE_API_TOKEN"
)


@dataclass(frozen=True)
class Credentials:
    """A token, or the older pair of user name and key, and the file or variable that it comes from."""

    origin: str
    token: str | None = None
    username: str | None = None
    key: str | None = None


def locate_archive(name: str) -> str:
    """Ask Kaggle for the address of all of the competition's files in one zip: it holds for minutes, and for anyone.

    `name` stands for the file in messages.

    Raises:
        PassingError: the service is busy or broken.
        UnfinishedError: there are no valid credentials, or the service refuses.
        requests.RequestException: the service cannot be reached.
    """
    from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest
    from kagglesdk.kaggle_client import KaggleClient

    try:
        given = find_credentials()
    except InputError as error:
        raise UnfinishedError(str(error)) from error  # what has come stays
    request = ApiDownloadDataFilesRequest()
    request.competition_name = COMPETITION
    try:
        with (
            KaggleClient(
                api_token=given.token, username=given.username, password=given.key, user_agent=AGENT
            ) as client,
            client.competitions.competition_api_client.download_data_files(request) as reply,
        ):
            if not reply.history:
                raise UnfinishedError(f"{name} cannot be fetched: Kaggle names no address: get it at {PAGE}")
            return str(reply.url)
    except requests.HTTPError as error:
        if error.response is None:
            raise
        with error.response as reply:
            if reply.history:  # it has named one, whose server refuses: no fault of the credentials
                raise PassingError(f"Kaggle's storage answers {reply.status_code}") from error
            is_json = "application/json" in reply.headers.get("Content-Type", "")  # the SDK has read it
            message = replies.find_message(reply.content) if is_json else ""
            replies.refuse(reply, name, partial(explain_refusal, origin=given.origin), message)


def find_credentials() -> Credentials:
    """Look where Kaggle's clients look (kaggle 2.2, kagglehub 1.0), in their order.

    KAGGLE_API_TOKEN, a token or a file that holds one; ~/.kaggle/access_token; KAGGLE_USERNAME and KAGGLE_KEY;
    kaggle.json in KAGGLE_CONFIG_DIR, ~/.kaggle or $XDG_CONFIG_HOME/kaggle; the login of `kaggle auth login`, renewed
    where it has expired.

    Raises:
        InputError: there are none, or a file of them is damaged.
        requests.RequestException: a login cannot be renewed for now.
    """
    from kagglesdk.kaggle_env import get_access_token_from_env

    try:
        token, origin = get_access_token_from_env()
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # a long token is no path, and a secret
            return Credentials("KAGGLE_API_TOKEN", token=_check(os.environ["KAGGLE_API_TOKEN"], "KAGGLE_API_TOKEN"))
        raise InputError(f"Kaggle's credentials cannot be read: {error}") from error
    if token:
        origin = "~/.kaggle/access_token" if origin == "access_token" else origin
        return Credentials(origin, token=_check(token, origin))
    if credentials := _find_key() or _find_login():
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
    return Credentials(origin, **{name: _check(value, origin) for name, value in pair.items()})


def _find_config_folder() -> Path:
    if given := os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(given)
    home = Path.home() / ".kaggle"
    return home if home.exists() else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"


def _find_login() -> Credentials | None:
    from kagglesdk.kaggle_client import KaggleClient
    from kagglesdk.kaggle_creds import KaggleCredentials

    path = Path.home() / ".kaggle/credentials.json"
    if not path.is_file():
        return None
    expired = f"Kaggle's login in {path} has expired: run `kaggle auth login` again, or {_HOW_TO}"
    try:
        with KaggleClient(user_agent=AGENT) as client:
            login = KaggleCredentials.load(client)
            token = login.get_access_token() if login else None
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code not in (400, 401, 403):
            raise
        raise InputError(expired) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(expired) from error
    return Credentials(str(path), token=_check(str(token), str(path))) if token else None


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

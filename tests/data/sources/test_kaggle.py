"""cvd.data.sources.kaggle: credentials where Kaggle's clients keep them, and what refusals mean."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kagglesdk import kaggle_env
from kagglesdk.kaggle_client import KaggleClient
from requests import Request

from cvd.data.sources import kaggle
from cvd.runtime.errors import InputError

PAIR = json.dumps({"username": "filed", "key": "k1"})
BASIC = "Basic " + b64encode(b"filed:k1").decode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("API_TOKEN", "USERNAME", "KEY", "CONFIG_DIR", "API_ENVIRONMENT"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def find_header() -> str:
    """What the SDK sends by these credentials."""
    given = kaggle.find_credentials()
    with KaggleClient(api_token=given.token, username=given.username, password=given.key) as client:
        session = client.http_client()._session
        return str(session.prepare_request(Request("POST", "https://host/")).headers["Authorization"])


@pytest.mark.parametrize("name", [".kaggle/access_token", ".kaggle/access_token.txt", ".kaggle/kaggle.json"])
def test_files_at_home(home: Path, name: str) -> None:
    path = put(home / name, PAIR if name.endswith("json") else "  KGAT_1\n")
    assert find_header() == (BASIC if name.endswith("json") else "Bearer KGAT_1")
    origin = kaggle.find_credentials().origin
    assert origin == (str(path) if name.endswith("json") else "~/.kaggle/access_token")


def test_config_folders(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / ".config/kaggle/kaggle.json", PAIR)
    assert find_header() == BASIC
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    put(home / "xdg/kaggle/kaggle.json", PAIR.replace("filed", "xdg"))
    assert find_header() == "Basic " + b64encode(b"xdg:k1").decode()
    put(home / "given/kaggle.json", PAIR.replace("filed", "given"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / "given"))
    assert find_header() == "Basic " + b64encode(b"given:k1").decode()


def test_the_environment_goes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / ".kaggle/kaggle.json", PAIR)
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    assert find_header() == "Basic " + b64encode(b"me:k1").decode()
    monkeypatch.setenv("KAGGLE_KEY", "k2")
    assert find_header() == "Basic " + b64encode(b"me:k2").decode()
    put(home / ".kaggle/access_token", "KGAT_2")
    assert find_header() == "Bearer KGAT_2"
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_3")
    assert find_header() == "Bearer KGAT_3"
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(put(home / "token", "KGAT_4\n")))
    assert find_header() == "Bearer KGAT_4"
    monkeypatch.setenv("KAGGLE_API_TOKEN", "K" * 5000)  # too long for a path
    assert find_header() == "Bearer " + "K" * 5000


def test_logins_while_they_are_valid(home: Path) -> None:
    login = {"refresh_token": "R", "access_token": "A"}
    for end, is_whole in ((datetime.now(UTC) + timedelta(hours=1), True), ("soon", False), (datetime.now(), False)):
        text = json.dumps(login | {"access_token_expiration": str(end)})
        put(home / ".kaggle/credentials.json", text)
        if is_whole:
            assert find_header() == "Bearer A"
        else:
            with pytest.raises(InputError, match=r"credentials\.json has expired: run `kaggle auth login`"):
                kaggle.find_credentials()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("kaggle.json", "{", r"kaggle\.json are not a JSON object"),
        ("kaggle.json", "[]", r"kaggle\.json are not a JSON object"),
        ("kaggle.json", '{"username": "me"}', r"kaggle\.json lack the key"),
        ("access_token", "zwei\nZeilen", "access_token hold characters that no token has"),
        ("credentials.json/a", "", "there are none"),
        ("other", "", "there are none: make a token at https://www.kaggle.com/settings"),
        ("kaggle.json", "{}", "there are none"),
    ],
)
def test_what_is_wrong_is_named(home: Path, name: str, text: str, message: str) -> None:
    put(home / ".kaggle" / name, text)
    with pytest.raises(InputError, match=message) as caught:
        kaggle.find_credentials()
    assert "\n" not in str(caught.value)


def test_service_is_the_one_of_the_sdk(home: Path) -> None:
    """The address that it asks, as the kagglesdk at hand knows it: it says when Kaggle moves."""
    assert kaggle_env.get_endpoint(kaggle_env.get_env()) == "https://api.kaggle.com"


def test_refusals_say_what_to_do() -> None:
    rules = "You must accept this competition's rules before you'll be able to download files"
    address = "https://www.kaggle.com/competitions/dogs-vs-cats/rules"
    assert address in kaggle.explain_refusal(403, rules, "kaggle.json")
    assert address in kaggle.explain_refusal(403, rules)
    assert address in kaggle.explain_refusal(403, "", "kaggle.json")
    assert "kaggle.json are not valid: make a token" in kaggle.explain_refusal(401, "", "kaggle.json")
    assert kaggle.explain_refusal(403, "") == kaggle.explain_refusal(404, "gone", "kaggle.json") == ""

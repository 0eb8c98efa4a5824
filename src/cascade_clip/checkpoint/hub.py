"""Models on the Hugging Face hub: fetched into its cache, and published.

The hub's client is imported when it is used: it takes a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from cascade_clip.checkpoint import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from cascade_clip.errors import UserError

_FILES = [CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, "clip/*"]
_LOG_IN = "log in with: hf auth login"


def fetch_model(repo_id: str, revision: str | None = None) -> Path:
    """The folder of a model on the hub, downloaded unless the cache holds it.

    Raises `UserError` if the hub has no such model or revision, refuses it, or can't be reached
    and the cache does not hold it.
    """
    from huggingface_hub import snapshot_download

    with _told(repo_id, revision):
        folder = Path(
            snapshot_download(
                repo_id,
                revision=revision,
                allow_patterns=_FILES,
                library_name="cascade-clip",
                library_version=version("cascade-clip"),
            )
        )
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(f"'{repo_id}' on the hub is no model of cascade-clip: no {CONFIG_FILE}")
    return folder


def upload_model(folder: Path, repo_id: str, *, private: bool = False) -> str:
    """Uploads a model folder, whose repository is made if it does not exist; gives its address.

    Raises `UserError` if the hub refuses or can't be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="cascade-clip", library_version=version("cascade-clip"))
    with _told(repo_id, None):
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message="Model from cascade-clip"
        )
    return str(address)


@contextmanager
def _told(repo_id: str, revision: str | None) -> Iterator[None]:
    """The hub's errors as one line that says what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except HFValidationError as error:
        raise UserError(
            f"'{repo_id}' is no name on the Hugging Face hub; use organisation/model"
        ) from error
    except GatedRepoError as error:
        raise UserError(
            f"'{repo_id}' asks for consent before it is given away; agree on its page on the hub, "
            f"then {_LOG_IN}"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"no folder {repo_id} here, and no model of this name on the Hugging Face hub; if it "
            f"is private, {_LOG_IN}"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"'{repo_id}' on the hub has no revision '{revision}'; give a branch, tag or commit"
        ) from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"no folder {repo_id} here, the Hugging Face hub can't be reached, and its cache does "
            f"not hold '{repo_id}'; go online once, or give a folder"
        ) from error
    except LocalTokenNotFoundError as error:
        raise UserError(f"the Hugging Face hub wants to know who you are; {_LOG_IN}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        hint = f"; {_LOG_IN}" if status in (401, 403) else ""
        raise UserError(f"the Hugging Face hub refused '{repo_id}': {error}{hint}") from error
    except Exception as error:  # whatever its HTTP library raises
        raise UserError(
            f"the Hugging Face hub can't be reached for '{repo_id}': {error}"
        ) from error

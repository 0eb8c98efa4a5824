"""Finds published weights in the hub's cache, or downloads them there with a progress bar."""

from __future__ import annotations

import hashlib
from pathlib import Path

from filelock import FileLock
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from cascade_clip.errors import UserError, first_line
from cascade_clip.support.messages import notice

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip's repositories call their weights; the first is preferred."""
SHA256_DIGITS = 64


def find_on_hub(address: str, quick_gelu: bool, revision: str | None = None) -> Path:
    """The weights file at `address` (`owner/repository/`, or with a file's name at the end), at a
    `revision` (branch, tag or commit) of the repository.

    What the cache holds is taken as it is, so nothing is asked of the network twice. A download
    says its size and place, and one that broke off goes on. `quick_gelu`
    is what somebody has to set who brings the file by hand.

    Raises `UserError` if the file isn't in the cache and can't be downloaded.
    """
    repository, _, file = address.rpartition("/")
    files = (file,) if file else FILES
    for name in files:
        try:
            return Path(hf_hub_download(repository, name, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
    reason = ""
    for name in files:
        try:
            return _download(repository, name, revision)
        except LocalEntryNotFoundError:
            reason = "the connection to the hub broke off"
            break
        except EntryNotFoundError:  # it may have the other name
            reason = "the hub holds no such file"
        except Exception as error:  # which ones, is up to the hub's HTTP client of the day
            first = first_line(error)
            reason = first if isinstance(error, OSError) else f"the hub can't be reached: {first}"
            break
    raise UserError(_explain(repository, files[0], quick_gelu, reason))


def _download(repository: str, name: str, revision: str | None) -> Path:
    """Downloads a file into the hub's cache, in its layout."""
    url = hf_hub_url(repository, name, revision=revision)
    # Asked first: without a connection a download would try again for half a minute.
    found = get_hf_file_metadata(url)
    if found.etag is not None and found.size is not None:
        cache, folder = (
            constants.HF_HUB_CACHE,
            repo_folder_name(repo_id=repository, repo_type="model"),
        )
        blob = Path(cache, folder, "blobs", found.etag)
        lock = Path(cache, ".locks", folder, f"{found.etag}.lock")  # as the client itself does
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not blob.exists():
                _fetch(url, blob, found.size, f"{repository}/{name}")
    return Path(hf_hub_download(repository, name, revision=revision))  # finds it there


def _fetch(url: str, blob: Path, size: int, name: str) -> None:
    """Downloads to the file `blob`, going on where an earlier download broke off, which the hub's
    own client doesn't."""
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{blob.name}.incomplete")
    with part.open("ab") as file:
        if file.tell() > size:
            file.truncate(0)
        done = file.tell()
        here = f", of which {_mb(done)} are here," if done else ""
        notice(f"downloading {name}: {_mb(size)}{here} to {blob.parents[1]}")
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        http_get(url, file, resume_size=done, headers=headers, expected_size=size)
    if len(blob.name) == SHA256_DIGITS:  # the hub names large files by their content
        with part.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != blob.name:
                part.unlink()
                raise OSError("what came is damaged; try again")
    part.replace(blob)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _explain(repository: str, file: str, quick_gelu: bool, reason: str) -> str:
    folder = f"models--{repository.replace('/', '--')}"
    activation = f" model.clip.quick_gelu={str(quick_gelu).lower()}"
    return (
        f"the weights {repository}/{file} are not on this machine and can't be downloaded "
        f"({reason}). On a machine with a network run: hf download {repository} {file} "
        "open_clip_config.json --local-dir FOLDER. Then bring the folder, and name the CLIP "
        f"local-dir:FOLDER; or bring the file alone and set model.clip.pretrained=PATH{activation};"
        f" or copy the folder {folder} from its hub cache into {constants.HF_HUB_CACHE}"
    )

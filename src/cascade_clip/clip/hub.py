"""Finds published weights in the hub's cache, or downloads them there with a progress bar."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from cascade_clip.errors import UserError, first_line

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip's repositories call their weights; the first is preferred."""


def find_on_hub(address: str, quick_gelu: bool, revision: str | None = None) -> Path:
    """The weights file at `address` (`owner/repository/`, or with a file's name at the end), at a
    `revision` (branch, tag or commit) of the repository.

    What the cache holds is taken as it is, so nothing is asked of the network twice. `quick_gelu`
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
            # Asked first: without a connection a download would try again for half a minute.
            get_hf_file_metadata(hf_hub_url(repository, name, revision=revision))
            return Path(hf_hub_download(repository, name, revision=revision))
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


def _explain(repository: str, file: str, quick_gelu: bool, reason: str) -> str:
    folder = f"models--{repository.replace('/', '--')}"
    activation = f" model.clip.quick_gelu={str(quick_gelu).lower()}"
    return (
        f"the weights {repository}/{file} are not on this machine and can't be downloaded "
        f"({reason}). On a machine with a network run: hf download "
        f"{repository} {file}. Then bring the file and set model.clip.pretrained=PATH{activation}; "
        f"or copy the folder {folder} from its hub cache into {constants.HF_HUB_CACHE}"
    )

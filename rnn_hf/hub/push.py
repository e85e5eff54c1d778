"""A model folder goes to the Hub in one commit, privately unless told otherwise, and never without a licence.

The order: all that can be refused is looked at first (`Push.check`), then the folder is put together in a copy and
listed, and only then anything is written. The commit names its parent: where somebody else committed meanwhile it is
refused, and nothing of it is there. The token is handed to every request and stands nowhere else.
"""

import hashlib
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCard, get_token
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from .. import __version__, cards
from ..cards.licences import is_url, licence_metadata
from ..models.manifest import MANIFEST, read_manifest, write_manifest
from .remote import Remote, There
from .retries import PushError
from .staging import left_out, same_model, sizes, stage

CARD = "README.md"
# of what git allows, the names that need no quotes anywhere
REF = re.compile(r"(?!.*\.\.|.*\.lock(/|$))\w[\w.+-]*(/\w[\w.+-]*)*(?<!\.)")
NO_MODEL = {".gitattributes", CARD, "LICENSE"}  # what a repository that was made on the Hub's page begins with


@dataclass
class PushOptions:
    """Where a model goes, and how.

    Args:
        repo_id: `owner/name`, or a name alone for a repository of one's own.
        private: whether a new repository is private. To push to a public one needs False.
        revision: the branch; a new one starts at `main`.
        create_pr: propose the commit as a pull request.
        tag: a name for the commit, for `from_pretrained(..., revision=TAG)`.
        message: the commit's title.
        license: an SPDX identifier such as apache-2.0, or `other`; None takes the one that the card has.
        license_name: of `other`.
        license_link: of `other`: a URL, or a file, which then travels along.
        replace_card: put the folder's card in the place of one that was edited on the Hub.
        overwrite: take the place of another model, or of other files.
    """

    repo_id: str
    private: bool = True
    revision: str = "main"
    create_pr: bool = False
    tag: str | None = None
    message: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    replace_card: bool = False
    overwrite: bool = False

    def words(self, folder: Path) -> list[str]:
        """What follows `rnn-hf` on the command line that does the same; a token is no part of it."""
        values = {"repo_id": self.repo_id, "revision": self.revision if self.revision != "main" else None}
        values |= {n: getattr(self, n) for n in ("tag", "message", "license", "license_name", "license_link")}
        flags = {"public": not self.private} | {n: getattr(self, n) for n in ("create_pr", "replace_card", "overwrite")}
        words = [word for name, value in values.items() if value is not None for word in (_option(name), str(value))]
        return ["push", str(folder), *words, *(_option(name) for name, on in flags.items() if on)]

    def command(self, folder: Path) -> str:
        """That command, for people."""
        return shlex.join(["rnn-hf", *self.words(folder)])


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class Push:
    """Pushes model folders by `options`.

    Args:
        token: of the Hub; default: HF_TOKEN, or that of `hf auth login`.
        say: is called with each line for the user.
    """

    def __init__(self, options: PushOptions, token: str | None = None, say: Callable[[str], None] = print):
        self.options, self.say, self.token = options, say, token or get_token()

    def check(self) -> tuple[Remote, There | None]:
        """The repository and what it holds, None if there is none yet; after all that can be refused before a folder.

        Raises:
            ValueError: a name, licence, branch, tag or visibility that cannot be.
            PushError: nobody is logged in, or the Hub does not answer.
        """
        options = self.options
        validate_repo_id(options.repo_id)
        self._check_licence()
        for what, name in (("revision", options.revision), ("tag", options.tag)):
            if name is not None and not REF.fullmatch(name):
                raise ValueError(f"{what} must be a name for git, of letters, digits, _ . + - and /; got {name!r}")
        if options.tag and options.create_pr:
            raise ValueError("a tag names a commit, and that of a pull request is none of the repository yet: give one")
        if self.token is None:
            raise PushError("nobody is logged in to the Hub: `hf auth login`, set HF_TOKEN, or give a token")
        remote = Remote(options.repo_id, options.revision, self.token)
        me, mine = remote.who()
        if "/" not in remote.repo_id:
            remote.repo_id = f"{me}/{options.repo_id}"
        if remote.repo_id.split("/")[0] not in mine and not options.create_pr:
            raise ValueError(
                f"{remote.repo_id} is not yours: you are {me}, and may write to {', '.join(mine)}; --create-pr "
                "proposes the commit to its owner"
            )
        there = remote.look()
        if there is None and options.create_pr:
            raise ValueError(f"there is no {remote.repo_id} that a pull request could be made to")
        if there is not None:
            self._check_there(remote, there)
        return remote, there

    def _check_licence(self) -> None:
        options = self.options
        if options.license is None:
            if options.license_name or options.license_link:
                raise ValueError("license_name and license_link are for license other: give --license too")
            return
        link = options.license_link
        file = Path(link) if link and not is_url(link) else Path()
        licence_metadata(options.license, options.license_name, file.name or link, file.parent)

    def _check_there(self, remote: Remote, there: There) -> None:
        options = self.options
        if options.private and not there.private:
            raise ValueError(f"{remote.repo_id} is public: everybody will see what is pushed to it; --public says so")
        if not options.private and there.private:
            raise ValueError(f"{remote.repo_id} is private; {remote.page}/settings makes it public, a push does not")
        if options.tag and options.tag in remote.tags():
            raise ValueError(f"{remote.repo_id} has a tag {options.tag!r}: a tag stays where it is; give another")

    def run(self, folder: Path, dry_run: bool = False) -> str:
        """Pushes a folder, which stays as it is, and returns the address of the commit or pull request; of the
        repository with `dry_run`, which writes nothing.

        Raises:
            ValueError, OSError: as `check`; a folder that does not open; no licence; a repository of another model.
            PushError: the Hub refuses, or does not answer.
        """
        remote, there = self.check()
        with tempfile.TemporaryDirectory(prefix="rnn-hf-push-") as temporary:
            staged = Path(temporary)
            model = stage(folder, staged)
            self._licence_file(staged)
            before = _manifest(remote, there)
            other = self._refuse_other(remote, there, staged)
            self._write_card(remote, there, before, staged)
            self._refuse_token(folder, staged)
            write_manifest(staged)
            gone = self._gone(there, before, staged, other)
            self._list(folder, staged, remote, there, gone)
            if dry_run:
                self.say("dry run: nothing was written")
                return remote.page
            message = self.options.message or f"Upload {type(model).__name__} (rnn-hf {__version__})"
            bars = not are_progress_bars_disabled()
            disable_progress_bars()  # of a few megabytes, between the lines for people
            try:
                return self._write(remote, there, staged, gone, message)
            finally:
                if bars:
                    enable_progress_bars()

    def _licence_file(self, staged: Path) -> None:
        link = self.options.license_link
        if link and not is_url(link) and Path(link).is_file():
            target = staged / Path(link).name
            if target.name == CARD or (target.exists() and not target.name.startswith("LICENSE")):
                raise ValueError(f"license_link {link!r} would take the place of the model's {target.name}: rename it")
            shutil.copyfile(link, target)

    def _refuse_other(self, remote: Remote, there: There | None, staged: Path) -> bool:
        """Whether the repository holds another model, or other files. Raises ValueError unless that may be."""
        if there is None or not there.files - NO_MODEL:
            return False
        other = same_model(remote.text("config.json", there.parent), staged)
        if other and not self.options.overwrite:
            raise ValueError(
                f"{remote.repo_id} is not empty, and not of this model ({other}): give another name, or --overwrite"
            )
        return other is not None

    def _gone(self, there: There | None, before: dict[str, str], staged: Path, other: bool) -> list[str]:
        """The files to delete: those of the version before that this one lacks; of another model all."""
        if there is None:
            return []
        theirs = there.files - NO_MODEL if other else before.keys() & there.files
        return sorted(theirs - set(sizes(staged)))

    def _write_card(self, remote: Remote, there: There | None, before: dict[str, str], staged: Path) -> None:
        """The folder's card or, if somebody edited the one on the Hub, that one; with the facts of this folder."""
        options, card = self.options, staged / CARD
        texts = [card.read_text(encoding="utf-8")] if card.is_file() else []
        theirs = remote.text(CARD, there.parent) if there and CARD in there.files else None
        if theirs is not None:
            texts.append(theirs)
            pushed = hashlib.sha256(theirs.encode()).hexdigest() == before.get(CARD)
            if not pushed and not options.replace_card:
                card.write_text(theirs, encoding="utf-8")
                self.say(
                    "the card was edited on the Hub: its text stays; --replace-card puts the folder's in its place"
                )
        licence = self._licence(texts)
        link = licence["license_link"]
        if link and there and Path(link).name == link in there.files and not (staged / link).is_file():
            (staged / link).write_text(remote.text(link, there.parent), encoding="utf-8")
        text = cards.refresh(staged, repo_id=remote.repo_id, **licence).read_text(encoding="utf-8")
        if problems := cards.check(text):
            raise ValueError(f"the card is not right: {'; '.join(problems)}")

    def _licence(self, texts: list[str]) -> dict[str, str | None]:
        """That of the options or, where they say nothing, of the first card that has one."""
        options, names = self.options, ("license", "license_name", "license_link")
        if options.license is not None:
            link = options.license_link
            is_file = link and not is_url(link)
            return {"license": options.license, "license_name": options.license_name,
                    "license_link": Path(link).name if is_file else link}  # fmt: skip
        for text in texts:
            data = ModelCard(text, ignore_metadata_errors=True).data
            if data.get("license"):
                return {name: data.get(name) for name in names}
        raise ValueError(
            "a licence is required, as others may use a model only by one: --license with an SPDX identifier such as "
            "apache-2.0, mit or cc-by-4.0, or `other` with --license-name and --license-link"
        )

    def _refuse_token(self, folder: Path, staged: Path) -> None:
        for path in staged.iterdir():
            if self.token.encode() in path.read_bytes():
                raise ValueError(f"{folder / path.name} holds the token that you push with: take it out first")

    def _list(self, folder: Path, staged: Path, remote: Remote, there: There | None, gone: list[str]) -> None:
        """What will be done."""
        state = "new, " if there is None else ""
        private = self.options.private if there is None else there.private
        where = "" if self.options.revision == "main" else f", branch {self.options.revision}"
        request = ", as a pull request" if self.options.create_pr else ""
        self.say(f"{folder} -> {remote.page} ({state}{'private' if private else 'public'}{where}{request})")
        listed = sizes(staged)
        width = max(map(len, listed))
        for name, size in [*listed.items(), (f"{len(listed)} files", sum(listed.values()))]:
            self.say(f"  {name:<{width}}  {size:>12,} bytes")
        if gone:
            self.say(f"  deleted there: {', '.join(gone)}")
        if others := left_out(folder):
            self.say(f"  not of the model, not pushed: {', '.join(others)}")

    def _write(self, remote: Remote, there: There | None, staged: Path, gone: list[str], message: str) -> str:
        options, new = self.options, there is None
        try:
            if there is None:
                there = remote.create(options.private)
                self._check_there(remote, there)
                if there.files - NO_MODEL:
                    raise PushError(f"somebody else made {remote.repo_id} and filled it at the same moment")
            if there.head is None:
                remote.start_branch(there.main)
            commit, page = remote.commit(staged, gone, there.parent, message, options.create_pr)
        except PushError as error:
            made = f"{remote.repo_id} may be there by now, empty; " if new else ""
            raise PushError(f"{error}. {made}the files are there all together or not at all") from error
        if options.tag:
            try:
                remote.set_tag(options.tag, commit)
            except PushError as error:
                raise PushError(f"{error}. The commit itself is there: {page}") from error
        if commit == there.parent:
            self.say("all of this is there already: no commit was made")
        self.say(page)
        return page


def _manifest(remote: Remote, there: There | None) -> dict[str, str]:
    """The sha256 of the files that were pushed before."""
    text = remote.text(MANIFEST, there.parent) if there and MANIFEST in there.files else None
    try:
        return read_manifest(text or "")
    except ValueError:  # somebody's own file
        return {}

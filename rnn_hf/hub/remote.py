"""A model repository on the Hub: what a push asks of it and does to it, each request repeated while it may succeed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from .. import __version__
from ..models.manifest import MANIFEST
from .retries import WAITS, PushError, retried, status


@dataclass
class There:
    """A repository as it is before a push.

    Attributes:
        main: the commit at `main`.
        head: the commit at the revision that is pushed to; None if there is no such branch yet.
        files: of `head`, or of `main`, where a new branch starts.
    """

    private: bool
    main: str
    head: str | None
    files: set[str]

    @property
    def parent(self) -> str:
        return self.head or self.main


class Remote:
    """The repository `repo_id`, as a user with this token sees it. Every method raises PushError for what the Hub
    refuses, or does not answer after several attempts."""

    def __init__(self, repo_id: str, revision: str, token: str):
        self.repo_id, self.revision, self.token = repo_id, revision, token
        self.api = HfApi(token=token, library_name="rnn-hf", library_version=__version__)

    @property
    def page(self) -> str:
        """Its address, for people."""
        return f"{self.api.endpoint}/{self.repo_id}"

    def who(self) -> tuple[str, list[str]]:
        """The user's name, and all names that repositories of theirs may begin with."""
        # The first request of a push: whoever is offline should not wait for long.
        me = retried(self.api.whoami, f"asking {self.api.endpoint} who you are", waits=WAITS[:2])
        return me["name"], [me["name"], *(organisation["name"] for organisation in me.get("orgs", ()))]

    def look(self) -> There | None:
        """What is there; None if there is no such repository, or none that this user may see."""
        return retried(self._look, f"looking at {self.repo_id}")

    def _look(self) -> There | None:
        try:
            main = found = self.api.model_info(self.repo_id)
        except RepositoryNotFoundError:
            return None
        if self.revision != "main":
            try:
                found = self.api.model_info(self.repo_id, revision=self.revision)
            except RevisionNotFoundError:
                found = None
        files = {file.rfilename for file in (found or main).siblings}
        return There(main.private, main.sha, found.sha if found else None, files)

    def text(self, path: str, commit: str) -> str | None:
        """A text file of a commit, None if it is not there or no text. Nothing enters the user's cache."""
        url = hf_hub_url(self.repo_id, path, revision=commit, endpoint=self.api.endpoint)

        def read() -> str | None:
            answer = get_session().get(url, headers=build_hf_headers(token=self.token))
            if answer.status_code == 404:
                return None
            hf_raise_for_status(answer)
            return answer.content.decode("utf-8", errors="replace")

        return retried(read, f"reading {path} of {self.repo_id}")

    def tags(self) -> dict[str, str]:
        """The commit of each tag."""
        refs = retried(lambda: self.api.list_repo_refs(self.repo_id), f"listing the tags of {self.repo_id}")
        return {ref.name: ref.target_commit for ref in refs.tags}

    def create(self, private: bool) -> There:
        """Makes the repository, or finds the one that was made at the same moment."""

        def make() -> None:
            try:
                self.api.create_repo(self.repo_id, private=private)
            except HfHubHTTPError as error:
                if status(error) != 409:  # there: by the attempt before this one, whose answer was lost, or by another
                    raise

        retried(make, f"making {self.repo_id}")
        if (there := self.look()) is None:
            raise PushError(f"{self.repo_id} is there, but the token does not let you see it")
        return there

    def start_branch(self, start: str) -> None:
        def make() -> None:
            self.api.create_branch(self.repo_id, branch=self.revision, revision=start, exist_ok=True)

        retried(make, f"making the branch {self.revision} of {self.repo_id}")

    def commit(
        self, folder: Path, gone: Iterable[str], parent: str, message: str, create_pr: bool = False
    ) -> tuple[str, str]:
        """All files of a folder, and the deletion of those that are `gone`, as one commit or pull request on `parent`.

        Returns:
            its id and its address.
        """
        operations = [
            *(CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())),
            *(CommitOperationDelete(path, is_folder=False) for path in gone),
        ]
        manifest = (folder / MANIFEST).read_text(encoding="utf-8")

        def make() -> tuple[str, str]:
            made = self.api.create_commit(
                self.repo_id,
                operations,
                commit_message=message,
                revision=self.revision,
                parent_commit=parent,
                create_pr=create_pr,
            )
            return made.oid, made.pr_url or made.commit_url

        def made_after_all() -> tuple[str, str] | None:
            ref, page = self._pull_request() if create_pr else (self.revision, None)
            head = self.api.model_info(self.repo_id, revision=ref).sha if ref else parent
            if head == parent or self.text(MANIFEST, head) != manifest:
                return None
            return head, page or f"{self.page}/commit/{head}"

        def asked() -> tuple[str, str] | None:
            return retried(made_after_all, f"looking for the commit in {self.repo_id}")

        return retried(make, f"committing to {self.repo_id}", asked)

    def _pull_request(self) -> tuple[str | None, str | None]:
        """(ref, address) of the latest."""
        found = self.api.list_repo_refs(self.repo_id, include_pull_requests=True).pull_requests
        if not found:
            return None, None
        number = max(int(pull.ref.rsplit("/", 1)[1]) for pull in found)
        return f"refs/pr/{number}", f"{self.page}/discussions/{number}"

    def set_tag(self, tag: str, commit: str) -> None:
        def make() -> None:
            self.api.create_tag(self.repo_id, tag=tag, revision=commit, exist_ok=True)

        retried(make, f"setting the tag {tag} of {self.repo_id}")
        if self.tags().get(tag) != commit:
            raise PushError(f"somebody else set the tag {tag} of {self.repo_id} at the same moment")

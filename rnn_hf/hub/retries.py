"""Requests that may be repeated: which failures pass by themselves, how long to wait, and what to say of the others."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError

WAITS = (1, 2, 4, 8, 16)  # seconds before each further attempt
LONGEST_WAIT = 60  # seconds, whatever the Hub asks for
PASSING = {408, 429, 500, 502, 503, 504}
FAILURES = (HfHubHTTPError, httpx2.TransportError, json.JSONDecodeError, RuntimeError)  # of HfApi's methods
LOST = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError)

Result = TypeVar("Result")


class PushError(OSError):
    """The Hub, or the way to it, refused a request."""


def retried(
    call: Callable[[], Result],
    what: str,
    before_again: Callable[[], Result | None] = lambda: None,
    waits: Sequence[float] = WAITS,
) -> Result:
    """What `call` returns, once it does not fail for a reason that passes by itself.

    Args:
        what: is tried, for the error: "looking at me/name".
        before_again: is asked before each further attempt whether the one before got through after all, its answer
            alone being lost: what it returns is the result, unless None.
        waits: seconds before each further attempt, more where the Hub asks for it.

    Raises:
        PushError: another reason, or no attempt got through.
    """
    for wait in (*waits, 0):
        try:
            return call()
        except FAILURES as error:
            if not passes(error):
                raise refusal(error, what) from error
            failure = error
        time.sleep(max(wait, _asked_for(failure) if wait else 0))
        if (result := before_again()) is not None:
            return result
    raise refusal(failure, what) from failure


def passes(error: BaseException) -> bool:
    """Whether the same request may well succeed in a while."""
    return any(
        status(cause) in PASSING or isinstance(cause, (*LOST, json.JSONDecodeError))  # the page of a proxy is no JSON
        for cause in _causes(error)
    )


def status(error: BaseException) -> int | None:
    """The HTTP status that the Hub answered with, of an error that has one somewhere."""
    return next((c.response.status_code for c in _causes(error) if isinstance(c, HfHubHTTPError)), None)


def refusal(error: BaseException, what: str) -> PushError:
    """The error in terms of what was tried, and what to do about it."""
    cures = {
        401: "the Hub does not accept the token; log in with `hf auth login`, or give another one",
        403: "the token has no right to do so; it needs write access there",
        412: "somebody else committed at the same moment; look at what is there, then push again",
    }
    code = status(error)
    if code in cures:
        return PushError(f"{what}: {cures[code]}")
    reason = " ".join(str(error).split()) or type(error).__name__
    if passes(error):
        return PushError(f"{what}: the Hub or the way to it failed again and again; the last time: {reason:.300}")
    return PushError(f"{what}: refused ({reason:.300})")


def _asked_for(error: BaseException) -> float:
    """Seconds after which the Hub wants to be asked again."""
    for cause in _causes(error):
        asked = cause.response.headers.get("Retry-After", "") if isinstance(cause, HfHubHTTPError) else ""
        if asked.isdigit():
            return min(LONGEST_WAIT, int(asked))
    return 0


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__

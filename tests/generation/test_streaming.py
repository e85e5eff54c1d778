"""Text of any length read and written in constant memory, with generate()'s choices."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from rnn_hf import new_cache, read_prompt, stream

from .test_state import KINDS, PROMPTS, build

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "million_tokens.py"


def written(*args, **options):
    return torch.stack(list(stream(*args, **options)), 1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_sample": True},
        {"do_sample": True, "temperature": 0.6, "top_k": 12, "top_p": 0.8},
    ],
)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_stream_equals_generate(kind, options):
    model = build(*kind)
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]])
    torch.manual_seed(3)
    expected = model.generate(PROMPTS, attention_mask=mask, max_new_tokens=15, **{"top_k": 0, **options})[:, 4:]
    for chunk_size in (1, 3, 100):
        torch.manual_seed(3)
        found = written(model, PROMPTS, attention_mask=mask, max_new_tokens=15, chunk_size=chunk_size, **options)
        assert torch.equal(found, expected)
    if options:
        drawn = [
            written(model, PROMPTS, max_new_tokens=15, generator=torch.Generator().manual_seed(s), **options)
            for s in (1, 1, 2)
        ]
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_a_stream_goes_on_where_another_stopped(kind):
    model = build(*kind)
    whole = written(model, PROMPTS, max_new_tokens=20)
    cache = new_cache(model.config)
    first = written(model, PROMPTS, cache, max_new_tokens=8)
    second = written(model, first[:, -1:], cache, max_new_tokens=12)
    assert torch.equal(torch.cat([first, second], 1), whole)
    assert int(cache.get_seq_length()) == 4 + 19
    logits, state = read_prompt(model, torch.cat([PROMPTS, whole[:, :-1]], 1), chunk_size=5)
    assert type(state) is DynamicCache
    assert torch.equal(logits.argmax(-1), whole[:, -1])


def test_a_stream_ends_with_its_rows():
    model = build(eos_token_id=[2, 7])
    torch.manual_seed(1)
    expected = model.generate(PROMPTS, max_new_tokens=400, do_sample=True, top_k=0)[:, 4:]
    assert expected.shape[1] < 400  # all rows ended
    torch.manual_seed(1)
    assert torch.equal(written(model, PROMPTS, do_sample=True), expected)
    torch.manual_seed(1)
    on = written(model, PROMPTS, do_sample=True, stop_at_eos=False, max_new_tokens=expected.shape[1] + 9)
    assert on.shape[1] == expected.shape[1] + 9


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_a_prompt_in_chunks_equals_the_whole(kind):
    model = build(*kind)
    ids = torch.randint(3, 41, (1, 5000))
    with torch.no_grad():
        whole = model(ids)
    logits, state = read_prompt(model, ids, chunk_size=700)
    torch.testing.assert_close(logits, whole.logits[:, -1], atol=1e-5, rtol=0)
    for a, b in zip(state.layers, whole.past_key_values.layers, strict=True):
        torch.testing.assert_close(a.state, b.state, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"chunk_size": 0}, "chunk_size must be a whole number from 1"),
        ({"chunk_size": 1.5}, "chunk_size must be a whole number from 1"),
        ({"do_sample": True, "temperature": 0.0}, "temperature"),
        ({"do_sample": True, "top_k": -1}, "top_k"),
        ({"do_sample": True, "top_p": 1.5}, "top_p"),
    ],
)
def test_bad_options_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        stream(build(), PROMPTS, **options)


def test_bad_text_and_numbers():
    model = build()
    for ids, options, message in [
        (PROMPTS[:, :0], {}, "holds no token"),
        (PROMPTS[:0], {}, "holds no token"),
        (PROMPTS[0], {}, r"input_ids must be a tensor of shape \(batch, time\); got \(4,\)"),
        ([5, 6], {}, r"input_ids must be a tensor of shape \(batch, time\); got list"),
        (PROMPTS + 40, {}, "token ids must be from 0 to 40"),
        (PROMPTS, {"attention_mask": torch.ones(3, 5)}, "attention_mask must be of shape"),
        (PROMPTS, {"past_key_values": DynamicCache()}, "belongs to another model"),
    ]:
        with pytest.raises(ValueError, match=message):
            next(stream(model, ids, **options))
    with torch.no_grad():
        model.lm_head.bias[3] = float("nan")
    with pytest.raises(ValueError, match="the scores of the next token are nan in row 0"):
        next(stream(model, PROMPTS))


def test_the_benchmark_in_short():
    """Memory flat in every run; speed is printed, and judged over the million that `--tokens` is without."""
    done = subprocess.run([sys.executable, BENCHMARK, "--tokens", "20000"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "memory" in done.stdout

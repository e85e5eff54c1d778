"""Text of others letter by letter, tables, and figures for people."""

import html

import pytest

from rnn_hf.cards.markdown import counted, figure, literal, megabytes, percent, seconds, table


@pytest.mark.parametrize(
    "text",
    ["a|b", "<b>&amp;</b>", "*a* _b_ `c` ~d~ $e$ !f[g](h) #i @j ^k = l: m", "\\|", "{% raw %}", "ünï ☃ 語", "1 < 2"],
)
def test_a_text_is_shown_letter_by_letter(text):
    shown = literal(text)
    assert html.unescape(shown) == text
    assert not set(shown.replace("&#", "")) & set("\\`*_{}[]<>|~$@!^=:"), "none of them is left to Markdown"


def test_a_text_is_one_line_of_what_can_be_seen():
    assert literal(" a\n\tb\u202ec\x00d\u2028e ") == "a b c d e"
    assert literal("a" * 30, width=10) == "aaaaaaaaa…"
    assert literal(None) == "None" and literal(1.5) == "1.5"


def test_tables_align_numbers_to_the_right_and_words_to_the_left():
    assert table(["", "n", "text"], [["a", "1", "b"]], words=["text"]).splitlines() == [
        "|  | n | text |", "| --- | ---: | --- |", "| a | 1 | b |"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figure(None), ""), (figure(0), "0"), (figure(0.0), "0"), (figure(1), "1"), (figure(12345), "12,345"),
        (figure(0.75), "0.7500"), (figure(141.186), "141.2"), (figure(1234.5), "1234"), (figure(12345.6), "12,346"),
        (figure(0.000012345), "1.234e-05"), (figure(-0.5), "-0.5000"),
        (counted(1, "step"), "1 step"), (counted(0, "step"), "0 steps"), (counted(1000, "step"), "1,000 steps"),
        (percent(None), ""), (percent(0), "0 %"), (percent(0.0004), "< 0.1 %"), (percent(0.1256), "12.6 %"),
        (percent(1.0), "100.0 %"),
        (megabytes(20_812), "20.8 kB"), (megabytes(2_065_000), "2.1 MB"), (megabytes(1_234_567_890), "1,234.6 MB"),
        (seconds(0.046), "0.046 s"), (seconds(9.9), "9.9 s"), (seconds(59.4), "59 s"), (seconds(65), "1 min 05 s"),
        (seconds(3600), "1 h 00 min"), (seconds(59.7), "1 min 00 s"), (seconds(9.96), "10 s"),
    ],
)  # fmt: skip
def test_figures_for_people(shown, expected):
    assert shown == expected

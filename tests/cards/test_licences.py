"""Licences: SPDX's identifiers as the Hub names them, `other` with its name and text, and nothing by default."""

import pytest

from rnn_hf.cards.licences import HUB_LICENCES, licence_metadata


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Apache-2.0", "apache-2.0"), (" MIT ", "mit"), ("CC-BY-SA-4.0", "cc-by-sa-4.0"), ("GPL-3.0-only", "gpl-3.0"),
        ("ODbL-1.0", "odbl"), ("openrail++", "openrail++"), ("Unlicense", "unlicense"),
    ],
)  # fmt: skip
def test_identifiers_of_the_hub(given, expected, tmp_path):
    assert licence_metadata(given, None, None, tmp_path) == {"license": expected}
    assert expected in HUB_LICENCES


@pytest.mark.parametrize("given", ["GPL-3.0-or-later", "MPL-1.1", "0bsd", "CC-BY-NC-SA-1.0"])
def test_of_spdx_but_not_of_the_hub(given, tmp_path):
    found = licence_metadata(given, None, None, tmp_path)
    assert found["license"] == "other" and found["license_name"] == given.lower()
    assert found["license_link"].lower() == f"https://spdx.org/licenses/{given.lower()}.html"


@pytest.mark.parametrize(
    ("given", "name", "link", "message"),
    [
        ("", None, None, "license must be an SPDX identifier"),
        ("apache-2", None, None, "did you mean 'apache-2.0'"),
        ("unknown", None, None, "license must be an SPDX identifier"),
        ("none", None, None, "license must be an SPDX identifier"),
        ("MIT OR Apache-2.0", None, None, "license must be one licence"),
        ("LicenseRef-mine", None, None, "license must be one licence"),
        ("other", None, None, "license other needs a name and a link"),
        ("other", "mine", None, "license other needs a name and a link"),
        ("other", None, "https://me.org/licence", "license other needs a name and a link"),
        ("other", "mine", "absent.txt", "license_link must be a URL or a file in .*; got 'absent.txt'"),
        ("other", "mine", "ftp://me.org/licence", "license_link must be a URL"),
        ("mit", "mine", None, "license_name and license_link are for license other"),
    ],
)
def test_what_is_no_licence(given, name, link, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        licence_metadata(given, name, link, tmp_path)


@pytest.mark.parametrize("link", ["LICENCE.txt", "https://me.org/licence"])
def test_another_licence_has_a_name_and_a_text(link, tmp_path):
    (tmp_path / "LICENCE.txt").write_text("Do as you like.")
    expected = {"license": "other", "license_name": "mine", "license_link": link}
    assert licence_metadata("Other", "mine", link, tmp_path) == expected

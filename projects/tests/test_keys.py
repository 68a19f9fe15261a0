import pytest

from projects import keys
from projects.keys import KeyKind


@pytest.mark.parametrize(("kind", "prefix"), [(KeyKind.WRITE, "es_w_"), (KeyKind.READ, "es_r_")])
def test_a_key_tells_its_kind(kind, prefix):
    secret = keys.generate(kind)
    assert secret.startswith(prefix)
    assert keys.kind_of(secret) is kind


def test_keys_differ():
    assert len({keys.generate(KeyKind.WRITE) for _ in range(1_000)}) == 1_000


def test_every_changed_character_is_noticed():
    secret = keys.generate(KeyKind.WRITE)
    for place in range(len(secret)):
        other = "A" if secret[place] != "A" else "B"
        assert keys.kind_of(secret[:place] + other + secret[place + 1 :]) is None


def test_a_write_key_cannot_be_relabelled_as_a_read_key():
    assert keys.kind_of(keys.generate(KeyKind.WRITE).replace("es_w_", "es_r_")) is None


@pytest.mark.parametrize(
    "garbage", ["", "es_w_", "es_w_" + "a" * 49, "x" * 100_000, "es_w_\x00", "schlüssel", "\ud800", " "]
)
def test_garbage_is_no_key(garbage):
    assert keys.kind_of(garbage) is None


def test_a_key_with_white_space_around_it_is_no_key():
    assert keys.kind_of(keys.generate(KeyKind.WRITE) + "\n") is None


def test_the_digest_is_sha256_in_hex():
    assert keys.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_is_shown_is_ten_characters():
    secret = keys.generate(KeyKind.READ)
    assert keys.shown(secret) == secret[:10]

"""Undoing compression, piece by piece."""

from __future__ import annotations

import gzip

import pytest

from gateway.downstream.decoding import PIECE_BYTES, Decoder
from gateway.errors import UpstreamError


def test_no_piece_is_longer_than_its_bound() -> None:
    decoder = Decoder(b"gzip")
    sizes = [len(piece) for piece in decoder.feed(gzip.compress(bytes(10 * PIECE_BYTES + 1)))]
    decoder.finish()
    assert sum(sizes) == 10 * PIECE_BYTES + 1
    assert max(sizes) <= PIECE_BYTES


def test_an_empty_piece_is_nothing() -> None:
    assert list(Decoder(b"deflate").feed(b"")) == []


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"compress", b"gzip, gzip", b"", b"chunked"])
def test_what_cannot_be_undone(coding: bytes) -> None:
    with pytest.raises(UpstreamError) as error:
        Decoder(coding)
    assert (error.value.reason, error.value.sent) == ("invalid", True)

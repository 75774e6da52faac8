"""Undoes the compression of an answer that came compressed although none was asked for.

INVARIANT: what is inspected is what is sent on; a coding that cannot be undone ends the answer.
However small the input, only one bounded piece of output is in memory at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from gateway.errors import UpstreamError

PIECE_BYTES = 64 * 1024

_CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Decoder:
    """Inflates one body.

    Args:
        coding: the value of Content-Encoding.

    Raises:
        UpstreamError: the coding is not gzip or deflate.
    """

    def __init__(self, coding: bytes) -> None:
        if coding.strip().lower() not in _CODINGS:
            raise _unreadable()
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes that follow from this piece, in pieces of a bounded size.

        Raises:
            UpstreamError: the data are damaged, or something follows them.
        """
        inflate = self._inflate
        while True:
            try:
                piece = inflate.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise _unreadable() from error
            if inflate.unused_data:
                raise _unreadable()
            data = inflate.unconsumed_tail
            if piece:
                yield piece
            if not data and len(piece) < PIECE_BYTES:
                return

    def finish(self) -> None:
        """Check that nothing is missing.

        Raises:
            UpstreamError: the data ended early.
        """
        if not self._inflate.eof:
            raise _unreadable()


def _unreadable() -> UpstreamError:
    return UpstreamError("invalid", "the answer's encoding cannot be undone", sent=True)

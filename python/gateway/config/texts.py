"""What the texts of a configuration are taken for: each function says what one means, or raises
ValueError with a predicate for people."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime

from gateway.settings import NAME, NAME_HELP, Address
from gateway.validation import url_fault

SECRET = r"whsec_[A-Za-z0-9+/]+={0,2}"
"""A webhook's secret, as Standard Webhooks writes it."""
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64


def address(text: str) -> Address:
    """`HOST:PORT`."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise ValueError("is not HOST:PORT") from error


def address_or_none(text: str) -> Address | str:
    """`HOST:PORT`, or `none`."""
    return text if text == "none" else address(text)


def name(text: str) -> str:
    """A server's or a grant's name."""
    if NAME.fullmatch(text) is None:
        raise ValueError(f"cannot be a name: {NAME_HELP}")
    return text


def file(text: str) -> str:
    """A file's name."""
    if "\0" in text:
        raise ValueError("is not the name of a file")
    return text


def url(text: str) -> str:
    """An http or https URL without credentials."""
    fault = url_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


def sha256(text: str) -> bytes:
    """32 bytes in hexadecimal."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text) is None:
        raise ValueError("is not a SHA-256 in hexadecimal")
    return bytes.fromhex(text)


def secret(text: str) -> bytes:
    """The key of a webhook's secret, as Standard Webhooks writes it: 24 to 64 bytes in base64."""
    if re.fullmatch(SECRET, text) is None:
        raise ValueError("is not `whsec_` with base64 behind it")
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("is not `whsec_` with base64 behind it") from error
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(f"is not a key of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")
    return key


def time_of(text: str) -> float:
    """A time of RFC 3339 as seconds since 1970 UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("is not a time") from error
    if found.tzinfo is None:
        raise ValueError("is a time without its zone")
    return found.timestamp()

"""TLS on the listener: its certificate, and who the other side's certificate says it is.

INVARIANT: a certificate that is put in place of another serves from the next handshake on, and one
that cannot be used changes nothing.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.reloads import Reload

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import TlsSettings

PEER = "interlock.peer"
"""Where a `Peer` lies in `scope["extensions"]` of a request whose client showed a certificate."""
HANDSHAKE_S = 10.0
"""How long a client may take to agree on keys."""

_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "domainComponent": "DC",
    "userId": "UID",
}

_PEM = re.compile(rb"-----BEGIN ([^-]+)-----.*?-----END \1-----", re.DOTALL)

_log = logging.getLogger("interlock.tls")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who a client's verified certificate says it is.

    Attributes:
        subject: its names as `CN=…,O=…`, in the order of the certificate.
        spiffe: its SPIFFE id, where it has one and one only.
    """

    subject: str
    spiffe: str | None


def peer_of(certificate: Mapping[str, Any]) -> Peer:
    """Reads what `ssl.SSLSocket.getpeercert` tells of a verified certificate."""
    names = [
        f"{_NAMES.get(name, name)}={_escaped(value)}"
        for part in certificate.get("subject", ())
        for name, value in part
    ]
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    spiffe = uris[0] if len(uris) == 1 and uris[0].startswith("spiffe://") else None
    return Peer(",".join(names), spiffe)


def _escaped(value: str) -> str:
    """A name's value, in which nothing looks like another name (RFC 4514, section 2.4)."""
    return "".join(f"\\{one}" if one in ',+"\\<>;=' else one for one in value)


class Tls:
    """The listener's side.

    Raises:
        OSError: the files cannot be read, or do not go together.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self.context = context_of(settings)
        self.reload = Reload("certificate", str(settings.certificate))
        self._trusted = _authorities(settings.client_ca)

    def renew(self) -> None:
        """Use the certificate and key as they are now, if they can be used, and trust authorities
        of clients' certificates that were added."""
        try:
            context_of(self._settings)  # on another one first: this one must stay whole
            self.context.load_cert_chain(self._settings.certificate, self._settings.key)
            if self._settings.client_ca is not None:
                found = _authorities(self._settings.client_ca)
                if found - self._trusted:
                    self.context.load_verify_locations(self._settings.client_ca)
                    self._trusted |= found
        except OSError as error:
            _log.error("the certificate in use stays: %s", error)
            self.reload.failed(str(error))
        else:
            self.reload.succeeded()

    @property
    def trusts_former(self) -> bool:
        """Whether an authority of clients' certificates is in force that was taken away.

        It is until the next start: to distrust one is to distrust connections that are open, and
        of those it is not known any more who vouched for them.
        """
        return not self._trusted <= _authorities(self._settings.client_ca)


def _authorities(path: Path | None) -> frozenset[bytes]:
    """What a file in PEM holds; nothing if it cannot be read."""
    try:
        return (
            frozenset()
            if path is None
            else frozenset(match.group() for match in _PEM.finditer(path.read_bytes()))
        )
    except OSError:
        return frozenset()


def context_of(settings: TlsSettings) -> ssl.SSLContext:
    """What a listener with these files agrees to.

    Raises:
        OSError: they cannot be read, or do not go together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(settings.certificate, settings.key)
    if settings.client_ca is not None:
        context.load_verify_locations(settings.client_ca)
        optional = settings.client_certificates == "optional"
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    return context

"""Secrets in the store, sealed with a key that is not in it: a copy of the database alone betrays none.

AES-256-GCM. The nonce is random, 96 bits: some thousand secrets under one key are far from the 2^32 that NIST
SP 800-38D (8.3) allows. What a secret is about is bound in, so that nobody can exchange two rows.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE = 12


class SealError(Exception):
    """It was sealed with another key, for something else, or is damaged."""


class Seal:
    """Seals and opens with one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, about: str) -> bytes:
        """What the store may keep."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """The secret.

        Raises
        ------
        SealError
            If this key, or what it is about, is not the one it was sealed with.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], about.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError(f"the secret of {about} cannot be opened with this key") from error

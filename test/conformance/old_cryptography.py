"""Loaded by pytest before securesystemslib: its type annotations name two aliases that python3-cryptography 38 (Debian 12)
does not have yet. Nothing is done with them at run time, so any type will do."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import types

for name in ("PrivateKeyTypes", "PublicKeyTypes"):
    if not hasattr(types, name):
        setattr(types, name, Any)

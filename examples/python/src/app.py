"""What the component exports: a class for each kind, as wit/deps/driver/KIND.wit declares it."""

from volume import Volume
from authz import Authz

__all__ = ["Volume", "Authz"]

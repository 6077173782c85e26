"""How a call fails."""

from componentize_py_types import Err
from wit_world.imports.types import Error, ErrorCode

__all__ = ["ErrorCode", "failure"]


def failure(code: ErrorCode, message: str) -> Err[Error]:
    """What to raise: a code of wit/deps/driver/types.wit, and one sentence for the user of docker.

    Nothing that the call wrote or made remains. Any other exception counts as a crash.
    """
    return Err(Error(code, message))

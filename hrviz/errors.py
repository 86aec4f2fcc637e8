"""The one exception that front ends show: a sentence for the user, not a trace.

Every message names what was given, what is allowed and the next step, on one line. Front ends
catch `HrvizError` and print `str(error)`; anything else is a bug of ours and keeps its trace.
"""


class HrvizError(ValueError):
    """Bad input, told in one sentence (one line, no trace)."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))

    def _render_traceback_(self) -> list[str]:
        """What notebooks show: the sentence, as every other front end does."""
        return [f"hrviz: {self}"]


class Cancelled(Exception):
    """Raised inside a run when its user asked it to stop; never shown as an error."""

"""What a part of the overview is made of, and how it asks."""

from dataclasses import dataclass
from typing import Any, Final

from events.views.asking import answer
from events.views.guesses import Guesses
from events.views.state import State

MEASURES: Final = {"events": "Events", "persons": "Persons", "errors": "Error rate", "latency": "Latency p95"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a part is made of. `measure` (of MEASURES) is the chart's."""

    state: State
    guesses: Guesses
    measure: str

    @property
    def compared(self) -> str | None:
        return "previous" if self.state.compare else None

    def trends(self, **more: Any) -> dict[str, Any]:
        question = self.state.question(
            **{name: value for name, value in more.items() if value is not Ellipsis}
        )
        return answer(self.state.project, "trends", question)

    def latency(self, **more: Any) -> dict[str, Any]:
        question = self.state.question(property=self.guesses.latency, **more)
        return answer(self.state.project, "performance", question)

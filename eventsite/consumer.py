"""The worker's consumer, with one timer for each rate limit."""

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer


class Consumer(CeleryConsumer):
    """Celery arms a timer for each message that its rate limit holds back, and each arms its successor while any is held back.

    With a backlog they multiply. Ten that are due at once use up the turn of kombu's loop, which then sleeps a whole
    second: 4 batches a second fell to 1 within twelve seconds of a backlog, 2 likewise.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._armed: dict[int, Any] = {}
        super().__init__(*arguments, **options)

    def _schedule_bucket_request(self, bucket: Any) -> None:
        """Starts what may start now, and arms the one timer for the rest. Replaces Celery's method of that name."""
        if (armed := self._armed.pop(id(bucket), None)) is not None:
            armed.cancel()
        while bucket.contents:
            request, tokens = bucket.pop()
            if not bucket.can_consume(tokens):
                bucket.contents.appendleft((request, tokens))  # to the head: order is kept
                wait = bucket.expected_time(tokens)
                self._armed[id(bucket)] = self.timer.call_after(
                    wait, self._schedule_bucket_request, (bucket,)
                )
                return
            self._limit_move_to_pool(request)  # type: ignore[attr-defined]

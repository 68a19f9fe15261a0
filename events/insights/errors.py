"""The ways in which a question gets no answer. Free of Django: the process that runs SQL raises them too."""


class QuestionError(Exception):
    """No answer."""


class BadQuestion(QuestionError):
    """The question is not right. `field` names the part that is wrong, like `series[0].measure.property`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class TooSlow(QuestionError):
    """It took longer than it may, and was stopped."""


class TooLarge(QuestionError):
    """It needed more memory than it may."""


class TooManyRows(QuestionError):
    """Its result has more rows, or more bytes, than an answer may."""


class Invalid(QuestionError):
    """DuckDB refused the SQL: the asker's, or ours. `message` is fit to be shown."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class FileMissing(QuestionError):
    """A segment was replaced and removed meanwhile: a new snapshot knows its successor."""


class Away(QuestionError):
    """The process that runs questions is not there, or ended while it ran this one. Ask again."""


class Busy(QuestionError):
    """Too many questions are under way or waiting. Ask again."""

"""The warning that a text was too long."""


class TextCutWarning(UserWarning):
    """Some texts were longer than `max_words` and lost their end."""

"""Hours of the day in which work may be done."""

import dataclasses
import datetime
import re

DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Hours:
    """A span of every day, which may go over midnight, in local time.

    Attributes:
        begin: when it begins.
        end: when it ends; if that is the same time, it is the whole day.
    """

    begin: datetime.time
    end: datetime.time

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """Read hours such as 22-6 or 8:30-17.

        Raises:
            ValueError: that is no span of hours.

        >>> str(Hours.parse("22-6:30"))
        '22:00-6:30'
        """
        parts = re.fullmatch(r"(\d{1,2})(?::(\d\d))?\s*-\s*(\d{1,2})(?::(\d\d))?", text.strip())
        try:
            if parts is None:
                raise ValueError
            hours = [int(each or 0) for each in parts.groups()]
            begin = datetime.time(hours[0] % 24 if hours[:2] == [24, 0] else hours[0], hours[1])
            end = datetime.time(hours[2] % 24 if hours[2:] == [24, 0] else hours[2], hours[3])
        except ValueError:
            raise ValueError(f"{text!r} are not hours; write them like 22-6 or 8:30-17") from None
        return cls(begin, end)

    def __str__(self) -> str:
        """Write them as they are read."""
        return "-".join(f"{each.hour}:{each.minute:02d}" for each in (self.begin, self.end))

    def find_rest(self, now: datetime.datetime) -> float:
        """Return the seconds that are left of the hours; 0 outside of them."""
        start = now.replace(hour=self.begin.hour, minute=self.begin.minute, second=0, microsecond=0)
        start = start if start <= now else start - DAY
        length = datetime.datetime.combine(now, self.end) - datetime.datetime.combine(
            now, self.begin
        )
        length = length if length > datetime.timedelta() else length + DAY
        return max(0.0, (start + length - now).total_seconds())

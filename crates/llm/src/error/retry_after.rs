//! How long a server asks to wait: `retry-after-ms`, else `retry-after` in seconds or as an HTTP
//! date (RFC 9110, 10.2.3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A longer wish is cut to this: a wrong clock or a hostile header must not park a run for days.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The wait asked for by the two headers' values, or `None` if neither holds a positive one.
pub fn retry_after(
    retry_after_ms: Option<&str>,
    retry_after: Option<&str>,
    now: SystemTime,
) -> Option<Duration> {
    let wait = retry_after_ms
        .and_then(|text| fraction(text, 0.001))
        .or_else(|| retry_after.and_then(|text| fraction(text, 1.0)))
        .or_else(|| retry_after.and_then(|text| until(text, now)))?;
    (wait > Duration::ZERO).then(|| wait.min(RETRY_AFTER_MAX))
}

fn fraction(text: &str, unit_s: f64) -> Option<Duration> {
    let count: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(count * unit_s).ok()
}

fn until(text: &str, now: SystemTime) -> Option<Duration> {
    http_date(text)?.duration_since(now).ok()
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`; the two obsolete forms are not sent by servers of today.
fn http_date(text: &str) -> Option<SystemTime> {
    let (_, date) = text.trim().split_once(", ")?;
    let [day, month, year, clock, "GMT"] = date.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let days = days_since_epoch(year.parse().ok()?, month, day.parse().ok()?)?;
    let seconds = days * 86_400 + seconds_of_day(clock)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn seconds_of_day(clock: &str) -> Option<u64> {
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let valid = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    valid.then_some(hour * 3600 + minute * 60 + second)
}

/// Howard Hinnant's `days_from_civil` (howardhinnant.github.io/date_algorithms.html), for years
/// after 1970: years start in March, so that the leap day is the last one.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        let wait = retry_after(Some("250"), Some("3"), at(0));
        assert_eq!(wait, Some(Duration::from_millis(250)));
        let wait = retry_after(None, Some("1.5"), at(0));
        assert_eq!(wait, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn dates_are_relative_to_now() {
        // The example of RFC 9110 and the two days round a leap day.
        for (date, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
        ] {
            let wait = retry_after(None, Some(date), at(seconds - 7));
            assert_eq!(wait, Some(Duration::from_secs(7)), "{date}");
            assert_eq!(retry_after(None, Some(date), at(seconds + 1)), None);
        }
    }

    #[test]
    fn nonsense_asks_for_nothing_and_too_much_is_cut() {
        for text in
            ["", "soon", "-1", "0", "nan", "Sun, 99 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 0000 08:49:37 GMT"]
        {
            assert_eq!(retry_after(None, Some(text), at(0)), None, "{text}");
        }
        let wait = retry_after(None, Some("1e9"), at(0));
        assert_eq!(wait, Some(RETRY_AFTER_MAX));
    }
}

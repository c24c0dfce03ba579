//! How long a server asks to wait: `retry-after-ms`, else `retry-after` in seconds or as an HTTP
//! date (RFC 9110, 10.2.3), else when the limit that a 429 has met is free again.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;

use crate::rates::{RateLimits, text};

/// A longer wish is cut to this: a wrong clock or a hostile header must not park a run for days.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The wait that an error's headers ask for, or `None` if they ask for none.
#[must_use]
pub fn retry_after(status: u16, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let wish = || text(headers, "retry-after");
    let wait = text(headers, "retry-after-ms")
        .and_then(|text| fraction(text, 0.001))
        .or_else(|| wish().and_then(|text| fraction(text, 1.0)))
        .or_else(|| wish().and_then(|text| until(text, now)))
        .or_else(|| (status == 429).then(|| RateLimits::read(headers, now).wait()).flatten())?;
    (wait > Duration::ZERO).then(|| wait.min(RETRY_AFTER_MAX))
}

fn fraction(text: &str, unit_s: f64) -> Option<Duration> {
    let count: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(count * unit_s).ok()
}

fn until(text: &str, now: SystemTime) -> Option<Duration> {
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn asked(status: u16, pairs: &[(&'static str, &str)], now: SystemTime) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        retry_after(status, &headers, now)
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        let wait = asked(429, &[("retry-after-ms", "250"), ("retry-after", "3")], at(0));
        assert_eq!(wait, Some(Duration::from_millis(250)));
        let wait = asked(503, &[("retry-after", "1.5")], at(0));
        assert_eq!(wait, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn dates_are_relative_to_now() {
        // The example of RFC 9110.
        let date = [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
        assert_eq!(asked(429, &date, at(784_111_770)), Some(Duration::from_secs(7)));
        assert_eq!(asked(429, &date, at(784_111_778)), None);
    }

    #[test]
    fn a_limit_that_is_used_up_says_when_it_is_free_again() {
        let used_up = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")];
        assert_eq!(asked(429, &used_up, at(0)), Some(Duration::from_secs(360)));
        assert_eq!(asked(500, &used_up, at(0)), None, "the error is another");
        let wish = [used_up[0], used_up[1], ("retry-after", "2")];
        assert_eq!(asked(429, &wish, at(0)), Some(Duration::from_secs(2)), "a wish wins");
        let left = [("x-ratelimit-remaining-tokens", "9"), ("x-ratelimit-reset-tokens", "6m0s")];
        assert_eq!(asked(429, &left, at(0)), None);
    }

    #[test]
    fn nonsense_asks_for_nothing_and_too_much_is_cut() {
        for text in ["", "soon", "-1", "0", "nan", "Sun, 99 Foo 1994 08:49:37 GMT"] {
            assert_eq!(asked(429, &[("retry-after", text)], at(0)), None, "{text}");
        }
        assert_eq!(asked(429, &[("retry-after", "1e9")], at(0)), Some(RETRY_AFTER_MAX));
    }
}

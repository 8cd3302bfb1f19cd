//! When to try again: a pure schedule. Exponential with full jitter, unless the server names a time; bounded in number
//! and in total.

use std::time::Duration;

use ureq::http::HeaderMap;

use super::Clocks;

/// Tries without a new byte between them.
const MAX_ATTEMPTS: u32 = 6;
/// All waits together. Rate-limit windows are five minutes long.
const MAX_TOTAL_WAIT: Duration = Duration::from_secs(300);

/// The waits of one file's transfer.
#[derive(Debug)]
pub(super) struct Schedule {
    base: Duration,
    cap: Duration,
    attempts: u32,
    waited: Duration,
}

impl Schedule {
    pub(super) fn new(clocks: &Clocks) -> Self {
        Self { base: clocks.retry_base, cap: clocks.retry_cap, attempts: 1, waited: Duration::ZERO }
    }

    /// New bytes arrived: the server is alive, the count begins anew. The total does not.
    pub(super) fn progressed(&mut self) {
        self.attempts = 1;
    }

    /// The wait before the next try, or `None` to give up. `told` is what the server asked for; `jitter` is a random
    /// number from 0 to 1.
    pub(super) fn next(&mut self, told: Option<Duration>, jitter: f64) -> Option<Duration> {
        if self.attempts >= MAX_ATTEMPTS {
            return None;
        }
        let longest = self.base.saturating_mul(1 << (self.attempts - 1)).min(self.cap);
        let spread = longest.mul_f64(jitter.clamp(0.0, 1.0));
        // A little later than told: many clients were told the same.
        let delay = told.map_or(spread, |told| told + spread.min(Duration::from_secs(1)));
        let waited = self.waited.saturating_add(delay);
        if waited > MAX_TOTAL_WAIT {
            return None;
        }
        self.attempts += 1;
        self.waited = waited;
        Some(delay)
    }
}

/// A random number from 0 to 1; the middle if there is no randomness to be had.
pub(super) fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// How long the server wants us to wait: `Retry-After` in seconds or as a date, else the reset time of `RateLimit`.
pub(super) fn told(headers: &HeaderMap, now_unix_seconds: u64) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let retry_after = text("retry-after").and_then(|value| {
        let seconds = value.trim().parse::<u64>().ok();
        seconds.or_else(|| unix_seconds(value.trim()).map(|at| at.saturating_sub(now_unix_seconds)))
    });
    let reset = || {
        let fields = text("ratelimit")?.split([';', ',']);
        fields.filter_map(|field| field.trim().strip_prefix("t=")).find_map(|seconds| seconds.parse::<u64>().ok())
    };
    retry_after.or_else(reset).map(Duration::from_secs)
}

/// How long no request will be answered, by the word of an answer: `RateLimit` with nothing remaining.
pub(super) fn used_up(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("ratelimit").and_then(|value| value.to_str().ok())?;
    let field = |name: &str| text.split([';', ',']).find_map(|field| field.trim().strip_prefix(name));
    let seconds = field("t=").and_then(|seconds| seconds.parse::<u64>().ok())?;
    (field("r=")? == "0").then(|| Duration::from_secs(seconds))
}

/// Seconds since 1970, now.
pub(super) fn unix_seconds_now() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs())
}

/// Seconds since 1970 of an HTTP date in its one current form: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn unix_seconds(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let fields: Vec<&str> = date.split_once(", ")?.1.split(' ').collect();
    let &[day, month, year, time, "GMT"] = fields.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|known| *known == month)? as u64 + 1;
    let (day, year) = (day.parse::<u64>().ok()?, year.parse::<u64>().ok()?);
    let clock: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let &[hour, minute, second] = clock.as_slice() else {
        return None;
    };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days of a year that begins in March, so that the leap day is its last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days_before = 365 * shifted_year + leap_days + (153 * shifted_month + 2) / 5 + day - 1;
    // 1970-01-01 counted the same way.
    let days = days_before.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ureq::http::HeaderMap;

    use super::{MAX_ATTEMPTS, Schedule, told, unix_seconds};
    use crate::fetch::Clocks;

    fn waits(schedule: &mut Schedule, told: Option<Duration>, jitter: f64) -> Vec<Duration> {
        std::iter::from_fn(|| schedule.next(told, jitter)).collect()
    }

    #[test]
    fn own_waits_double_up_to_the_cap_and_end() {
        let clocks = Clocks::default();
        let longest = waits(&mut Schedule::new(&clocks), None, 1.0);
        let expected = [500, 1000, 2000, 4000, 8000].map(Duration::from_millis);
        assert_eq!(longest, expected);
        assert_eq!(longest.len() as u32 + 1, MAX_ATTEMPTS);
        assert!(waits(&mut Schedule::new(&clocks), None, 0.0).iter().all(Duration::is_zero));
    }

    #[test]
    fn told_waits_are_kept_and_never_much_exceeded() {
        let told = Duration::from_secs(3);
        let waits = waits(&mut Schedule::new(&Clocks::default()), Some(told), 1.0);
        assert!(waits.iter().all(|wait| (told..=told + Duration::from_secs(2)).contains(wait)), "{waits:?}");
        let too_long = Schedule::new(&Clocks::default()).next(Some(Duration::from_secs(301)), 0.0);
        assert_eq!(too_long, None);
    }

    #[test]
    fn progress_renews_the_attempts_but_not_the_total() {
        let mut schedule = Schedule::new(&Clocks::default());
        let mut total = Duration::ZERO;
        while let Some(wait) = schedule.next(Some(Duration::from_secs(9)), 0.0) {
            schedule.progressed();
            total += wait;
        }
        assert!((Duration::from_secs(280)..=Duration::from_secs(300)).contains(&total), "{total:?}");
    }

    #[test]
    fn every_form_of_being_told_is_read() {
        assert_eq!(unix_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_seconds("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(unix_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for bad in
            ["", "now", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49 GMT"]
        {
            assert_eq!(unix_seconds(bad), None, "{bad}");
        }
        let of = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a value"));
            told(&headers, 784_111_770)
        };
        assert_eq!(of("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(of("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(of("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("ratelimit", "\"resolvers\";r=0;t=7"), Some(Duration::from_secs(7)));
        assert_eq!(of("retry-after", "soon"), None);
    }
}

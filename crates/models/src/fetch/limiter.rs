//! When a server may be asked again. One limiter is shared by all connections of a download, and by all downloads that
//! were given the same settings: what one of them is told holds for all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::FetchError;

/// Longer than this nobody is kept waiting: rate-limit windows are five minutes long.
pub(super) const MAX_HOLD: Duration = Duration::from_secs(300);
/// Between two looks at whether the caller still wants to wait.
const POLL: Duration = Duration::from_millis(50);

/// Servers that asked to be left alone, and until when.
#[derive(Debug, Clone, Default)]
pub struct Limiter {
    held: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Limiter {
    /// No request to `origin` before `delay` has passed.
    pub(super) fn hold(&self, origin: &str, delay: Duration) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Absurd delays are refused by whoever would have to wait for them.
        let until = Instant::now() + delay.min(MAX_HOLD * 2);
        let entry = held.entry(origin.to_owned()).or_insert(until);
        *entry = (*entry).max(until);
    }

    /// Waits until `origin` may be asked.
    ///
    /// # Errors
    /// [`FetchError::RateLimited`] if that is too long, [`FetchError::Interrupted`] once `is_cancelled` says so.
    pub(super) fn wait(&self, origin: &str, is_cancelled: &dyn Fn() -> bool) -> Result<(), FetchError> {
        loop {
            let until = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(origin).copied();
            let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            if left > MAX_HOLD {
                return Err(FetchError::RateLimited { retry_after: Some(left) });
            }
            if is_cancelled() {
                return Err(FetchError::Interrupted);
            }
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(POLL));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{FetchError, Limiter};

    #[test]
    fn what_one_is_told_holds_for_all_and_for_that_server_only() {
        let limiter = Limiter::default();
        limiter.hold("http://a:1", Duration::from_millis(150));
        limiter.hold("http://a:1", Duration::from_millis(1));
        let other = limiter.clone();
        let began = Instant::now();
        other.wait("http://b:1", &|| false).expect("free");
        assert!(began.elapsed() < Duration::from_millis(150));
        other.wait("http://a:1", &|| false).expect("free at last");
        assert!(began.elapsed() >= Duration::from_millis(150));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let limiter = Limiter::default();
        limiter.hold("http://a:1", Duration::from_secs(200));
        assert!(matches!(limiter.wait("http://a:1", &|| true), Err(FetchError::Interrupted)));
        limiter.hold("http://a:1", Duration::from_secs(100_000));
        assert!(matches!(limiter.wait("http://a:1", &|| false), Err(FetchError::RateLimited { .. })));
    }
}

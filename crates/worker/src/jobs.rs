//! The jobs a worker knows: which attempt is current, where its events are.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::error::ErrorCode;
use protocol::identifiers::JobId;

use crate::failure::Failure;
use crate::job_stream::JobStream;

/// Highest attempts that are remembered after their job ended; the oldest are forgotten first.
const REMEMBERED_ATTEMPTS: usize = 10_000;

#[derive(Debug, Default)]
struct Inner {
    current: HashMap<JobId, Arc<JobStream>>,
    attempts: HashMap<JobId, u32>,
    order: VecDeque<JobId>,
}

/// Every job that runs, waits, or can still be resumed.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    inner: Mutex<Inner>,
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers an attempt. A newer attempt cancels an older one that still runs.
    ///
    /// # Errors
    /// The attempt is older than one already seen, or the same one is running.
    pub(crate) fn register(&self, id: &JobId, stream: &Arc<JobStream>) -> Result<(), Failure> {
        let mut inner = self.lock();
        inner.sweep(Instant::now());
        let attempt = stream.attempt();
        let seen = inner.attempts.get(id).copied().unwrap_or(0);
        let is_running = inner.current.get(id).is_some_and(|stream| !stream.is_done());
        if attempt < seen || (attempt == seen && is_running) {
            let message = format!("attempt {attempt} of job `{id}` is stale: attempt {seen} is known");
            return Err(Failure::new(ErrorCode::StaleAttempt, message).hint("send a higher `attempt`"));
        }
        inner.remember(id, attempt);
        if let Some(older) = inner.current.insert(id.clone(), Arc::clone(stream)) {
            older.cancel();
        }
        Ok(())
    }

    /// The events of a job, while it runs or its grace lasts.
    pub(crate) fn find(&self, id: &JobId) -> Option<Arc<JobStream>> {
        let mut inner = self.lock();
        inner.sweep(Instant::now());
        inner.current.get(id).map(Arc::clone)
    }

    /// Cancels a job; nothing happens if it is not known.
    pub(crate) fn cancel(&self, id: &JobId) {
        if let Some(stream) = self.lock().current.get(id) {
            stream.cancel();
        }
    }
}

impl Inner {
    fn remember(&mut self, id: &JobId, attempt: u32) {
        if self.attempts.insert(id.clone(), attempt).is_none() {
            self.order.push_back(id.clone());
        }
        while self.order.len() > REMEMBERED_ATTEMPTS {
            if let Some(oldest) = self.order.pop_front() {
                self.attempts.remove(&oldest);
            }
        }
    }

    /// Forgets jobs whose grace is over. Called on every access: the map is as large as what is in use.
    fn sweep(&mut self, now: Instant) {
        let is_over = |done_at: Instant, grace: Duration| now.saturating_duration_since(done_at) >= grace;
        self.current.retain(|_, stream| !stream.done_at().is_some_and(|at| is_over(at, stream.orphan_grace())));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::error::ErrorCode;
    use protocol::identifiers::JobId;

    use super::Jobs;
    use crate::job_stream::{EventWriter, JobStream};

    #[test]
    fn older_and_doubled_attempts_are_stale() {
        let jobs = Jobs::default();
        let id: JobId = "j".parse().expect("an id");
        let second = JobStream::new(2, Duration::ZERO);
        jobs.register(&id, &second).expect("the first seen");
        for attempt in [1, 2] {
            let error = jobs.register(&id, &JobStream::new(attempt, Duration::ZERO)).expect_err("stale");
            assert_eq!(error.code, ErrorCode::StaleAttempt);
        }
        jobs.register(&id, &JobStream::new(3, Duration::ZERO)).expect("a newer attempt");
        assert!(second.should_end(), "the older attempt is cancelled");
    }

    #[test]
    fn a_finished_job_is_kept_for_its_grace_only() {
        let jobs = Jobs::default();
        for (name, grace, is_kept) in [("a", Duration::ZERO, false), ("b", Duration::from_secs(60), true)] {
            let id: JobId = name.parse().expect("an id");
            let stream = JobStream::new(1, grace);
            jobs.register(&id, &stream).expect("registered");
            assert!(jobs.find(&id).is_some());
            drop(EventWriter::new(stream));
            assert_eq!(jobs.find(&id).is_some(), is_kept, "{name}");
        }
    }
}

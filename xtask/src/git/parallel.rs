//! The same work for several submodules at once, and the line that shows it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;
use serde::Serialize;

use crate::output::Output;

/// Threads at once: more connections to one host make nobody faster.
const THREADS_MAX: usize = 8;

/// Does the work for every item, several at a time; the results in the order of the items.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, work(item)));
        }
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..items.len().min(THREADS_MAX)).map(|_| scope.spawn(worker)).collect();
        let own = worker();
        let joined = others.into_iter().map(|thread| match thread.join() {
            Ok(results) => results,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        own.into_iter().chain(joined.flatten()).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// One line on a terminal that says what is being done for whom; with `--json` an event for every step.
pub struct Board {
    output: Output,
    bar: ProgressBar,
    steps: Mutex<BTreeMap<String, &'static str>>,
}

#[derive(Serialize)]
struct Step<'a> {
    event: &'static str,
    submodule: &'a str,
    step: &'static str,
}

impl Board {
    /// An empty line.
    pub fn new(output: Output) -> Self {
        Self { output, bar: output.progress(), steps: Mutex::default() }
    }

    /// `name` has come to `step`.
    pub fn step(&self, name: &str, step: &'static str) {
        // A reader that went away is noticed when the result is printed.
        let _nobody_reads = self.output.event(&Step { event: "step", submodule: name, step });
        self.change(|steps| {
            steps.insert(name.to_owned(), step);
        });
    }

    /// Nothing more is done for `name`.
    pub fn finish(&self, name: &str) {
        self.change(|steps| {
            steps.remove(name);
        });
    }

    /// A sentence for people, the line out of its way.
    pub fn note(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| self.output.note(text));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, &'static str>)) {
        let mut steps = self.steps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut steps);
        let words: Vec<String> = steps.iter().map(|(name, step)| format!("{step} {name}")).collect();
        self.bar.set_message(words.join(", "));
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<u64> = (0..100).collect();
        let doubled = each(&items, |item| {
            std::thread::sleep(std::time::Duration::from_micros(100 - item));
            item * 2
        });
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!(each(&[] as &[u64], |item| *item).is_empty());
    }
}

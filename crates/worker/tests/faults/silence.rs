//! A client that vanishes without a word: nothing it sent says so, only that nothing sent to it is confirmed.
//!
//! Needs a network that can be cut: a namespace of its own, with nothing in it but a loopback device. That takes root on
//! Linux and the program `ip`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::thread::UnshareFlags;

use crate::harness::{STALL_LIMIT, TestWorker, request};

/// Moves this thread, and all it starts from now on, into a network of its own; why that cannot be had.
fn enter_network_of_its_own() -> Result<(), String> {
    // SAFETY: no file descriptor table or credential is unshared, only the network that new sockets belong to.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .map_err(|error| format!("no namespace: {error}"))?;
    set_loopback("up")
}

fn set_loopback(state: &str) -> Result<(), String> {
    let set = duct::cmd("ip", ["link", "set", "lo", state]).run();
    set.map(drop).map_err(|error| format!("`ip link set lo {state}`: {error}"))
}

#[test]
fn a_client_that_vanishes_is_noticed_within_the_limit() {
    if let Err(reason) = enter_network_of_its_own() {
        assert!(std::env::var_os("CI").is_none(), "{reason}; install iproute2");
        println!("skipped: {reason}");
        return;
    }
    let worker = TestWorker::start(1);
    worker.disturbance.decode_delay_ms.store(20, Ordering::SeqCst);
    let mut stream = worker.stream(&request("victim", 400));
    stream.read_tokens(2);
    set_loopback("down").expect("the network goes");
    let cut_at = Instant::now();
    // Eight seconds of tokens are left to compute; silence for 300 ms means that nobody computes them.
    let mut last = (worker.disturbance.decodes.load(Ordering::SeqCst), Instant::now());
    while last.1.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(5));
        let decodes = worker.disturbance.decodes.load(Ordering::SeqCst);
        if decodes != last.0 {
            last = (decodes, Instant::now());
        }
    }
    let noticed = last.1 - cut_at;
    assert!(noticed <= STALL_LIMIT + Duration::from_secs(1), "decoded {noticed:?} for nobody, {} tokens", last.0);
    assert!(last.0 < 400, "the generation was over before anything could be noticed");
    set_loopback("up").expect("the network comes back");
    worker.eventually(Duration::from_secs(5), "free", || worker.slots_busy() == 0);
    assert_eq!(worker.outcomes("cancelled"), 1);
}

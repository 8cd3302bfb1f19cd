//! SIGINT and SIGTERM set a flag; the conversion stops at the next chunk and keeps what is done.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const SIGNALS: [i32; 2] = [2, 15];

/// A flag that the first such signal sets.
///
/// # Errors
/// The system refuses the handler.
pub fn cancel_flag() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

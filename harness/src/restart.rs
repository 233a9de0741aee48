//! What if a signal comes in the middle of a system call? Then it is made again.
//!
//! libdrm's `drmIoctl` does so for every request, and a process that uses a driver can't know what signals its other parts
//! take. rustix and drm-rs hand `EINTR` on; what of theirs may be interrupted is called through here, and counted, so that
//! a claim about signals can show that they broke something off.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many calls were made again.
static MADE_AGAIN: AtomicU64 = AtomicU64::new(0);

/// Makes `call` until no signal interrupts it.
///
/// # Errors
/// As `call`, but never `EINTR`.
pub(crate) fn again<T, E: Into<io::Error>>(mut call: impl FnMut() -> Result<T, E>) -> io::Result<T> {
    loop {
        match call().map_err(Into::into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => count(),
            done => return done,
        }
    }
}

/// A call was broken off, and is made again.
pub(crate) fn count() {
    MADE_AGAIN.fetch_add(1, Ordering::Relaxed);
}

/// How many calls of this process were broken off and made again so far.
pub fn made_again() -> u64 {
    MADE_AGAIN.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_until_it_is_not_interrupted() {
        let before = made_again();
        let mut answers = vec![Ok(7), Err(io::ErrorKind::Interrupted), Err(io::ErrorKind::Interrupted)];
        assert_eq!(again(|| answers.pop().unwrap_or(Ok(0)).map_err(io::Error::from)).ok(), Some(7));
        assert!(made_again() >= before + 2, "both are counted");
        let error = again(|| Err::<(), _>(io::Error::from(io::ErrorKind::NotFound))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

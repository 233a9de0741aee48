//! What if a signal comes in the middle of a system call? Then it is made again.
//!
//! libdrm's `drmIoctl` does so for every request, and a process that uses a driver can't know what signals its other parts
//! take. rustix and drm-rs hand `EINTR` on; what of theirs may be interrupted is called through here.

use std::io;

/// Makes `call` until no signal interrupts it.
///
/// # Errors
/// As `call`, but never `EINTR`.
pub(crate) fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_until_it_is_not_interrupted() {
        let mut answers = vec![Ok(7), Err(io::ErrorKind::Interrupted), Err(io::ErrorKind::Interrupted)];
        assert_eq!(again(|| answers.pop().unwrap_or(Ok(0)).map_err(io::Error::from)).ok(), Some(7));
        let error = again(|| Err::<(), _>(io::ErrorKind::NotFound.into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

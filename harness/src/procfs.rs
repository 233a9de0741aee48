//! Files of procfs that tell of one thing, such as `status` and those in `fdinfo`: the kernel makes all of their text at once,
//! and hands out as much of it as there is room for. Lists, such as `maps`, come in pieces.

use std::fs::{self, File};
use std::io::{self, Read};

use crate::restart::again;

/// Few of them have so many bytes.
const SHORT: usize = 4 << 10;

/// The text of such a file, in one read: `std` asks for its size, which is 0, and then reads some bytes at a time.
///
/// # Errors
/// The file is not there, or may not be read.
pub(crate) fn text(path: &str) -> io::Result<String> {
    let mut text = [0; SHORT];
    let mut file = again(|| File::open(path))?;
    let length = again(|| file.read(&mut text))?;
    // There may be more.
    if length == SHORT {
        return fs::read_to_string(path);
    }
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_has_all_of_it() {
        let status = text("/proc/self/status").expect("procfs");
        assert!(
            status.starts_with("Name:") && status.contains("\nnonvoluntary_ctxt_switches:") && status.ends_with('\n')
        );
        assert!(text("/proc/self/no such file").is_err());
    }
}

//! Which card node is the screen: tries them in order and remembers of each why it does not serve.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use drm::Device as _;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::card::Card;
use super::objects::Pipe;
use super::{able, second};
use crate::error::{Cause, Error, Result};
use crate::node;
use crate::restart::again;

/// The first card that `select` allows and that has a pipe, with us as its master.
pub(super) fn card(select: Option<&str>) -> Result<(Card, Pipe)> {
    const OP: &str = "opening a screen";
    let object = || select.unwrap_or("any driver").to_owned();
    let nodes = match select {
        Some(path) if path.contains('/') => vec![PathBuf::from(path)],
        _ => nodes().map_err(|why| Error::missing(OP, object(), why))?,
    };
    let driver = select.filter(|select| !select.contains('/'));
    let mut why = Vec::new();
    let mut is_lack = true;
    for node in &nodes {
        match open(node, driver) {
            Ok(found) => return Ok(found),
            Err(error) => {
                is_lack &= matches!(error.cause, Cause::Missing(_) | Cause::Errno(Errno::NOENT | Errno::NODEV));
                why.push(format!("{}: {error}", node.display()));
            }
        }
    }
    let why = why.join("; ");
    Err(Error::new(OP, object(), if is_lack { Cause::Missing(why) } else { Cause::Code(why) }))
}

/// `/dev/dri/card*` in the order of their numbers, but for those that a [`second::SecondCard`] has made for a case.
pub(super) fn nodes() -> Result<Vec<PathBuf>, String> {
    const DIRECTORY: &str = "/dev/dri";
    let entries = std::fs::read_dir(DIRECTORY).map_err(|error| {
        format!("{DIRECTORY}: {error}; no kernel graphics driver is loaded, or /dev is not mounted")
    })?;
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("card")?.parse::<u32>().ok();
    let mut nodes: Vec<_> =
        entries.filter_map(Result::ok).filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    nodes.retain(|(_, path)| !second::is_made_here(path));
    nodes.sort();
    if nodes.is_empty() {
        return Err(format!("{DIRECTORY} has no card node"));
    }
    Ok(nodes.into_iter().map(|(_, path)| path).collect())
}

fn open(node: &Path, driver: Option<&str>) -> Result<(Card, Pipe)> {
    let name = || node.display().to_string();
    // Non-blocking, so that reading events never waits.
    let fd = node::open(node, OFlags::RDWR | OFlags::NONBLOCK)?;
    let card = Card::new(fd, node)?;
    if driver.is_some_and(|driver| driver != card.driver) {
        return Err(Error::missing("open", name(), format!("its driver is {}", card.driver)));
    }
    for (capability, needed) in able::ASKED {
        let Err(error) = again(|| card.set_client_capability(capability, true)) else { continue };
        let error = able::refused(&card.to_string(), capability, Cause::from(error));
        if needed {
            return Err(error);
        }
        tracing::info!(%error, "the screen goes without");
    }
    again(|| card.acquire_master_lock()).map_err(|error| match Cause::from(error) {
        // EACCES: we never were master and may not take it.
        Cause::Errno(Errno::BUSY | Errno::ACCESS) => {
            Error::missing("DRM_IOCTL_SET_MASTER", card.to_string(), format!("{} is master of it", master(&card)))
        }
        cause => Error::new("DRM_IOCTL_SET_MASTER", card.to_string(), cause),
    })?;
    let pipe = Pipe::choose(&card)?;
    Ok((card, pipe))
}

/// Who is master of the card, as far as debugfs tells: `Xorg (pid 812)`.
fn master(card: &Card) -> String {
    let path = minor(card).map(|minor| format!("/sys/kernel/debug/dri/{minor}/clients"));
    let clients = path.ok().and_then(|path| std::fs::read_to_string(path).ok());
    clients.and_then(|text| text.lines().find_map(master_of_line)).unwrap_or_else(|| "another process".to_owned())
}

/// A line of debugfs `clients`, if it is the master's: command (which may contain blanks), pid, minor, master and
/// authenticated (y or n), then fields that differ between kernels.
fn master_of_line(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &str| text.parse::<u32>().is_ok();
    let at =
        fields.windows(4).position(|f| number(f[0]) && number(f[1]) && f[2] == "y" && matches!(f[3], "y" | "n"))?;
    Some(format!("{} (pid {})", fields[..at].join(" "), fields[at]))
}

/// Minor number of the card's node, which names its debugfs directory.
pub(super) fn minor(card: &Card) -> Result<u32, String> {
    let status =
        rustix::fs::fstat(card.as_fd()).map_err(|errno| format!("fstat of {}: {errno}", card.path.display()))?;
    Ok(rustix::fs::minor(status.st_rdev))
}

#[cfg(test)]
mod tests {
    use super::master_of_line;

    #[test]
    fn the_master_among_the_clients_is_named() {
        let header = "   command  tgid dev master a   uid      magic       name    id";
        let idle = "  Xwayland   900   0   n    y  1000          3    <unset>    12";
        let master = "my display   812   0   y    y     0          0    <unset>    11";
        assert_eq!([header, idle, master].map(master_of_line), [None, None, Some("my display (pid 812)".to_owned())]);
    }
}

//! How much memory of which region does each DRM client of this process hold?
//!
//! Drivers say so in the fdinfo of an open node; those of the sandbox account for nothing. It is a sum over all buffers of the
//! client, so two looks are needed to tell what one buffer added.
//!
//! Source: `Documentation/gpu/drm-usage-stats.rst` of the kernel.

use std::collections::BTreeMap;
use std::fs;

use crate::observed::{NotObservable, Observed};

/// Memory of one region, in bytes. What the driver does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// All buffers that have storage in this region as their choice.
    pub total: Option<u64>,
    /// Those of them that others share.
    pub shared: Option<u64>,
    /// What really lies there.
    pub resident: Option<u64>,
    /// What could be thrown away.
    pub purgeable: Option<u64>,
    /// What a device works with just now.
    pub active: Option<u64>,
}

/// What one open DRM node of this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The driver.
    pub driver: String,
    /// The client's number with that driver; two fds may be one client.
    pub id: u64,
    /// By the driver's name for the region: `vram`, `system`, `stolen-system0`.
    pub regions: BTreeMap<String, Region>,
}

/// The DRM clients of this process, by driver and number.
///
/// # Errors
/// No node that is open accounts for memory.
pub fn clients() -> Observed<Vec<Client>> {
    let fds =
        fs::read_dir("/proc/self/fdinfo").map_err(|error| NotObservable(format!("/proc/self/fdinfo: {error}")))?;
    let texts = fds.flatten().filter_map(|fd| fs::read_to_string(fd.path()).ok());
    let mut clients: Vec<Client> = texts.filter_map(|text| parse(&text)).collect();
    clients.sort_by(|one, other| (&one.driver, one.id).cmp(&(&other.driver, other.id)));
    clients.dedup();
    let accounts = clients.iter().any(|client| !client.regions.is_empty());
    match (accounts, clients.len()) {
        (true, _) => Ok(clients),
        (false, 0) => Err(NotObservable("this process has no DRM node open".to_owned())),
        (false, _) => {
            let drivers: Vec<&str> = clients.iter().map(|client| client.driver.as_str()).collect();
            Err(NotObservable(format!("{} account for no memory in fdinfo", drivers.join(", "))))
        }
    }
}

/// The keys of a DRM fdinfo that speak of memory.
pub(crate) fn keys(text: &str) -> impl Iterator<Item = &str> {
    let keys = text.lines().filter_map(|line| Some(line.split_once(':')?.0));
    let of_memory = |key: &str| {
        let name = KINDS.iter().find_map(|kind| key.strip_prefix(kind));
        // `drm-total-cycles-rcs` counts an engine's time.
        name.is_some_and(|name| !name.starts_with("cycles-"))
    };
    keys.filter(move |key| key.strip_prefix("drm-").is_some_and(of_memory))
}

/// What a driver counts; `memory-` is the older name of `resident-`.
const KINDS: [&str; 6] = ["memory-", "total-", "shared-", "resident-", "active-", "purgeable-"];

/// What an fdinfo says, if it is that of a DRM node.
fn parse(text: &str) -> Option<Client> {
    let value = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()));
    let driver = value("drm-driver")?.to_owned();
    let id = value("drm-client-id").and_then(|id| id.parse().ok()).unwrap_or(0);
    let mut regions: BTreeMap<String, Region> = BTreeMap::new();
    for key in keys(text) {
        let (Some(bytes), Some((kind, name))) =
            (value(key).and_then(bytes), key.strip_prefix("drm-").and_then(|key| key.split_once('-')))
        else {
            continue;
        };
        let region = regions.entry(name.to_owned()).or_default();
        match kind {
            "total" => region.total = Some(bytes),
            "shared" => region.shared = Some(bytes),
            "memory" | "resident" => region.resident = Some(bytes),
            "purgeable" => region.purgeable = Some(bytes),
            _ => region.active = Some(bytes),
        }
    }
    Some(Client { driver, id, regions })
}

/// `1024 KiB`; without a unit it is bytes.
fn bytes(value: &str) -> Option<u64> {
    let mut words = value.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    match words.next() {
        None => Some(number),
        Some("KiB") => number.checked_mul(1 << 10),
        Some("MiB") => number.checked_mul(1 << 20),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_read_in_bytes() {
        let text = "pos:\t0\nflags:\t02100002\ndrm-driver:\tamdgpu\ndrm-client-id:\t18\ndrm-pdev:\t0000:03:00.0\n\
                    drm-total-vram:\t1024 KiB\ndrm-shared-vram:\t0\ndrm-resident-vram:\t1 MiB\ndrm-memory-gtt: 4 KiB\n\
                    drm-engine-gfx:\t0 ns\n";
        let client = parse(text).expect("a DRM client");
        assert_eq!((client.driver.as_str(), client.id), ("amdgpu", 18));
        let vram = Region { total: Some(1 << 20), shared: Some(0), resident: Some(1 << 20), ..Region::default() };
        assert_eq!(client.regions["vram"], vram);
        assert_eq!(client.regions["gtt"].resident, Some(4096));
        assert_eq!(client.regions.len(), 2);
        assert_eq!(parse("pos:\t0\nflags:\t02\n"), None);
        assert_eq!(keys("drm-driver:\tvkms\ndrm-total-cycles-rcs: 5\ndrm-engine-rcs: 1").count(), 0);
    }
}

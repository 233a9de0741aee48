//! A device that goes away while somebody has it open, as a camera does whose cable is pulled.
//!
//! Only what is no hardware is unplugged here: devices that a driver made of nothing, on the platform bus. The driver lets go of
//! it (`unbind`), the node vanishes, and every call on an open file of it fails with `ENODEV`. Afterwards it is there again as a
//! new device (`bind`).
//!
//! Source: "Device Drivers" in the kernel's driver model documentation (`Documentation/driver-api/driver-model`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use rustix::io::Errno;

use super::{Device, ioctl, sysfs, uapi};
use crate::error::{Error, Result};

/// Where drivers put what they make of nothing; and so do many of a system on a chip, of what firmware told them.
const PLATFORM: &str = "/sys/devices/platform";

/// What a device has in sysfs that firmware described, by a device tree or by ACPI.
const DESCRIBED: [&str; 2] = ["of_node", "firmware_node"];

/// Why `device`, a directory of sysfs, may be hardware; `None` if it is right on the `platform` bus, and nobody but its driver
/// said that it is there.
fn hardware(device: &Path, platform: &Path) -> Option<String> {
    if device.parent() != Some(platform) {
        return Some(format!("it is not right below {}", platform.display()));
    }
    // A link that leads nowhere is one, too.
    let described = DESCRIBED.into_iter().find(|link| device.join(link).symlink_metadata().is_ok());
    described.map(|link| format!("firmware describes it ({link})"))
}

/// A device that is gone; it comes back when this is dropped.
#[derive(Debug)]
pub struct Unplugged {
    driver: PathBuf,
    device: String,
}

impl Device {
    /// Has the driver let go of the device.
    ///
    /// # Errors
    /// We are not root, the device is hardware, or the driver has no such interface.
    pub fn unplug(&self) -> Result<Unplugged> {
        const OP: &str = "unplugging a device";
        let object = || self.to_string();
        let missing = |why: String| Error::missing(OP, object(), why);
        let link = sysfs(&self.node).join("device");
        let device = fs::canonicalize(&link).map_err(|error| missing(format!("{}: {error}", link.display())))?;
        if let Some(why) = hardware(&device, Path::new(PLATFORM)) {
            let why =
                format!("{} may be hardware: {why}; only what a driver made of nothing is unplugged", device.display());
            return Err(missing(why));
        }
        let link = device.join("driver");
        let driver = fs::canonicalize(&link).map_err(|error| missing(format!("{}: {error}", link.display())))?;
        let device = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = driver.join("unbind");
        fs::write(&file, &device).map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => missing(format!("{}: {error}; only root can", file.display())),
            _ => Error::new("write", file.display().to_string(), error),
        })?;
        Ok(Unplugged { driver, device })
    }

    /// Whether what is open of the device is of no more use: it is gone for good, or kept buffers that it should have freed.
    pub fn is_gone(&self) -> bool {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).is_some()
            || ioctl::QUERYCAP.ask(self, &mut uapi::Capability::default()) == Err(Errno::NODEV)
    }
}

impl Drop for Unplugged {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.driver.join("bind"), &self.device) {
            tracing::error!(%error, device = %self.device, "could not plug the device in again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_firmware_describes_or_sits_on_a_bus_is_not_unplugged() {
        let platform = tempfile::tempdir().expect("a directory");
        let device = |path: &str| {
            let device = platform.path().join(path);
            fs::create_dir_all(&device).expect("a directory");
            device
        };
        let made = device("vim2m.0");
        assert_eq!(hardware(&made, platform.path()), None);
        let on_a_chip = device("soc/fd400000.video-codec");
        assert!(hardware(&on_a_chip, platform.path()).is_some_and(|why| why.contains("not right below")));
        for link in DESCRIBED {
            let described = device(&format!("ff2e0000.{link}"));
            std::os::unix::fs::symlink("nowhere", described.join(link)).expect("a link");
            assert!(hardware(&described, platform.path()).is_some_and(|why| why.contains(link)));
        }
    }
}

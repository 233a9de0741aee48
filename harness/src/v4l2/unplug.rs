//! A device that goes away while somebody has it open, as a camera does whose cable is pulled.
//!
//! Only what is no hardware is unplugged here: devices that a driver made of nothing, on the platform bus. Its driver lets go of
//! it (`unbind`), the node vanishes, and every call on an open file of it fails with `ENODEV`. Afterwards it is there again as a
//! new device (`bind`).
//!
//! Source: "Device Drivers" in the kernel's driver model documentation (`Documentation/driver-api/driver-model`).

use std::fs;
use std::path::PathBuf;
use std::sync::PoisonError;

use rustix::io::Errno;

use super::{Device, ioctl, sysfs, uapi};
use crate::error::{Error, Result};

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
        if !device.starts_with("/sys/devices/platform") {
            return Err(missing(format!(
                "{} may be hardware; only what a driver made of nothing is unplugged",
                device.display()
            )));
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

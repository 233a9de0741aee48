//! The heaps `vkms gbm`, `amdgpu gbm`: buffers of a DRM device through libgbm, which chooses the driver.

use super::{About, Allocated, Kind, Looked, Source};
use crate::error::Result;
use crate::gbm::{self, Gbm};

impl Source for Gbm {
    fn allocate(&self, bytes: u64) -> Result<Allocated> {
        self.of_bytes(bytes).map(Allocated::from)
    }
}

pub(super) fn find() -> Looked {
    let devices = match gbm::devices() {
        Ok(devices) => devices,
        Err(why) => return Looked::none(why),
    };
    let mut looked = Looked::default();
    let mut names = Vec::new();
    for device in devices {
        let gbm = match device {
            Ok(device) => device.gives,
            Err(why) => {
                looked.absent.extend(why);
                continue;
            }
        };
        let mut name = format!("{} gbm", gbm.driver());
        if names.contains(&name) {
            name = format!("{name} ({})", gbm.node().file_name().unwrap_or_default().to_string_lossy());
        }
        names.push(name.clone());
        looked.add(Kind::Gbm, gbm, About { name, contiguous: false, largest: Gbm::LARGEST });
    }
    looked
}

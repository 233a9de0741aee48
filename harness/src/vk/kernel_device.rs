#![expect(unsafe_code, reason = "vkGetPhysicalDeviceProperties2")]
//! Which device of the kernel is a Vulkan device, so that the kernel's events about it can be told from those about others?
//!
//! Events name devices as the kernel's driver model does (`dev_name`): `0000:03:00.0` on PCI, `fd890000.gpu` elsewhere. Vulkan
//! names none, but drivers may say which DRM node is theirs, or where they sit on PCI. A driver that runs on the CPU says
//! neither, since it is no device to the kernel.
//!
//! Source: `VK_EXT_physical_device_drm` and `VK_EXT_pci_bus_info`; `/sys/dev/char` in the kernel's sysfs documentation.

use std::ffi::CStr;
use std::path::Path;

use ash::{ext, vk};

use super::error::failed;
use crate::observed::{NotObservable, Observed};
use crate::placement;

/// What a driver says of where its device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Major and minor number of its DRM nodes, the render node first: that one does the work.
    nodes: [Option<(i64, i64)>; 2],
    /// Domain, bus, device and function on PCI.
    pci: Option<[u32; 4]>,
}

/// The kernel's name of `physical`, a device of `instance`.
///
/// # Errors
/// Why it has none, or none that is told.
pub(super) fn of(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Observed<String> {
    Told::ask(instance, physical).and_then(|told| told.name(Path::new("/sys")).map_err(NotObservable))
}

impl Told {
    fn ask(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Observed<Self> {
        // SAFETY: `physical` belongs to `instance`.
        let extensions = unsafe { instance.enumerate_device_extension_properties(physical) }
            .map_err(|code| failed("vkEnumerateDeviceExtensionProperties", "a Vulkan device", code))
            .map_err(|error| NotObservable(error.to_string()))?;
        let has = |name: &CStr| extensions.iter().any(|one| one.extension_name_as_c_str() == Ok(name));
        let (has_drm, has_pci) = (has(ext::physical_device_drm::NAME), has(ext::pci_bus_info::NAME));
        let mut drm = vk::PhysicalDeviceDrmPropertiesEXT::default();
        let mut pci = vk::PhysicalDevicePCIBusInfoPropertiesEXT::default();
        let mut properties = vk::PhysicalDeviceProperties2::default();
        if has_drm {
            properties = properties.push_next(&mut drm);
        }
        if has_pci {
            properties = properties.push_next(&mut pci);
        }
        // SAFETY: `physical` belongs to `instance`, and has the extensions of the chained structs.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        let node = |has: vk::Bool32, major, minor| (has == vk::TRUE).then_some((major, minor));
        Ok(Self {
            nodes: [
                node(drm.has_render, drm.render_major, drm.render_minor),
                node(drm.has_primary, drm.primary_major, drm.primary_minor),
            ],
            pci: has_pci.then_some([pci.pci_domain, pci.pci_bus, pci.pci_device, pci.pci_function]),
        })
    }

    /// The name, by what `sysfs` shows.
    fn name(&self, sysfs: &Path) -> Result<String, String> {
        let mut whys = Vec::new();
        for (major, minor) in self.nodes.into_iter().flatten() {
            match placement::name_of_number(sysfs, major, minor) {
                Ok(name) => return Ok(name),
                Err(why) => whys.push(format!("DRM node {major}:{minor} {why}")),
            }
        }
        if let Some([domain, bus, device, function]) = self.pci {
            let name = format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}");
            let place = sysfs.join("bus/pci/devices").join(&name);
            match place.exists() {
                true => return Ok(name),
                false => whys.push(format!("the driver says that it is {name}, but there is no {}", place.display())),
            }
        }
        if whys.is_empty() {
            let (drm, pci) = (ext::physical_device_drm::NAME, ext::pci_bus_info::NAME);
            let names = format!("{} nor {}", drm.to_string_lossy(), pci.to_string_lossy());
            whys.push(format!("the driver says by neither {names} which device of the kernel it is"));
        }
        Err(whys.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A sysfs with a PCI GPU whose nodes are 226:0 and 226:128, and a platform GPU with the render node 226:129.
    fn sysfs() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        let gpus = [
            ("pci0000:00/0000:00:01.1/0000:03:00.0", vec![("card0", "226:0"), ("renderD128", "226:128")]),
            ("platform/fd890000.gpu", vec![("renderD129", "226:129")]),
        ];
        let at = |path: &str| root.path().join(path);
        for folder in ["dev/char", "bus/pci/devices"] {
            fs::create_dir_all(at(folder)).expect("created");
        }
        for (place, nodes) in gpus {
            for (node, number) in nodes {
                let drm = format!("devices/{place}/drm/{node}");
                fs::create_dir_all(at(&drm)).expect("created");
                symlink("../..", at(&drm).join("device")).expect("linked");
                symlink(format!("../../{drm}"), at("dev/char").join(number)).expect("linked");
            }
        }
        let pci = "bus/pci/devices/0000:03:00.0";
        symlink("../../../devices/pci0000:00/0000:00:01.1/0000:03:00.0", at(pci)).expect("linked");
        root
    }

    #[test]
    fn a_node_leads_to_the_name_that_events_have() {
        let root = sysfs();
        let name = |nodes, pci| Told { nodes, pci }.name(root.path());
        assert_eq!(name([Some((226, 128)), Some((226, 0))], None), Ok("0000:03:00.0".into()));
        assert_eq!(name([None, Some((226, 0))], None), Ok("0000:03:00.0".into()));
        assert_eq!(name([Some((226, 129)), Some((226, 0))], None), Ok("fd890000.gpu".into()), "the render node counts");
        // A node that this machine does not show, as in a container, but a place on PCI.
        assert_eq!(name([Some((226, 140)), None], Some([0, 3, 0, 0])), Ok("0000:03:00.0".into()));
        assert_eq!(name([None, None], Some([0, 3, 0, 0])), Ok("0000:03:00.0".into()));
    }

    #[test]
    fn what_is_not_told_or_not_there_is_said() {
        let root = sysfs();
        let why = |told: Told| told.name(root.path()).expect_err("no device");
        assert!(why(Told::default()).contains("neither VK_EXT_physical_device_drm nor VK_EXT_pci_bus_info"));
        let elsewhere = why(Told { nodes: [Some((226, 140)), None], pci: Some([1, 0xa, 0x1f, 7]) });
        assert!(elsewhere.contains("DRM node 226:140 has no device"), "{elsewhere}");
        assert!(elsewhere.contains("0001:0a:1f.7, but there is no"), "{elsewhere}");
    }
}

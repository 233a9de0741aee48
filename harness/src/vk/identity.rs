#![expect(unsafe_code, reason = "vkGetPhysicalDeviceProperties2")]
//! Which driver and device answered, in words that a report can keep.

use std::ffi::{CStr, c_char};
use std::fmt;

use ash::vk;
use serde::{Deserialize, Serialize};

use super::instance::Validation;

/// A UUID as Vulkan reports it; only equality has a meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Uuid> for String {
    fn from(uuid: Uuid) -> Self {
        uuid.to_string()
    }
}

impl TryFrom<String> for Uuid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no UUID: 32 hexadecimal digits would be valid");
        if text.len() != 32 {
            return Err(refuse());
        }
        let number = u128::from_str_radix(&text, 16).map_err(|_| refuse())?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// A Vulkan device and its driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverIdentity {
    /// `VkPhysicalDeviceProperties::deviceName`.
    pub device_name: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub device_type: String,
    /// `VkPhysicalDeviceDriverProperties::driverName`, such as `llvmpipe`.
    pub driver_name: String,
    /// `VkPhysicalDeviceDriverProperties::driverInfo`, such as `Mesa 26.1.6 (LLVM 19.1.7)`.
    pub driver_info: String,
    /// Vulkan version of the device, `1.4.354`.
    pub api_version: String,
    /// PCI vendor, or a Khronos vendor id above 0xffff.
    pub vendor_id: u32,
    /// The vendor's number for the device.
    pub device_id: u32,
    /// Same device, in every process and instance: `VkPhysicalDeviceIDProperties::deviceUUID`.
    pub device_uuid: Uuid,
    /// Compatible driver: `driverUUID`. Opaque fds may change hands only where both are equal.
    pub driver_uuid: Uuid,
    /// Which validation was on.
    pub validation: Validation,
}

impl DriverIdentity {
    /// Whether `wanted` is its device UUID, or a part of its device name, driver name or driver info, upper and lower
    /// case alike.
    pub fn matches(&self, wanted: &str) -> bool {
        let wanted = wanted.to_lowercase();
        let names = [&self.device_name, &self.driver_name, &self.driver_info];
        names.iter().any(|text| text.to_lowercase().contains(&wanted)) || self.device_uuid.to_string() == wanted
    }

    /// Asks `physical`, a device of `instance`.
    pub(super) fn of(instance: &ash::Instance, physical: vk::PhysicalDevice, validation: Validation) -> Self {
        let mut ids = vk::PhysicalDeviceIDProperties::default();
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut ids).push_next(&mut driver);
        // SAFETY: `physical` belongs to `instance`; the chained structs are of Vulkan 1.1 and 1.2, and the caller
        // asks only devices of 1.3 or later or takes zeros for an answer.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        let device = properties.properties;
        Self {
            device_name: fixed_text(&device.device_name),
            device_type: type_text(device.device_type).to_owned(),
            driver_name: fixed_text(&driver.driver_name),
            driver_info: fixed_text(&driver.driver_info),
            api_version: version_text(device.api_version),
            vendor_id: device.vendor_id,
            device_id: device.device_id,
            device_uuid: Uuid(ids.device_uuid),
            driver_uuid: Uuid(ids.driver_uuid),
            validation,
        }
    }
}

impl fmt::Display for DriverIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {}, Vulkan {})", self.device_name, self.driver_name, self.driver_info, self.api_version)
    }
}

/// The word for a device's type.
pub(crate) const fn type_text(of: vk::PhysicalDeviceType) -> &'static str {
    match of {
        vk::PhysicalDeviceType::DISCRETE_GPU => "discrete",
        vk::PhysicalDeviceType::INTEGRATED_GPU => "integrated",
        vk::PhysicalDeviceType::VIRTUAL_GPU => "virtual",
        vk::PhysicalDeviceType::CPU => "cpu",
        _ => "other",
    }
}

/// `1.3.280`: a version of the API, without its variant.
pub(crate) fn version_text(version: u32) -> String {
    let (major, minor) = (vk::api_version_major(version), vk::api_version_minor(version));
    format!("{major}.{minor}.{}", vk::api_version_patch(version))
}

/// The text of a fixed array up to its NUL; all of it if a driver forgot the NUL.
fn fixed_text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&c| c.to_ne_bytes()[0]).chain([0]).collect();
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_round_trip_and_wrong_ones_are_refused() {
        let uuid = Uuid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(Uuid::try_from(uuid.to_string()), Ok(uuid));
        assert!(Uuid::try_from("+0102".to_owned()).is_err());
    }

    #[test]
    fn a_name_without_an_end_is_taken_whole() {
        let chars = [b'a', b'b', b'c'].map(|b| c_char::from_ne_bytes([b]));
        assert_eq!(fixed_text(&chars), "abc");
    }
}

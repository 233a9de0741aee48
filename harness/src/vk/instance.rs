#![expect(unsafe_code, reason = "creates and destroys the Vulkan instance")]
//! How a Vulkan instance comes up: loader, validation layer, and the list of devices.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ash::{ext, vk};
use serde::{Deserialize, Serialize};

use super::error::failed;
use super::identity::DriverIdentity;
use super::messages::messenger;
use crate::error::{Cause, Error, Result};

/// How much of the validation layer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// No layer.
    Off,
    /// The layer's core checks.
    Core,
    /// Core checks and synchronization validation.
    Sync,
}

impl Validation {
    /// What the environment variable `HANDOVER_VALIDATION` asks for: `0`, `core` or `sync`; `None` if it is not set.
    ///
    /// # Errors
    /// Any other value.
    pub fn from_environment() -> Result<Option<Self>> {
        const NAME: &str = "HANDOVER_VALIDATION";
        match std::env::var_os(NAME) {
            None => Ok(None),
            Some(value) => match value.to_str() {
                Some("0") => Ok(Some(Self::Off)),
                Some("core") => Ok(Some(Self::Core)),
                Some("sync" | "1" | "") => Ok(Some(Self::Sync)),
                _ => {
                    let why = format!("`{}`; 0, core or sync would be valid", value.to_string_lossy());
                    Err(Error::input("reading the environment", NAME, why))
                }
            },
        }
    }

    /// Why no layer is on, where none is.
    pub fn why_off() -> &'static str {
        match Self::from_environment() {
            Ok(Some(Self::Off)) => "HANDOVER_VALIDATION is 0",
            _ => "VK_LAYER_KHRONOS_validation is not installed",
        }
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Core => "core",
            Self::Sync => "core and synchronization",
        })
    }
}

const LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

/// Vulkan version that instances and devices must have.
pub(super) const VERSION: u32 = vk::API_VERSION_1_3;

/// A Vulkan instance.
pub(super) struct Instance {
    raw: ash::Instance,
    messenger: Option<(ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)>,
    validation: Validation,
    /// Stands on every message that this instance's messenger hears.
    token: usize,
    /// Keeps the loader's library open.
    _entry: ash::Entry,
}

impl Instance {
    /// Loads the Vulkan loader and creates an instance, with as much validation as is wanted and installed.
    ///
    /// # Errors
    /// No loader, a loader older than Vulkan 1.3, no driver, or the driver refuses.
    pub(super) fn open(wanted: Validation) -> Result<Arc<Self>> {
        const OP: &str = "vkCreateInstance";
        // SAFETY: libvulkan is the system's loader, whose initialisers have no preconditions; `entry` lives as long
        // as everything made from it.
        let entry = unsafe { ash::Entry::load() }.map_err(|error| no_loader(&error.to_string()))?;
        check_loader_version(&entry)?;
        let validation = available_validation(&entry, wanted)?;

        let application = vk::ApplicationInfo::default().application_name(c"handover").api_version(VERSION);
        // 0 is nobody's.
        static TOKENS: AtomicUsize = AtomicUsize::new(1);
        let token = TOKENS.fetch_add(1, Ordering::Relaxed);
        let mut messenger_info = messenger(token);
        let sync_checks = [vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION];
        let mut features = vk::ValidationFeaturesEXT::default().enabled_validation_features(&sync_checks);
        let layers = [LAYER.as_ptr()];
        let extensions = [ext::debug_utils::NAME.as_ptr(), ext::validation_features::NAME.as_ptr()];
        let mut info = vk::InstanceCreateInfo::default().application_info(&application);
        if validation != Validation::Off {
            // The messenger in the chain hears what happens while the instance is made and destroyed.
            info = info.enabled_layer_names(&layers).push_next(&mut messenger_info);
            info = info.enabled_extension_names(&extensions[..1]);
        }
        if validation == Validation::Sync {
            info = info.enabled_extension_names(&extensions).push_next(&mut features);
        }
        // SAFETY: `info` and all that it points to live until the call returns.
        let raw = unsafe { entry.create_instance(&info, None) }.map_err(|code| match code {
            vk::Result::ERROR_INCOMPATIBLE_DRIVER => no_driver(OP),
            _ => failed(OP, "the Vulkan loader", code),
        })?;
        let mut instance = Self { raw, messenger: None, validation, token, _entry: entry };
        if validation != Validation::Off {
            instance.listen()?;
        }
        Ok(Arc::new(instance))
    }

    /// Creates the messenger for everything after the instance's own creation.
    fn listen(&mut self) -> Result<()> {
        let functions = ext::debug_utils::Instance::new(&self._entry, &self.raw);
        // SAFETY: the extension is enabled, and the instance is live.
        let messenger = unsafe { functions.create_debug_utils_messenger(&messenger(self.token), None) }
            .map_err(|code| failed("vkCreateDebugUtilsMessengerEXT", "the Vulkan instance", code))?;
        self.messenger = Some((functions, messenger));
        Ok(())
    }

    /// What stands on its messages.
    pub(super) fn token(&self) -> usize {
        self.token
    }

    /// The functions; valid as long as `self`.
    pub(super) fn raw(&self) -> &ash::Instance {
        &self.raw
    }

    /// Every device of every driver, in the loader's order.
    ///
    /// # Errors
    /// A driver fails to enumerate.
    pub(super) fn devices(&self) -> Result<Vec<(vk::PhysicalDevice, DriverIdentity)>> {
        // SAFETY: the instance is live.
        let all = unsafe { self.raw.enumerate_physical_devices() }
            .map_err(|code| failed("vkEnumeratePhysicalDevices", "the Vulkan instance", code))?;
        Ok(all.into_iter().map(|device| (device, DriverIdentity::of(&self.raw, device, self.validation))).collect())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some((functions, messenger)) = self.messenger.take() {
            // SAFETY: created by `listen`, destroyed once, before its instance.
            unsafe { functions.destroy_debug_utils_messenger(messenger, None) };
        }
        // SAFETY: every device holds an `Arc` of this instance, so none is left.
        unsafe { self.raw.destroy_instance(None) };
    }
}

/// No loader is installed, or there is one that does not load; `why` is the dynamic linker's.
fn no_loader(why: &str) -> Error {
    const OP: &str = "loading the Vulkan loader";
    const OBJECT: &str = "libvulkan.so.1";
    match why.contains("No such file") {
        true => Error::missing(OP, OBJECT, why),
        false => Error::new(OP, OBJECT, Cause::Code(why.to_owned())),
    }
}

/// No driver is installed, or those that somebody named do not load: the loader's answer is one and the same.
fn no_driver(op: &'static str) -> Error {
    const OBJECT: &str = "the Vulkan loader";
    let named = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match ["VK_DRIVER_FILES", "VK_ADD_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().find(|name| named(name)) {
        None => {
            let why = "no Vulkan driver is installed, or none that loads (VK_LOADER_DEBUG=driver says why)";
            Error::missing(op, OBJECT, why)
        }
        Some(name) => {
            let why = format!("VK_ERROR_INCOMPATIBLE_DRIVER: none of the drivers that {name} names can be loaded");
            Error::new(op, OBJECT, Cause::Code(why))
        }
    }
}

/// Refuses a loader that cannot make a Vulkan 1.3 instance.
fn check_loader_version(entry: &ash::Entry) -> Result<()> {
    const OP: &str = "vkEnumerateInstanceVersion";
    // SAFETY: the loader is open.
    let version = unsafe { entry.try_enumerate_instance_version() }
        .map_err(|code| failed(OP, "the Vulkan loader", code))?
        .unwrap_or(vk::API_VERSION_1_0);
    if version >= VERSION {
        return Ok(());
    }
    let (major, minor) = (vk::api_version_major(version), vk::api_version_minor(version));
    Err(Error::missing(OP, "the Vulkan loader", format!("it knows Vulkan {major}.{minor}, 1.3 or later is needed")))
}

/// `wanted`, or as much of it as the installed layer can do.
fn available_validation(entry: &ash::Entry, wanted: Validation) -> Result<Validation> {
    if wanted == Validation::Off {
        return Ok(Validation::Off);
    }
    // SAFETY: the loader is open.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }
        .map_err(|code| failed("vkEnumerateInstanceLayerProperties", "the Vulkan loader", code))?;
    if !layers.iter().any(|layer| layer.layer_name_as_c_str() == Ok(LAYER)) {
        return Ok(Validation::Off);
    }
    // SAFETY: the loader is open and the layer's name ends with NUL.
    let extensions = unsafe { entry.enumerate_instance_extension_properties(Some(LAYER)) }
        .map_err(|code| failed("vkEnumerateInstanceExtensionProperties", LAYER.to_string_lossy(), code))?;
    let has = |name| extensions.iter().any(|extension| extension.extension_name_as_c_str() == Ok(name));
    Ok(match wanted {
        Validation::Sync if !has(ext::validation_features::NAME) => Validation::Core,
        as_wanted => as_wanted,
    })
}

/// Names of the devices of `list`, for error texts.
pub(super) fn names(list: &[(vk::PhysicalDevice, DriverIdentity)]) -> Cow<'static, str> {
    if list.is_empty() {
        return "no device".into();
    }
    list.iter().map(|(_, identity)| identity.to_string()).collect::<Vec<_>>().join("; ").into()
}

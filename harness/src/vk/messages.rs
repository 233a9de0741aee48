#![expect(unsafe_code, reason = "the callback of VK_EXT_debug_utils takes raw pointers")]
//! What the validation layer objected to: collected, never printed.
//!
//! Whether a message is a finding is the case runner's decision. Warnings are not asked for: nobody acts on them here, and they
//! would push errors out of what is kept.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use ash::vk;
use serde::{Deserialize, Serialize};

/// One error of `VK_EXT_debug_utils`: a rule of the specification is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Which rule: `VUID-…`, `SYNC-HAZARD-…`, or the sender's name where the message has no id.
    pub vuid: String,
    /// The text as sent.
    pub text: String,
    /// Which of this process's instances it is about; see [`Gpu::heard`](super::Gpu::heard).
    pub(super) token: usize,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.vuid, self.text)
    }
}

/// Most messages that are kept: one broken rule in a loop must not fill the memory.
const MOST_KEPT: usize = 200;

/// The messages that nobody took yet, of all instances: what a layer says while a device goes down must not go with it.
static KEPT: Mutex<Vec<Message>> = Mutex::new(Vec::new());

/// Removes and returns what was said by the layers of every Vulkan instance of this process, oldest first.
///
/// At most 200 messages are kept until they are taken; one more says that there were others.
pub fn take_messages() -> Vec<Message> {
    std::mem::take(&mut *KEPT.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The create info of a messenger whose messages [`take_messages`] returns, each with `token` on it.
pub(super) fn messenger(token: usize) -> vk::DebugUtilsMessengerCreateInfoEXT<'static> {
    use vk::{DebugUtilsMessageSeverityFlagsEXT as Severity, DebugUtilsMessageTypeFlagsEXT as Type};
    vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(Severity::ERROR)
        .message_type(Type::VALIDATION | Type::PERFORMANCE)
        .pfn_user_callback(Some(receive))
        // Never followed: only the number comes back.
        .user_data(std::ptr::without_provenance_mut(token))
}

/// `PFN_vkDebugUtilsMessengerCallbackEXT`; always lets the call go on.
unsafe extern "system" fn receive(
    _severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _kinds: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: the callback's contract: a valid struct for the time of the call.
    let data = unsafe { data.as_ref() };
    if let Some(data) = data {
        // SAFETY: null or a NUL-terminated string, as for every string of this struct.
        let vuid = unsafe { text(data.p_message_id_name) }.unwrap_or_else(|| "no id".to_owned());
        // SAFETY: as above.
        let text = unsafe { text(data.p_message) }.unwrap_or_default();
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.len() {
            0..MOST_KEPT => kept.push(Message { vuid, text, token: user.addr() }),
            // Whoever is excused for one rule is not for what nobody has read.
            MOST_KEPT => {
                kept.push(Message { vuid: "no id".into(), text: "more than these".into(), token: user.addr() })
            }
            _ => {}
        }
    }
    vk::FALSE
}

/// A C string as text, `None` if there is none.
///
/// # Safety
/// `string` is null or NUL-terminated and valid for the time of the call.
unsafe fn text(string: *const std::ffi::c_char) -> Option<String> {
    if string.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller's contract.
    let string = unsafe { CStr::from_ptr(string) };
    Some(string.to_string_lossy().into_owned())
}

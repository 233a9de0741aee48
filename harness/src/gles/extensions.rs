//! What must EGL be able to do, and what is said where it can't?
//!
//! Pure: extensions are words in a text.

use crate::error::Error;

/// What a display must be able to do, and what for.
const REQUIRED: &[(&str, &str)] = &[
    ("EGL_EXT_image_dma_buf_import", "to import dma-bufs"),
    ("EGL_EXT_image_dma_buf_import_modifiers", "to say how an imported dma-buf lies"),
    ("EGL_KHR_no_config_context", "to draw to images alone"),
    ("EGL_KHR_surfaceless_context", "to draw without a window"),
];

/// Whether `wanted` is one of `extensions`.
pub(super) fn has(extensions: &str, wanted: &str) -> bool {
    extensions.split_whitespace().any(|extension| extension == wanted)
}

/// What a display with these `extensions` lacks, and what for; `None` if nothing.
pub(super) fn lacking(extensions: &str) -> Option<String> {
    let lacks = REQUIRED.iter().filter(|(name, _)| !has(extensions, name));
    let lacks: Vec<_> = lacks.map(|(name, why)| format!("{name} is missing ({why})")).collect();
    (!lacks.is_empty()).then(|| lacks.join(", "))
}

/// EGL has no such `platform`, since it has none of the extensions that bring it.
pub(super) fn no_platform(platform: String, extensions: &[&str]) -> Error {
    let why = format!("{} is missing, so EGL has no such platform", extensions.join(" or "));
    Error::missing("eglQueryString(EGL_NO_DISPLAY, EGL_EXTENSIONS)", platform, why)
}

/// Why EGL with these client `extensions` can't be asked for its devices; `None` if it can.
pub(super) fn no_devices(extensions: &str) -> Option<Error> {
    const PARTS: [&str; 2] = ["EGL_EXT_device_enumeration", "EGL_EXT_device_query"];
    // What both parts were in before they were two.
    if has(extensions, "EGL_EXT_device_base") {
        return None;
    }
    let lacks: Vec<_> = PARTS.into_iter().filter(|name| !has(extensions, name)).collect();
    let why = || format!("{} is missing, so EGL does not tell its devices", lacks.join(" and "));
    (!lacks.is_empty()).then(|| Error::missing("eglQueryString(EGL_NO_DISPLAY, EGL_EXTENSIONS)", "EGL", why()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn a_display_without_dma_bufs_lacks_them_by_name_and_reason() {
        let all = REQUIRED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
        assert_eq!(lacking(&all), None);
        // A name that another one begins with is not that other one.
        let without = all.replace("EGL_EXT_image_dma_buf_import ", "");
        let lack = lacking(&without).expect("one is missing");
        assert_eq!(lack, "EGL_EXT_image_dma_buf_import is missing (to import dma-bufs)");
        assert_eq!(lacking("").map(|lack| lack.matches("is missing").count()), Some(REQUIRED.len()));
    }

    #[test]
    fn an_egl_that_tells_no_devices_lacks_what_does() {
        assert!(no_devices("EGL_EXT_device_base").is_none());
        assert!(no_devices("EGL_EXT_device_query EGL_EXT_device_enumeration EGL_EXT_platform_base").is_none());
        let lack = no_devices("EGL_EXT_device_query").expect("half of it is missing");
        assert!(matches!(lack.cause, Cause::Missing(_)), "{lack:?}");
        assert!(lack.to_string().contains("EGL_EXT_device_enumeration is missing"), "{lack}");
    }

    #[test]
    fn an_egl_without_the_platform_is_a_lack() {
        let error = no_platform("EGL GBM platform".into(), &["EGL_KHR_platform_gbm", "EGL_MESA_platform_gbm"]);
        assert!(matches!(error.cause, Cause::Missing(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("EGL_KHR_platform_gbm or EGL_MESA_platform_gbm is missing"), "{text}");
    }
}

//! An EGL vendor and a GBM backend that do one thing wrong, chosen by name, and hand everything else on to Mesa's.
//!
//! Both are places that the two loaders have for drivers of others. libglvnd's libEGL loads the vendor library that a
//! manifest in `__EGL_VENDOR_LIBRARY_FILENAMES` names, and calls its `__egl_Main`; libgbm loads `NAME_gbm.so` from
//! `GBM_BACKENDS_PATH` for `GBM_BACKEND=NAME`, and calls its `gbmint_get_backend`. This library is both. It is
//! below the API, as Mesa is, so that it makes no difference who calls. Images and syncs are those of EGL 1.5: what has their
//! older names (`eglCreateImageKHR`) is handed on.
//!
//! `HANDOVER_FAULT` names what is broken, `HANDOVER_FAULT_COUNT` the file that grows by a byte each time, and
//! `HANDOVER_FAULT_GBM` Mesa's own backend.

pub mod egl;
pub mod gbm;

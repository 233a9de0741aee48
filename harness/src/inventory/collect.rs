//! How the inventory is taken: which driver is asked by whom, and what is listed for one that does not survive it.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::listed::Listed;
use super::probe::Probe;
use super::vulkan::{self, Vulkan, manifests};
use super::{Inventory, Kernel, drm_nodes, egl, gbm, libraries, memory, observation, v4l2};

impl Inventory {
    /// Takes the inventory of this machine, each driver in a process of its own.
    ///
    /// Those processes are this program again, started as `handover devices --probe QUESTION`; so this works in the
    /// `handover` binary only.
    pub fn collect() -> Self {
        std::thread::scope(|threads| {
            let vulkan = threads.spawn(vulkan);
            let drm = drm_nodes::paths().map(|paths| {
                let ask = |path| threads.spawn(move || ask(Probe::Drm(PathBuf::from(&path)), path));
                paths.into_iter().map(ask).collect::<Vec<_>>()
            });
            let v4l2 = v4l2::paths().map(|paths| {
                let ask = |path| threads.spawn(move || ask(Probe::V4l2(PathBuf::from(&path)), path));
                paths.into_iter().map(ask).collect::<Vec<_>>()
            });
            let egl = threads.spawn(displays);
            let gbm = drm_nodes::paths().map(|paths| {
                let ask = |path| threads.spawn(move || ask(Probe::Gbm(PathBuf::from(&path)), path));
                paths.into_iter().map(ask).collect::<Vec<_>>()
            });
            let drm = all(drm, "/dev/dri");
            let gbm = all(gbm, "/dev/dri");
            let v4l2 = all(v4l2, "/dev/video*");
            let vulkan = vulkan.join().unwrap_or_default();
            Self {
                kernel: kernel(),
                libraries: libraries::libraries(),
                observation: observation::facilities(&drm, &vulkan),
                vulkan,
                egl: egl.join().unwrap_or_default(),
                drm,
                gbm,
                dma_heaps: memory::dma_heaps(),
                udmabuf: memory::udmabuf(),
                v4l2,
            }
        })
    }
}

/// The entries that the threads bring, or one that says why there is none.
fn all<T>(asked: Result<Vec<std::thread::ScopedJoinHandle<'_, Listed<T>>>, String>, name: &str) -> Vec<Listed<T>> {
    match asked {
        // A thread that only starts a process and reads its answer does not panic; if it did, the entry would say so.
        Ok(threads) => {
            let lost = || Listed::unavailable(name, "the thread that asked for it panicked");
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
        }
        Err(why) => vec![Listed::unavailable(name, why)],
    }
}

/// The entry of `name`, as its driver answers in a child process.
fn ask<T: serde::de::DeserializeOwned>(probe: Probe, name: String) -> Listed<T> {
    let asked = probe.ask();
    asked.answer.unwrap_or_else(|why| Listed::unavailable(name, with_last_words(&why, &asked.messages)))
}

fn with_last_words(why: &str, messages: &[String]) -> String {
    match messages.iter().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{why}; its last words: {}", line.trim()),
        None => why.to_owned(),
    }
}

/// EGL's platforms: without a device, and on each DRM node.
fn displays() -> Vec<Listed<egl::EglDisplay>> {
    let on_gbm = |path: String| ask(Probe::EglOnGbm(PathBuf::from(&path)), egl::gbm_name(&path));
    let surfaceless = ask(Probe::Egl, egl::SURFACELESS.to_owned());
    // That there is no node is told by the list of nodes.
    let nodes = drm_nodes::paths().unwrap_or_default();
    std::iter::once(surfaceless).chain(nodes.into_iter().map(on_gbm)).collect()
}

/// All Vulkan drivers in one process, as an application has them; if that process dies, each in a process of its own.
fn vulkan() -> Vulkan {
    let manifests = manifests::manifests();
    let asked = Probe::Vulkan.ask::<Vulkan>();
    let mut found = match asked.answer {
        Ok(found) => found,
        Err(why) => one_by_one(&manifests, with_last_words(&why, &asked.messages)),
    };
    found.manifests = manifests.iter().map(|path| path.display().to_string()).collect();
    found.messages.extend(asked.messages);
    found
}

/// Every driver alone, after all together did not answer because of `why`.
fn one_by_one(manifests: &[PathBuf], why: String) -> Vulkan {
    let mut found = Vulkan::default();
    for manifest in manifests {
        let asked = Probe::VulkanDriver(manifest.clone()).ask::<Vulkan>();
        match asked.answer {
            Ok(alone) => {
                // Drivers without a device are the rule, those of other vendors' hardware; they are no finding here.
                found.devices.extend(alone.devices.into_iter().filter(|device| device.present().is_some()));
                found.loader_version = found.loader_version.or(alone.loader_version);
                found.layers = alone.layers;
            }
            Err(why) => {
                let why = with_last_words(&why, &asked.messages);
                found.devices.push(Listed::unavailable(manifest.display().to_string(), why));
            }
        }
    }
    found.messages.push(format!("all Vulkan drivers in one process: {why}; so each was asked alone"));
    if found.devices.is_empty() {
        found.devices.push(Listed::unavailable("Vulkan", why));
    }
    found
}

/// Answers a question of the parent process on `to`.
pub(super) fn answer(probe: &Probe, to: &mut impl Write) -> io::Result<()> {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    match probe {
        Probe::Vulkan | Probe::VulkanDriver(_) => json(to, &vulkan::list()),
        Probe::Drm(node) => json(to, &drm_nodes::node(&path(node))),
        Probe::V4l2(node) => json(to, &v4l2::node(&path(node))),
        Probe::Egl => json(to, &egl::surfaceless()),
        Probe::EglOnGbm(node) => json(to, &egl::on_gbm(&path(node))),
        Probe::Gbm(node) => json(to, &gbm::node(&path(node))),
    }
}

/// Prints `data` as JSON.
pub(super) fn json(to: &mut impl Write, data: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, data)?;
    writeln!(to)
}

fn kernel() -> Kernel {
    let name = rustix::system::uname();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Kernel {
        release: name.release().to_string_lossy().into_owned(),
        machine: name.machine().to_string_lossy().into_owned(),
        uml: cpu.contains("User Mode Linux"),
    }
}

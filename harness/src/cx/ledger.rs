//! What is held at a moment: files, dma-bufs, mappings, GEM handles, framebuffers, pages.
//!
//! The kernel is asked for each, and not the code that should have let go of it.

use std::fs;
use std::path::Path;

use super::Cx;
use crate::case::Trouble;
use crate::error::{Error, Result};
use crate::finding::Finding;

/// Memory of the kernel that comes and goes without being lost, in KiB: 0.6 MiB were seen over 5,400 frames. A page that leaks
/// with each frame is more than this after 1,000 frames.
const KERNEL_NOISE_KIB: u64 = 4 << 10;

/// The same of this process, in KiB: heaps of libraries, and the last 65,536 events, which the observer keeps. It grew by 14 MiB
/// in 5,000 frames, and by 1 MiB in the 5,000 after them.
const OWN_NOISE_KIB: u64 = 24 << 10;

/// What is held at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Files that this process has open.
    files: usize,
    /// dma-bufs, of whatever process.
    dmabufs: usize,
    /// Mappings of this process that show dma-bufs, memory files or devices.
    mappings: usize,
    /// GEM handles and framebuffers of the screen's file.
    gems: usize,
    framebuffers: usize,
    /// Memory of the machine, where nobody else runs who takes some and gives some back.
    pages: Option<Pages>,
}

/// Memory of the machine, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pages {
    /// In memory files and GEM objects.
    shmem: u64,
    /// Of processes, in no file.
    own: u64,
    /// Whatever else can't be had: that of drivers is here.
    kernel: u64,
}

/// Memory of the kernel, in KiB, once a step.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    kib: Vec<u64>,
    raw: Vec<String>,
}

impl Growth {
    /// After one more step.
    ///
    /// # Errors
    /// procfs is not mounted.
    pub fn sample(&mut self) -> Result<()> {
        let info = read("/proc/meminfo")?;
        self.kib.push(pages(&info).kernel);
        let zone = fs::read_to_string("/proc/zoneinfo").unwrap_or_default();
        let pcp: u64 = zone.lines().filter_map(|l| l.trim().strip_prefix("count:")?.trim().parse::<u64>().ok()).sum();
        self.raw.push(format!(
            "{} pcp={pcp} {}",
            pages(&info).kernel,
            info.split_whitespace().collect::<Vec<_>>().join(" ")
        ));
        Ok(())
    }
}

impl Cx {
    /// x
    pub fn no_growth(&mut self, _each: &str, growth: &Growth) {
        let _ = self.save_text(
            "growth.txt",
            &growth.raw.join(
                "
",
            ),
        );
    }

    /// x
    pub fn screen_is_free(&mut self, ledger: &Ledger) {
        self.equals("GEM handles of a black screen", 0, ledger.gems);
        self.equals("framebuffers of a black screen", 0, ledger.framebuffers);
    }

    /// What is held now.
    ///
    /// # Errors
    /// A skip if the kernel shows no list of dma-bufs; a finding if the screen does not answer.
    pub fn ledger(&mut self) -> Result<Ledger, Trouble> {
        let maps = read("/proc/self/maps")?;
        let shared = |line: &&str| ["/dmabuf", "/memfd:", "/dev/"].iter().any(|path| line.contains(path));
        let (gems, framebuffers) = self.screen()?.holds()?;
        let pages = if alone() { Some(pages(&read("/proc/meminfo")?)) } else { None };
        let mappings = maps.lines().filter(shared).count();
        Ok(Ledger { files: self.open_files()?, dmabufs: self.dmabufs()?, mappings, gems, framebuffers, pages })
    }

    /// Claims that no more is held at the end than at the start.
    pub fn nothing_more(&mut self, start: &Ledger, end: &Ledger) {
        self.equals("open files", start.files, end.files);
        self.equals("dma-bufs", start.dmabufs, end.dmabufs);
        self.equals("mappings of shared memory", start.mappings, end.mappings);
        self.equals("GEM handles", start.gems, end.gems);
        self.equals("framebuffers", start.framebuffers, end.framebuffers);
        let (Some(start), Some(end)) = (start.pages, end.pages) else {
            self.fact("not observed", "pages: other processes run on this machine");
            return;
        };
        self.equals("KiB in memory files and GEM objects", start.shmem, end.shmem);
        for (what, before, after, noise) in
            [("kernel", start.kernel, end.kernel, KERNEL_NOISE_KIB), ("own", start.own, end.own, OWN_NOISE_KIB)]
        {
            self.figure(&format!("{what}_memory_growth_kib"), after as f64 - before as f64);
            self.claim(format!("{what} memory"), after < before + noise, || {
                let most = format!("{before} KiB, and less than {noise} KiB more");
                Finding::new(format!("{what} memory leaks")).row("target", most).row("actual", format!("{after} KiB"))
            });
        }
    }
}

fn read(path: &'static str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::new("read", path, error))
}

fn pages(meminfo: &str) -> Pages {
    let of = |key: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or_default()
    };
    let (shmem, own) = (of("Shmem"), of("AnonPages"));
    let used = of("MemTotal").saturating_sub(of("MemAvailable"));
    let _ = used;
    let kernel = of("MemTotal").saturating_sub(
        of("MemFree") + of("Buffers") + of("Cached") + of("SwapCached") + of("AnonPages") + of("SReclaimable"),
    );
    Pages { shmem, own, kernel }
}

/// Whether no process runs but the first one, this one and those that it started: so it is in a kernel of our own.
fn alone() -> bool {
    let us = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    let others = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).filter(|pid| {
        let of = |name: &str| fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(name));
        // The kernel's own threads have no command line, and who is gone by now has none either.
        let is_process = of("cmdline").is_ok_and(|line| !line.is_empty());
        is_process && *pid != 1 && *pid != us && of("status").ok().and_then(|status| parent(&status)) != Some(us)
    });
    others.count() == 0
}

fn parent(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_parents_are_read_as_the_kernel_writes_them() {
        let text = "MemTotal:        4124308 kB\nMemFree: 1 kB\nMemAvailable:    4090640 kB\nAnonPages:   1028 kB\nShmem:   12 kB\nShmemHugePages: 7 kB\n";
        assert_eq!(pages(text), Pages { shmem: 12, own: 1028, kernel: 32_628 });
        assert_eq!(parent("Name:\tinit\nPid:\t7\nPPid:\t3\n"), Some(3));
    }
}

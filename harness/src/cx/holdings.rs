//! What is held at a moment: files, dma-bufs, mappings, GEM handles, framebuffers, pages.
//!
//! The kernel is asked for each, and not the code that should have let go of it. For cases that look at memory, too,
//! and between two of their steps; what a case may leave at its end is the business of [`crate::ledger`].
//!
//! Two of these are compared, and what lies in the first one can't be missed in the second. So a case takes the first
//! one after a warm-up that is much shorter than what it checks: what is made once and kept is in it (open devices, a
//! small buffer of each heap, what a library keeps), and of a leak only that of the warm-up. Where nothing may be left,
//! as on a black screen, that is a claim of its own ([`Cx::screen_is_free`]).
//!
//! Memory is no count: it comes and goes. How much each step adds is therefore taken from many moments ([`Growth`]),
//! which finds a page a step long before it shows in the sum.

use std::fs;
use std::time::{Duration, Instant};

use super::{Cx, Files};
use crate::case::Trouble;
use crate::compare::counted;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::kms::Handles;
use crate::ledger::alone;
use crate::observed::Observed;

/// Memory of the kernel that comes and goes without being lost, in KiB: 0.6 MiB were seen over 5,400 frames. What leaks
/// with each frame is found earlier, by [`Growth`].
const KERNEL_NOISE_KIB: u64 = 4 << 10;

/// The same of this process, in KiB: heaps of libraries, and the last 65,536 events, which the observer keeps. It grew
/// by 14 MiB in 5,000 frames, and by 1 MiB in the 5,000 after them.
const OWN_NOISE_KIB: u64 = 24 << 10;

/// Nothing more goes by itself when nothing has gone for so long.
const QUIET: Duration = Duration::from_millis(50);

/// What comes and goes for longer is somebody else's.
const RESTLESS: Duration = Duration::from_secs(1);

/// What is held at one moment.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// Files that this process has open.
    files: Files,
    /// dma-bufs, of whatever process, where nobody else makes some.
    dmabufs: Observed<usize>,
    /// Mappings of this process that show dma-bufs, memory files or devices.
    mappings: usize,
    /// Of the screen's file.
    handles: Handles,
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

/// Memory of the kernel, in KiB, after each of many steps that should leave nothing behind.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    kib: Vec<u64>,
}

/// So many stretches of steps are compared, of the second half: the first one is the warm-up.
const STRETCHES: usize = 9;

/// Steps of a stretch, at least. The kernel takes up to 8 pages at once for small objects.
const STRETCH: usize = 8;

/// Half a page a step is a leak. In the sandbox 0 KiB were seen.
const MOST_KIB: f64 = 2.0;

impl Growth {
    /// After one more step.
    ///
    /// # Errors
    /// procfs is not mounted.
    pub fn sample(&mut self) -> Result<()> {
        self.kib.push(pages(&read("/proc/meminfo")?).kernel);
        Ok(())
    }

    /// What a step adds, in KiB: the median of the stretches, so that what grows now and then by much does not count.
    /// `None` if there are too few steps to tell.
    fn per_step(&self) -> Option<f64> {
        let settled = &self.kib[self.kib.len() / 2..];
        let length = settled.len().saturating_sub(1) / STRETCHES;
        if length < STRETCH {
            return None;
        }
        let of = |n: usize| settled[(n + 1) * length] as f64 - settled[n * length] as f64;
        let mut grown: Vec<f64> = (0..STRETCHES).map(of).collect();
        grown.sort_by(f64::total_cmp);
        Some(grown[STRETCHES / 2] / length as f64)
    }
}

impl Cx {
    /// Claims that the kernel's memory does not grow with each `step`.
    pub fn no_growth(&mut self, step: &str, growth: &Growth) {
        let per_step = match growth.per_step() {
            _ if !alone() => Err("other processes run on this machine".to_owned()),
            None => {
                let (least, steps) = (2 * (STRETCHES * STRETCH + 1), growth.kib.len());
                Err(format!("{steps} times {step} are too few, {least} would do; HANDOVER_EFFORT=10 makes more"))
            }
            Some(per_step) => Ok(per_step),
        };
        match per_step {
            Err(why) => self.fact("not observed", format!("memory that {step} adds: {why}")),
            Ok(kib) => {
                self.figure("kernel_memory_kib_per_step", kib);
                self.claim(format!("kernel memory that {step} adds"), kib < MOST_KIB, || {
                    let target = format!("less than {MOST_KIB} KiB, in the median of {STRETCHES} stretches");
                    let finding = Finding::new(format!("kernel memory leaks with {step}"));
                    finding.row("target", target).row("actual", format!("{kib:.1} KiB"))
                });
            }
        }
    }

    /// Claims that at the moment of `held`, when the screen was black, its file held nothing, not even what a warm-up
    /// left.
    pub fn screen_is_free(&mut self, held: &Holdings) {
        for (what, numbers, like) in [
            ("framebuffer", &held.handles.framebuffers, "DRM_IOCTL_MODE_RMFB or CLOSEFB, which does not remove it"),
            ("GEM handle", &held.handles.gems, "DRM_IOCTL_GEM_CLOSE, which does not give it back"),
        ] {
            self.claim(format!("{what}s of a black screen"), numbers.is_empty(), || {
                Finding::new(format!("a black screen still has {}", counted(numbers.len() as u64, what)))
                    .row("target", "none: nothing is shown")
                    .row("actual", held.handles.to_string())
                    .row("like", format!("{like}, or nobody who calls it"))
            });
        }
    }

    /// What is held now.
    ///
    /// # Errors
    /// procfs is not mounted, or the screen does not answer.
    pub fn holdings(&mut self) -> Result<Holdings, Trouble> {
        let maps = read("/proc/self/maps")?;
        let shared = |line: &&str| ["/dmabuf", "/memfd:", "/dev/"].iter().any(|path| line.contains(path));
        let handles = self.screen()?.handles()?;
        let pages = if alone() { Some(pages(&read("/proc/meminfo")?)) } else { None };
        let mappings = maps.lines().filter(shared).count();
        Ok(Holdings { files: self.files()?, dmabufs: self.settled_dmabufs(), mappings, handles, pages })
    }

    /// How many dma-bufs there are when none has gone for a while: what was on the screen is given back by a worker of the
    /// kernel, some time after the commit that took it off.
    fn settled_dmabufs(&self) -> Observed<usize> {
        let began = Instant::now();
        let (mut count, mut since) = (self.dmabufs()?, began);
        while since.elapsed() < QUIET && began.elapsed() < RESTLESS {
            std::thread::sleep(Duration::from_millis(2));
            let now = self.dmabufs()?;
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(count)
    }

    /// Claims that no more is held at the end than at the start, with `what` in between.
    pub fn nothing_more(&mut self, what: &str, start: &Holdings, end: &Holdings) {
        self.compare_files(what, None, &start.files, &end.files);
        let (before, after) = (start.mappings, end.mappings);
        self.claim("mappings of shared memory", after <= before, || {
            Finding::new(format!("{} of shared memory stay after {what}", counted((after - before) as u64, "mapping")))
                .row("target", format!("{before}, as before"))
                .row("actual", after.to_string())
                .row("like", "munmap, which does not take them away, or nobody who calls it")
        });
        match (&start.dmabufs, &end.dmabufs) {
            (&Ok(before), &Ok(after)) => self.claim("dma-bufs", after <= before, || {
                Finding::new(format!("{} more after {what}", counted((after - before) as u64, "dma-buf")))
                    .row("target", format!("{before}, as before"))
                    .row("actual", after.to_string())
            }),
            (Err(why), _) | (_, Err(why)) => self.fact("not observed", format!("dma-bufs: {why}")),
        }
        // What is shown in another's place has another number.
        self.equals("GEM handles", start.handles.gems.len(), end.handles.gems.len());
        self.equals("framebuffers", start.handles.framebuffers.len(), end.handles.framebuffers.len());
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
    Pages { shmem, own, kernel: used.saturating_sub(shmem + own) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_them() {
        let text = "MemTotal:        4124308 kB\nMemFree: 1 kB\nMemAvailable:    4090640 kB\nAnonPages:   1028 kB\nShmem:   12 kB\nShmemHugePages: 7 kB\n";
        assert_eq!(pages(text), Pages { shmem: 12, own: 1028, kernel: 32_628 });
    }
    #[test]
    fn what_grows_with_each_step_is_told_from_what_grows_once() {
        let grown = |of: fn(u64) -> u64, steps| Growth { kib: (0..steps).map(of).collect() }.per_step();
        assert_eq!(grown(|_| 40_000, 146), Some(0.0));
        assert_eq!(grown(|_| 40_000, 140), None, "too few to tell");
        // A warm-up, and then a pool that grows twice.
        assert_eq!(grown(|n| 3_000 * n.min(90) + 500 * (n / 120), 186), Some(0.0));
        // One object of 4 KiB a step, of which the kernel takes eight at a time.
        let leak = grown(|n| 40_000 + n / 8 * 32, 186).expect("enough");
        assert!((MOST_KIB..=8.0).contains(&leak), "{leak}");
    }
}

//! What did the kernel do with dma-bufs since the last look? A trace of our own, read as it grows.
//!
//! Each [`Trace`] is a tracefs *instance*: a buffer and switches of its own, so that several processes, and whoever else
//! traces on this machine, do not disturb each other. It records the events of dma-bufs and of DMA mappings that this process
//! causes, its threads, and the processes that they start. It does not see work that a driver hands to a kernel thread.
//!
//! Source: `Documentation/trace/ftrace.rst` and `Documentation/trace/events.rst` of the kernel.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::parse::{self, Line};
use crate::inventory::access::{self, Mode};
use crate::inventory::mounts::Mounts;
use crate::observed::{NotObservable, Observed};
use crate::procfs;

/// The events that are always on. Synchronisation and single-page mappings are left out: they are many, and say no more.
const EVENTS: &[&str] =
    &["dma_buf", "dma/dma_map_sg", "dma/dma_map_sg_err", "dma/dma_unmap_sg", "dma/dma_alloc", "dma/dma_free"];

/// Pages that leave the page allocator.
const PAGES: &str = "kmem/mm_page_alloc";

/// The kernel hands out as many whole lines as fit 8 KiB, and the longest one, a scatter list of 128 segments, has 7 KiB: a
/// read of less than this was not cut short, so there was no more.
const SHORT: usize = 1 << 10;

/// A trace of what this process and its children do.
#[derive(Debug)]
pub struct Trace {
    /// Closed before its instance goes.
    pipe: fs::File,
    instance: Instance,
    /// What was read of a line whose end was not there yet.
    begun: Vec<u8>,
    chunk: Vec<u8>,
}

/// A directory below `instances`; removed when dropped.
#[derive(Debug)]
struct Instance(PathBuf);

impl Trace {
    /// Begins a trace.
    ///
    /// # Errors
    /// What is missing, and what would bring it: tracefs, root, or the events.
    pub fn open() -> Observed<Self> {
        Self::begin().map_err(NotObservable)
    }

    fn begin() -> Result<Self, String> {
        let tracefs = Mounts::read().tracefs();
        let instances = tracefs.ready()?.join("instances");
        remove_orphans(&instances);
        let instance = Instance::make(&instances)?;
        if procfs::sees_all_processes() {
            // Before the pids, so that no child can be missed.
            instance.write("options/event-fork", "1")?;
            instance.follow("/proc/self/task")?;
        }
        for events in EVENTS {
            instance.write(&format!("events/{events}/enable"), "1")?;
        }
        let path = instance.0.join("trace_pipe");
        let pipe = access::open(&path, Mode::Read, "tracefs without trace_pipe")?;
        Ok(Self { instance, pipe, begun: Vec::new(), chunk: vec![0; 64 << 10] })
    }

    /// Follows another process as well, one that was started before this trace.
    ///
    /// # Errors
    /// It is gone, or the kernel refuses.
    pub fn follow(&self, pid: u32) -> Observed<()> {
        self.instance.follow(&format!("/proc/{pid}/task")).map_err(NotObservable)
    }

    /// Whether pages that leave the page allocator are recorded, too. They are many: this is for a short while.
    ///
    /// # Errors
    /// The kernel has no such event, or refuses.
    pub fn pages(&self, on: bool) -> Observed<()> {
        let switch = if on { "1" } else { "0" };
        self.instance.write(&format!("events/{PAGES}/enable"), switch).map_err(NotObservable)
    }

    /// What was recorded since the last look; never waits.
    ///
    /// # Errors
    /// The kernel refuses to be read.
    pub fn look(&mut self) -> Observed<Vec<Line>> {
        let mut lines = Vec::new();
        loop {
            let mut last = false;
            match self.pipe.read(&mut self.chunk) {
                Ok(0) => break,
                Ok(count) => {
                    self.begun.extend_from_slice(&self.chunk[..count]);
                    last = count < SHORT;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NotObservable(format!("reading the trace: {}", access::answer(&error)))),
            }
            let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { continue };
            let text = String::from_utf8_lossy(&self.begun[..end]);
            lines.extend(text.lines().filter_map(parse::line));
            self.begun.drain(..=end);
            if last {
                break;
            }
        }
        Ok(lines)
    }
}

impl Instance {
    fn make(instances: &Path) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = instances.join(name(std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).map_err(|error| {
            access::refused("create", &path, &error, "tracefs without instances: kernel before Linux 3.10")
        })?;
        Ok(Self(path))
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        let path = self.0.join(file);
        let absent = "kernel without these trace events: Linux 6.12 or later with CONFIG_HAS_DMA has those of DMA, one \
                      with include/trace/events/dma_buf.h those of dma-bufs";
        let mut file = access::open(&path, Mode::Write, absent)?;
        io::Write::write_all(&mut file, text.as_bytes())
            .map_err(|error| access::refused("write", &path, &error, absent))
    }

    /// Adds all threads of a process to those that are traced.
    fn follow(&self, tasks: &str) -> Result<(), String> {
        let path = Path::new(tasks);
        let absent = "the process has ended";
        let entries = fs::read_dir(path).map_err(|error| access::refused("read", path, &error, absent))?;
        let pids: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let path = self.0.join("set_event_pid");
        // Opened to append: opened to write, it forgets whom it followed before.
        let file = fs::OpenOptions::new().append(true).open(&path);
        file.and_then(|mut file| io::Write::write_all(&mut file, pids.join(" ").as_bytes()))
            .map_err(|error| access::refused("write", &path, &error, "tracefs without set_event_pid"))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The kernel keeps it while a file of it is open.
        if let Err(error) = fs::remove_dir(&self.0) {
            tracing::error!(instance = %self.0.display(), %error, "a trace instance is left behind");
        }
    }
}

const PREFIX: &str = "handover-";

fn name(pid: u32, count: u32) -> String {
    format!("{PREFIX}{pid}-{count}")
}

/// Removes instances of processes that were killed before they could.
fn remove_orphans(instances: &Path) {
    let Ok(entries) = fs::read_dir(instances) else { return };
    for entry in entries.flatten() {
        let orphan = entry.file_name().to_str().and_then(owner).is_some_and(procfs::has_ended);
        if orphan && let Err(error) = fs::remove_dir(entry.path()) {
            tracing::debug!(instance = %entry.path().display(), %error, "a trace instance of nobody's stays");
        }
    }
}

/// The process that an instance belongs to, if it is one of ours.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_say_whose_they_are() {
        assert_eq!(owner(&name(1234, 5)), Some(1234));
        assert_eq!(owner("somebody-1"), None);
    }

    #[test]
    fn a_trace_is_open_or_says_what_is_missing() {
        match Trace::open() {
            Ok(mut trace) => assert!(trace.look().is_ok()),
            Err(NotObservable(why)) => assert!(why.contains("tracefs") || why.contains("tracing"), "{why}"),
        }
    }
}

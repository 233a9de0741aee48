//! Does a step leave something behind each time that it is done? Once may be a cache; a hundred times is a leak.

use std::convert::Infallible;

use super::Cx;
use super::watch::settled;
use crate::case::{Outcome, Trouble};
use crate::dmabuf::page_size;
use crate::finding::Finding;
use crate::kms::Handles;
use crate::ledger::{self, objects};
use crate::vk::Gpu;

/// So often the step is done before it is counted: what is made once and kept is there by then.
const WARM_UP: u32 = 3;

/// What is there at one moment of a loop, or why that can't be observed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counts(Vec<(String, Result<u64, String>)>);

impl Counts {
    /// Whether there is no more of anything than may be, so many `cycles` after `before`.
    fn are_allowed(&self, before: &Self, cycles: u32) -> bool {
        self.0.iter().zip(&before.0).all(|((what, now), (_, before))| match (now, before) {
            (Ok(now), Ok(before)) => *now <= most(what, *before, cycles),
            _ => true,
        })
    }
}

impl Cx {
    /// Claims that `step`, which is done `cycles` times, leaves nothing behind: no file, no dma-buf, no mapping of one, no handle and
    /// no framebuffer of a card, no Vulkan object, and, where `gpus` say, no memory of theirs.
    ///
    /// What grows in the first half and not in the second is a cache, and said to be one.
    ///
    /// # Errors
    /// Those of `step`.
    pub fn leaves_nothing(
        &mut self,
        step: &str,
        cycles: u32,
        gpus: &[Gpu],
        mut once: impl FnMut(&mut Self) -> Outcome,
    ) -> Outcome {
        for _ in 0..WARM_UP {
            once(self)?;
        }
        let start = self.counts(gpus);
        let mut files = self.files();
        for _ in 0..cycles / 2 {
            once(self)?;
        }
        let middle = self.counts(gpus);
        let kept = self.files();
        if let (Ok(before), Ok(kept)) = (&files, &kept)
            && kept.count() > before.count()
        {
            let grown = format!("open files: {} before, {} after {} times", before.count(), kept.count(), cycles / 2);
            self.fact("grew", grown);
        }
        files = kept;
        for _ in cycles / 2..cycles {
            once(self)?;
        }
        // Who frees what is in use at the end of it does so a little later.
        let end =
            settled(|| Ok::<_, Infallible>(self.counts(gpus)), |end| end.are_allowed(&middle, cycles - cycles / 2));
        let Ok(end) = end;
        self.no_file_stays(cycles - cycles / 2, format_args!("times {step}"), &files);
        for (((what, start), (_, middle)), (_, end)) in start.0.into_iter().zip(middle.0).zip(end.0) {
            let (start, middle, end) = match (start, middle, end) {
                (Ok(start), Ok(middle), Ok(end)) => (start, middle, end),
                (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => {
                    self.fact("not observed", format!("{what}: {why}"));
                    continue;
                }
            };
            let half = f64::from(cycles - cycles / 2);
            let per_cycle = (end as f64 - middle as f64) / half;
            if end == middle && middle > start {
                self.fact("a cache", format!("{what}: {start} before, {middle} from cycle {} on", cycles / 2));
            }
            let most = most(&what, middle, cycles - cycles / 2);
            self.claim(format!("{what} over {cycles} times {step}"), end <= most, || {
                Finding::new(format!("{step} leaves {what} behind: {per_cycle:+.2} each time"))
                    .row("target", format!("{middle}, as after {} times", cycles / 2))
                    .row("actual", format!("{end} after {cycles} times, {start} at the start"))
                    .row("like", cause(&what))
            });
        }
        Ok(())
    }

    fn counts(&self, gpus: &[Gpu]) -> Counts {
        let dmabufs = self.dmabufs().map(|count| count as u64).map_err(|why| why.0);
        let mut counts = vec![
            ("dma-bufs".to_owned(), dmabufs),
            ("Vulkan objects".to_owned(), Ok(objects::alive())),
            ("numbers closed twice".to_owned(), Ok(ledger::found_so_far())),
        ];
        counts.push(("bytes of dma-bufs that are mapped".to_owned(), ledger::mapped().map_err(|why| why.0)));
        counts.extend(self.handles());
        counts.extend(gpus.iter().map(|gpu| {
            let usage = gpu.heap_usage().map_err(|why| why.to_string());
            (format!("bytes of memory of {}", self.devices.name_of(gpu)), usage)
        }));
        Counts(counts)
    }

    /// How many handles and framebuffers the kernel has for the cards with which the case has made something.
    fn handles(&self) -> [(String, Result<u64, String>); 3] {
        let cards: Result<Vec<Handles>, _> = self.devices.touched_handles().map(|(_, handles)| handles).collect();
        let cards = cards.map_err(|why| why.to_string());
        let counted = |count: fn(&Handles) -> usize| {
            let counted = cards.as_ref().map(|cards| cards.iter().map(|card| count(card) as u64).sum());
            counted.map_err(String::clone)
        };
        [
            ("GEM handles".to_owned(), counted(|handles| handles.gems.len())),
            ("framebuffers".to_owned(), counted(|handles| handles.framebuffers.len())),
            ("syncobjs".to_owned(), counted(|handles| handles.syncobjs.len())),
        ]
    }

    /// Has the drivers that keep what they looked at last look at something else: then a buffer that everybody let go
    /// is gone.
    ///
    /// # Errors
    /// A driver fails at that.
    pub fn drivers_look_away(&mut self) -> Outcome {
        Ok(self.devices.look_away()?)
    }

    /// The GPU of `role` through an instance and a device of its own, which are closed when it is dropped.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn fresh_gpu(&mut self, role: crate::case::Role) -> Result<Gpu, Trouble> {
        Ok(self.devices.fresh_gpu(role)?)
    }
}

/// How many of `what` there may be, so many `cycles` after there were `before`.
fn most(what: &str, before: u64, cycles: u32) -> u64 {
    // Memory comes in pages, and is estimated: less than one each time is no leak of any buffer.
    let noise = if what.starts_with("bytes") { u64::from(cycles) * page_size() / 2 } else { 0 };
    before + noise
}

/// Why there may be more of `what` after each time.
fn cause(what: &str) -> &'static str {
    match what {
        "dma-bufs" => "a reference to a buffer that somebody keeps: an fd, a handle, a mapping or an attachment",
        "Vulkan objects" => "an object that is not destroyed",
        "GEM handles" => "a handle that is not closed",
        "framebuffers" => "a framebuffer that is not removed",
        "syncobjs" => "a syncobj that is not destroyed",
        "bytes of dma-bufs that are mapped" => "a mapping that is not taken away",
        "numbers closed twice" => "an fd with two owners, of whom the second closes whatever has its number by then",
        _ => "memory that is made for each time, and not given back",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_may_grow_by_less_than_a_page_each_time_and_nothing_else() {
        let counts = |dmabufs, bytes| {
            let unseen = ("Vulkan objects".to_owned(), Err("nobody counts".to_owned()));
            Counts(vec![
                ("dma-bufs".to_owned(), Ok(dmabufs)),
                ("bytes of memory of gpu_a".to_owned(), Ok(bytes)),
                unseen,
            ])
        };
        let before = counts(3, 1 << 20);
        assert!(counts(3, (1 << 20) + 5 * page_size()).are_allowed(&before, 10));
        assert!(!counts(3, (1 << 20) + 6 * page_size()).are_allowed(&before, 10));
        assert!(!counts(4, 1 << 20).are_allowed(&before, 10), "a dma-buf more");
    }
}
